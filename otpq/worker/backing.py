"""What stands behind the context of a run in a child: where its progress, checkpoints and lines go, and what it may ask.

Most handlers ask for nothing. So a run costs one small object, `RunContext`, which makes the rest of itself, and the `Run` behind it,
when somebody first asks.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import msgpack

from otpq.context import Context, TaskLog
from otpq.endings import HandOver
from otpq.errors import UsageError
from otpq.worker.control import Kept
from otpq.worker.values import pack_checkpoint

if TYPE_CHECKING:
    import asyncio
    from datetime import datetime

    from otpq.worker.control import Control
    from otpq.worker.journal import Journal
    from otpq.worker.outbox import Outbox
    from otpq.worker.packets import Item

__all__ = ["Means", "Run", "RunContext"]

_EVERY: Final = 0.1
"""Seconds between two words of progress of one run."""


class Means:
    """What all runs of a child share."""

    def __init__(self, outbox: Outbox, control: Control, journal: Journal) -> None:
        self.outbox = outbox
        self.control = control
        self.journal = journal
        self.is_finishing = False
        """Set by whoever wants the child to end: the tasks that run are the last, the others are handed back."""
        self.is_forked = False
        """Whether this is a copy of the child that a handler made with `os.fork`."""
        self.open: dict[tuple[int, int], Run] = {}
        """The runs that have said or asked something, by lease and seq: something may be left to tell at their end."""
        self.lock = threading.RLock()
        self.numbers = itertools.count(1)
        self._held: set[Run] = set()
        self._teller: threading.Thread | None = None

    def close(self, lease: int, seq: int) -> None:
        """Tell what a run has left to tell, if anything: it has ended."""
        run = self.open.pop((lease, seq), None)
        if run is not None:
            run.close()

    def hold(self, run: Run) -> None:
        """Have the word of a run told when its time has come. Under `lock`."""
        self._held.add(run)
        if self._teller is None:
            self._teller = threading.Thread(target=self._tell, name="otpq-progress", daemon=True)
            self._teller.start()

    def _tell(self) -> None:
        while True:
            time.sleep(_EVERY)
            with self.lock:
                held, self._held = self._held, set()
                for run in held:
                    with contextlib.suppress(OSError):  # the node is gone, as the main thread will find out
                        run.tell_word()
                if not held:
                    self._teller = None
                    return


class Run:
    """One run: the `Backing` of its context, the `Speaker` of its lines."""

    def __init__(self, means: Means, lease: int, item: Item) -> None:
        self.lease = lease
        self.seq = item.seq
        self.lines = 0
        self.unfinished: dict[str, str] = {}
        self._means = means
        self._word: tuple[float, str] | None = None
        self._told = 0.0

    def close(self) -> None:
        """Tell what is left."""
        self.tell_word()
        self._means.journal.end(self)

    # --- progress ---------------------------------------------------------------------------------------------------

    def progress(self, fraction: float, message: str) -> None:
        """Tell it, or keep it until a tenth of a second is over since the last."""
        means = self._means
        if self._is_past:
            return
        with means.lock:
            self._word = (fraction, message.encode("utf-8", "replace").decode())
            if time.monotonic() - self._told >= _EVERY:
                self.tell_word()
            else:
                means.hold(self)

    def tell_word(self) -> None:
        """Tell the newest word, if it is not told yet."""
        with self._means.lock:
            word, self._word = self._word, None
            if word is not None:
                self._told = time.monotonic()
                self._means.outbox.tell("progress", self.lease, self.seq, *word)

    @property
    def _is_past(self) -> bool:
        """Whether nobody hears it any more: it has ended, or this is a copy of the child."""
        means = self._means
        return means.is_forked or means.open.get((self.lease, self.seq)) is not self

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def checkpoint(self, value: Any) -> None:
        """Return when it is durable, unless this child is to end: then the run ends too."""
        packed = self._packed(value)
        number = next(self._means.numbers)
        with Kept(self._means.control, number) as kept:
            self._means.outbox.tell("checkpoint", self.lease, self.seq, number, packed)
            kept.wait()
        self._hand_over()

    async def acheckpoint(self, value: Any) -> None:
        """The same in an event loop."""
        import asyncio

        packed = self._packed(value)
        number = next(self._means.numbers)
        control, loop = self._means.control, asyncio.get_running_loop()
        kept = loop.create_future()
        control.expect(number, lambda: loop.call_soon_threadsafe(_settle, kept))
        control.attach(loop)  # which may be one that the handler has made itself
        try:
            self._means.outbox.tell("checkpoint", self.lease, self.seq, number, packed)
            await kept
        finally:
            control.expect_no_more(number)
            control.detach(loop)
        self._hand_over()

    def _packed(self, value: Any) -> bytes:
        packed = pack_checkpoint(value)
        if self._is_past:
            where = "in a process that it forked" if self._means.is_forked else "after its end"
            raise UsageError(f"a task cannot keep a checkpoint {where}")
        self.tell_word()
        return packed

    def _hand_over(self) -> None:
        if self.is_draining():
            raise HandOver("its child is to end; another one goes on from the checkpoint")

    # --- what it may ask --------------------------------------------------------------------------------------------

    def is_cancelled(self) -> bool:
        """Whether somebody wants the task to end."""
        control = self._means.control
        if not self._means.is_forked:
            control.look()
        return control.is_cancelled(self.lease, self.seq)

    def is_draining(self) -> bool:
        """Whether its child is to end soon."""
        control = self._means.control
        if not self._means.is_forked:
            control.look()
        return control.is_draining or self._means.is_finishing

    # --- its log ----------------------------------------------------------------------------------------------------

    def log(self, level: str, message: str, fields: dict[str, Any]) -> None:
        """A line of its own."""
        if self._is_past:
            said = "".join(f" {name}={value!r}" for name, value in fields.items())
            sys.stderr.write(f"{level}: {message}{said}\n")  # nobody's any more, but not lost
        else:
            self._means.journal.say(self, level, message, fields)

    def output(self, stream: str, line: str) -> None:
        """A line that something else wrote for it: "out" or "err"."""
        if not self._is_past:
            self._means.journal.line(self, stream, "info" if stream == "out" else "warning", line)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class RunContext(Context):
    """The context of one run in a child."""

    __slots__ = ("is_over", "item", "lease", "means")

    def __init__(self, means: Means, lease: int, item: Item) -> None:  # no super: see __getattr__
        self.means = means
        self.lease = lease
        self.item = item
        self.is_over = False
        """Set when the handler has come back: what a thread of its own says from then on is nobody's."""

    @property
    def is_heard(self) -> bool:
        """Whether what is said now is said by this run."""
        return not (self.is_over or self.means.is_forked)

    @property
    def backing(self) -> Run:
        """What stands behind it."""
        run: Run = self._backing  # type: ignore[assignment]
        return run

    def __getattr__(self, name: str) -> Any:
        """The rest, when it is first asked for."""
        if name not in _LATER:
            raise AttributeError(f"a context has no {name!r}")
        with self.means.lock:
            run = self.means.open.get((self.lease, self.item.seq))
            if run is None:
                run = Run(self.means, self.lease, self.item)
                if not self.is_over:
                    self.means.open[self.lease, self.item.seq] = run
            item = self.item
            self.id = item.id.hex()
            self.name = item.name
            self.attempt = item.attempt
            self.last_checkpoint = None if item.checkpoint is None else msgpack.unpackb(item.checkpoint, timestamp=3)
            self.log = TaskLog(run)
            self.slot = _slot_of(item.options) if item.options else None
            self._backing = run
        return object.__getattribute__(self, name)


def _slot_of(options: bytes) -> datetime | None:
    """The slot among a task's options: a schedule has put it there."""
    slot = msgpack.unpackb(options, timestamp=3).get("slot")
    if slot is None:
        return None
    from datetime import UTC, datetime

    return datetime.fromtimestamp(slot, UTC)


_LATER: Final = frozenset(Context.__slots__)
