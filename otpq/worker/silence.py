"""How long a child has been still, and whether that is too long; as a value.

There are three kinds of stillness:

- the process is stopped (state T), whatever it runs;
- it has jobs and begins none;
- the pulse of its event loop stands still while tasks run, so that none of them goes on. Its child has written the stacks into
  the log by then.

Whoever runs something may take as long as it likes: its own timeout is for that.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otpq.worker.blame import Cause, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Silence", "state_of"]

logger = logging.getLogger("otpq.worker")

_GAP_NS: Final = 2_000_000_000
"""Between two looks. Who did not look for so long was stopped itself, or the machine slept, and has seen nothing."""


class Silence:
    """One child's, from when it has something to do."""

    def __init__(self, pid: int, limit: float, state: Callable[[int], str] | None = None) -> None:
        """`limit`: seconds that it may be stopped; twice that it may begin nothing, or its pulse stand still."""
        self._pid = pid
        self._limit = limit
        self._state = state or state_of
        self._seen_ns = 0
        self._turn: int | None = None
        self._turn_since_ns = 0
        self._pulse: int | None = None
        self._pulse_since_ns = 0
        self._has_warned = False

    def forget(self) -> None:
        """Count from the next look on: it had nothing to do before."""
        self._turn = self._pulse = None

    def judge(self, turn: int, pulse: int | None, now_ns: int, *, is_running: bool) -> Verdict | None:
        """Whether it is to be ended, at a look at a child that has jobs.

        Args:
            turn: The sum of the turns of its cells.
            pulse: The turn of the cell of its event loop; None: it has none.
            now_ns: Of `boottime_ns`.
            is_running: Whether any of its cells names a task.
        """
        if now_ns - self._seen_ns > _GAP_NS:
            self.forget()
        self._seen_ns = now_ns
        if pulse != self._pulse or not is_running:
            self._pulse, self._pulse_since_ns, self._has_warned = pulse, now_ns, False
        if turn != self._turn:
            self._turn, self._turn_since_ns = turn, now_ns
        return self._judge_turn(now_ns, is_running=is_running) or self._judge_pulse(now_ns)

    def _judge_turn(self, now_ns: int, *, is_running: bool) -> Verdict | None:
        silent = (now_ns - self._turn_since_ns) / 1e9
        if silent < self._limit:
            return None
        if self._state(self._pid) in {"T", "t"}:
            return _stuck(f"the child (pid {self._pid}) was stopped (state T) for {silent:.0f} s")
        if not is_running and silent >= 2 * self._limit:
            return _stuck(f"the child (pid {self._pid}) began no task for {silent:.0f} s")
        return None

    def _judge_pulse(self, now_ns: int) -> Verdict | None:
        silent = (now_ns - self._pulse_since_ns) / 1e9
        if self._pulse is None or silent < self._limit:
            return None
        if silent >= 2 * self._limit:
            return _stuck(f"the child (pid {self._pid}) was ended: its event loop is blocked, for {silent:.0f} s")
        if not self._has_warned:
            self._has_warned = True
            logger.warning("the event loop of the child (pid %d) is blocked, for %.0f s now", self._pid, silent)
        return None


def _stuck(detail: str) -> Verdict:
    return Verdict(Cause.STUCK, None, detail)


def state_of(pid: int) -> str:
    """The letter that the kernel gives a process's state; none where it does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    return stat[stat.rindex(b")") + 2 : stat.rindex(b")") + 3].decode()
