"""The way of packets from a worker to its child, of which the worker can take back what the child has not received.

A pair of SEQPACKET sockets: one send is one receive, whole. The worker keeps a *duplicate* of the receiving end, so that
both can receive and the kernel decides, packet by packet, who got it: the child, or the worker that wants it back. It
asks nothing of the child, which may be stuck in C code or stopped.

Three facts of the kernel shape this file:

- The duplicate and the child's end are one open file: O_NONBLOCK set by one would be set for both. So neither sets it,
  and who must not wait says MSG_DONTWAIT.
- Because of the duplicate the worker sees no end of file when its child dies. It hears of that from the warden.
- A packet must fit into the socket's send buffer, 208 KiB by default (`net.core.wmem_max`), of which the kernel counts
  twice what is asked for. What is longer than `MAX_PACKET` goes into a file without a name whose descriptor travels in its
  place. Up to there a copy is cheaper: 100 KB take 13 us to send and receive, through a file 60 us.

macOS has no SEQPACKET pairs; a DGRAM pair keeps the borders of packets too, but has no end of file.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import socket
import sys

from otpq.worker.log_ring import nameless_file

__all__ = ["MAX_PACKET", "TaskReceiver", "TaskSender", "task_pipe"]

MAX_PACKET = 128 * 1024 if sys.platform == "linux" else 1024
"""Bytes that travel in the socket itself: three of them fit into its buffer. (Other systems allow 2 KiB a datagram.)"""

_BUFFER = 212_992  # what every Linux allows to ask for
_IN_A_FILE = b"\xc1"  # the one byte that MessagePack never uses: the packet is in the descriptor that came along
_ANCILLARY = socket.CMSG_SPACE(array.array("i").itemsize)
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_FULL = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS})  # ENOBUFS: macOS
_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ECONNREFUSED})


def task_pipe(*, portable: bool) -> tuple[TaskSender, TaskReceiver]:
    """Both ends; the receiver's descriptor is for the child, and its owner keeps it to take packets back."""
    kind = socket.SOCK_DGRAM if portable else socket.SOCK_SEQPACKET
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    return TaskSender(ours), TaskReceiver(theirs)


class TaskSender:
    """The worker's end."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def fileno(self) -> int:
        """To wait for room with `poll`."""
        return self._socket.fileno()

    def send(self, packet: bytes) -> bool:
        """Put a packet in front of the child, never waiting; False if there is no room now, or nobody to read it."""
        try:
            if len(packet) <= MAX_PACKET:
                self._socket.send(packet, socket.MSG_DONTWAIT)
            else:
                self._send_file(packet)
        except OSError as error:
            if error.errno in _FULL or error.errno in _GONE:
                return False
            raise
        return True

    def _send_file(self, packet: bytes) -> None:
        descriptor = nameless_file("otpq-packet")
        try:
            view = memoryview(packet)
            while view:
                view = view[os.write(descriptor, view) :]
            socket.send_fds(self._socket, [_IN_A_FILE], [descriptor], socket.MSG_DONTWAIT)
        finally:
            os.close(descriptor)  # the one in the socket stays, and goes with the packet, whatever becomes of it

    def close(self) -> None:
        """The child reads what it has, then end of file."""
        self._socket.close()


class TaskReceiver:
    """The child's end, in the child; the duplicate of it, in the worker."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = bytearray(MAX_PACKET)
        self._view = memoryview(self._buffer)
        self.closed = False
        """Whether the sender is gone and nothing is left."""

    @classmethod
    def of_descriptor(cls, descriptor: int) -> TaskReceiver:
        """The child's end, from the number under which it was inherited."""
        return cls(socket.socket(fileno=descriptor))

    def fileno(self) -> int:
        """To hand it to the child, or to wait for a packet with `poll`."""
        return self._socket.fileno()

    def receive(self) -> bytes | memoryview | None:
        """The next packet, never waiting; None if there is none now or, `closed`, ever. Valid until the next call."""
        try:
            count, ancillary, _, _ = self._socket.recvmsg_into(
                [self._buffer], _ANCILLARY, socket.MSG_DONTWAIT | _CLOEXEC
            )
        except BlockingIOError:
            return None
        except ConnectionError:
            count, ancillary = 0, []
        if ancillary:
            return _read_file(ancillary)
        if count == 0:
            self.closed = True
            return None
        return self._view[:count]

    def take_back(self) -> list[bytes]:
        """All packets that the child has not received, in the order they were sent: they are the worker's again."""
        packets = []
        while (packet := self.receive()) is not None:
            packets.append(bytes(packet))
        return packets

    def close(self) -> None:
        """Let go of it; the child's own end is not touched."""
        self._view.release()
        with contextlib.suppress(OSError):
            self._socket.close()


def _read_file(ancillary: list[tuple[int, int, bytes]]) -> bytes:
    numbers = array.array("i")
    numbers.frombytes(ancillary[0][2])
    with open(numbers[0], "rb") as file:  # noqa: PTH123 - a descriptor has no path
        file.seek(0)
        return file.read()
