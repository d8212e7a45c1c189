from __future__ import annotations

import re
from pathlib import Path

from otpq.task import SCHEDULE_OPTIONS, Options

PAGE = Path(__file__).parents[2] / "docs" / "coming-from.md"
OTHERS = {"name", "executor", "grace"}
"""Arguments of the decorator, a pool and `cancel`."""


def test_the_options_of_our_column_exist() -> None:
    rows = [line.rstrip("|").split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    assert {len(row) for row in rows} == {7}
    named = {option for row in rows for option in re.findall(r"\b(\w+)=", row[-1])}
    assert named <= {*Options.__struct_fields__, *SCHEDULE_OPTIONS, *OTHERS}
