"""A recorded tour in a document: played again in a terminal, and told from what differs from run to run.

A tour is all blocks of the document that begin with a prompt of `otpq shell`, in their order: prompts with what was typed at
them, and what was printed then.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.pages import files_of
from tests.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.conftest import Stage

__all__ = ["plain", "played"]

_BLOCK: Final = re.compile(r"(?<=```text\n)otpq\(.*?(?=```)", re.DOTALL)
_PROMPT: Final = re.compile(r"^otpq\([^)]*\)\d+> ", re.MULTILINE)
_MORE: Final = re.compile(r"\n *\.\.\.> ?")

_DIFFERS: Final = (
    (re.compile(r"\b[0-9a-f]{32}\b"), "ID"),
    (re.compile(r"\b[0-9a-f]{20}\b"), "INCARNATION"),
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+[+-]\d\d:\d\d"), "TIME"),
    (re.compile(r"#\d+>"), "#N>"),
    (re.compile(r", (in \w+ for [\d.]+ s|[\d,]+ messages wait)"), ""),  # what a process happens to do
    (re.compile(r"pid=\d+"), "pid=PID"),
    (re.compile(r'File ".*/'), 'File "/'),
    (re.compile(r"[\w-]+@127\.0\.0\.1"), "NODE"),
    (re.compile(r" {2,}| +$", re.MULTILINE), " "),  # columns are as wide as what stands in them
)


def played(document: str, stage: Stage) -> str:
    """The document, with what a terminal prints now for what is typed in it, attached to a node with the app that it has."""
    ((name, text),) = files_of(document).items()
    stage.app = stage.home / name
    stage.app.write_text(text, encoding="utf-8")
    stage.node()
    with Terminal(stage.home, stage.environment, "--app", f"{name}:app") as terminal:
        terminal.prompt(stage.name, 1)

        def block(recorded: re.Match[str]) -> str:
            inputs = _inputs(recorded[0])
            return "".join(f"{prompt}{typed}\n{_ended(terminal.run(_keys(typed)))}" for prompt, typed in inputs)

        return _BLOCK.sub(block, document)


def record(page: Path) -> None:
    """Have the page tell what is printed now."""
    from tests.acceptance.conftest import Stage

    with tempfile.TemporaryDirectory() as home:
        stage = Stage(Path(home))
        stage.name = "a@127.0.0.1"
        try:
            told = played(page.read_text(encoding="utf-8"), stage)
        finally:
            stage.close()
    page.write_text(told.replace(home, "/home/ann"), encoding="utf-8")


def plain(document: str) -> str:
    """The document without what differs from run to run."""
    for what, word in _DIFFERS:
        document = what.sub(word, document)
    return document


def _inputs(block: str) -> Iterator[tuple[str, str]]:
    """Each prompt, and what was typed at it: its line, and those behind the prompts for more."""
    prompts = [*_PROMPT.finditer(block)]
    for prompt in prompts:
        typed = re.match(rf"[^\n]*(?:{_MORE.pattern}[^\n]*)*", block[prompt.end() :])
        assert typed is not None
        yield prompt[0], typed[0]


def _keys(typed: str) -> str:
    """What was typed; the shell indents by itself."""
    return "\n".join(line.strip() for line in _MORE.sub("\n", typed).split("\n"))


def _ended(printed: str) -> str:
    return f"{printed}\n" if printed else ""


if __name__ == "__main__":
    record(Path(sys.argv[1]))
