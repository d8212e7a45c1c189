"""What follows a run that went wrong: another one after a wait, or the end. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otpq.task import Reason

if TYPE_CHECKING:
    from otpq.task import Options

__all__ = ["jitter", "wait_before_next"]

_MASK = (1 << 64) - 1


def jitter(seq: int, attempt: int) -> float:
    """A number in [0, 1) that looks random and is always the same for the same run: a hash, not a generator.

    Source:
        The finalizer of splitmix64.
    """
    x = (seq * 0x9E3779B97F4A7C15 + attempt * 0xD1B54A32D192ED03) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((x ^ (x >> 31)) >> 11) / (1 << 53)


def wait_before_next(
    options: Options,
    seq: int,
    attempt: int,
    *,
    reason: str,
    types: tuple[str, ...] = (),
    delay: float | None = None,
    is_asked: bool = False,
) -> float | None:
    """Seconds until the next run, or None: this was the last.

    A crash is mostly the fault of a machine, an operator or a neighbour, so the run after it has to be there soon: one that
    crashed is followed by the wait before the policy's, the first run by none at all. A task that crashes each time waits all
    the same, and longer each time.

    Args:
        options: The task's.
        seq: The task's number, for the jitter.
        attempt: How many of its runs count, this one included.
        reason: Why this one failed.
        types: Names of the error's type and its bases.
        delay: What the handler asked for, by raising `Retry`; None: as the policy says.
        is_asked: Whether the handler asked for the retry: then its error's type is not looked at, and a task that is to run
            at most once may run again.
    """
    policy = options.retry
    if attempt > policy.retries or (options.at_most_once and not is_asked):
        return None
    if reason == Reason.ERROR and not is_asked and not policy.covers(types):
        return None
    if delay is not None:
        return max(0.0, delay)
    nth = attempt - 1 if reason == Reason.CRASHED else attempt
    return policy.wait(nth, jitter(seq, attempt)) if nth else 0.0
