"""Answers to queries about schedules. What changes them is asked of the core, and answered when it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from otpq.core import events as ev
from otpq.core.schedule import check_packed
from otpq.errors import BadOption, did_you_mean
from otpq.queue.queries import BadQuery

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otpq.queue.answers import Answers
    from otpq.wire import messages as wire
    from otpq.wire import verbs

__all__ = ["REFUSALS", "SCHEDULES"]

_arguments: Final = msgspec.msgpack.Decoder(tuple[list[Any], dict[str, Any]]).decode

REFUSALS: Final[Mapping[str, tuple[str, str]]] = {
    "exists": ("exists", "there is a schedule of this name already; remove it first, or add with replace=True"),
    "not_found": ("no_schedule", "there is no such schedule any more"),
    "declared": ("declared", "the app declares this schedule, so it would come back; disable it, or change the app"),
    "filed": ("declared", "it stands in the cluster's file, so it would come back; disable it, or change the file"),
    "not_made": ("not_made", "no task was made: its queue is full; `events` says more"),
}
"""What the core answers that is a refusal: the wire's code and words for it."""


def _schedules(on: Answers, *_: object) -> object:
    return on.core().schedules()


def _add(on: Answers, session: bytes, query: wire.Query, body: verbs.AddSchedule) -> None:
    try:
        definition = check_packed(body.name, body.definition)
        _arguments(definition.task.payload)  # whoever lists schedules opens them
    except BadOption as bad:
        raise BadQuery("invalid", str(bad), bad.option) from None
    except (msgspec.MsgspecError, RecursionError) as bad:
        raise BadQuery("invalid", f"{query.verb}: {bad}", "definition") from None
    unknown = on.core().unknown_handler(definition.task.name) if body.strict else None
    if unknown is not None:
        raise BadQuery("unknown_handler", unknown)
    event = ev.AddSchedule(
        client=_client(session),
        request=query.number,
        name=body.name,
        definition=body.definition,
        replace=body.replace,
    )
    on.ask_core(event)


def _change(on: Answers, session: bytes, query: wire.Query, body: verbs.ChangeSchedule) -> None:
    known = on.core().schedule_names()
    if body.name not in known:
        raise BadQuery("no_schedule", f"there is no schedule {body.name!r}{did_you_mean(body.name, known)}")
    on.ask_core(ev.ChangeSchedule(client=_client(session), request=query.number, name=body.name, what=body.what))


def _pause(on: Answers, session: bytes, query: wire.Query, body: verbs.PauseSchedules) -> None:
    event = ev.PauseSchedules(
        client=_client(session), request=query.number, paused=body.paused, by=body.by, why=body.why
    )
    on.ask_core(event)
    kind = "schedules_paused" if body.paused else "schedules_resumed"
    on.happenings.note(kind, {"by": body.by, "why": body.why})


def _client(session: bytes) -> str:
    """The core's name of a client."""
    return session.decode("latin-1")


SCHEDULES: Final[dict[str, Callable[[Answers, bytes, wire.Query, Any], object]]] = {
    "schedules": _schedules,
    "schedule_add": _add,
    "schedule_change": _change,
    "schedules_pause": _pause,
}
"""What answers each verb; see `ANSWERS`."""
