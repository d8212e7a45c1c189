"""The sessions of docs/troubleshooting.md, run as they stand on one node; each command's answer is as the page says.

With OTPQ_RECORD=1 the page gets the new answers where the old ones are no longer true.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.pages import files_of
from tests.sessions import is_like, recorded, run, steps_of

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
    steps = steps_of(document)
    printed = [
        text.replace(stage.plain, "shop").replace(str(stage.home), "/home/ann")
        for text in run(steps, stage.home, {**stage.environment, "PATH": path})
    ]
    if os.environ.get("OTPQ_RECORD") == "1":
        PAGE.write_text(recorded(document, steps, printed), encoding="utf-8")
    wrong = [
        f"$ {step.command}\n{text}\n--- and not\n{step.output}"
        for step, text in zip(steps, printed, strict=True)
        if not is_like(step.output, text)
    ]
    assert not wrong, "\n\n".join(wrong)
