"""How long results wait for others."""

import math

import pytest

from otpq.queue.pace import SOON, hold


def test_nobody_waits_for_what_is_not_due_soon() -> None:
    assert hold(math.inf) == 0.0
    assert hold(SOON * 1.001) == 0.0


@pytest.mark.parametrize(("soon", "seconds"), [(0.0, 0.0005), (0.001, 0.0045), (0.002, 0.0085), (0.01, 0.01)])
def test_the_wait_is_in_proportion_to_the_runs_and_bounded(soon: float, seconds: float) -> None:
    assert hold(soon) == pytest.approx(seconds)
