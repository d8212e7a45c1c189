"""What readers are shown runs, and gives what it is said to give: the blocks of docs/otp.md and the example programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import run_page

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

COUNTER = """\
next: 6
next: 7
after 4 threads added 1 a thousand times each: 4008
"""

STRATEGIES = """\
one_for_one: only the one that crashed is started again
    a started
    b started
    c started
    -- b gets a message that it cannot handle
    b crashed (ValueError: nonsense)
    b started
    -- the tree is stopped
    c stopped
    b stopped
    a stopped
one_for_all: all are stopped, the last one first, and all are started again
    a started
    b started
    c started
    -- b gets a message that it cannot handle
    b crashed (ValueError: nonsense)
    c stopped
    a stopped
    a started
    b started
    c started
    -- the tree is stopped
    c stopped
    b stopped
    a stopped
rest_for_one: those started after it are stopped, then it and they are started again
    a started
    b started
    c started
    -- b gets a message that it cannot handle
    b crashed (ValueError: nonsense)
    c stopped
    b started
    c started
    -- the tree is stopped
    c stopped
    b stopped
    a stopped
"""


OUTPUTS = {"otp/counter.py": COUNTER, "otp/strategies.py": STRATEGIES}


@pytest.mark.parametrize(("path", "output"), OUTPUTS.items())
def test_example_prints_what_it_is_said_to_print(path: str, output: str) -> None:
    program = [sys.executable, "-W", "error", str(EXAMPLES / path)]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own file
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, output, "")


def test_every_otp_example_has_its_output_here() -> None:
    assert {f"otp/{path.name}" for path in (EXAMPLES / "otp").glob("*.py")} == {*OUTPUTS}


def test_the_blocks_of_the_otp_page_give_what_it_says() -> None:
    run_page(ROOT / "docs" / "otp.md")
