"""Nothing outlives its node unproven: SIGKILL and SIGSTOP of node and warden, at random moments.

What a round checks is in rounds.py, which also runs as many as one likes.
"""

import random

import pytest

from otpq.worker.kernel import is_portable
from tests.integration.worker.rounds import Kind, run_round

pytestmark = pytest.mark.skipif(is_portable(), reason="the proofs are Linux's; elsewhere only a lease counts")

ROUNDS_OF_EACH = 3


@pytest.mark.parametrize("number", range(ROUNDS_OF_EACH))
@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name.lower())
def test_no_overlap_no_survivor_and_a_tombstone_where_a_witness_lived(kind: Kind, number: int) -> None:
    run_round(kind, random.Random(f"{kind.name} {number}"))  # noqa: S311 - a moment, no secret
