"""`otpq top`: what a cluster does, drawn again each second. The frame is a value: two looks and a size in, lines out."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from otpq.cli.asking import Asking
from otpq.cli.printing import cut, put, put_json, seconds, table
from otpq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from otpq.client.client import Client

__all__ = ["Look", "facts", "frame", "look", "top"]

_COUNTED: Final = ("submitted", "succeeded", "failed", "retried")
"""What `stats` counts since the start, and a rate is told of."""
_SLOWEST: Final = 10
"""Running tasks that are told of: those that have run for longest. And handlers: those with the largest p95."""
_WINDOW: Final = "15m"
"""Of what is measured over time, what is shown."""
_HOME: Final = "\033[H"
_TO_THE_END_OF_LINE: Final = "\033[K"
_TO_THE_END: Final = "\033[J"
_OTHER_SCREEN: Final = "\033[?1049h\033[?25l"
_FIRST_SCREEN: Final = "\033[?25h\033[?1049l"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen of a cluster at one moment."""

    at: float
    """Seconds, by a clock that never goes back."""
    counters: Mapping[str, Any]
    queues: Mapping[str, Mapping[str, Any]]
    handlers: Mapping[str, Mapping[str, Any]]
    workers: Sequence[Mapping[str, Any]]
    nodes: Sequence[Mapping[str, Any]]
    health: Mapping[str, Any]


def look(client: Client, clock: float) -> Look:
    """Look once: six questions, which the queue server answers from its memory, whatever the store holds."""
    return Look(
        at=clock,
        counters=client.stats(),
        queues=client.queue_stats(),
        handlers=client.handler_stats(),
        workers=client.workers(),
        nodes=client.nodes(),
        health=client.health(),
    )


def facts(before: Look, now: Look) -> dict[str, Any]:
    """What is told of two looks, for programs."""
    return {
        "rates": _rates(before, now),
        "queues": dict(now.queues),
        "nodes": [{**node, "workers": _manned(now.workers, node["node"])} for node in now.nodes],
        "workers": [
            {**{name: of.get(name) for name in ("node", "pool", "worker", "state", "task")}, "seconds": _runs_for(of)}
            for of in now.workers
        ],
        "slowest": _slowest(now.workers),
        "handlers": _slowest_handlers(now.handlers),
        "health": dict(now.health),
    }


def frame(before: Look, now: Look, width: int, height: int) -> list[str]:
    """The lines of a screen, none longer than `width`, no more than `height`: the most important first."""
    seen = facts(before, now)
    rates = "   ".join(f"{name} {rate:,.1f}/s" for name, rate in seen["rates"].items())
    parts = [
        [f"otpq top   {rates}", _trouble(now.health)],
        _part(
            ("QUEUE", "QUEUED", "RUNNING", "PENDING", "RETRYING", "SLOTS", "WAIT P95"),
            map(_queue, seen["queues"].items()),
            width,
        ),
        _part(("NODE", "STATE", "LEADS", "ACTIVE", "IDLE", "STARTING", "OFFLINE"), map(_node, seen["nodes"]), width),
        _part(("SLOWEST", "FOR", "NODE", "POOL", "WORKER"), map(_running, seen["slowest"]), width),
        _part(("HANDLER", "P50", "P95", "P99", "RUNS", "FAILED/S"), map(_handler, seen["handlers"]), width),
        _part(("WORKER", "POOL", "NODE", "STATE", "DONE", "TASK"), map(_worker, now.workers), width),
    ]
    lines = [line for part in parts for line in [*part, ""] if line or part]
    return [cut(line, width) for line in lines[:height]]


def _part(head: Sequence[str], rows: Any, width: int) -> list[str]:
    """A table; nothing if it has no rows."""
    rows = list(rows)
    return table(head, rows, width=width, least=head[:0:-1]).splitlines() if rows else []


def _rates(before: Look, now: Look) -> dict[str, float]:
    """Tasks a second. A queue server that started between the two looks counts from 0 again."""
    passed = now.at - before.at
    counts = {name: now.counters.get(name, 0) - before.counters.get(name, 0) for name in _COUNTED}
    return {name: round(max(0, count) / passed, 1) if passed > 0 else 0.0 for name, count in counts.items()}


def _manned(workers: Sequence[Mapping[str, Any]], node: str) -> dict[str, int]:
    states = [of.get("state") for of in workers if of.get("node") == node]
    return {state: states.count(state) for state in ("active", "idle", "starting", "offline")}


def _slowest(workers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    at_work: list[dict[str, Any]] = [
        {**{name: of.get(name) for name in ("task", "node", "pool", "worker")}, "seconds": passed}
        for of in workers
        if (passed := _runs_for(of)) is not None
    ]
    return sorted(at_work, key=lambda of: of["seconds"], reverse=True)[:_SLOWEST]


def _slowest_handlers(handlers: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    ran = [
        {"handler": name, "rates": of["rates"][_WINDOW], "wait": of["wait"][_WINDOW], "run": of["run"][_WINDOW]}
        for name, of in handlers.items()
        if of["run"][_WINDOW]["count"]
    ]
    return sorted(ran, key=lambda of: of["run"]["p95"], reverse=True)[:_SLOWEST]


def _runs_for(of: Mapping[str, Any]) -> float | None:
    """Seconds that a worker's task runs: what its pool told, and what has passed since."""
    if of.get("task") is None or of.get("seconds") is None:
        return None
    return round(float(of["seconds"]) + float(of.get("age", 0.0)), 3)


def _trouble(health: Mapping[str, Any]) -> str:
    if health.get("ok", True):
        return "all is well"
    return "; ".join(filter(None, [health.get("why"), *health.get("problems", ())])) or "something is wrong"


def _queue(item: tuple[str, Mapping[str, Any]]) -> tuple[object, ...]:
    name, of = item
    used, free = of.get("slots_in_use"), of.get("slots_available")
    slots = "" if used is None or free is None else f"{used} of {used + free}"
    return (
        name,
        *(of.get(state, 0) for state in ("queued", "running", "pending", "retrying")),
        slots,
        seconds(_p95_of(of)),
    )


def _p95_of(queue: Mapping[str, Any]) -> float | None:
    """Of how long its tasks waited."""
    wait = queue.get("wait")
    return None if wait is None else wait[_WINDOW]["p95"]


def _handler(of: Mapping[str, Any]) -> tuple[object, ...]:
    run = of["run"]
    return (
        of["handler"],
        *(seconds(run[p]) for p in ("p50", "p95", "p99")),
        run["count"],
        f"{of['rates']['failed']:.3g}",
    )


def _node(of: Mapping[str, Any]) -> tuple[object, ...]:
    return of["node"], of["state"], "yes" if of["leads"] else "", *of["workers"].values()


def _running(of: Mapping[str, Any]) -> tuple[object, ...]:
    return of["task"], seconds(of["seconds"]), of["node"], of["pool"], of["worker"]


def _worker(of: Mapping[str, Any]) -> tuple[object, ...]:
    doing = of.get("error") or of.get("task") or ""
    return (*(of.get(name) for name in ("worker", "pool", "node", "state")), of.get("done", 0), doing)


# --- the command ---------------------------------------------------------------------------------------------------------


def top(
    *,
    once: Annotated[bool, typer.Option("--once", help="One frame, after one interval.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Between two looks.")] = 1.0,
    to: Asking,
) -> None:
    """Watch a cluster live: rates, queues, nodes, workers, the tasks that run for longest. `q` or Ctrl-C ends it."""
    if not (once or to.as_json or _is_terminal()):
        raise UsageError("top draws on a terminal, and this is none; use --once, or --json for a frame a line")
    with to.reader() as client, _keys(live=not (once or to.as_json)) as pressed:
        before = look(client, time.monotonic())
        while not pressed(interval):
            now = look(client, time.monotonic())
            _show(before, now, once=once, as_json=to.as_json)
            before = now
            if once:
                return


def _show(before: Look, now: Look, *, once: bool, as_json: bool) -> None:
    from shutil import get_terminal_size

    if as_json:
        put_json(facts(before, now))
    elif once:
        put("\n".join(frame(before, now, get_terminal_size().columns, sys.maxsize)).rstrip())
    else:
        width, height = get_terminal_size()
        lines = frame(before, now, width, height - 1)
        sys.stdout.write(_HOME + "".join(f"{line}{_TO_THE_END_OF_LINE}\n" for line in lines) + _TO_THE_END)
        sys.stdout.flush()


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty() and sys.stdin is not None and sys.stdin.isatty()


@contextmanager
def _keys(*, live: bool) -> Iterator[Any]:
    """Gives what waits so many seconds, and says whether `q` was pressed; meanwhile the terminal shows another screen."""
    if not live or sys.platform == "win32":
        yield _sleep
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    usual = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        sys.stdout.write(_OTHER_SCREEN)
        yield _is_q_pressed
    except KeyboardInterrupt:
        return  # the usual way to leave
    finally:
        sys.stdout.write(_FIRST_SCREEN)
        sys.stdout.flush()
        termios.tcsetattr(descriptor, termios.TCSADRAIN, usual)


def _sleep(interval: float) -> bool:
    time.sleep(interval)
    return False


def _is_q_pressed(interval: float) -> bool:
    import os
    import select

    until = time.monotonic() + interval
    while (left := until - time.monotonic()) > 0:
        if select.select([sys.stdin], [], [], left)[0]:
            keys = os.read(sys.stdin.fileno(), 64)
            if not keys or b"q" in keys or b"\x03" in keys:
                return True
    return False
