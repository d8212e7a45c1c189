"""What readers are shown runs, and gives what it is said to give: the blocks of docs/otp.md and the example programs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

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


# In the documents, `expression  # -> text` says what an expression gives, and `expression  # raises Error: words` what it
# raises. `...` in a text stands for what differs from run to run.
_SHOWN = re.compile(r"  # (->|raises) (.+)$", re.MULTILINE)


def gives(expression: Callable[[], Any], text: str) -> None:
    given = repr(expression())
    assert re.fullmatch(".*".join(map(re.escape, text.split("..."))), given), f"{given} is not {text}"


def raises(expression: Callable[[], Any], text: str) -> None:
    error, _, words = text.partition(": ")
    try:
        given = expression()
    except Exception as raised:
        if type(raised).__name__ != error or words not in str(raised):
            raise
    else:
        pytest.fail(f"gives {given!r} and does not raise {error}")


class Checked(ast.NodeTransformer):
    """Puts a check in place of each expression whose line says what is to be seen."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.checks = 0

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        shown = _SHOWN.search(self.lines[(node.end_lineno or node.lineno) - 1])
        if shown is None:
            return node
        self.checks += 1
        check = "_gives" if shown[1] == "->" else "_raises"
        no_arguments = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
        call = ast.Call(
            func=ast.Name(check, ast.Load()),
            args=[ast.Lambda(no_arguments, node.value), ast.Constant(shown[2])],
            keywords=[],
        )
        return ast.fix_missing_locations(ast.copy_location(ast.Expr(ast.copy_location(call, node)), node))


def python_blocks(document: str) -> str:
    """The python blocks of `document`, each line where it stands there, so that a traceback shows the right one."""
    lines = document.split("\n")
    fences = [number for number, line in enumerate(lines) if line.startswith("```")]
    inside: set[int] = set()
    for opening, closing in pairwise(fences):
        if lines[opening] == "```python":
            inside.update(range(opening + 1, closing))
    return "\n".join(line if number in inside else "" for number, line in enumerate(lines))


def test_the_blocks_of_the_otp_page_give_what_it_says() -> None:
    page = ROOT / "docs" / "otp.md"
    source = python_blocks(page.read_text(encoding="utf-8"))
    checked = Checked(source.split("\n"))
    blocks = checked.visit(ast.parse(source, str(page)))
    exec(compile(blocks, str(page), "exec"), {"__name__": "otp_page", "_gives": gives, "_raises": raises})  # noqa: S102 - our own page
    assert checked.checks == len(_SHOWN.findall(source)), "a check stands on a line that is no expression"
