"""The tour of docs/shell.md, played again in a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.tour import plain, played

if TYPE_CHECKING:
    from tests.acceptance.conftest import Stage

PAGE = Path(__file__).parents[2] / "docs" / "shell.md"


def test_the_tour_is_as_it_was_recorded(stage: Stage) -> None:
    document = PAGE.read_text(encoding="utf-8")
    assert plain(played(document, stage)) == plain(document)


def test_a_tour_that_is_not_as_recorded_would_be_seen() -> None:
    document = PAGE.read_text(encoding="utf-8")
    assert "otpq(NODE)2> add.submit(1, 2)\n<TaskHandle ID>\n" in plain(document)
    assert plain(document.replace("[0, 2, 4]", "[0, 2, 5]")) != plain(document)
