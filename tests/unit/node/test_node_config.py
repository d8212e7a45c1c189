"""How a node's settings are read."""

from __future__ import annotations

import os

import pytest

from otpq.errors import BadOption
from otpq.node.config import workers_of

CPUS = os.cpu_count() or 1


@pytest.mark.parametrize(
    ("text", "workers"),
    [("0", 0), ("4", 4), ("1..4", 4), ("4..4", 4), ("CPUS", CPUS), ("1..CPUS", CPUS), ("1 .. cpus", CPUS)],
)
def test_workers_are_a_number_or_a_range_of_which_the_most_start(text: str, workers: int) -> None:
    assert workers_of(text) == workers


@pytest.mark.parametrize("text", ["", "-1", "2.5", "4..1", "1..", "..4", "1..2..3", "1...4", "many", "1..CPU"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadOption, match=r"a range such as 1\.\.CPUS"):
        workers_of(text)
