"""What stands in front of a child: packets, answers, limits, and whom its end is blamed on."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpq.core.events import Cancelled, Discarded, Failed, RetryLater, Snoozed, Succeeded
from otpq.core.records import TaskRow
from otpq.task import Options
from otpq.worker.blackboard import Entry, SlotView
from otpq.worker.blame import Cause, Verdict, describe_exit
from otpq.worker.orders import Job, jobs_of
from otpq.worker.packets import Item, Outcome, unpack_packet
from otpq.worker.reports import ReportError, Result, Results, read_report
from otpq.worker.tray import Tray

RAN = b"ran"
NOBODY = SlotView(0, None)


def job(seq: int, *, timeout: float | None = 300.0, at_most_once: bool = False, size: int = 0) -> Job:
    item = Item(seq, b"i" * 16, "name", 1, b"", bytes(size))
    return Job(seq, "name", timeout, at_most_once, item, size)


def entry(seq: int, lease: int = 1, since_ns: int = 0) -> Entry:
    return Entry(seq, lease, b"i" * 16, 1, 77, 5.0, since_ns)


def report(*seqs: int, lease: int = 1, outcome: Outcome = Outcome.SUCCEEDED, value: bytes = b"v") -> Results:
    return Results(lease, tuple(Result(seq, outcome, value, 1.0, 2.0) for seq in seqs))


def nothing(_above: float) -> float:
    return 0.0


class Pipe:
    """What was sent, and is room for."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.packets: list[bytes] = []

    def send(self, packet: bytes) -> bool:
        if len(self.packets) >= self.room:
            return False
        self.packets.append(packet)
        return True

    def take_back(self, received: int = 0) -> list[bytes]:
        taken, self.packets = self.packets[received:], self.packets[:received]
        return taken

    @property
    def seqs(self) -> list[int]:
        return [item.seq for packet in self.packets for item in unpack_packet(packet).items]


def tray_of(*jobs: Job, pipe: Pipe | None = None) -> Tray:
    tray = Tray()
    tray.begin([NOBODY])
    tray.give(1, jobs)
    tray.pump((pipe or Pipe()).send)
    return tray


def ended(tray: Tray, *views: SlotView, verdict: Verdict | None = None) -> dict[int, object]:
    """What each job was answered with: its result, or the word."""
    found: dict[int, object] = {}
    for answer in tray.ended(views, verdict, "it died", RAN).values():
        found.update((each.seq, each) for each in answer.results)
        found.update(dict.fromkeys(answer.returned, "returned"))
        found.update(dict.fromkeys(answer.interrupted, "interrupted"))
    assert not tray
    return found


# --- on the way ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "packet", "packets"), [(1, 1, 1), (20, 1, 20), (21, 20, 2), (100, 32, 4)])
def test_a_batch_is_cut_into_packets_as_it_says(count: int, packet: int, packets: int) -> None:
    pipe = Pipe()
    tray = tray_of()
    tray.give(1, [job(seq) for seq in range(count)], packet)
    tray.pump(pipe.send)
    assert len(pipe.packets) == packets
    assert pipe.seqs == list(range(count))


def test_large_jobs_travel_in_packets_of_their_own() -> None:
    pipe = Pipe()
    tray_of(*(job(seq, size=40_000) for seq in range(40)), pipe=pipe)
    assert len(pipe.packets) == 40


def test_what_finds_no_room_is_sent_later() -> None:
    pipe = Pipe(room=2)
    tray = tray_of(*map(job, range(5)), pipe=pipe)
    assert pipe.seqs == [0, 1]
    pipe.room = 10
    tray.pump(pipe.send)
    assert pipe.seqs == [0, 1, 2, 3, 4]


@given(st.integers(1, 60), st.integers(0, 60), st.sets(st.integers(0, 59)), st.integers(0, 60))
def test_taking_back_keeps_the_order_of_the_rest(count: int, received: int, wanted: set[int], room: int) -> None:
    pipe = Pipe(room)
    tray = tray_of(*map(job, range(count)), pipe=pipe)
    taken = pipe.take_back(min(received, len(pipe.packets)))
    kept = pipe.seqs
    found = tray.take_out(taken, wanted.__contains__)
    pipe.room = 1000
    tray.pump(pipe.send)
    out = found.get(1, [])
    assert out == [seq for seq in range(count) if seq in wanted and seq not in kept]
    assert pipe.seqs == [seq for seq in range(count) if seq not in out]
    assert len(tray) == count - len(out)


def test_the_options_of_a_row_that_matter_here() -> None:
    def row(options: bytes) -> TaskRow:
        return TaskRow(1, b"i" * 16, "n", "q", "", 5, "queued", 0, None, 0, 0, options, b"p", attempt=2)

    plain, special = jobs_of([row(b""), row(Options.of(timeout=None, at_most_once=True).pack())], {})
    assert (plain.timeout, plain.at_most_once) == (300.0, False)
    assert (special.timeout, special.at_most_once) == (None, True)
    assert plain.item == Item(1, b"i" * 16, "n", 3, b"", b"p")

    declared = {"n": Options.of(timeout=7, at_most_once=True).pack(), "other": Options.of(timeout=8).pack()}
    plain, special = jobs_of([row(b""), row(Options.of(timeout=9).pack())], declared)
    assert (plain.timeout, plain.at_most_once) == (7.0, True)
    assert (special.timeout, special.at_most_once) == (9.0, True)


# --- answers ---------------------------------------------------------------------------------------------------------


def test_a_job_that_has_more_memory_than_it_may_is_ended_and_failed() -> None:
    limited = Job(1, "name", None, False, Item(1, b"i" * 16, "name", 1, b"", b""), 0, memory=100.0)  # noqa: FBT003
    tray = tray_of(limited, job(2))
    assert tray.look_every == pytest.approx(0.05)
    assert tray.judge([entry(1)], 10**18, lambda _: 100.0) is None
    verdict = tray.judge([entry(1)], 10**18, lambda _: 100.4)
    assert verdict == Verdict(Cause.MEMORY, 1, "its child had 100 MiB of memory, 100 are allowed")
    assert tray.judge([entry(2)], 0, lambda _: 1e9) is None  # nobody limits this one
    answers = tray.ended([SlotView(1, entry(1))], verdict, "killed", RAN)[1]
    (failed,) = answers.results
    assert isinstance(failed, Failed)
    assert (failed.seq, failed.reason, failed.types) == (1, "memory", ("MemoryError", "Exception"))
    assert answers.returned == [2]


def test_endings_on_purpose_become_the_cores() -> None:
    tray = tray_of(*map(job, range(1, 5)))

    def answered(seq: int, outcome: Outcome, delay: float | None = None) -> tuple[object, int]:
        result = Result(seq, outcome, b"e", 1.0, 2.0, delay)
        answer = tray.answered(Results(1, (result,)), RAN, ())
        return answer.results[0], answer.failed

    assert answered(1, Outcome.LATER, 5.0) == (RetryLater(1, 5.0, b"e", 1.0, 2.0, RAN), 1)
    assert answered(2, Outcome.SNOOZED, 7.0) == (Snoozed(2, 7.0, 1.0, 2.0, RAN), 0)
    assert answered(3, Outcome.CANCELLED) == (Cancelled(3, 1.0, 2.0, RAN), 0)
    assert answered(4, Outcome.DISCARDED) == (Discarded(4, b"e", 1.0, 2.0, RAN), 1)
    assert not tray


@pytest.mark.parametrize("delay", [-1.0, float("inf"), float("nan"), 1e300, "soon"])
def test_a_child_that_asks_for_a_delay_that_cannot_be_talks_nonsense(delay: object) -> None:
    frame = msgpack.packb(["results", 1, [[1, Outcome.SNOOZED, b"", 1.0, 2.0, delay]]])
    with pytest.raises(ReportError):
        read_report(frame)


def test_a_childs_words_become_the_cores() -> None:
    tray = tray_of(*map(job, range(1, 6)))
    error = msgpack.packb(["shop.OutOfStock", "no", "trace", ["shop.OutOfStock", "LookupError"]])
    assert tray.answered(report(1), RAN, ()).results == [Succeeded(1, b"v", 1.0, 2.0, RAN)]
    failed = tray.answered(report(2, outcome=Outcome.FAILED, value=error), RAN, ())
    assert failed.results == [Failed(2, "error", error, 1.0, 2.0, RAN, ("shop.OutOfStock", "LookupError"))]
    assert failed.failed == 1
    (unknown,) = tray.answered(report(3, outcome=Outcome.NO_HANDLER, value=error), RAN, ("a", "b")).results
    assert isinstance(unknown, Failed)
    assert msgpack.unpackb(unknown.error)[1] == "no handler named 'name'; known: a, b"
    assert tray.answered(report(4, outcome=Outcome.RETURNED), RAN, ()).returned == [4]
    mismatch = tray.answered(report(5, outcome=Outcome.DISCARDED, value=error), RAN, ())
    assert (mismatch.results, mismatch.failed) == ([Discarded(5, error, 1.0, 2.0, RAN)], 1)
    assert not tray


def test_answers_for_what_is_not_there_are_passed_over() -> None:
    tray = tray_of(job(1))
    assert tray.answered(report(2), RAN, ()).results == []
    assert tray.answered(report(1, lease=9), RAN, ()).results == []
    assert 1 in tray


# --- limits ----------------------------------------------------------------------------------------------------------


def test_a_timeout_is_counted_from_the_begin() -> None:
    tray = tray_of(job(1, timeout=2.0), job(2, timeout=None))
    assert tray.judge([entry(1)], 2_000_000_000, nothing) is None
    assert tray.judge([entry(1)], 2_000_000_001, nothing) == Verdict(Cause.TIMEOUT, 1, "it ran for more than 2 s")
    assert tray.judge([entry(2)], 10**18, nothing) is None
    assert tray.judge([entry(3)], 10**18, nothing) is None
    assert tray.judge([], 10**18, nothing) is None


def test_a_doomed_job_is_ended_when_it_runs_and_the_time_has_come() -> None:
    tray = tray_of(job(1), job(2))
    assert tray.doom(2, Cause.CANCELLED, 50)
    assert not tray.doom(3, Cause.CANCELLED, 50)
    assert tray.judge([entry(2)], 49, nothing) is None
    assert tray.judge([entry(1)], 50, nothing) is None
    assert tray.judge([entry(2)], 50, nothing) == Verdict(Cause.CANCELLED, 2)


@pytest.mark.parametrize(("timeout", "every"), [(None, 0.1), (300.0, 0.1), (0.2, 0.05), (0.001, 0.02)])
def test_the_shortest_timeout_says_how_often_to_look(timeout: float | None, every: float) -> None:
    tray = tray_of(job(1, timeout=timeout))
    assert tray.look_every == pytest.approx(every)
    tray.doom(1, Cause.DROPPED, 0)
    assert tray.look_every == 0.02


# --- the end ---------------------------------------------------------------------------------------------------------


def test_the_one_that_ran_is_to_blame_and_nobody_else() -> None:
    tray = tray_of(*map(job, range(1, 5)))
    tray.answered(report(1), RAN, ())
    found = ended(tray, SlotView(3, entry(2)))  # two have begun
    assert isinstance(found[2], Failed)
    assert (found[2].reason, msgpack.unpackb(found[2].error)) == ("crashed", ["Crashed", "it died", "", ["Crashed"]])
    assert (found[3], found[4]) == ("returned", "returned")


def test_those_that_ended_without_a_word_are_interrupted() -> None:
    tray = tray_of(*map(job, range(1, 6)))
    tray.answered(report(1), RAN, ())
    found = ended(tray, SlotView(7, entry(4)))  # four have begun
    assert (found[2], found[3], found[5]) == ("interrupted", "interrupted", "returned")
    assert isinstance(found[4], Failed)


def test_what_the_slot_counted_before_this_child_does_not_matter() -> None:
    tray = Tray()
    tray.begin([SlotView(20, None)])
    tray.give(1, [job(1), job(2)])
    tray.pump(Pipe().send)
    assert ended(tray, SlotView(20, None)) == {1: "returned", 2: "returned"}


def test_what_was_never_sent_has_not_begun() -> None:
    tray = tray_of(job(1), job(2), pipe=Pipe(room=1))
    assert ended(tray, SlotView(2, None)) == {1: "interrupted", 2: "returned"}


def test_an_entry_of_another_lease_blames_nobody() -> None:
    assert ended(tray_of(job(1)), SlotView(1, entry(1, lease=9))) == {1: "interrupted"}


@pytest.mark.parametrize(
    ("verdict", "once", "kind"),
    [
        (Verdict(Cause.TIMEOUT, 1, "late"), False, "timeout"),
        (Verdict(Cause.STUCK, None, "stopped"), False, "crashed"),
        (Verdict(Cause.CANCELLED, 1), False, Cancelled),
        (Verdict(Cause.CANCELLED, 1), True, Cancelled),
        (Verdict(Cause.TIMEOUT, 2, "late"), False, "returned"),  # the late one had ended: killed for nothing
        (Verdict(Cause.TIMEOUT, 2, "late"), True, "interrupted"),
        (Verdict(Cause.DRAINED), False, "returned"),
        (Verdict(Cause.DRAINED), True, Discarded),
        (Verdict(Cause.WARDEN_LOST), False, "interrupted"),
        (Verdict(Cause.WARDEN_LOST), True, "interrupted"),
    ],
)
def test_what_a_verdict_makes_of_the_one_that_ran(
    verdict: Verdict,
    once: bool,  # noqa: FBT001 - a parameter of the table
    kind: object,
) -> None:
    found = ended(tray_of(job(1, at_most_once=once)), SlotView(1, entry(1)), verdict=verdict)[1]
    if isinstance(kind, type):
        assert isinstance(found, kind)
    else:
        assert (found.reason if isinstance(found, Failed) else found) == kind


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-9, "the child (pid 7) was killed by SIGKILL"),
        (-11, "the child (pid 7) was killed by SIGSEGV"),
        (-99, "the child (pid 7) was killed by signal 99"),
        (3, "the child (pid 7) ended with exit code 3"),
    ],
)
def test_an_exit_in_words(code: int, words: str) -> None:
    assert describe_exit(7, code) == words


@given(st.data())
def test_every_job_is_answered_once_however_its_child_ends(data: st.DataObject) -> None:
    """The child runs some, answers some of these, and dies in one or between two."""
    count = data.draw(st.integers(1, 40))
    pipe = Pipe(data.draw(st.integers(0, 40)))
    tray = tray_of(*map(job, range(count)), pipe=pipe)
    received = data.draw(st.integers(0, len(pipe.packets)))
    reach = [item.seq for packet in pipe.packets[:received] for item in unpack_packet(packet).items]
    begun = data.draw(st.integers(0, len(reach)))
    is_running = begun > 0 and data.draw(st.booleans())
    over = reach[: begun - is_running]
    told = over[: data.draw(st.integers(0, len(over)))]
    answered = [each.seq for each in tray.answered(report(*told), RAN, ()).results]
    view = SlotView(2 * begun - is_running, entry(reach[begun - 1]) if is_running else None)
    found = ended(tray, view)
    assert answered == told
    assert sorted([*answered, *found]) == list(range(count))
    for seq, answer in found.items():
        if is_running and seq == reach[begun - 1]:
            assert isinstance(answer, Failed)
        else:
            assert answer == ("interrupted" if seq in over else "returned")
