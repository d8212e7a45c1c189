"""Announcing: the deliveries that tell webhooks of what happens to the cluster. Of tasks the core tells (`core/webhooks.py`)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from otpq.core import events as ev
from otpq.core.webhooks import OF_CLUSTER, delivery
from otpq.task import WEBHOOK_HANDLER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otpq.core.webhooks import Webhook

__all__ = ["NOBODY", "announcement"]

NOBODY: Final = ""
"""The client of what the queue server submits itself: it waits for no answer."""


def announcement(webhooks: Sequence[Webhook], kind: str, facts: dict[str, Any], wall: float) -> ev.Submit | None:
    """What to submit so that those who want it are told; None: nobody does."""
    if kind not in OF_CLUSTER:
        return None
    name, queue = facts.get("handler") or facts.get("name"), facts.get("queue")
    tasks = [
        ev.NewTask(
            id=int(wall * 1000).to_bytes(6, "big") + os.urandom(10),
            name=WEBHOOK_HANDLER,
            payload=delivery(webhook, kind, wall, facts),
            queue=webhook.via,
            title=f"{kind} to {webhook.host}",
        )
        for webhook in webhooks
        if webhook.wants(kind, name, queue)
    ]
    return ev.Submit(client=NOBODY, request=0, tasks=tasks) if tasks else None
