"""Frames on a stream socket: four bytes of length, then so many bytes; descriptors may travel with them.

Three use it: node and warden (JSON inside), the node's greeting to a child, a child's results (MessagePack inside).
Of the standard library alone.
"""

from __future__ import annotations

import array
import socket
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_FRAME", "FrameError", "FrameReader", "frame", "send_frame"]

MAX_FRAME = 256 * 1024 * 1024
"""Bytes. A longer one is a peer that lost its way, not a message."""

_HEAD = 4
_CHUNK = 256 * 1024
_MAX_DESCRIPTORS = 16
_ANCILLARY = socket.CMSG_SPACE(_MAX_DESCRIPTORS * array.array("i").itemsize)


class FrameError(ValueError):
    """The peer sent something that cannot be a frame."""


def frame(content: bytes) -> bytes:
    """`content` with its length before it."""
    return len(content).to_bytes(_HEAD, "little") + content


def send_frame(sock: socket.socket, content: bytes, descriptors: Sequence[int] = ()) -> None:
    """Send it whole, waiting for room; the descriptors go with its first byte.

    Raises:
        OSError: The peer is gone.
    """
    data = frame(content)
    if descriptors:
        sent = socket.send_fds(sock, [data], list(descriptors))
        data = data[sent:]  # a signal or a full buffer can cut a stream's send short
    sock.sendall(data)


class FrameReader:
    """Puts the bytes of a stream together again.

    Attributes:
        closed: Whether the peer has closed; what was begun and not finished is dropped (its sender was killed).
        descriptors: Those that came and that nobody took yet, in the order they were sent.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = bytearray()
        self._scratch = bytearray(_CHUNK)
        self.closed = False
        self.descriptors: deque[int] = deque()

    def receive(self, *, wait: bool = True) -> list[bytes]:
        """The frames that one read completes, maybe none. With `wait=False` it never waits.

        Raises:
            FrameError: A frame longer than `MAX_FRAME`.
        """
        flags = socket.MSG_CMSG_CLOEXEC if hasattr(socket, "MSG_CMSG_CLOEXEC") else 0
        try:
            count, ancillary, _, _ = self._socket.recvmsg_into(
                [self._scratch], _ANCILLARY, flags | (0 if wait else socket.MSG_DONTWAIT)
            )
        except BlockingIOError:
            return []
        except ConnectionError:  # a peer that was killed with our bytes unread
            count, ancillary = 0, []
        self._take_descriptors(ancillary)
        self.closed = count == 0
        self._buffer += memoryview(self._scratch)[:count]
        return self._complete()

    def _take_descriptors(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
                self.descriptors.extend(numbers)

    def _complete(self) -> list[bytes]:
        frames, at, end = [], 0, len(self._buffer)
        with memoryview(self._buffer) as view:  # a slice of the bytearray itself would be one copy more
            while end - at >= _HEAD:
                size = int.from_bytes(view[at : at + _HEAD], "little")
                if size > MAX_FRAME:
                    raise FrameError(f"a frame of {size} bytes; {MAX_FRAME} are allowed")
                if end - at - _HEAD < size:
                    break
                frames.append(bytes(view[at + _HEAD : at + _HEAD + size]))
                at += _HEAD + size
        del self._buffer[:at]
        return frames
