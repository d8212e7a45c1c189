"""The README's programs, run as they stand, but for the app's name: it is the node's, and so a port."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Stage

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("place", [0, 1])
def test_a_program_of_the_readme_prints_what_it_says(stage: Stage, place: int) -> None:
    program = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[place]
    said = re.findall(r"print\(.*\)  # (.*)", program)
    file = stage.home / "shop.py"
    file.write_text(program.replace('App("shop")', f'App("{stage.plain}")'))
    ran = stage.python(file)
    assert (ran.returncode, ran.stdout.split()) == (0, said), ran.stderr
