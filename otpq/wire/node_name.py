"""Node names: `a@host` or `a@host:port`, and the address that follows from one."""

from __future__ import annotations

import re
import zlib
from typing import Final

import msgspec

from otpq.errors import UsageError

__all__ = ["BadNodeName", "NodeName"]

FIRST_PORT: Final = 20_000
PORTS: Final = 10_000
"""20,000 to 29,999: above the well-known ports and below the range from which Linux takes ephemeral ones (32,768)."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", re.ASCII)
_IPV6 = re.compile(r"\[[0-9A-Fa-f:.%]+\]", re.ASCII)


class BadNodeName(UsageError):
    """A text that is no node name; the message says what would be right.

    Attributes:
        text: The text.
        problem: What is wrong with it, in words.
    """

    def __init__(self, text: str, problem: str) -> None:
        super().__init__(f"{text!r} is not a node name: {problem}")
        self.text = text
        self.problem = problem


class NodeName(msgspec.Struct, frozen=True):
    """The name of a node: `name` at `host`, and the port it listens on.

    Two names with the same `name@host` are one node: the port is where to find it, not who it is.
    """

    name: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> NodeName:
        """The name that `text` spells: `a@host`, `a@host:25000`, `a@[::1]:25000`.

        Without a port it is 20000 + crc32(name) % 10000, so that a name is an address.

        Raises:
            BadNodeName: `text` is none; the message says what would be right.
        """
        name, at, place = text.partition("@")
        if not at:
            raise BadNodeName(text, f"it has no '@'; it is NAME@HOST, such as '{_suggest(text)}@127.0.0.1'")
        if not _NAME.fullmatch(name):
            raise BadNodeName(
                text,
                f"the part before '@' is 1 to 63 of a-z, 0-9, '-', '_' and '.', and begins and ends with "
                f"a letter or digit, such as '{_suggest(name)}@{place or '127.0.0.1'}'",
            )
        host, port = _split_port(text, place)
        if not (_HOST.fullmatch(host) or _IPV6.fullmatch(host)):
            raise BadNodeName(
                text,
                f"after '@' stands a host name or an address, an IPv6 address in brackets, "
                f"such as '{name}@127.0.0.1' or '{name}@[::1]'",
            )
        return cls(name, host, default_port(name) if port is None else port)

    @property
    def address(self) -> str:
        """Where it listens, as ZeroMQ writes it."""
        return f"tcp://{self.host}:{self.port}"

    @property
    def plain(self) -> str:
        """`name@host`: who it is, without where it listens."""
        return f"{self.name}@{self.host}"

    def __str__(self) -> str:
        return self.plain if self.port == default_port(self.name) else f"{self.plain}:{self.port}"


def default_port(name: str) -> int:
    """The port of a node called `name` that says nothing else. CRC-32, since `hash` differs from run to run."""
    return FIRST_PORT + zlib.crc32(name.encode()) % PORTS


def _split_port(text: str, place: str) -> tuple[str, int | None]:
    head, colon, tail = place.rpartition(":")
    if not colon or place.endswith("]"):  # the colons of [::1] are its own
        return place, None
    if not (tail.isascii() and tail.isdigit() and 1 <= int(tail) <= 65_535):  # noqa: PLR2004 - TCP's
        raise BadNodeName(text, f"{tail!r} is not a port; a port is a number from 1 to 65535")
    return head, int(tail)


def _suggest(name: str) -> str:
    """`name` with what is not allowed left out: close to what was meant."""
    return re.sub(r"[^a-z0-9_.-]", "", name.lower()).strip("-_.")[:63] or "a"
