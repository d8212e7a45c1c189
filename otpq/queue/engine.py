"""Engine: the core and its store as one. A step that returns is durable; one that fails was never taken.

    needs -> load -> step -> commit

A commit that is refused, or whose fate is unknown, voids the core: it has decided what may not be in the store. It is rebuilt
once the store can be written again. Until then the engine is in *trouble*. Damage is not tried again: it does not mend.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final, cast

from otpq.core.core import QueueCore
from otpq.core.effects import Persist
from otpq.core.events import Now
from otpq.core.records import Changes, Loaded
from otpq.errors import StoreError
from otpq.faults import hit
from otpq.queue.trouble import DAMAGED, Trouble, trouble_of
from otpq.store.errors import CommitUnknown, StaleEpoch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otpq.core.effects import Told
    from otpq.core.events import Event
    from otpq.core.state import Config
    from otpq.store.protocol import Store

__all__ = ["Engine", "now"]

logger = logging.getLogger("otpq.queue")

PROBE: Final = 1.0
"""Seconds between two tries of a store that refuses."""


def now() -> Now:
    """The time, by both clocks of the core."""
    return Now(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))


class Engine:
    """For one thread. While there is `trouble`, no step is to be taken."""

    def __init__(self, store: Store, config: Config, committed: Callable[[Changes], None]) -> None:
        """Go on where the store is, which is open; `committed` is told of what has become durable."""
        self.trouble: Trouble | None = None
        """Why nothing can be decided now; None: it can."""
        self.commits = 0
        self._store = store
        self._config = config
        self._committed = committed
        self._probe_at = 0.0
        self.core = self._recovered()
        """A new one after each trouble."""

    def step(self, events: Sequence[Event]) -> list[Told]:
        """Decide about these events, and make it durable; what is to be sent now, in its order.

        Raises:
            StaleEpoch: Another queue server has taken over.
            StoreError: Nothing has been decided, and there is trouble.
        """
        try:
            time_ = now()
            needs = self.core.needs(time_, events)
            loaded = self._store.load(needs) if needs else Loaded()
            effects = self.core.step(time_, events, loaded)
            if effects and isinstance(effects[0], Persist):  # the one, and first
                self._persist(effects[0].changes)
                del effects[0]
            return cast("list[Told]", effects)
        except StaleEpoch:
            raise
        except StoreError as failed:
            self.trouble = trouble_of(failed)
            self._probe_at = time.monotonic() + PROBE
            logger.error("no dispatch, no submissions: %s", self.trouble.words)  # noqa: TRY400 - the store's words say it all
            raise

    def recovers(self) -> bool:
        """Whether the trouble is over; the store is tried no more than once a second.

        Raises:
            StaleEpoch: Another queue server has taken over.
        """
        if time.monotonic() < self._probe_at:
            return False
        self._probe_at = time.monotonic() + PROBE
        if self.trouble is not None and self.trouble.code == DAMAGED:
            return False
        try:
            self._store.last_commit()
            self.core = self._recovered()
            self._store.commit(Changes())
        except StaleEpoch:
            raise
        except StoreError as still:
            logger.info("the store still refuses: %s", still)
            return False
        logger.warning("the store works again")
        self.trouble = None
        return True

    @property
    def until_probe(self) -> float:
        """Seconds after which `recovers` will try the store."""
        return max(0.0, self._probe_at - time.monotonic())

    def _recovered(self) -> QueueCore:
        return QueueCore(self._store.recover(), self._config)

    def _persist(self, changes: Changes) -> None:
        hit("commit.before")
        try:
            self._store.commit(changes)
        except CommitUnknown as unknown:
            if not self._was_committed(unknown):
                raise
        hit("commit.after")
        self.commits += 1
        self._committed(changes)

    def _was_committed(self, failed: CommitUnknown) -> bool:
        try:
            return self._store.last_commit() >= failed.number
        except StoreError:
            return False
