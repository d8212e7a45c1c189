"""Where a text can be cut so that each piece is whole: what a prompt asks at each Enter, and who reads a pipe at each line."""

from __future__ import annotations

import ast
import codeop
import re
import warnings
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["FLAGS", "is_whole", "statements"]

FLAGS: Final = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

_compile = codeop.CommandCompiler()
_compile.compiler.flags |= FLAGS
_GOES_ON: Final = re.compile(r"\s|#|[)\]}]|(else|elif|except|finally)\b")
"""How a line begins that belongs to those above it."""
_COMPOUND: Final = (
    ast.If,
    ast.For,
    ast.While,
    ast.With,
    ast.Try,
    ast.TryStar,
    ast.Match,
    ast.FunctionDef,
    ast.ClassDef,
    ast.AsyncFor,
    ast.AsyncWith,
    ast.AsyncFunctionDef,
)


def is_whole(text: str) -> bool:
    """Whether `text` can be run as it stands, or never can be; False: it wants more lines.

    A block is whole at its first empty line, as at Python's own prompt: an `else` may follow until then.
    """
    above, newline, last = text.rpartition("\n")
    return not _wants_more(text) and (bool(newline and above and not last.strip()) or not _is_block(text))


def statements(lines: Iterable[str]) -> Iterator[str]:
    """The lines, each with its end, in pieces that are whole; each as soon as it is known to be.

    Unlike at a prompt, a block may have empty lines: it ends before the next line that begins at the margin, as in a file.
    """
    waiting = ""
    for line in lines:
        if waiting and not _GOES_ON.match(line) and not _wants_more(waiting):
            yield waiting
            waiting = ""
        waiting += line
        if not _wants_more(waiting) and not _is_block(waiting):
            if waiting.strip():
                yield waiting
            waiting = ""
    if waiting:
        yield waiting


def _wants_more(text: str) -> bool:
    try:
        return _compile(text, "<input>", "exec") is None
    except (SyntaxError, ValueError, OverflowError):
        return False  # more lines do not mend it; who runs it is told what is wrong


def _is_block(text: str) -> bool:
    """Whether it ends in a block, to which lines may still be added."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is warned of what is run
        try:
            body = ast.parse(text).body
        except (SyntaxError, ValueError, OverflowError):
            return False
    return bool(body) and isinstance(body[-1], _COMPOUND)
