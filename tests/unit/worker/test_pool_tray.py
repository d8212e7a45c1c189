"""What stands in front of a child: packets, answers, limits, and whom its end is blamed on."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpq.core.events import Cancelled, Discarded, Failed, HandedOver, RetryLater, Snoozed, Succeeded
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


def limited(seq: int, memory: float) -> Job:
    item = Item(seq, b"i" * 16, "name", 1, b"", b"")
    return Job(seq, "name", None, at_most_once=False, item=item, size=0, memory=memory)


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
    tray = tray_of(limited(1, 100.0), job(2))
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
    tray = tray_of(*map(job, range(1, 6)))

    def answered(seq: int, outcome: Outcome, delay: float | None = None) -> tuple[object, int]:
        result = Result(seq, outcome, b"e", 1.0, 2.0, delay)
        answer = tray.answered(Results(1, (result,)), RAN, ())
        return answer.results[0], answer.failed

    assert answered(1, Outcome.LATER, 5.0) == (RetryLater(1, 5.0, b"e", 1.0, 2.0, RAN), 1)
    assert answered(2, Outcome.SNOOZED, 7.0) == (Snoozed(2, 7.0, 1.0, 2.0, RAN), 0)
    assert answered(3, Outcome.CANCELLED) == (Cancelled(3, 1.0, 2.0, RAN), 0)
    assert answered(4, Outcome.DISCARDED) == (Discarded(4, b"e", 1.0, 2.0, RAN), 1)
    assert answered(5, Outcome.HANDED_OVER) == (HandedOver(5, 1.0, 2.0, RAN), 0)
    assert not tray


def test_who_was_refused_more_memory_failed_for_it() -> None:
    tray = tray_of(job(1))
    error = msgpack.packb(["MemoryError", "", "trace", ["MemoryError", "Exception"]])
    answer = tray.answered(report(1, outcome=Outcome.OUT_OF_MEMORY, value=error), RAN, ())
    assert answer.results == [Failed(1, "memory", error, 1.0, 2.0, RAN, ("MemoryError", "Exception"))]
    assert answer.failed == 1


def test_what_fails_as_the_kernel_kills_for_want_of_memory_failed_for_it_if_it_had_a_limit() -> None:
    error = msgpack.packb(["ScriptFailed", "killed by SIGKILL", "", ["ScriptFailed"], {"signal": "SIGKILL"}])
    tray = tray_of(limited(1, 100.0), job(2))
    answer = tray.answered(report(1, 2, outcome=Outcome.FAILED, value=error), RAN, (), is_oom=True)
    assert [(each.seq, each.reason) for each in answer.results if isinstance(each, Failed)] == [
        (1, "memory"),
        (2, "error"),
    ]


def test_the_details_of_an_error_are_passed_on() -> None:
    error = msgpack.packb(["ScriptFailed", "exit code 3", "", ["ScriptFailed"], {"exit_code": 3}])
    (failed,) = tray_of(job(1)).answered(report(1, outcome=Outcome.FAILED, value=error), RAN, ()).results
    assert isinstance(failed, Failed)
    assert (failed.error, failed.types) == (error, ("ScriptFailed",))


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


def test_results_that_wait_behind_a_long_run_are_held_back() -> None:
    tray = tray_of(job(1), job(2), job(3))
    long, moment = 20_000_001, 20_000_000
    assert not tray.holds_back([SlotView(1, entry(1))], long), "nothing has ended"
    assert not tray.holds_back([SlotView(4, None)], long), "nothing runs, so they are on their way"
    assert not tray.holds_back([SlotView(3, entry(2))], moment), "it may be over in a moment"
    assert tray.holds_back([SlotView(3, entry(2))], long)
    tray.answered(report(1), RAN, ())
    assert not tray.holds_back([SlotView(3, entry(2))], long), "it has been answered"
    tray.answered(report(3, outcome=Outcome.RETURNED), RAN, ())
    assert not tray.holds_back([SlotView(3, entry(2))], long), "what was handed back had not begun"


@pytest.mark.parametrize(("timeout", "every"), [(None, 0.1), (300.0, 0.1), (0.2, 0.05), (0.001, 0.02)])
def test_the_shortest_timeout_says_how_often_to_look(timeout: float | None, every: float) -> None:
    tray = tray_of(job(1, timeout=timeout))
    assert tray.look_every == pytest.approx(every)
    tray.doom(1, Cause.DROPPED, 0)
    assert tray.look_every == 0.02


def test_several_have_their_limits_of_memory_together_or_none() -> None:
    tray = tray_of(limited(1, 100.0), limited(2, 50.0), job(3))
    asked: list[float] = []

    def resident(above: float) -> float:
        asked.append(above)
        return 151.0

    verdict = tray.judge([entry(1), entry(2)], 0, resident)
    assert verdict == Verdict(
        Cause.MEMORY, None, "its child had 151 MiB of memory, 150 are allowed to its 2 tasks together"
    )
    assert asked == [150.0]
    assert tray.judge([entry(1), entry(3)], 0, resident) is None
    assert tray.judge([entry(1), entry(2), entry(9)], 0, resident) is None  # nobody knows what that one may have
    assert asked == [150.0]


def test_a_timeout_is_found_among_several() -> None:
    tray = tray_of(job(1, timeout=9.0), job(2, timeout=2.0))
    verdict = tray.judge([entry(1), entry(2)], 3_000_000_000, nothing)
    assert verdict == Verdict(Cause.TIMEOUT, 2, "it ran for more than 2 s")


def test_the_wall_of_memory_is_wide_enough_for_any_that_may_run_together() -> None:
    tray = tray_of(limited(1, 100.0), limited(2, 50.0), limited(3, 70.0))
    assert [tray.allowance(parallel) for parallel in (1, 2, 5)] == [100.0, 170.0, 220.0]
    tray.give(2, [job(4)])
    assert tray.allowance(2) is None
    tray.answered(report(4, lease=2), RAN, ())
    assert tray.allowance(2) == 170.0
    tray.answered(report(1, 2, 3), RAN, ())
    assert tray.allowance(2) is None


# --- alone -----------------------------------------------------------------------------------------------------------


def test_one_that_travels_alone_waits_for_the_others_and_they_for_it() -> None:
    pipe = Pipe()
    tray = tray_of(job(1), job(2), pipe=pipe)
    tray.give(2, [job(3)], alone=True)
    tray.give(3, [job(4), job(5)])
    tray.pump(pipe.send)
    assert pipe.seqs == [1, 2]
    tray.answered(report(2), RAN, ())
    tray.pump(pipe.send)
    assert pipe.seqs == [1, 2]
    tray.answered(report(1), RAN, ())
    tray.pump(pipe.send)
    tray.pump(pipe.send)
    assert pipe.seqs == [1, 2, 3]
    tray.answered(report(3, lease=2), RAN, ())
    tray.pump(pipe.send)
    assert pipe.seqs == [1, 2, 3, 4, 5]


def test_one_that_travels_alone_still_does_when_it_was_taken_back_for_another() -> None:
    pipe = Pipe()
    tray = tray_of(pipe=pipe)
    tray.give(2, [job(3)], alone=True)
    tray.give(3, [job(4), job(5)])
    tray.pump(pipe.send)
    assert tray.take_out(pipe.take_back(), {4}.__contains__) == {3: [4]}
    tray.pump(pipe.send)
    assert pipe.seqs == [3]
    tray.answered(report(3, lease=2), RAN, ())
    tray.pump(pipe.send)
    assert pipe.seqs == [3, 5]


def test_when_one_that_travels_alone_is_taken_out_the_others_go() -> None:
    pipe = Pipe()
    tray = tray_of(pipe=pipe)
    tray.give(2, [job(3)], alone=True)
    tray.give(3, [job(4)])
    tray.pump(pipe.send)
    tray.take_out(pipe.take_back(), {3}.__contains__)
    tray.pump(pipe.send)
    assert pipe.seqs == [4]


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


def test_one_that_was_handed_back_had_not_begun() -> None:
    tray = tray_of(job(1), job(2), job(3))
    assert tray.answered(report(2, outcome=Outcome.RETURNED), RAN, ()).returned == [2]
    assert ended(tray, SlotView(2, None)) == {1: "interrupted", 3: "returned"}


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
        (Verdict(Cause.MEMORY, 1, "much"), False, "memory"),
        (Verdict(Cause.MEMORY, 2, "much"), False, "returned"),
        (Verdict(Cause.MEMORY, None, "much"), False, "interrupted"),  # it was one of several then
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
    ("verdict", "first", "once"),
    [
        (None, "interrupted", "interrupted"),
        (Verdict(Cause.STUCK, None, "blocked"), "interrupted", "interrupted"),
        (Verdict(Cause.MEMORY, 1, "much"), "interrupted", "interrupted"),
        (Verdict(Cause.MEMORY, None, "much"), "interrupted", "interrupted"),
        (Verdict(Cause.TIMEOUT, 1, "late"), "timeout", "interrupted"),
        (Verdict(Cause.CANCELLED, 1), Cancelled, "interrupted"),
        (Verdict(Cause.TIMEOUT, 9, "late"), "returned", "interrupted"),
        (Verdict(Cause.DROPPED, 9), "returned", "interrupted"),
        (Verdict(Cause.DRAINED), "returned", Discarded),
        (Verdict(Cause.WARDEN_LOST), "interrupted", "interrupted"),
    ],
)
def test_what_a_verdict_makes_of_several_that_ran(verdict: Verdict | None, first: object, once: object) -> None:
    tray = tray_of(job(1), job(2, at_most_once=True), job(3))
    found = ended(tray, SlotView(1, entry(1)), SlotView(1, entry(2)), verdict=verdict)
    for seq, kind in ((1, first), (2, once), (3, "returned")):
        fate = found[seq]
        if isinstance(kind, type):
            assert isinstance(fate, kind)
        else:
            assert (fate.reason if isinstance(fate, Failed) else fate) == kind


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


class FakeChild:
    """A child of several cells, that begins in the order of receipt and ends and answers in any."""

    def __init__(self, cells: int, before: list[int]) -> None:
        self.turns = [2 * each for each in before]
        self.running: dict[int, tuple[int, int]] = {}
        """By cell, lease and seq."""
        self.received: list[tuple[int, int]] = []
        self.over: list[tuple[int, int]] = []
        """They have ended, and nobody was told."""
        self.cells = cells

    @property
    def free(self) -> list[int]:
        return [cell for cell in range(self.cells) if cell not in self.running]

    def begin(self, cell: int) -> None:
        self.running[cell] = self.received.pop(0)
        self.turns[cell] += 1

    def end(self, cell: int) -> None:
        self.over.append(self.running.pop(cell))
        self.turns[cell] += 1

    @property
    def views(self) -> list[SlotView]:
        return [
            SlotView(turn, None if cell not in self.running else entry(self.running[cell][1], self.running[cell][0]))
            for cell, turn in enumerate(self.turns)
        ]


@given(st.data())
def test_with_any_number_of_cells_each_job_has_one_fate_and_the_right_one(data: st.DataObject) -> None:
    """Whatever the order of begins, ends and answers: what the count says is what the child did."""
    cells = data.draw(st.integers(1, 5))
    child = FakeChild(cells, data.draw(st.lists(st.integers(0, 9), min_size=cells, max_size=cells)))
    leases = {lease: data.draw(st.integers(1, 8)) for lease in range(1, data.draw(st.integers(2, 4)))}
    pipe = Pipe(data.draw(st.integers(0, 30)))
    tray = Tray()
    tray.begin(child.views)
    for lease, count in leases.items():
        tray.give(lease, [job(10 * lease + number) for number in range(count)], data.draw(st.integers(1, 3)))
    told: set[int] = set()
    for _ in range(data.draw(st.integers(0, 60))):
        tray.pump(pipe.send)
        moves = [move for move, can in (("receive", pipe.packets), ("begin", child.received and child.free),
                 ("end", child.running), ("answer", child.over)) if can]  # fmt: skip
        match data.draw(st.sampled_from(moves or ["wait"])):
            case "receive":
                lease, items = unpack_packet(pipe.packets.pop(0))
                child.received += [(lease, item.seq) for item in items]
            case "begin":
                child.begin(data.draw(st.sampled_from(child.free)))
            case "end":
                child.end(data.draw(st.sampled_from(sorted(child.running))))
            case "answer":
                lease, seq = data.draw(st.sampled_from(child.over))
                child.over.remove((lease, seq))
                (result,) = tray.answered(report(seq, lease=lease), RAN, ()).results
                told.add(result.seq)
            case _:
                pass
    found = ended(tray, *child.views)
    assert sorted([*told, *found]) == sorted(10 * lease + n for lease, count in leases.items() for n in range(count))
    running = {seq for _, seq in child.running.values()}
    over = {seq for _, seq in child.over}
    for seq, fate in found.items():
        if running == {seq}:
            assert isinstance(fate, Failed)
            assert fate.reason == "crashed"
        else:
            assert fate == ("interrupted" if seq in running | over else "returned")
