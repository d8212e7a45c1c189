"""What operators set: pauses and limits. Durable, so that they survive a restart, as what apps declare is (`catalogue.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from otpq.core import catalogue
from otpq.core.effects import Reply, TakeBack
from otpq.core.handlers import HandlerSettings
from otpq.core.lanes import QueueSettings
from otpq.core.pauses import told_to
from otpq.core.schedule import SETTING, of_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otpq.core.events import LimitHandler, LimitQueue, Pause
    from otpq.core.lanes import Queue
    from otpq.core.state import State

__all__ = ["limit_handler", "limit_queue", "pause", "restore"]


def restore(state: State, settings: Mapping[str, bytes]) -> None:
    """Set what the store has kept."""
    for key, packed in settings.items():
        kind, _, name = key.partition(":")
        if kind == "queue":
            state.lanes.queue(name).set(msgspec.msgpack.decode(packed, type=QueueSettings))
        elif kind == "handler":
            state.handlers[name].settings = msgspec.msgpack.decode(packed, type=HandlerSettings)
        elif kind == SETTING:
            state.schedules.settings = of_settings(packed)
        elif kind == catalogue.PREFIX:
            catalogue.restore(state, name, packed)


def pause(state: State, event: Pause) -> None:
    """Hold back, or release, a queue or a handler; what waits in front of children is asked back."""
    if event.queue is not None:
        queue = state.lanes.queue(event.queue)
        queue.set(told_to(queue.settings, event, state.now.wall))
        _keep_queue(state, queue)
    if event.handler is not None:
        handler = state.handlers[event.handler]
        handler.settings = told_to(handler.settings, event, state.now.wall)
        _keep_handler(state, event.handler)
    if event.paused:
        state.lanes.drop(lambda group: group.queue.paused or group.handler.paused)
        _ask_back(state, event)
    _done(state, event)


def limit_handler(state: State, event: LimitHandler) -> None:
    """Set how many slots a handler has. What runs goes on; its slots are counted from now on."""
    handler = state.handlers[event.handler]
    handler.settings = msgspec.structs.replace(
        handler.settings, max_concurrency=event.max_concurrency, is_limit_set=True
    )
    _keep_handler(state, event.handler)
    for lease in state.leases.open.values():
        state.take_slots(lease)
    _done(state, event)


def limit_queue(state: State, event: LimitQueue) -> None:
    """Set how many tasks a queue may hold. What is in it stays."""
    queue = state.lanes.queue(event.queue)
    is_unlimited = event.max_size is None and queue.size_of_file is not None
    queue.set(msgspec.structs.replace(queue.settings, max_size=event.max_size, is_unlimited=is_unlimited))
    _keep_queue(state, queue)
    _done(state, event)


def _ask_back(state: State, event: Pause) -> None:
    for lease in state.leases.open.values():
        seqs = tuple(row.seq for row in lease.rows.values() if event.queue == row.queue or event.handler == row.name)
        if seqs:
            state.ledger.sends.append(TakeBack(session=lease.session, lease=lease.id, seqs=seqs))


def _keep_queue(state: State, queue: Queue) -> None:
    state.ledger.settings[f"queue:{queue.name}"] = _packed(queue.settings, QueueSettings())


def _keep_handler(state: State, name: str) -> None:
    state.ledger.settings[f"handler:{name}"] = _packed(state.handlers[name].settings, HandlerSettings())


def _packed(settings: msgspec.Struct, default: msgspec.Struct) -> bytes | None:
    return None if settings == default else msgspec.msgpack.encode(settings)


def _done(state: State, event: Pause | LimitHandler | LimitQueue) -> None:
    state.ledger.acks.append(Reply(client=event.client, request=event.request, id=None, answer="done"))
