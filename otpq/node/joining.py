"""What a node, its uplink and its functions say to each other. Apart from the uplink, which a node that leads need not load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from otpq.errors import OtpqError, Unavailable
from otpq.otp import call

if TYPE_CHECKING:
    from otpq.otp import Server

__all__ = ["DRAIN", "IS_IN", "LEAVE", "Fatal", "JoinRefused", "JoinedCluster", "NodeNameTaken", "is_in", "leave"]

IS_IN: Final = "is_in"
LEAVE: Final = "leave"
DRAIN: Final = "drain"
"""Has the node drained, as TERM does."""


def is_in(uplink: Server) -> bool:
    """Whether this node is a member now, so that a goodbye would be heard."""
    return bool(call(uplink, IS_IN))


def leave(uplink: Server) -> None:
    """Say goodbye to the leader: nothing of this node runs any more, so what it held may be given out at once."""
    call(uplink, LEAVE)


class NodeNameTaken(Unavailable):
    """A node of this name is in the cluster already."""


class JoinRefused(OtpqError):
    """The cluster does not let this node in, and would not if it tried again."""


@dataclass(frozen=True, slots=True)
class JoinedCluster:
    """This node is a member; who leads is `leader`."""

    leader: str


@dataclass(frozen=True, slots=True)
class Fatal:
    """This node cannot become a member; trying on is in vain."""

    error: OtpqError
