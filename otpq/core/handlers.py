"""What the core knows of a handler: whether it may run, how many slots it has taken, how long it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from otpq.core.pauses import Pausable
from otpq.errors import did_you_mean
from otpq.task import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["HOOKS", "Handler", "HandlerSettings", "Handlers", "hook_of"]

HOOKS: Final = ("on_success", "on_retry", "on_failure")
"""The kinds of hooks; a name that ends in ':' and one of these is that of a hook."""

MEMORY = 16
"""The mean run time follows the last few dozen runs: n new ones weigh n / (n + 16). Untuned."""


MAX_UNKNOWN = 1_000


class HandlerSettings(Pausable, frozen=True, omit_defaults=True):
    """What operators have set of a handler, durably."""

    max_concurrency: int | None = None
    is_limit_set: bool = False
    """Whether `max_concurrency` counts, in place of what a file or a decorator says."""


class Handler:
    """One handler, seen over all queues and nodes.

    A slot is a child's right to run it: a child that runs one task at a time takes one for a whole batch, a child with n
    threads takes one for each of the first n tasks.
    """

    __slots__ = (
        "declared",
        "default_limit",
        "defaults",
        "failed",
        "filed",
        "hooks",
        "in_force",
        "is_limit_filed",
        "is_special",
        "longest",
        "mean",
        "name",
        "retried",
        "runs",
        "settings",
        "succeeded",
        "used",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.settings = HandlerSettings()
        self.declared = b""
        """What its app declares, packed; nothing also while it is not known."""
        self.filed = b""
        """What the cluster's file says of it, packed."""
        self.in_force = b""
        """Both, the file's over the app's: what its tasks have unless their callers say otherwise."""
        self.defaults = DEFAULTS
        """The same, opened."""
        self.is_special = False
        """Whether what is in force has a say in which tasks go together in a batch."""
        self.default_limit: int | None = None
        self.is_limit_filed = False
        self.used = 0
        """Slots taken. Counted only while there is a limit."""
        self.mean = 0.0
        """Seconds a run, of late."""
        self.runs = 0
        """Those that a child told of. This and what follows: since the start of this core."""
        self.longest = 0.0
        """Seconds."""
        self.succeeded = 0
        self.retried = 0
        """Runs that went wrong and were followed by another."""
        self.failed = 0
        """Tasks that failed for good."""
        self.hooks: dict[str, str] = {}
        """By kind, the handlers that follow."""

    @property
    def paused(self) -> bool:
        """Whether an operator holds it back."""
        return self.settings.paused

    @property
    def limit(self) -> int | None:
        """How many slots there are in the whole cluster; None: as many as one likes."""
        return self.settings.max_concurrency if self.settings.is_limit_set else self.default_limit

    @property
    def limit_from(self) -> str:
        """Who says how many slots there are, or that there is no limit: 'set' (an operator), 'file' or 'app'."""
        if self.settings.is_limit_set:
            return "set"
        return "file" if self.is_limit_filed else "app"

    @property
    def is_blocked(self) -> bool:
        """Whether nothing of it may start now."""
        limit = self.limit
        return self.settings.paused or (limit is not None and self.used >= limit)

    def ran(self, seconds: list[float]) -> None:
        """Note runs that took so long each."""
        count = len(seconds)
        longest = max(seconds)
        self.longest = max(self.longest, longest)
        weight = count / (count + MEMORY) if self.runs else 1.0
        self.mean += (max(0.0, sum(seconds)) / count - self.mean) * weight
        self.runs += count


def hook_of(name: str) -> tuple[str, str] | None:
    """Of a hook's name, whom it follows and when; None: it is the name of no hook. A hook has no hooks itself."""
    followed, _, kind = name.rpartition(":")
    return (followed, kind) if followed and kind in HOOKS and hook_of(followed) is None else None


class Handlers(dict[str, Handler]):
    """Handlers by name; new ones come into being as they are named."""

    def __init__(self) -> None:
        super().__init__()
        self.known: set[str] = set()
        """The names that some app has declared, be it long ago."""
        self._unknown: dict[str, str] = {}
        self.served: frozenset[str] | None = None
        """The names that a session is open for; None: no session has told."""
        self.is_all_told = True
        """Whether no open session has yet to tell: then a name that is not known is worth a warning."""

    def know(self, name: str) -> None:
        """Note that some app has declared it."""
        self.known.add(name)
        self._unknown.clear()

    def unknown(self, name: str) -> str:
        """That a name is not known, in words, with the nearest one. To find that takes milliseconds, so it is remembered."""
        words = self._unknown.get(name)
        if words is None:
            if len(self._unknown) >= MAX_UNKNOWN:
                self._unknown.clear()
            words = self._unknown[name] = f"no handler {name!r} is known{did_you_mean(name, self.known)}"
        return words

    def is_served(self, name: str) -> bool:
        """Whether there may be somebody to run a handler's tasks."""
        return self.served is None or name in self.served

    def declared_of(self, names: Iterable[str]) -> dict[str, bytes]:
        """The options in force of these; those that have none but the defaults are left out."""
        return {name: packed for name in names if (packed := self[name].in_force)}

    def __missing__(self, name: str) -> Handler:
        handler = self[name] = Handler(name)
        return handler
