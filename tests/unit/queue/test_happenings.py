"""What happened of late: who is told of what, and of what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otpq.client.events import events_of
from otpq.core.effects import Outcome
from otpq.core.events import Now, Progressed, Running
from otpq.core.history import note, note_run
from otpq.core.records import TaskRow
from otpq.queue.happenings import KEPT, PAGE, WATCHED, Happenings
from otpq.queue.queries import BadQuery
from otpq.wire import verbs
from otpq.wire.codec import decode_body, encode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otpq.client.events import Event


class Clock:
    def __init__(self, wall: float = 1000.0) -> None:
        self.wall, self.mono = wall, 50.0

    def __call__(self) -> Now:
        return Now(self.wall, self.mono)

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.mono += seconds


class Reader:
    """Reads all that is there, over the wire, and goes on where it was."""

    def __init__(self, happenings: Happenings, cursor: str | None = None, **wanted: Any) -> None:
        self._happenings, self.cursor, self._wanted = happenings, cursor, wanted

    def read(self) -> list[Event]:
        events: list[Event] = []
        while True:
            page = decode_body(
                encode(self._happenings.read(verbs.EventsOf(self.cursor, **self._wanted))), verbs.EventPage
            )
            assert isinstance(page, verbs.EventPage)
            told = events_of(page)
            assert len(told) <= PAGE + 1
            events += told
            self.cursor = told.next
            if not told.more:
                return events


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def happenings(clock: Clock) -> Happenings:
    return Happenings(clock)


def row(number: int = 1, **fields: Any) -> TaskRow:
    plain = {"name": "mail", "queue": "q", "partition": "", "priority": 5, "state": "succeeded", "due": 0.0}
    times = {"expires": None, "created": 0.0, "updated": 0.0, "options": b"", "payload": b"x" * 100}
    return TaskRow(**{"seq": number, "id": number.to_bytes(16, "big"), **plain, **times, **fields})


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


def test_what_happens_to_the_cluster_is_kept_though_nobody_looks(happenings: Happenings, clock: Clock) -> None:
    happenings.note("node_up", {"node": "b@h"})
    clock.pass_(5.0)
    up, gap = Reader(happenings).read()
    assert (up.number, up.time.timestamp(), up.kind, up.facts) == (1, 1000.0, "node_up", {"node": "b@h"})
    assert (gap.kind, gap.facts) == ("gap", {"why": "unwatched", "since": 1000.0})


def test_of_tasks_nothing_is_kept_while_nobody_looks(happenings: Happenings, clock: Clock) -> None:
    happenings.submitted([row()])
    happenings.ended(Outcome([row()]))
    reader = Reader(happenings)
    assert kinds(reader.read()) == ["gap"]
    clock.pass_(WATCHED - 1.0)
    happenings.submitted([row(1), row(2)])
    happenings.ended(Outcome([row(1)]))
    assert kinds(reader.read()) == ["submitted", "submitted", "succeeded"]
    clock.pass_(WATCHED)
    happenings.submitted([row(3)])
    clock.pass_(1.0)
    (gap,) = reader.read()
    assert (gap.kind, gap.facts) == ("gap", {"why": "unwatched", "since": 1000.0 + 2 * WATCHED - 1.0})
    happenings.submitted([row(4)])
    assert [event.facts["id"] for event in reader.read()] == [f"{4:032x}"]


def test_each_task_has_an_event_of_its_own_with_its_facts(happenings: Happenings) -> None:
    reader = Reader(happenings)
    reader.read()
    error = encode(["ValueError", "no\nsuch", "Traceback ..."])
    retrying = row(3, state="retrying", attempt=1, error=error)
    note_run(retrying, 9.0, "retrying", "timeout", 1)
    note(retrying, 9.0, "retrying", "queued")  # due at once, in the same step
    failed = row(2, state="failed", attempt=4, reason="error", error=error)
    cancelled = row(5, state="cancelled", attempt=2, error=error)
    happenings.ended(Outcome([row(1, attempt=1), failed, row(4, attempt=1), cancelled], [retrying]))
    told = reader.read()
    assert [(event.number, event.kind, event.facts["id"][-1]) for event in told] == [
        (2, "succeeded", "1"),
        (3, "succeeded", "4"),
        (4, "failed", "2"),
        (5, "cancelled", "5"),
        (6, "retried", "3"),
    ]
    plain = {"name": "mail", "queue": "q"}
    assert told[0].facts == {"id": f"{1:032x}", **plain, "attempt": 1}
    assert told[2].facts == {"id": f"{2:032x}", **plain, "attempt": 4, "reason": "error", "error": "ValueError: no"}
    assert told[3].facts == {"id": f"{5:032x}", **plain, "attempt": 2}, "the error was of an earlier run"
    assert told[4].facts == {"id": f"{3:032x}", **plain, "attempt": 1, "reason": "timeout", "error": "ValueError: no"}


class Held:
    """The rows that sessions hold; the first run of each, unless said otherwise."""

    def __init__(self, *rows: TaskRow) -> None:
        self.rows = {row.seq: row for row in rows}

    def __call__(self, _session: str, seqs: Iterable[int]) -> list[TaskRow]:
        return [self.rows[seq] for seq in seqs if seq in self.rows]


A, B = "a@h/1/default", "b@h/1/default"


def test_what_pools_show_is_told_once_as_started(happenings: Happenings) -> None:
    happenings.shown(Running(session=A, seqs=frozenset({1})), Held(row(1)))
    reader = Reader(happenings)
    reader.read()
    held = Held(row(1), row(2), row(3, attempt=1))
    happenings.shown(Running(session=A, seqs=frozenset({1, 2})), held)
    happenings.shown(Running(session=B, seqs=frozenset({3, 9})), held)
    happenings.shown(Running(session=A, seqs=frozenset({2})), held)
    told = reader.read()
    assert [(event.kind, event.facts["id"][-1], event.facts["node"], event.facts["attempt"]) for event in told] == [
        ("started", "2", "a@h", 1),
        ("started", "3", "b@h", 2),
    ], "the first ran before anybody looked, the ninth is nobody's"
    happenings.gone(A)
    happenings.shown(Running(session=A, seqs=frozenset({2})), held)
    assert kinds(reader.read()) == ["started"], "another pool runs it now"


def test_a_run_that_was_never_shown_has_begun_before_it_ends(happenings: Happenings) -> None:
    reader = Reader(happenings)
    reader.read()
    ran = encode(["a@h", "1", "default/0", 42])
    happenings.shown(Running(session=A, seqs=frozenset({1})), Held(row(1)))
    ended = [row(n, attempt=1, started=500.0 + n, ran=ran) for n in (1, 2)]
    waited = row(3, state="cancelled", attempt=1, started=1.0, ran=ran)  # for its second run, after the first
    unknown = row(4, state="failed", attempt=1)  # nobody can say when it began
    happenings.ended(Outcome([*ended, waited, unknown]))
    told = reader.read()
    assert [(event.kind, event.facts["id"][-1]) for event in told] == [
        ("started", "1"),
        ("started", "2"),
        ("succeeded", "1"),
        ("succeeded", "2"),
        ("cancelled", "3"),
        ("failed", "4"),
    ]
    assert (told[1].time.timestamp(), told[1].facts["node"]) == (502.0, "a@h")
    happenings.shown(Running(session=A, seqs=frozenset({1})), Held(row(1, attempt=1)))
    assert [event.facts["attempt"] for event in reader.read()] == [2], "it runs again"


def test_progress_follows_a_begin_and_is_the_latest_of_each_task(happenings: Happenings) -> None:
    held = Held(row(1), row(2))

    def tell(*seqs: int) -> None:
        of = [Progressed(session=A, lease=1, seq=seq, fraction=n / 10, message=f"m{n}") for n, seq in enumerate(seqs)]
        happenings.progressed(of, held)

    tell(1)
    reader = Reader(happenings)
    assert kinds(reader.read()) == ["gap"]
    tell(1, 2, 2, 9)
    tell(1)
    told = reader.read()
    assert kinds(told) == ["started", "started", "progress", "progress", "progress"]
    plain = {"id": f"{2:032x}", "name": "mail", "queue": "q", "attempt": 1, "node": "a@h"}
    assert told[3].facts == {**plain, "fraction": 0.2, "message": "m2"}


def test_only_what_is_wanted_is_told_with_the_numbers_it_has(happenings: Happenings) -> None:
    Reader(happenings).read()
    rows = [row(1), row(2, name="mail.send"), row(3, queue="other"), row(4, name="mail.send"), row(5, name="mail.send")]
    happenings.submitted(rows)
    happenings.note("paused", {"queue": "other", "handler": "mail.send"})
    happenings.note("node_down", {"node": "a@h"})
    happenings.note("schedule_fired", {"schedule": "s", "id": f"{1:032x}", "name": "mail"})

    def told(**wanted: Any) -> list[tuple[int, str]]:
        gap, *events = Reader(happenings, **wanted).read()
        assert gap.kind == "gap"
        return [(event.number, event.kind) for event in events]

    tasks = [(n, "submitted") for n in range(2, 7)]
    assert told() == [*tasks, (7, "paused"), (8, "node_down"), (9, "schedule_fired")]
    assert told(name="mail.*") == [*(tasks[n] for n in (1, 3, 4)), (7, "paused")]
    assert told(queue="other") == [tasks[2], (7, "paused")]
    assert told(ids=[bytes(15) + b"\1", bytes(15) + b"\5"]) == [tasks[0], tasks[4], (9, "schedule_fired")]
    assert told(node="a@h") == [(8, "node_down")]
    assert told(kinds=["node_down", "submitted"], name="mail") == [tasks[0], tasks[2]]
    assert told(kinds=["schedule_fired"], name="mail") == [(9, "schedule_fired")]
    assert told(kinds=[]) == []


@pytest.mark.parametrize(
    ("kind", "words"), [("fialed", "did you mean 'failed'"), ("x", "kinds are submitted, started, progress")]
)
def test_a_kind_that_there_is_not_is_refused(happenings: Happenings, kind: str, words: str) -> None:
    with pytest.raises(BadQuery, match=f"{kind!r} is no kind of event; {words}"):
        happenings.read(verbs.EventsOf(kinds=["failed", kind]))


def test_any_event_s_cursor_leads_on_behind_it_even_within_a_batch(happenings: Happenings) -> None:
    reader = Reader(happenings)
    reader.read()
    happenings.submitted([row(n) for n in range(1, 6)])
    told = reader.read()
    assert [event.facts["id"] for event in Reader(happenings, told[2].cursor).read()] == [f"{4:032x}", f"{5:032x}"]
    assert Reader(happenings, told[-1].cursor).read() == []


def test_who_is_too_slow_hears_how_many_were_missed(happenings: Happenings) -> None:
    reader = Reader(happenings)
    reader.read()
    for _ in range(KEPT):
        happenings.note("node_up", {})
    assert kinds(reader.read()) == ["node_up"] * KEPT
    for _ in range(KEPT + 7):
        happenings.note("node_down", {})
    gap, *told = reader.read()
    assert (gap.kind, gap.facts) == ("gap", {"why": "overrun", "missed": 7})
    assert kinds(told) == ["node_down"] * KEPT
    assert told[0].number == gap.number + 1


@pytest.mark.parametrize("later", [0.5, -3600.0], ids=["later", "by a clock that was set back"])
def test_a_new_queue_server_is_noticed(happenings: Happenings, clock: Clock, later: float) -> None:
    reader = Reader(happenings)
    happenings.note("node_up", {})
    reader.read()
    clock.pass_(later)
    after = Happenings(clock)
    for _ in range(5):
        after.note("node_down", {})
    told = Reader(after, reader.cursor).read()
    assert kinds(told) == ["gap", *["node_down"] * 5, "gap"]
    assert told[0].facts == {"why": "restarted"}
    assert [event.number for event in told] == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("cursor", ["", "7", "abc.", "abc.x", "abc.-1", "abc.²"])
def test_a_cursor_that_is_none_is_refused(happenings: Happenings, cursor: str) -> None:
    with pytest.raises(BadQuery, match="is not the `cursor` of an event"):
        happenings.read(verbs.EventsOf(cursor))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 1500), st.just("read")), max_size=6), st.integers(1, 5))
def test_every_wanted_event_comes_once_though_the_rest_is_left_out(course: list[Any], every: int) -> None:
    happenings = Happenings(Clock())
    reader = Reader(happenings, name="wanted")
    reader.read()
    made = 0
    expected: list[int] = []
    for step in [*course, "read"]:
        if step != "read":
            rows = [row(made + n, name="other" if (made + n) % every else "wanted") for n in range(1, step + 1)]
            happenings.submitted(rows)
            expected += [row.seq for row in rows if row.name == "wanted"]
            made += step
            continue
        assert [int(event.facts["id"], 16) for event in reader.read()] == expected
        expected = []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 2500), st.just("read")), max_size=25))
def test_every_event_comes_once_and_in_order_or_is_counted_as_missed(course: list[Any]) -> None:
    happenings = Happenings(Clock())
    reader = Reader(happenings)
    number = reader.read()[-1].number
    made = 0
    for step in [*course, "read"]:
        if step != "read":
            happenings.submitted([row(made + n) for n in range(1, step + 1)])
            made += step
            continue
        for event in reader.read():
            if event.kind == "gap":
                number += event.facts["missed"]
                assert event.number == number
            else:
                number += 1
                assert (event.number, int(event.facts["id"], 16)) == (number, number - 1)
    assert number == made + 1


def test_whoever_tells_others_of_slots_hears_of_all(clock: Clock) -> None:
    heard: list[str] = []
    happenings = Happenings(clock, lambda kind, _facts: heard.append(kind))
    happenings.scheduled("schedule_fired", {"schedule": "s", "slot": 1.0})
    happenings.scheduled("schedule_missed", {"schedule": "s", "slot": 2.0, "why": "overlap"})
    assert heard == ["schedule_fired", "schedule_missed"]


def test_a_slot_that_made_its_task_is_noted_while_somebody_looks_and_one_that_did_not_always(clock: Clock) -> None:
    happenings = Happenings(clock)
    happenings.scheduled("schedule_fired", {"schedule": "s", "slot": 1.0})
    happenings.scheduled("schedule_missed", {"schedule": "s", "slot": 2.0, "why": "overlap"})
    reader = Reader(happenings)
    assert [event.kind for event in reader.read()] == ["schedule_missed", "gap"]
    happenings.scheduled("schedule_fired", {"schedule": "s", "slot": 3.0})
    (event,) = reader.read()
    assert (event.kind, event.facts) == ("schedule_fired", {"schedule": "s", "slot": 3.0})
