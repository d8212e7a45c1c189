"""The programs of docs/workflows.md, run as they stand, but for the app's name: it is the node's, and so a port."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.pages import files_of

if TYPE_CHECKING:
    from tests.acceptance.conftest import Stage

PAGE = Path(__file__).parents[2] / "docs" / "workflows.md"


def test_the_programs_of_the_page_give_what_it_says(stage: Stage) -> None:
    for name, text in files_of(PAGE.read_text(encoding="utf-8")).items():
        (stage.home / name).write_text(text.replace('App("flows")', f'App("{stage.plain}")'), encoding="utf-8")
    program = stage.home / "program.py"
    program.write_text(f"from pathlib import Path\nfrom tests.pages import run_page\nrun_page(Path({str(PAGE)!r}))\n")
    ran = stage.python(program)
    assert ran.returncode == 0, ran.stderr
