"""File systems of a test's own: small ones, full ones, read-only ones. Real, and without any rights.

A node is started in a user and mount namespace of its own with a `tmpfs` in it, which is gone when its last process is. The
test, which stays outside, looks in through /proc.
"""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest

_MOUNT = 'mount -t tmpfs -o "$1" tmpfs "$0" && shift && exec "$@"'


class Disk:
    """A file system at `place`; empty, and seen by what is started `inside` alone."""

    def __init__(self, place: Path, options: str) -> None:
        place.mkdir()
        self.place = place
        self.inside = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _MOUNT, str(place), options)
        """The command to start a node in it with."""

    def seen_by(self, pid: int) -> Path:
        """The disk's root, as this process can reach it while process `pid` of its namespace lives."""
        return Path(f"/proc/{pid}/root{self.place}")

    def of(self, pid: int) -> tuple[str, ...]:
        """The command to start another program where process `pid` is."""
        return ("nsenter", f"--target={pid}", "--user", "--mount", "--preserve-credentials", "--")

    def fill(self, pid: int) -> None:
        """Leave no room at all."""
        with (self.seen_by(pid) / "ballast").open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError:
                return

    def free(self, pid: int) -> None:
        """Take back what `fill` took."""
        (self.seen_by(pid) / "ballast").unlink()


@functools.cache
def why_not() -> str | None:
    """Why no such file system can be had here; None: it can."""
    if sys.platform != "linux":
        return "a file system of a test's own needs Linux's namespaces"
    try:
        said = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return "there is no `unshare` here (util-linux)"
    return None if said.returncode == 0 else f"no namespace can be made here: {said.stderr.strip()}"


def disk(place: Path, options: str) -> Disk:
    """A disk with these mount options, such as 'size=8m'; the test is skipped where none can be made, and says why."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    return Disk(place, options)
