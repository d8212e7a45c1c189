"""The small parts of a warden that need no warden."""

import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpq.worker import tombstone
from otpq.worker.deadline import NEVER, Deadline, boottime_ns
from otpq.worker.descendants import _children_by_stat, children_of, descendants_of, marked
from otpq.worker.frames import MAX_FRAME, FrameError, FrameReader, frame, send_frame
from otpq.worker.loading import AppError, load_app

# --- the lease's word ---------------------------------------------------------------------------------------------------


def test_a_deadline_is_seen_by_whoever_maps_it(tmp_path: Path) -> None:
    writer, reader = Deadline.of(tmp_path, "one"), Deadline.of(tmp_path, "one")
    assert (reader.get(), reader.remaining()) == (NEVER, None)
    writer.set(boottime_ns() + 10**9)
    left = reader.remaining()
    assert left is not None
    assert 0 < left <= 1
    writer.set(boottime_ns() - 10**9)
    past = reader.remaining()
    assert past is not None
    assert past < 0
    writer.close()
    assert Deadline.of(tmp_path, "two").get() == NEVER


# --- tombstones ---------------------------------------------------------------------------------------------------------


def test_tombstones_are_found_by_node_oldest_first(tmp_path: Path) -> None:
    for node, incarnation in (("a@h", "1"), ("b@h", "2"), ("a@h", "3")):
        path = tombstone.write(tmp_path, node, incarnation, "gone")
        assert path == tombstone.path_of(tmp_path, incarnation)
    assert [stone.incarnation for stone in tombstone.find(tmp_path, "a@h")] == ["1", "3"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tombstone.1", "tombstone.2", "tombstone.3"]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"node": 1, "more": 2}', "not json"])
def test_what_is_no_tombstone_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "tombstone.1").write_text(text)
    with pytest.raises(ValueError, match=r".+"):
        tombstone.read(tmp_path / "tombstone.1")


# --- frames -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 40))
def test_however_a_stream_is_cut_the_same_frames_come_out(contents: list[bytes], size: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader = FrameReader(theirs)
        stream = b"".join(map(frame, contents))
        found = []
        for at in range(0, len(stream), size):
            ours.sendall(stream[at : at + size])
            found += reader.receive()
        assert found == contents
        assert reader.receive(wait=False) == []


def test_descriptors_travel_with_frames_and_an_unfinished_frame_is_dropped() -> None:
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    with ours, theirs:
        reader = FrameReader(theirs)
        send_frame(ours, b"take this", [write])
        assert reader.receive() == [b"take this"]
        os.write(reader.descriptors[0], b"x")
        assert os.read(read, 1) == b"x"
        ours.sendall(frame(b"never finished")[:-1])
        ours.close()
        assert reader.receive() == []
        assert reader.receive() == []
        assert reader.closed
    for each in (read, write, *reader.descriptors):
        os.close(each)


def test_a_length_that_cannot_be_is_an_error() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall((MAX_FRAME + 1).to_bytes(4, "little"))
        with pytest.raises(FrameError, match="allowed"):
            FrameReader(theirs).receive()


# --- descendants --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_this_process_is_among_its_parents_descendants_by_either_way() -> None:
    assert os.getpid() in children_of(os.getppid())
    assert os.getpid() in _children_by_stat(os.getppid())
    assert os.getpid() in descendants_of(os.getppid())
    assert children_of(2**22 + 1) == []
    assert marked("OTPQ_NO_SUCH=1") == []


# --- the app ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["", "app", "module:", ":app", "/no/such/file.py:app", "json:app", "json:loads"])
def test_a_reference_that_leads_nowhere_is_refused_with_what_would_be_right(reference: str) -> None:
    with pytest.raises(AppError, match=r"app"):
        load_app(reference)
    assert json.loads("1") == 1
