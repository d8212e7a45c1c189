"""The two ends of a connection, without a client: what ZeroMQ does is what the code says it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import zmq

from otpq.wire.cookie import Cookie
from otpq.wire.dialled import Cause, Dialled
from otpq.wire.listener import AddressTaken, BadAddress, Listener
from tests.integration.client.fake_server import LONG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otpq.wire.cookie import KeyPair


@pytest.fixture
def listener(cookie: Cookie) -> Iterator[Listener]:
    listener = Listener("tcp://127.0.0.1:0", cookie)
    yield listener
    listener.close()


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context = zmq.Context()
    yield context
    context.destroy(linger=0)  # `term` would wait for the sockets of a test that failed


class OtherKey(Cookie, frozen=True):
    """Knows the server's public key, as a listener-in might, but has a key of its own."""

    def client_keys(self) -> KeyPair:
        return Cookie.new().client_keys()


def settle(listener: Listener, dialled: Dialled) -> None:
    """Serve the gate until the dialling side knows where it stands."""
    for _ in range(int(LONG / 0.01)):
        dialled.look()
        if dialled.is_up or dialled.down:
            return
        listener.wait(0.01)
    raise AssertionError("the handshake never ends")


def test_both_ways(listener: Listener, context: zmq.Context[zmq.Socket[bytes]], cookie: Cookie) -> None:
    dialled = Dialled(context, listener.address, cookie)
    settle(listener, dialled)
    assert dialled.is_up
    assert dialled.send(b"hello")
    listener.wait(LONG)
    got = listener.receive()
    assert got is not None
    peer, data = got
    assert data == b"hello"
    assert listener.receive() is None
    assert listener.send(peer, b"welcome")
    assert dialled.socket.poll(int(LONG * 1000))
    assert dialled.receive() == b"welcome"
    assert dialled.receive() is None
    dialled.close()


def test_a_right_server_key_and_a_wrong_client_key(
    listener: Listener, context: zmq.Context[zmq.Socket[bytes]], cookie: Cookie
) -> None:
    dialled = Dialled(context, listener.address, OtherKey(cookie.secret))
    settle(listener, dialled)
    assert dialled.down is not None
    assert dialled.down.cause is Cause.COOKIE
    assert listener.refused == 1
    dialled.close()


def test_another_cookie(listener: Listener, context: zmq.Context[zmq.Socket[bytes]]) -> None:
    dialled = Dialled(context, listener.address, Cookie.new())
    settle(listener, dialled)
    assert dialled.down is not None
    assert dialled.down.cause is Cause.HANDSHAKE_CUT
    dialled.close()


def test_no_curve_at_all(listener: Listener) -> None:
    # Which of these the dialling side is told depends on who closes first.
    ends = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_DISCONNECTED
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        with socket.get_monitor_socket(ends) as monitor:
            socket.connect(listener.address)
            socket.send(b"let me in")
            for _ in range(int(LONG / 0.01)):
                listener.wait(0.01)
                if monitor.poll(0):
                    break
            else:
                raise AssertionError("its connection was not ended")
            socket.disable_monitor()
    assert listener.receive() is None


def test_a_peer_that_is_gone_is_told_to_the_sender(listener: Listener) -> None:
    assert not listener.send(b"nobody", b"x")


def test_a_taken_port_is_a_clear_error(listener: Listener, cookie: Cookie) -> None:
    with pytest.raises(AddressTaken, match="is this node running already"):
        Listener(listener.address, cookie)


@pytest.mark.parametrize("address", ["tcp://192.0.2.1:25000", "tcp://127.0.0.1:x", "nonsense"])
def test_an_address_that_is_not_ours(cookie: Cookie, address: str) -> None:
    with pytest.raises(BadAddress, match="cannot listen on"):
        Listener(address, cookie)


def test_waiting_ends_when_somebody_wakes_it(listener: Listener) -> None:
    listener.wake()
    listener.wake()
    listener.wait(LONG)
    listener.wait(0)
