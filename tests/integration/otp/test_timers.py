from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from otpq import otp
from otpq.otp import Kill, MailboxFull, clock
from otpq.otp.clock import call_later
from tests.integration.otp.support import HANG, Block, Boom, Puppet, answers, do, nothing_more

if TYPE_CHECKING:
    from otpq.otp import Attached

LONG = 3600.0


@pytest.fixture
def stopped_clock(block: Block, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock's thread is held, and the time at which timers are set stands still; both go on at `release`."""
    call_later(0, block)
    block.wait_entered()
    still = time.monotonic()
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: still))

    def release() -> None:
        monkeypatch.undo()
        block.release()

    return SimpleNamespace(release=release)


def test_a_timer_sends_its_message(me: Attached) -> None:
    otp.send_after(0, me.pid, "now")
    assert me.receive(HANG) == "now"
    otp.send_after(0.001, me.pid, "soon")
    assert me.receive(HANG) == "soon"


def test_timers_fire_by_their_time_and_equal_ones_in_the_order_they_were_set(
    me: Attached, stopped_clock: SimpleNamespace
) -> None:
    for seconds, message in ((0.003, "d"), (0.001, "b"), (0, "a"), (0.001, "c")):
        otp.send_after(seconds, me.pid, message)
    stopped_clock.release()
    assert [me.receive(HANG) for _ in range(4)] == ["a", "b", "c", "d"]


def test_a_cancelled_timer_tells_what_was_left_and_does_not_fire(me: Attached, stopped_clock: SimpleNamespace) -> None:
    due = otp.send_after(0, me.pid, "cancelled in time")
    otp.send_after(0, me.pid, "the next")
    assert otp.cancel_timer(due) is not None
    assert otp.cancel_timer(due) is None
    stopped_clock.release()
    assert me.receive(HANG) == "the next"
    assert nothing_more(me)


def test_the_seconds_left_are_between_none_and_all(me: Attached) -> None:
    timer = otp.send_after(LONG, me.pid, "never")
    left = otp.cancel_timer(timer)
    assert left is not None
    assert 0 < left <= LONG


def test_a_timer_that_has_fired_cannot_be_cancelled(me: Attached) -> None:
    timer = otp.send_after(0, me.pid, "now")
    assert me.receive(HANG) == "now"
    assert otp.cancel_timer(timer) is None


def test_a_short_timer_is_not_held_up_by_a_long_one(me: Attached) -> None:
    long = otp.send_after(LONG, me.pid, "never")
    otp.send_after(0.001, me.pid, "soon")
    assert me.receive(HANG) == "soon"
    otp.cancel_timer(long)


def test_a_timer_for_ever_hurts_nobody(me: Attached) -> None:
    timer = otp.send_after(float("inf"), me.pid, "never")
    otp.send_after(0, me.pid, "now")
    assert me.receive(HANG) == "now"
    assert otp.cancel_timer(timer) == float("inf")


def test_a_name_is_looked_up_when_the_timer_fires(me: Attached, stopped_clock: SimpleNamespace) -> None:
    otp.send_after(0, "till", "to whoever it is then")
    otp.send_after(0, "nobody", "lost")
    otp.send_after(0, me.pid, "done")
    pid = Puppet.start_link(name="till")
    stopped_clock.release()
    assert me.receive(HANG) == "done"
    assert do(pid, lambda puppet: puppet.log[-1]) == ("info", "puppet", "to whoever it is then")


def test_a_timer_to_the_dead_is_lost(me: Attached) -> None:
    pid = Puppet.start()
    otp.exit(pid, Kill())
    otp.send_after(0, pid, "lost")
    otp.send_after(0, me.pid, "done")
    assert me.receive(HANG) == "done"


def test_a_server_may_have_a_timer_to_itself(me: Attached) -> None:
    pid = Puppet.start_link()
    do(pid, lambda puppet: otp.send_after(0, puppet.pid, lambda _puppet: otp.send(me.pid, "tick")))
    assert me.receive(HANG) == "tick"


def test_timers_are_not_bounded_by_a_mailbox_limit(me: Attached, block: Block) -> None:
    class Small(Puppet):
        mailbox_limit = 1

    log: list[object] = []
    pid = Small.start_link("small", log)
    otp.cast(pid, block)
    block.wait_entered()
    otp.send(pid, "fills it")
    with pytest.raises(MailboxFull):
        otp.send(pid, "too much")
    otp.send_after(0, pid, "past the limit")
    otp.send_after(0, me.pid, "done")
    assert me.receive(HANG) == "done"
    block.release()
    otp.stop(pid, timeout=HANG)
    assert log[1:3] == [("info", "small", "fills it"), ("info", "small", "past the limit")]


def test_a_function_that_fails_does_not_stop_the_clock(me: Attached, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise Boom("spring")

    call_later(0, fail)
    otp.send_after(0, me.pid, "tick")
    assert me.receive(HANG) == "tick"
    assert caplog.messages == ["a timer's function failed; the clock goes on"]
    assert "Boom: spring" in caplog.text


def test_a_timer_outlives_the_process_that_set_it(me: Attached, stopped_clock: SimpleNamespace) -> None:
    pid = Puppet.start()
    do(pid, lambda _puppet: otp.send_after(0, me.pid, "from beyond"))
    otp.exit(pid, Kill())
    stopped_clock.release()
    assert me.receive(HANG) == "from beyond"
    assert not otp.is_alive(pid)
    assert answers(Puppet.start_link())
