"""The demo's app: one task for each file of the running Python's own library."""

from __future__ import annotations

import ast
import hashlib
import sysconfig
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from otpq.app import App

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["FileCount", "Totals", "app", "count", "files", "total"]

app = App("stdlib")

_NOT_OURS = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}


class FileCount(TypedDict):
    """What is counted in one file."""

    functions: int
    classes: int
    lines: int
    sha256: str


class Totals(TypedDict):
    """What is counted in all files together; the digest is of all digests, whatever their order."""

    files: int
    functions: int
    classes: int
    lines: int
    sha256: str


@app.task(retry_delay=0.2, timeout=60)
def count(path: str) -> FileCount:
    """Parse a file and count what it defines. A file that is no Python (the library has some, on purpose) defines nothing."""
    source = Path(path).read_bytes()
    kinds = Counter(map(type, _statements(_parsed(source))))
    return {
        "functions": kinds[ast.FunctionDef] + kinds[ast.AsyncFunctionDef],
        "classes": kinds[ast.ClassDef],
        "lines": source.count(b"\n"),
        "sha256": hashlib.sha256(source).hexdigest(),
    }


@app.default
def unknown(task: dict[str, Any]) -> dict[str, Any]:
    """What is submitted under a name that nobody has: say so by giving it back."""
    return task


def files(*, with_tests: bool = True) -> list[str]:
    """The library's files, in an order that mixes small and large ones.

    Args:
        with_tests: Its own tests too: about 1,800 files; without, about 700.
    """
    root = Path(sysconfig.get_path("stdlib"))
    skipped = _NOT_OURS if not with_tests else {"site-packages", "dist-packages", "__pycache__"}
    found = (path for path in root.rglob("*.py") if skipped.isdisjoint(path.relative_to(root).parts))
    return sorted(map(str, found), key=lambda path: hashlib.sha256(path.encode()).digest())


def total(counts: Iterable[FileCount]) -> Totals:
    """The sums, which do not depend on the order."""
    counts = list(counts)
    digests = "".join(sorted(each["sha256"] for each in counts))
    return {
        "files": len(counts),
        "functions": sum(each["functions"] for each in counts),
        "classes": sum(each["classes"] for each in counts),
        "lines": sum(each["lines"] for each in counts),
        "sha256": hashlib.sha256(digests.encode()).hexdigest(),
    }


def _parsed(source: bytes) -> ast.AST:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library's authors
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError):
            return ast.Module(body=[], type_ignores=[])


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """All statements. Definitions are statements, so expressions, nine tenths of a tree, need not be walked."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            below = getattr(node, name, None)
            if isinstance(below, list):  # the body of a lambda or of `a if b else c` is an expression
                waiting += below
        yield node
