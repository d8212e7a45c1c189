"""The program of the Reader's process: takes looks from descriptor 0, carries them out on a read-only connection, answers.

Run it as `BOOT` says: `python -P -c BOOT FLOOR URL`. It imports the store's half of otpq and no more: no socket library, no
actors. Its parent's end, of whatever cause, is the end of its input.

On the stream, frames of MessagePack behind four bytes of length: `Look` or `LogLook` in, `Seen` or `Trouble` out, one for one.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final

import msgspec

from otpq.errors import StoreError
from otpq.queue.looking import PATIENCE, AnyLook, Seen, look
from otpq.store.errors import TookTooLong
from otpq.store.url import open_reading
from otpq.wire.codec import encode

if TYPE_CHECKING:
    from io import BufferedRWPair

    from otpq.store.protocol import Reading

__all__ = ["BOOT", "Trouble", "main", "read_frame", "write_frame"]

# `otpq` is stood up as an empty package, so that this process does not pay for what otpq/__init__.py imports for users.
BOOT: Final = (
    "import sys; otpq = type(sys)('otpq'); otpq.__path__ = [sys.argv[1]]; sys.modules['otpq'] = otpq; "
    "from otpq.queue.reader_program import main; main()"
)

_HEAD: Final = 4


class Trouble(msgspec.Struct, frozen=True, tag=True):
    """A look came to nothing."""

    text: str
    is_slow: bool


def read_frame(stream: BufferedRWPair) -> bytes | None:
    """The next frame; None: the peer is gone."""
    head = stream.read(_HEAD)
    size = int.from_bytes(head, "little")
    content = stream.read(size) if len(head) == _HEAD else b""
    return content if len(head) == _HEAD and len(content) == size else None


def write_frame(stream: BufferedRWPair, content: bytes) -> None:
    """Send one.

    Raises:
        OSError: The peer is gone.
    """
    stream.write(len(content).to_bytes(_HEAD, "little"))
    stream.write(content)
    stream.flush()


class _Program:
    """The loop around `look`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._reading: Reading | None = None
        self._decode = msgspec.msgpack.Decoder(AnyLook).decode

    def run(self, stream: BufferedRWPair) -> None:
        while (content := read_frame(stream)) is not None:
            write_frame(stream, encode(self._answer(self._decode(content))))

    def _answer(self, what: AnyLook) -> Seen | Trouble:
        try:
            if self._reading is None:
                self._reading = open_reading(self._url, patience=PATIENCE)
            return look(self._reading, what)
        except StoreError as error:
            return Trouble(str(error), isinstance(error, TookTooLong))


def main() -> None:
    """Answer until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the node, whose end is ours
    os.set_inheritable(0, False)  # noqa: FBT003 - it takes no keyword
    try:
        _Program(sys.argv[2]).run(socket.socket(fileno=0).makefile("rwb"))
    except (BrokenPipeError, ConnectionError):
        return  # the node is gone
