import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from otpq.worker.task_pipe import MAX_PACKET, TaskReceiver, TaskSender, task_pipe

Pipe = tuple[TaskSender, TaskReceiver]


@pytest.fixture(params=[False, True], ids=["seqpacket", "datagram"])
def pipe(request: pytest.FixtureRequest) -> Iterator[Pipe]:
    sender, receiver = task_pipe(portable=request.param)
    yield sender, receiver
    sender.close()
    receiver.close()


@pytest.mark.parametrize("size", [1, MAX_PACKET - 1, MAX_PACKET, MAX_PACKET + 1, 5_000_000])
def test_a_packet_arrives_whole_whatever_its_size(pipe: Pipe, size: int) -> None:
    sender, receiver = pipe
    before = len(list(Path("/dev/fd").iterdir()))
    packet = os.urandom(size)
    assert sender.send(packet)
    content = receiver.receive()
    assert content is not None
    assert bytes(content) == packet
    assert receiver.receive() is None
    assert not receiver.closed
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_packet_goes_to_one_of_two_receivers(pipe: Pipe) -> None:
    sender, receiver = pipe
    child = TaskReceiver.of_descriptor(os.dup(receiver.fileno()))
    for number in range(10):
        assert sender.send(b"%d" % number)
    assert bytes(child.receive() or b"") == b"0"
    assert receiver.take_back() == [b"%d" % number for number in range(1, 10)]
    assert child.receive() is None
    child.close()


def test_a_full_pipe_takes_no_more_until_something_is_received(pipe: Pipe) -> None:
    sender, receiver = pipe
    packet = b"x" * MAX_PACKET
    sent = 0
    while sender.send(packet):
        sent += 1
    assert sent >= 2
    assert len(receiver.take_back()) == sent
    assert sender.send(packet)


def test_two_of_the_largest_packets_fit_at_least(pipe: Pipe) -> None:
    sender, _ = pipe
    assert [sender.send(b"x" * MAX_PACKET) for _ in range(2)] == [True, True]


def test_what_was_sent_before_the_end_is_received_before_it() -> None:
    sender, receiver = task_pipe(portable=False)
    sender.send(b"last")
    sender.close()
    assert bytes(receiver.receive() or b"") == b"last"
    assert receiver.receive() is None
    assert receiver.closed
    receiver.close()


def test_without_a_receiver_nothing_can_be_sent(pipe: Pipe) -> None:
    sender, receiver = pipe
    receiver.close()
    assert not sender.send(b"x")
