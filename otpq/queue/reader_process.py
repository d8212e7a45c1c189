"""ReaderProcess: the hold on the operating-system process that looks into the store. A plain object for one owner."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

from otpq.queue.looking import PATIENCE, AnyLook, Seen
from otpq.queue.reader_program import BOOT, Trouble, read_frame, write_frame
from otpq.store.errors import StoreUnreachable, TookTooLong
from otpq.wire.codec import encode

__all__ = ["ReaderLost", "ReaderProcess"]

_FLOOR: Final = str(Path(__file__).parents[1])
_SILENCE: Final = 3 * PATIENCE + 5.0
"""Seconds after which a process that has not answered is stopped or stuck; its start and a loaded machine are in it."""


class ReaderLost(Exception):
    """The process is gone, or answers no more."""


class ReaderProcess:
    """Runs from its making until `kill`, or its own end."""

    def __init__(self, url: str) -> None:
        """Start it; `url` is a store in a file."""
        self._url = url
        ours, theirs = socket.socketpair()
        with theirs:
            # A session of its own: no terminal's Ctrl-C reaches it. -P: a file of the user's in this directory is no module.
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-P", "-c", BOOT, _FLOOR, url], stdin=theirs.fileno(), start_new_session=True
            )
        ours.settimeout(_SILENCE)
        self._socket = ours
        self._stream = ours.makefile("rwb")
        self._decode = msgspec.msgpack.Decoder(Seen | Trouble).decode

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def look(self, what: AnyLook) -> Seen:
        """Have one look taken; waits for it.

        Raises:
            StoreError: As `looking.look`.
            ReaderLost: There is no answer; start another process.
        """
        try:
            write_frame(self._stream, encode(what))
            content = read_frame(self._stream)
        except OSError as error:
            raise ReaderLost(str(error)) from error
        if content is None:
            raise ReaderLost("it ended")
        answer: Seen | Trouble = self._decode(content)
        if isinstance(answer, Seen):
            return answer
        raise TookTooLong(self._url) if answer.is_slow else StoreUnreachable(self._url, answer.text)

    def kill(self) -> None:
        """End it, from any thread; whoever waits in `look` gets `ReaderLost`."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
