"""The blocks of python in a document: which program they make, which files, and whether they give what they are said to give.

In the documents, `expression  # -> text` says what an expression gives, and `expression  # raises Error: words` what it raises.
`...` in a text stands for what differs from run to run. A block that begins with `# path/of/file.py` is a part of that file.
"""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_SHOWN: Final = re.compile(r"  # (->|raises) (.+)$", re.MULTILINE)
_FILE: Final = re.compile(r"# ([\w/]+\.py)")


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


def _blocks(lines: list[str]) -> Iterator[range]:
    """The lines of each block, by number."""
    fences = [number for number, line in enumerate(lines) if line.startswith("```")]
    for opening, closing in pairwise(fences):
        if lines[opening] == "```python":
            yield range(opening + 1, closing)


def program_of(document: str) -> str:
    """The blocks that are of no file, each line where it stands there, so that a traceback shows the right one."""
    lines = document.split("\n")
    inside = {number for block in _blocks(lines) if not _FILE.fullmatch(lines[block[0]]) for number in block}
    return "\n".join(line if number in inside else "" for number, line in enumerate(lines))


def files_of(document: str) -> dict[str, str]:
    """The text of each file, by its name."""
    lines = document.split("\n")
    files: dict[str, str] = {}
    for block in _blocks(lines):
        named = _FILE.fullmatch(lines[block[0]])
        if named is not None:
            text = "\n".join(lines[number] for number in block[1:])
            files[named[1]] = f"{files[named[1]]}\n\n\n{text}" if named[1] in files else text
    return files


def run_page(page: Path) -> None:
    """Run the program of a document, with its checks."""
    source = program_of(page.read_text(encoding="utf-8"))
    checked = Checked(source.split("\n"))
    program = checked.visit(ast.parse(source, str(page)))
    exec(compile(program, str(page), "exec"), {"__name__": page.stem, "_gives": gives, "_raises": raises})  # noqa: S102 - our own page
    assert checked.checks == len(_SHOWN.findall(source)), "a check stands on a line that is no expression"
