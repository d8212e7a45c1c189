"""Pid and MonitorRef: the handles by which processes know each other."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otpq.otp.distribution import FarProcess
    from otpq.otp.process import Process

__all__ = ["MonitorRef", "Pid"]

_incarnations = count(1)


class Pid:
    """The identity of one process, from its start to for ever after its end.

    Two starts of the same child have the same label and different incarnations, so a pid never comes to mean another
    process. Hashable, equal only to itself, printed as `<label#incarnation>`.
    """

    __slots__ = ("incarnation", "label", "process")

    def __init__(self, label: str, process: Process) -> None:
        self.label = label
        """What it is: the name it was started under, or its class."""
        self.incarnation = next(_incarnations)
        """A number that no other process of this interpreter has."""
        self.process = process
        """The way in for this package's own modules; users go through its functions."""

    def __repr__(self) -> str:
        return f"<{self.label}#{self.incarnation}>"


class MonitorRef:
    """One `monitor`: given back by it, carried by its `Down`, taken by `demonitor`."""

    __slots__ = ("is_cancelled", "watched")

    def __init__(self, watched: Process | FarProcess | None) -> None:
        self.watched = watched
        self.is_cancelled = False
