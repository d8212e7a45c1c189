"""What a client does when the node is not there, is another one, goes away and comes back."""

from __future__ import annotations

import os
import socket
import threading
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from otpq.client.address import target
from otpq.client.calls import Call
from otpq.client.client import Client, connect
from otpq.client.errors import CookieRefused, NodeUnreachable, VersionRefused, WrongNode
from otpq.client.io import Target
from otpq.wire.cookie import Cookie
from otpq.wire.messages import MAX_MESSAGE
from tests.integration.client.fake_server import LONG, FakeServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def silent_port() -> Iterator[socket.socket]:
    """A port on which somebody listens and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_nothing_listens(cookie_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(NodeUnreachable, match=rf"a@127.0.0.1 \(tcp://127.0.0.1:{port}\) within 0.1 s: nothing listens"):
        connect(f"a@127.0.0.1:{port}", 0.1, cookie_file=cookie_file)


def test_who_will_not_wait_for_a_node_to_start_is_told_that_nothing_listens(
    cookie_file: Path, silent_port: socket.socket
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    for place, says in (
        (f"127.0.0.1:{free}", r"within 0\.2 s: nothing listens"),
        ("no-such-host.invalid", r"within 0\.2 s: the host name is unknown"),
        (f"127.0.0.1:{silent_port.getsockname()[1]}", r"within 0\.5 s: "),
    ):
        client = Client(target(f"a@{place}", cookie_file))
        with pytest.raises(NodeUnreachable, match=says):
            client.wait_connected(0.5, while_nobody=0.2)
        client.close()


def test_who_asks_for_a_node_that_is_not_there_is_told_of_those_that_are(
    cookie_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent_port: socket.socket
) -> None:
    place = tmp_path / "home" / ".otpq" / "b@127.0.0.1"
    place.mkdir(parents=True)
    (place / "address").write_text(f"b@127.0.0.1 {os.getpid()}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(NodeUnreachable, match=r"; nodes of yours that run here: b@127\.0\.0\.1$"):
        connect(f"a@127.0.0.1:{silent_port.getsockname()[1]}", 0.1, cookie_file=cookie_file)
    with pytest.raises(NodeUnreachable) as itself:
        connect(f"b@127.0.0.1:{silent_port.getsockname()[1]}", 0.1, cookie_file=cookie_file)
    assert "that run here" not in str(itself.value)


def test_an_unknown_host(cookie_file: Path) -> None:
    with pytest.raises(NodeUnreachable, match="host name is unknown"):
        connect("a@no-such-host.invalid", 0.3, cookie_file=cookie_file)


def test_something_listens_that_says_nothing(cookie_file: Path, silent_port: socket.socket) -> None:
    with pytest.raises(NodeUnreachable, match="that does not answer"):
        connect(f"a@127.0.0.1:{silent_port.getsockname()[1]}", 1.9, cookie_file=cookie_file)


def test_something_listens_that_is_no_node(cookie_file: Path, silent_port: socket.socket) -> None:
    def answer_like_a_web_server() -> None:
        while True:
            try:
                peer, _ = silent_port.accept()
            except OSError:
                return
            with peer:
                peer.recv(10)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" + b" " * 100)

    threading.Thread(target=answer_like_a_web_server, daemon=True).start()
    with pytest.raises(NodeUnreachable, match="no otpq node"):
        connect(f"a@127.0.0.1:{silent_port.getsockname()[1]}", 0.5, cookie_file=cookie_file)
    silent_port.shutdown(socket.SHUT_RDWR)


def test_a_wrong_cookie_is_told_at_once(server: FakeServer, tmp_path: Path) -> None:
    other = tmp_path / "other"
    Cookie.new().write(other, replace=False)
    begin = monotonic()
    with pytest.raises(CookieRefused, match="OTPQ_COOKIE_FILE") as caught:
        connect(server.name, LONG, cookie_file=other)
    assert monotonic() - begin < LONG / 2  # not an assertion on speed: it did not wait for its timeout
    assert str(other) in str(caught.value)
    assert server.seen.total() == 0


def test_another_node_of_the_cluster(server: FakeServer, cookie_file: Path) -> None:
    with pytest.raises(WrongNode, match=r"this is fake@127\.0\.0\.1, not other@127\.0\.0\.1"):
        connect(server.name.replace("fake", "other"), LONG, cookie_file=cookie_file)


def test_a_node_that_speaks_another_version(server: FakeServer, cookie_file: Path) -> None:
    server.versions = [2, 3]
    with pytest.raises(VersionRefused, match=r"speaks versions \[2, 3\]"):
        connect(server.name, LONG, cookie_file=cookie_file)


def test_a_node_that_starts_later_is_found(cookie: Cookie) -> None:
    with FakeServer(cookie) as first:
        address = first.address
    with Client(Target(address, "", cookie, ""), LONG) as client:
        assert client._session.io.why_down() is not None
        with FakeServer(cookie, address):
            client.wait_connected(LONG)


def test_a_restarted_server_gets_everything_again(cookie: Cookie, cookie_file: Path) -> None:
    with FakeServer(cookie) as first:
        client = connect(first.name, LONG, cookie_file=cookie_file)
        before = client.submit(Call("waits"))
        first.is_mute = True
        lost = [client.submit_soon(Call("ok", (i,))) for i in range(300)]
        first.wait_until(lambda: first.seen["Submit"] > 1)
    with client, FakeServer(cookie, first.address, first.tasks) as second:
        assert [receipt.handle(LONG).get(LONG) for receipt in lost] == list(range(300))
        second.finish(before.id, "survived")
        assert before.get(LONG) == "survived"
        assert len(second.tasks) == 301
        assert client._session.io.counters["connections"] == 2


def test_an_acknowledgement_that_was_lost_makes_no_second_task(cookie: Cookie, cookie_file: Path) -> None:
    with FakeServer(cookie) as first:
        client = connect(first.name, LONG, cookie_file=cookie_file)
        answers: list[str] = []
        first.listener.send = lambda *_: True  # type: ignore[method-assign]  # says so, and loses it
        caller = threading.Thread(target=lambda: answers.append(client.submit(Call("ok", (1,), tags=["t"])).id))
        caller.start()
        first.wait_until(lambda: len(first.tasks) == 1)
    with client, FakeServer(cookie, first.address, first.tasks) as second:
        caller.join(LONG)
        assert [id.hex() for id in second.tasks] == answers
        assert client.handle(answers[0]).get(LONG) == 1


def test_a_result_that_was_lost_is_asked_for_again(cookie: Cookie, cookie_file: Path) -> None:
    with FakeServer(cookie) as first:
        client = connect(first.name, LONG, cookie_file=cookie_file)
        handle = client.submit(Call("waits"))
        first.listener.send = lambda *_: True  # type: ignore[method-assign]
        first.finish(handle.id, "lost once")
    with client, FakeServer(cookie, first.address, first.tasks):
        assert handle.get(LONG) == "lost once"


def test_garbage_from_a_client_hurts_nobody(client: Client, server: FakeServer) -> None:
    io = client._session.io

    def send_rubbish(_now: float) -> None:
        assert io._link is not None
        assert io._link.dialled is not None
        for data in (b"", b"\xc1", b"\xff" * 1000, b"\x92\x04\x01", b"\x91\x63", b"\x81\xa1a\x01"):
            assert io._link.dialled.send(data)
        io._link.dialled.socket.send_multipart([b"two", b"frames"])

    io.wish(send_rubbish)
    server.wait_until(lambda: server.faults.total() == 7)
    assert server.faults == {"garbage": 3, "invalid": 4}
    assert client.submit(Call("ok", (1,))).get(LONG) == 1


def test_garbage_from_a_server_is_counted_and_dropped(client: Client, server: FakeServer) -> None:
    def send_rubbish() -> None:
        for data in (b"", b"\xc1", b"\x92\x04\x01"):
            server.listener.send(next(iter(server._peers)), data)

    server.do(send_rubbish)
    assert client.submit(Call("ok", (1,))).get(LONG) == 1
    assert client._session.io.counters["faults"] == 3


def test_an_oversized_message_costs_its_sender_the_connection(client: Client, server: FakeServer) -> None:
    io = client._session.io

    def send_too_much(_now: float) -> None:
        assert io._link is not None
        assert io._link.dialled is not None
        io._link.dialled.send(bytes(MAX_MESSAGE + 1))

    io.wish(send_too_much)
    server.wait_until(lambda: server.seen["Hello"] == 2)
    assert client.submit(Call("ok", (1,))).get(LONG) == 1
    assert server.faults.total() == 0


def test_a_silent_server_is_pinged_and_given_up(cookie: Cookie, cookie_file: Path) -> None:
    from otpq.client.address import target
    from otpq.client.core import Settings

    with FakeServer(cookie) as server:
        settings = Settings(ping_after=0.01, silent_after=0.02)
        with Client(target(server.name, cookie_file), LONG, settings) as client:
            client.wait_connected(LONG)
            server.is_mute = True
            receipt = client.submit_soon(Call("ok", (1,)))
            server.wait_until(lambda: server.seen["Ping"] >= 1 and server.seen["Hello"] >= 2)
            server.do(server.unmute)
            assert receipt.handle(LONG).get(LONG) == 1


def test_a_fork_starts_anew(client: Client, server: FakeServer) -> None:
    before = client.submit(Call("waits"))
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            got = client.submit(Call("ok", ("child",))).get(LONG)
            os.write(writer, str(got).encode())
            os.write(writer, b"," + str(before.get(LONG)).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    server.wait_until(lambda: server.seen["Hello"] == 2 and len(server.tasks) == 2)
    assert client.submit(Call("ok", ("parent",))).get(LONG) == "parent"
    server.finish(before.id, "both")
    assert before.get(LONG) == "both"
    with os.fdopen(reader, "rb") as answers:
        assert answers.read() == b"child,both"
    assert os.waitpid(pid, 0)[1] == 0
    assert len(set(server.tasks)) == 3
