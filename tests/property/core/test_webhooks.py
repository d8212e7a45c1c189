"""Whatever happens to tasks, each commit that tells of it has the deliveries that tell others, and no more."""

from __future__ import annotations

from collections import Counter
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.core.webhooks import OF_TASKS, Webhook
from otpq.task import WEBHOOK_HANDLER, Options
from tests.unit.core.driver import Driver

ALL = Webhook(url="https://h/all", events=OF_TASKS, secret_file=Path("/s"))
SOME = Webhook(url="https://h/some", events=("failed", "expired"), name="[gh]*", secret_file=Path("/s"), via="hooks")

steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("submit"), st.sampled_from("fgh"), st.sampled_from([{}, {"delay": 3.0}, {"expires_in": 2.0}])
        ),
        st.tuples(st.just("run"), st.lists(st.sampled_from(["succeed", "error", "crashed"]), min_size=1, max_size=3)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("retry"), st.integers(0, 30)),
        st.tuples(st.just("lose"), st.booleans()),
        st.tuples(st.just("pass"), st.floats(0.0, 8.0)),
        st.tuples(st.just("restart")),
    ),
    max_size=30,
)


class Watched(Driver):
    """A core whose every commit is looked at."""

    told = 0

    def step(self, *events: ev.Event, seconds: float = 0.0) -> list[ef.Effect]:
        before = {id: row.state for id, row in ((row.id, row) for row in self.store.rows.values())}
        effects = super().step(*events, seconds=seconds)
        made = [row for row in self.store.rows.values() if row.id not in before]
        outcome = Counter(self._happened(effects, [row for row in made if row.name != WEBHOOK_HANDLER]))
        told: Counter[tuple[str, str, str]] = Counter()
        for row in made:
            if row.name == WEBHOOK_HANDLER:
                key, event, _, facts = msgspec.msgpack.decode(row.payload)[0]
                told[key, event, facts["id"]] += 1
                assert row.queue == ("hooks" if key == SOME.key else "default")
        assert told == outcome
        self.told += told.total()
        return effects

    @staticmethod
    def _happened(effects: list[ef.Effect], made: list[Any]) -> list[tuple[str, str, str]]:
        events = [("submitted", row) for row in made]
        for effect in effects:
            if isinstance(effect, ef.Outcome):
                events += [(row.state, row) for row in effect.tasks if row.name != WEBHOOK_HANDLER]
                events += [("retried", row) for row in effect.retried if row.name != WEBHOOK_HANDLER]
        return [
            (webhook.key, event, row.id.hex())
            for event, row in events
            for webhook in (ALL, SOME)
            if webhook.wants(event, row.name, row.queue)
        ]

    # --- what may happen ---------------------------------------------------------------------------------------------

    sessions = 0
    ids: tuple[bytes, ...] = ()

    def open_next(self) -> None:
        self.sessions += 1
        handlers = {**dict.fromkeys("fgh", b""), WEBHOOK_HANDLER: Options(retries=1).pack()}
        self.open(f"s{self.sessions}", incarnation=str(self.sessions), handlers=handlers, queues=("default", "hooks"))

    def do_submit(self, name: str, fields: dict[str, float]) -> None:
        self.ids += tuple(self.submit(1, name, options=Options(retries=1, retry_delay=0.5).pack(), **fields))

    def do_run(self, hows: list[str]) -> None:
        for batch in self.ask(1, f"s{self.sessions}"):
            self.tell(batch, *(self._end(row.seq, how) for row, how in zip(batch.rows, cycle(hows), strict=False)))

    def _end(self, seq: int, how: str) -> ev.Result:
        return self.success(seq) if how == "succeed" else self.failure(seq, how)

    def do_cancel(self, n: int) -> None:
        if self.ids:
            self.cancel(self.ids[n % len(self.ids)])

    def do_retry(self, n: int) -> None:
        if self.ids:
            self.step(ev.Retry(client="c", request=1, ids=(self.ids[n % len(self.ids)],)))

    def do_lose(self, is_known: bool) -> None:  # noqa: FBT001 - drawn
        started = frozenset(seq for lease in self.store.leases.values() for seq in lease.open) if is_known else None
        self.step(ev.NodeLost(node="n@h", incarnation=str(self.sessions), started=started))
        self.open_next()

    def do_pass(self, seconds: float) -> None:
        self.step(seconds=seconds)

    def do_restart(self) -> None:
        self.crash()
        self.step()
        self.open_next()


@settings(max_examples=200, deadline=None)
@given(steps)
def test_each_commit_tells_of_what_is_in_it(course: list[tuple[Any, ...]]) -> None:
    queue = Watched(webhooks=(ALL, SOME))
    queue.open_next()
    for verb, *words in course:
        getattr(queue, f"do_{verb}")(*words)
    assert queue.told >= len(queue.ids)
