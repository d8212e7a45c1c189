"""The handler that tells webhooks, against a real receiver on the loopback."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from otpq.endings import Discard
from otpq.worker.webhooks import WebhookFailed, WebhookRunner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = b"0123456789abcdef0123456789abcdef"


class Receiver(ThreadingHTTPServer):
    """Answers with what it is told to, and remembers what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Post)
        self.status, self.headers = 200, dict[str, str]()
        self.got: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


class Post(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((dict(self.headers), body))
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def do_GET(self) -> None:
        self.server.got.append(({}, b"GET"))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def runner(receiver: Receiver, tmp_path: Path) -> WebhookRunner:
    file = tmp_path / "secret"
    file.write_bytes(SECRET + b"\n")
    file.chmod(0o600)
    return WebhookRunner({"k": (receiver.url, str(file)), "closed": ("http://127.0.0.1:1/token", str(file))})


def test_an_event_is_posted_with_a_signature(receiver: Receiver, runner: WebhookRunner) -> None:
    assert runner("k", "failed", 1_700_000_000.5, {"id": "7", "error": "Käse"}) == 200
    ((headers, body),) = receiver.got
    assert json.loads(body) == {"event": "failed", "time": "2023-11-14T22:13:20.500+00:00", "id": "7", "error": "Käse"}
    time, _, mac = headers["Otpq-Signature"].partition(",v1=")
    right = hmac.digest(SECRET, time.removeprefix("t=").encode() + b"." + body, hashlib.sha256).hex()
    assert mac == right
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [500, 404, 302, 304])
def test_whatever_is_not_2xx_is_a_failure_that_is_tried_again(
    receiver: Receiver, runner: WebhookRunner, status: int
) -> None:
    receiver.status, receiver.headers = status, {"Location": receiver.url}
    with pytest.raises(WebhookFailed, match=f"^127.0.0.1:[0-9]+ answered {status}$"):
        runner("k", "failed", 0.0, {})
    assert len(receiver.got) == 1, "it follows nobody elsewhere"


def test_who_is_gone_is_not_asked_again(receiver: Receiver, runner: WebhookRunner) -> None:
    receiver.status = 410
    with pytest.raises(Discard, match="answered 410: it wants to hear no more"):
        runner("k", "failed", 0.0, {})


def test_who_cannot_be_reached_is_a_failure_that_does_not_tell_the_address(runner: WebhookRunner) -> None:
    with pytest.raises(WebhookFailed, match="was not reached") as caught:
        runner("closed", "failed", 0.0, {})
    assert "token" not in str(caught.value)


def test_what_the_file_does_not_have_any_more_is_told_nobody(receiver: Receiver, runner: WebhookRunner) -> None:
    with pytest.raises(Discard, match="does not have the webhook"):
        runner("other", "failed", 0.0, {})
    assert receiver.got == []
