"""The console sessions of a document: commands that are run as they stand, and what they print.

A block of ```console has lines `$ command`, each followed by what the command prints, on standard output and standard error. All
commands of a page run in one shell, in their order. What differs from run to run may differ: numbers, times, ids, and how wide a
column is; `...` stands for anything at all, whole lines too.
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_BLOCK: Final = re.compile(r"^( *)```console\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_VARYING: Final = (
    (r"\b[0-9a-f]{32}\b|\b[0-9a-f]{20}\b", "ID"),
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(\+00:00)?", "TIME"),
    (r"\b[0-9a-f]{16}\b", "ID"),
    (r"\d+(\.\d+)?(e-\d+)?", "N"),
    (r"\w+@[\w-]+", "WHO"),
    (r"[ \t]+", " "),
)
_MARK: Final = "=== the end of command"
PATIENCE: Final = 500.0
"""Seconds for all of a page; each command is a program to start."""


class Step(NamedTuple):
    """A command and what it is said to print."""

    command: str
    output: str


def steps_of(document: str) -> list[Step]:
    """All commands of the document's sessions, in their order."""
    steps: list[Step] = []
    for indent, block in _BLOCK.findall(document):
        for part in re.split(r"^\$ ", re.sub(rf"^{indent}", "", block, flags=re.MULTILINE), flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            steps.append(Step(command, output.rstrip()))
    return steps


def run(steps: Sequence[Step], home: Path, environment: Mapping[str, str]) -> list[str]:
    """Run all commands; what each has printed."""
    script = "".join(f"{step.command}\necho; echo '{_MARK}'\n" for step in steps)
    ran = subprocess.run(  # noqa: S603 - our own page
        ["/bin/sh", "-c", script],
        stdin=subprocess.DEVNULL,
        cwd=home,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    *printed, _ = ran.stdout.split(f"{_MARK}\n")
    assert len(printed) == len(steps), f"the shell ended after {len(printed)} commands"
    return [re.sub(r" +$", "", text, flags=re.MULTILINE).strip("\n") for text in printed]


def is_like(wanted: str, printed: str) -> bool:
    """Whether a command has printed what it is said to print."""
    pattern = r"[\s\S]*".join(map(re.escape, _bare(wanted).split("...")))
    return re.fullmatch(pattern, _bare(printed)) is not None


def _bare(text: str) -> str:
    """The text without what differs from run to run."""
    for pattern, word in _VARYING:
        text = re.sub(pattern, word, text)
    return text


def recorded(document: str, steps: Sequence[Step], printed: Sequence[str]) -> str:
    """The document with what was printed in the place of what is no more like it."""
    for step, text in zip(steps, printed, strict=True):
        if not is_like(step.output, text):
            old = "\n".join(filter(None, [f"$ {step.command}", step.output]))
            document = document.replace(f"{old}\n", "\n".join(filter(None, [f"$ {step.command}", text, ""])) + "\n", 1)
    return document
