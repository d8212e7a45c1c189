"""The console sessions of a document: commands that are run as they stand, and what they print.

A block of ```console has lines `$ command`, each followed by what the command prints, on standard output and standard error. `...`
in it stands for whatever differs from run to run, whole lines too. All commands of a page run in one shell, in their order.
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_BLOCK: Final = re.compile(r"^( *)```console\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
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


def differences(steps: Sequence[Step], home: Path, environment: Mapping[str, str]) -> list[str]:
    """Run all commands; what those printed that printed something else, one text each."""
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
    printed = [text.strip("\n") for text in ran.stdout.split(f"{_MARK}\n")]
    return [
        f"$ {step.command}\n{text}\n--- and not\n{step.output}"
        for step, text in zip(steps, printed, strict=False)
        if not _is_like(step.output, text)
    ]


def _is_like(wanted: str, text: str) -> bool:
    return re.fullmatch(r"[\s\S]*".join(map(re.escape, wanted.split("..."))), _trimmed(text)) is not None


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")
