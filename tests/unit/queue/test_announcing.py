"""Which deliveries tell of what happens to the cluster."""

from __future__ import annotations

from pathlib import Path

import msgspec

from otpq.core.webhooks import Webhook
from otpq.queue.announcing import announcement

ALL = Webhook(url="https://h/all", events=("node_down", "paused", "failed"), secret_file=Path("/s"), via="hooks")
MAIL = Webhook(url="https://h/mail", events=("paused", "node_down"), secret_file=Path("/s"), name="mail.*")


def test_those_that_want_it_are_told() -> None:
    facts = {"handler": "mail.send", "queue": None, "by": "me"}
    submit = announcement((ALL, MAIL), "paused", facts, 12.5)
    assert submit is not None
    assert [(task.queue, task.title) for task in submit.tasks] == [("hooks", "paused to h"), ("default", "paused to h")]
    assert msgspec.msgpack.decode(submit.tasks[0].payload) == [[ALL.key, "paused", 12.5, facts], {}]
    assert len({task.id for task in submit.tasks}) == 2
    only = announcement((ALL, MAIL), "node_down", {"node": "a@h"}, 0.0)
    assert only is not None
    assert [task.queue for task in only.tasks] == ["hooks"], "a node is of no handler"


def test_nothing_is_submitted_for_nobody_and_nothing_of_tasks() -> None:
    assert announcement((MAIL,), "node_up", {"node": "a@h"}, 0.0) is None
    assert announcement((ALL,), "failed", {}, 0.0) is None, "the core tells of those"
    assert announcement((), "node_down", {}, 0.0) is None
