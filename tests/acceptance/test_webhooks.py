"""Webhooks as users have them: in a cluster.yaml, told by tasks, to a receiver that has its bad moments."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otpq.client.calls import Call
from otpq.client.questions import Selector
from otpq.task import WEBHOOK_HANDLER
from tests.acceptance.cluster import until
from tests.acceptance.conftest import LONG, RunningNode
from tests.pages import files_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otpq.task import Task
    from tests.acceptance.conftest import Stage

SECRET = "f00dfeed" * 8
PAGE = Path(__file__).parents[2] / "docs" / "events.md"
VERIFY: dict[str, Any] = {}
exec(files_of(PAGE.read_text(encoding="utf-8"))["verify.py"], VERIFY)  # noqa: S102 - our own page


class Receiver(ThreadingHTTPServer):
    """Answers with the next of its statuses, then with 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Post)
        self.statuses: list[int] = []
        self.got: list[tuple[str, str, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/token-0815"

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.got]


class Post(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        self.server.got.append((self.headers["Otpq-Delivery"], self.headers["Otpq-Signature"], body))
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def node(stage: Stage, receiver: Receiver) -> Iterator[RunningNode]:
    secret = stage.home / "hooks.secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    (stage.home / "cluster.yaml").write_text(
        f"nodes:\n  {stage.name}:\n    pools: {{default: {{max: 2}}}}\n"
        f"app: jobs.py:app\n"
        f"handlers: {{'@webhook': {{retry_delay: 0.05, jitter: 0}}}}\n"
        f"webhooks:\n"
        f"  - {{url: '{receiver.url}', events: [failed, paused], name: 'fail*', secret_file: hooks.secret}}\n"
    )
    stage.environment["no_proxy"] = "127.0.0.1"
    node = RunningNode(stage.popen("node", "--config", "cluster.yaml", "--name", stage.name))
    try:
        node.wait_ready()
        yield node
    finally:
        assert node.terminate() == 0, "".join(node.err)
    said = "".join(node.err)
    assert SECRET not in said
    assert "token-0815" not in said


def deliveries(stage: Stage) -> list[Task]:
    with stage.connect() as client:
        return list(client.tasks(Selector(name=WEBHOOK_HANDLER)))


@pytest.mark.usefixtures("node")
def test_a_receiver_that_answers_500_twice_is_told_at_the_third_attempt(stage: Stage, receiver: Receiver) -> None:
    receiver.statuses = [500, 500]
    with stage.connect() as client:
        client.submit(Call("add", (1, 2))).get(LONG)
        handle = client.submit(Call("fail", ("no such file",)))
        until(lambda: len(receiver.got) == 3)
        until(lambda: [task.state for task in deliveries(stage)] == ["succeeded"])
        (task,) = deliveries(stage)
        assert client.handle(task.id).get(LONG) == 200
    assert (task.attempt, task.parent) == (3, handle.id)
    assert task.title == "failed fail to 127.0.0.1"
    assert "token-0815" not in repr(task)
    assert {delivery for delivery, _, _ in receiver.got} == {task.id}
    body = receiver.bodies()[0]
    assert body.pop("time").endswith("+00:00")
    assert body == {
        "event": "failed",
        "id": handle.id,
        "name": "fail",
        "queue": "default",
        "attempt": 1,
        "reason": "error",
        "error": "ValueError: no such file",
    }
    for _, signature, sent in receiver.got:
        assert VERIFY["is_ours"](sent, signature, SECRET.encode())
        assert not VERIFY["is_ours"](sent, signature, b"another secret 1")
        assert not VERIFY["is_ours"](sent + b" ", signature, SECRET.encode())
        assert not VERIFY["is_ours"](sent, signature, SECRET.encode(), tolerance=-1.0), "it is too old"
        assert not VERIFY["is_ours"](sent, "", SECRET.encode())


@pytest.mark.usefixtures("node")
def test_what_happens_to_the_cluster_is_told_and_410_is_the_end(stage: Stage, receiver: Receiver) -> None:
    receiver.statuses = [410]
    with stage.connect() as client:
        client.pause(handler="fail", why="the disk is full")
        client.pause(handler="add")  # of no interest
        until(lambda: [task.state for task in deliveries(stage)] == ["failed"])
        (task,) = deliveries(stage)
        assert task.error is not None
        assert (task.attempt, task.error.message.partition("answered ")[2]) == (1, "410: it wants to hear no more")
        assert len(receiver.got) == 1
        body = receiver.bodies()[0]
        assert (body["event"], body["handler"], body["why"]) == ("paused", "fail", "the disk is full")


def test_a_secret_that_others_may_read_is_refused_at_the_start(stage: Stage) -> None:
    (stage.home / "hooks.secret").write_text(SECRET)
    (stage.home / "hooks.secret").chmod(0o644)
    (stage.home / "cluster.yaml").write_text(
        f"nodes: {{{stage.name}: {{}}}}\nwebhooks: [{{url: 'https://h/', events: [failed], secret_file: hooks.secret}}]\n"
    )
    ended = stage.otpq("node", "--config", "cluster.yaml", "--name", stage.name)
    assert ended.returncode == 2
    assert "take their rights away: chmod 600" in ended.stderr
    assert SECRET not in ended.stderr
