import mmap
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpq.worker import blackboard
from otpq.worker.blackboard import Blackboard, BlackboardError, Entry, Slot, SlotView

TASK = Entry(seq=7, lease=8, id=b"0123456789abcdef", attempt=2, pid=0, started=1.5, since_ns=99)


def begin(slot: Slot, entry: Entry) -> None:
    slot.begin(entry.seq, entry.lease, entry.id, entry.attempt, entry.started, entry.since_ns)


def without_pid(view: SlotView) -> Entry | None:
    return view.running and view.running._replace(pid=0)


def test_a_new_board_says_that_nothing_runs(tmp_path: Path) -> None:
    board = Blackboard.create(tmp_path / "board", 3)
    assert board.read_all() == [SlotView(0, None)] * 3
    assert (tmp_path / "board").stat().st_size == 64 * 4


def test_a_task_is_seen_from_its_begin_to_its_end_and_in_no_other_slot(tmp_path: Path) -> None:
    board = Blackboard.create(tmp_path / "board", 3)
    reader = Blackboard(tmp_path / "board")
    slot = board.slot(1)
    begin(slot, TASK)
    assert without_pid(reader.read(1)) == TASK
    assert [view.running for view in (reader.read(0), reader.read(2))] == [None, None]
    slot.end()
    assert reader.read(1) == SlotView(2, None)


@given(st.lists(st.tuples(st.integers(0, 2**63 - 1), st.binary(min_size=16, max_size=16), st.integers(0, 65535))))
def test_turn_counts_what_has_begun(
    tmp_path_factory: pytest.TempPathFactory, tasks: list[tuple[int, bytes, int]]
) -> None:
    board = Blackboard.create(tmp_path_factory.mktemp("board") / "board", 1)
    slot = board.slot(0)
    for count, (seq, id_, attempt) in enumerate(tasks, 1):
        slot.begin(seq, seq, id_, attempt, 0.0, 0)
        view = board.read(0)
        assert view.begun == count
        assert view.running is not None
        assert (view.running.seq, view.running.id, view.running.attempt) == (seq, id_, attempt)
        slot.end()
        assert board.read(0).begun == count


def test_a_writer_that_is_killed_within_a_store_leaves_the_truth(tmp_path: Path) -> None:
    """Every prefix of the bytes of `begin`: until the turn is odd nothing runs, whatever stands in the record."""
    board = Blackboard.create(tmp_path / "board", 1)
    begin(board.slot(0), TASK)
    whole = bytes(board._map[64:128])
    for count in range(56):
        board._map[64:128] = struct.pack("=Q", 0) + whole[8 : 8 + count] + b"\xff" * (56 - count)
        assert board.read(0) == SlotView(0, None)
    board._map[64:128] = whole
    assert without_pid(board.read(0)) == TASK


def test_the_record_is_written_while_the_turn_says_that_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Blackboard.create(tmp_path / "board", 1)

    class Killed:
        """A pen that is struck down before, in the middle of or after its one stroke."""

        @staticmethod
        def pack_into(buffer: mmap.mmap, offset: int, *_values: object) -> None:
            assert board.read(0).running is None
            buffer[offset : offset + 20] = b"?" * 20
            assert board.read(0).running is None
            raise KeyboardInterrupt

    slot = board.slot(0)
    with monkeypatch.context() as patch:
        patch.setattr(blackboard, "_RECORD", Killed)
        with pytest.raises(KeyboardInterrupt):
            begin(slot, TASK)
    assert board.read(0).running is None


def test_a_record_of_another_turn_is_not_believed(tmp_path: Path) -> None:
    board = Blackboard.create(tmp_path / "board", 1)
    begin(board.slot(0), TASK)
    board._words[8] = 3  # as a core could see it that got the turn before the record
    assert board.read(0).running is None


def test_the_next_writer_goes_on_where_a_killed_one_stopped(tmp_path: Path) -> None:
    board = Blackboard.create(tmp_path / "board", 1)
    begin(board.slot(0), TASK)
    begin(board.slot(0), TASK._replace(seq=9))
    assert board.read(0).turn == 3
    assert without_pid(board.read(0)) == TASK._replace(seq=9)


def test_a_board_outlives_its_mappings_and_can_be_cleared(tmp_path: Path) -> None:
    board = Blackboard.create(tmp_path / "board", 1)
    begin(board.slot(0), TASK)
    board.close()
    again = Blackboard(tmp_path / "board")
    assert without_pid(again.read(0)) == TASK
    again.clear(0)
    again.clear(0)
    assert again.read(0) == SlotView(2, None)


def test_a_new_board_takes_the_place_of_an_old_one_which_stays_readable(tmp_path: Path) -> None:
    old = Blackboard.create(tmp_path / "board", 1)
    begin(old.slot(0), TASK)
    assert Blackboard.create(tmp_path / "board", 2).read_all() == [SlotView(0, None)] * 2
    assert without_pid(old.read(0)) == TASK


@pytest.mark.parametrize("content", [b"", b"x" * 10, b"x" * 64, b"otpq-bb1" + bytes(56) + b"x" * 64])
def test_what_is_no_blackboard_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "board").write_bytes(content)
    with pytest.raises(BlackboardError, match="board"):
        Blackboard(tmp_path / "board")


@pytest.mark.parametrize("slot", [-1, 3])
def test_a_slot_that_is_not_there_is_refused(tmp_path: Path, slot: int) -> None:
    board = Blackboard.create(tmp_path / "board", 3)
    for use in (board.read, board.slot, board.clear):
        with pytest.raises(BlackboardError, match="there are 3"):
            use(slot)


def test_slots_are_aligned_so_that_a_turn_is_one_word() -> None:
    assert mmap.PAGESIZE % 64 == 0
    assert struct.calcsize("=qQdq16siHH") == 56


def test_a_pulse_is_seen_and_is_no_task(tmp_path: Path) -> None:
    board = Blackboard.create(tmp_path / "board", 1)
    slot = board.slot(0)
    for count in range(1, 4):
        slot.beat()
        assert board.read(0) == SlotView(2 * count, None)
