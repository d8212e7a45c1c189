"""handle_batch and bounded mailboxes: what happens to many messages at once."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

from otpq import otp
from otpq.otp import Call, CallFailed, Cast, Failure, GenServer, Kill, Killed, MailboxFull, NoReply, Stop
from tests.integration.otp.support import HANG, Block, Puppet, do, exit_from

if TYPE_CHECKING:
    from otpq.otp import Attached


class Adder(GenServer):
    """Adds up what it is cast, a batch at a time, and answers calls with the batches so far."""

    def init(self) -> None:
        self.batches: list[list[Any]] = []

    def handle_batch(self, messages: list[Any]) -> Any:
        self.batches.append([message for message in messages if not isinstance(message, Call)])
        for message in messages:
            match message:
                case Call(request="batches"):
                    otp.reply(message.caller, [batch for batch in self.batches if batch])
                case Call():
                    otp.reply(message.caller, message.request)
                case Cast(request=Block() as block):
                    block()
                case Cast(request=Stop() as stop):
                    return stop
                case _:
                    pass
        return NoReply()


class Small(Puppet):
    mailbox_limit = 3


# --- handle_batch ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("me")
def test_what_waits_is_handled_as_one_batch_in_order(block: Block) -> None:
    pid = Adder.start_link()
    otp.cast(pid, block)
    block.wait_entered()
    for number in range(10):
        otp.cast(pid, number) if number % 2 else otp.send(pid, number)
    block.release()
    expected = [[Cast(block)], [Cast(number) if number % 2 else number for number in range(10)]]
    assert otp.call(pid, "batches", HANG) == expected


@pytest.mark.usefixtures("me")
def test_every_call_of_a_batch_gets_its_own_answer(block: Block) -> None:
    pid = Adder.start_link()
    otp.cast(pid, block)
    block.wait_entered()
    answers: dict[int, Any] = {}

    def ask(number: int) -> None:
        answers[number] = otp.call(pid, number, HANG)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    block.release()
    for thread in threads:
        thread.join(HANG)
    assert answers == {number: number for number in range(10)}


def test_a_call_of_a_batch_that_stops_gets_the_reason(me: Attached, block: Block) -> None:
    pid = Adder.start_link()
    otp.cast(pid, block)
    block.wait_entered()
    otp.cast(pid, Stop(Failure("full")))
    errors: list[Any] = []

    def ask() -> None:
        try:
            otp.call(pid, "too late", HANG)
        except CallFailed as error:
            errors.append(error.reason)

    thread = threading.Thread(target=ask)
    thread.start()
    while otp.info(pid).mailbox < 2:  # until the call is in it
        pass
    block.release()
    thread.join(HANG)
    assert errors == [Failure("full")]
    assert exit_from(me, pid) == Failure("full")


def test_a_batching_server_dies_in_the_middle_of_a_batch(me: Attached, block: Block) -> None:
    pid = Adder.start_link()
    otp.cast(pid, block)
    block.wait_entered()
    otp.exit(pid, Kill())
    assert exit_from(me, pid) == Killed()


# --- a mailbox of one's own --------------------------------------------------------------------------------------------


class Counting(SimpleQueue[Any]):
    """A mailbox that counts what is put into it."""

    puts = 0

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002 - its own
        self.puts += 1
        super().put(item, block, timeout)


def test_a_server_may_bring_its_own_mailbox(me: Attached) -> None:
    made: list[Counting] = []

    class Special(Puppet):
        def make_inbox(self) -> Counting:
            made.append(Counting())
            return made[-1]

    pid = Special.start_link()
    (inbox,) = made
    otp.send(pid, "sent")
    otp.cast(pid, lambda _puppet: None)
    assert do(pid, lambda puppet: puppet.log[-1]) == ("info", "puppet", "sent")
    assert inbox.puts == 3
    otp.exit(pid, Kill())
    assert exit_from(me, pid) == Killed()
    assert inbox.puts == 4  # the word to wake up


# --- bounded mailboxes -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("me")
def test_a_full_mailbox_is_an_error_to_call_cast_and_send(block: Block) -> None:
    pid = Small.start_link()
    otp.cast(pid, block)
    block.wait_entered()
    for number in range(3):
        otp.send(pid, number)
    for attempt in (
        lambda: otp.call(pid, "x", HANG),
        lambda: otp.cast(pid, "x"),
        lambda: otp.send(pid, "x"),
        lambda: do(pid, lambda _puppet: None),
    ):
        with pytest.raises(MailboxFull) as caught:
            attempt()
        assert (caught.value.pid, caught.value.limit) == (pid, 3)
        assert str(caught.value) == f"the mailbox of {pid!r} is full (3 messages)"
    assert otp.info(pid).mailbox == 3
    block.release()


def test_a_mailbox_that_was_full_takes_messages_again(me: Attached, block: Block) -> None:
    pid = Small.start_link()
    otp.cast(pid, block)
    block.wait_entered()
    for number in range(2):
        otp.send(pid, number)
    otp.send(pid, lambda _puppet: otp.send(me.pid, "drained"))
    block.release()
    assert me.receive(HANG) == "drained"
    log = do(pid, lambda puppet: [entry[2] for entry in puppet.log[1:3]])
    assert log == [0, 1]


@pytest.mark.usefixtures("me")
def test_what_was_drained_and_waits_still_counts(block: Block, new_block: Any) -> None:
    first, second = block, new_block()
    pid = Small.start_link()
    otp.cast(pid, first)
    first.wait_entered()
    otp.cast(pid, second)
    otp.send(pid, 1)
    otp.send(pid, 2)
    first.release()
    second.wait_entered()  # both messages are drained from the inbox now
    assert otp.info(pid).mailbox == 2
    otp.send(pid, 3)
    with pytest.raises(MailboxFull):
        otp.send(pid, 4)
    second.release()


def test_signals_monitors_questions_and_stops_get_through_a_full_mailbox(me: Attached, block: Block) -> None:
    log: list[Any] = []
    pid, other = Small.start_link("small", log, traps=True), Puppet.start()
    ref = do(pid, lambda _puppet: otp.monitor(other))
    otp.cast(pid, block)
    block.wait_entered()
    for number in range(3):
        otp.send(pid, number)
    otp.exit(other, Failure("watched"))
    with pytest.raises(otp.CallTimeout):
        otp.state(pid, timeout=0.01)
    with pytest.raises(otp.CallTimeout):
        otp.stop(pid, timeout=0.01)
    block.release()
    assert exit_from(me, pid) == otp.Normal()
    assert [entry[2] for entry in log[1:]] == [0, 1, 2, otp.Down(ref, other, Failure("watched")), otp.Normal()]


@pytest.mark.usefixtures("me")
def test_a_call_to_a_full_mailbox_of_the_dead_is_noproc(block: Block) -> None:
    pid = Small.start()
    otp.cast(pid, block)
    block.wait_entered()
    for number in range(3):
        otp.send(pid, number)
    otp.exit(pid, Kill())
    with pytest.raises(CallFailed) as caught:
        otp.call(pid, "x")
    assert caught.value.reason == otp.NoProc()
    otp.cast(pid, "x")
    otp.send(pid, "x")
