"""What webhooks are signed with: a text in a file that nobody else may read. Asked for at the node's start, and in the child."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BadSecret", "read_secret"]

_LEAST: Final = 16
_MOST: Final = 4_096
"""Bytes of a secret."""


class BadSecret(Exception):
    """The file of a webhook's secret cannot be used; the message says why, and nothing of what is in it."""


def read_secret(path: Path) -> bytes:
    """What deliveries are signed with: the text in the file at `path`.

    Raises:
        BadSecret: There is none, others may read it, or it is too short to be one.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise BadSecret(f"others may read the secret at {path}; take their rights away: chmod 600 {path}")
            secret = file.read(_MOST).strip()
    except OSError as error:
        raise BadSecret(f"the secret at {path} cannot be read: {error.strerror}") from None
    if len(secret) < _LEAST:
        raise BadSecret(f"the secret at {path} has fewer than {_LEAST} characters; make one: openssl rand -hex 32")
    return secret
