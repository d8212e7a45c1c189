"""The sessions of docs/troubleshooting.md, run as they stand on one node; each command's answer is as the page says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.pages import files_of
from tests.sessions import differences, steps_of

if TYPE_CHECKING:
    from tests.acceptance.conftest import Stage

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"


@pytest.mark.timeout(600)  # thirty programs, one after the other: on a crowded machine some seconds each
def test_the_sessions_of_the_page_print_what_it_says(stage: Stage) -> None:
    document = PAGE.read_text(encoding="utf-8")
    stage.app = stage.home / "shop.py"
    stage.app.write_text(files_of(document)["shop.py"], encoding="utf-8")
    stage.node()
    path = f"{Path(sys.executable).parent}:{stage.environment.get('PATH', '')}"
    found = differences(steps_of(document), stage.home, {**stage.environment, "PATH": path})
    assert not found, "\n\n".join(found)
