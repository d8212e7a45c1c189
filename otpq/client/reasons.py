"""Why a task is not at work, in a sentence: what `why` answers, for people."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["in_words"]

Facts: TypeAlias = "Mapping[str, Any]"


def in_words(why: Mapping[str, Any]) -> str:
    """A reason as a sentence, its code in front; of a code that is not known here, which a newer node may tell, the facts."""
    code, facts = str(why["code"]), why["facts"]
    words = _WORDS.get(code)
    return f"{code}: {_plain(facts) if words is None else words(facts)}".removesuffix(": ")


def _not_due(facts: Facts) -> str:
    when = f"{_time(facts['due'])} ({_in(facts['seconds'])})"
    if facts["state"] != "retrying":
        return f"not due until {when}"
    error = facts["error"] or "without a word"
    reason = f" ({facts['reason']})" if facts["reason"] else ""
    return f"run {facts['attempt'] + 1} of {facts['runs']} is not due until {when}; the last one ended{reason}: {error}"


def _blocked_by(facts: Facts) -> str:
    waits, shown = facts["waits"], facts.get("tasks", ())
    if not waits:
        return "waits for nothing any more; its workflow is being cancelled"
    others = f"{waits} other {'task' if waits == 1 else 'tasks'} of its workflow"
    first = ", ".join(f"{of['id']} ({of['name']}, {of['state']})" for of in shown)
    return f"waits for {others}{f': {first}' if first else ''}{', ...' if len(shown) < waits and first else ''}"


def _paused(facts: Facts) -> str:
    names = [f"{what} {facts[what]!r}" for what in ("queue", "handler") if facts[what]]
    by = f" by {facts['by']}" if facts["by"] else ""
    since = f" since {_time(facts['since'])}" if facts["since"] else ""
    why = f": {facts['why']}" if facts["why"] else ""
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} paused{by}{since}{why}"


def _handler_limit(facts: Facts) -> str:
    held = _held(facts)
    return f"all slots of handler {facts['handler']!r} are taken, {facts['used']} of {facts['limit']}" + held


def _no_handler(facts: Facts) -> str:
    nearest = "" if facts["nearest"] is None else f"; did you mean {facts['nearest']!r}?"
    elsewhere = f"; it is in {_pools(facts['elsewhere'])}" if facts["elsewhere"] else ""
    who = f"no pool that serves queue {facts['queue']!r} has a handler {facts['handler']!r}"
    return f"{who}; asked were {_pools(facts['there'])}{elsewhere}{nearest}"


def _no_memory(facts: Facts) -> str:
    room = f"{facts['node']}, the largest node, has {_mib(facts['free'])} of {_mib(facts['capacity'])} MiB free"
    behind = f"it waits behind task {facts['behind']}, which" if "behind" in facts else "it"
    return f"{behind} needs {_mib(facts['needs'])} MiB, and {room}{_held(facts)}"


def _no_worker(facts: Facts) -> str:
    if facts["pools"]:
        workers = ", ".join(f"{count} {state}" for state, count in facts.get("workers", {}).items() if count)
        waiting = f"{facts['waiting']} {'task waits' if facts['waiting'] == 1 else 'tasks wait'} in it"
        return f"no worker that serves queue {facts['queue']!r} is free{f' ({workers})' if workers else ''}; {waiting}"
    there = f"there are {_pools(facts['there'])}" if facts["there"] else "there is no pool at all"
    return f"no worker serves queue {facts['queue']!r}; {there}"


def _assigned(facts: Facts) -> str:
    pool = "" if facts["pool"] is None else f", pool {facts['pool']}"
    worker = "" if facts.get("worker") is None else f", worker {facts['worker']} (pid {facts['child']})"
    place = f"{facts['node']} (incarnation {facts['incarnation']}){pool}{worker}"
    if facts["running"]:
        words = f"runs on {place}" + ("" if facts.get("since") is None else f", since {_time(facts['since'])}")
    elif facts["behind"] is None:
        words = f"assigned to {place}, with none in front of it"
    else:
        words = f"assigned to {place}, behind task {facts['behind']}, {facts['position']} in front of it"
    state = facts.get("node_state", "up")
    silent = (
        ""
        if state == "up"
        else f"; that node is {state}, and keeps its leases until its death is proven or they are over"
    )
    return words + silent + ("; it is being cancelled" if facts["cancelling"] else "")


_WORDS: Final[Mapping[str, Callable[[Facts], str]]] = {
    "blocked_by": _blocked_by,
    "not_due": _not_due,
    "paused": _paused,
    "handler_limit": _handler_limit,
    "no_handler": _no_handler,
    "no_memory": _no_memory,
    "no_worker": _no_worker,
    "assigned": _assigned,
}


def _held(facts: Facts) -> str:
    """By which tasks."""
    more = facts["tasks"] - len(facts["held_by"])
    others = f" and {more} {'other' if more == 1 else 'others'}" if more else ""
    return f"; held by {', '.join(facts['held_by'])}{others}" if facts["held_by"] else ""


def _pools(pools: Sequence[Facts]) -> str:
    return ", ".join(f"pool {of['pool']} on {of['node']} (queues {', '.join(of['queues'])})" for of in pools)


def _plain(facts: Facts) -> str:
    return ", ".join(f"{name} {fact}" for name, fact in facts.items())


def _mib(mib: float) -> str:
    return f"{mib:,.0f}"


def _time(wall: float) -> str:
    return datetime.fromtimestamp(wall).astimezone().isoformat(sep=" ", timespec="seconds")


def _in(seconds: float) -> str:
    """How long from now, with two units at most."""
    if seconds <= 0:
        return "now"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"in {seconds:.3g} s"
    unit, size, smaller, below = next(each for each in _UNITS if seconds >= each[1])
    return f"in {seconds // size:.0f} {unit} {seconds % size // below:.0f} {smaller}"


_UNITS: Final = (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1))
