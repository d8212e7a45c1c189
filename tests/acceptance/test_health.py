"""`otpq health`, as a probe runs it: about the very node that it names, and with an end."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

from otpq.wire.node_name import default_port
from tests.acceptance.cluster import Cluster
from tests.acceptance.conftest import LONG

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import Stage


def test_a_node_answers_for_itself_and_not_for_the_others(stage: Stage) -> None:
    cluster = Cluster(stage)
    try:
        cluster.start(1)
        broken = stage.home / "broken.py"
        broken.write_text("raise ImportError('no such thing')\n")
        other = cluster.start(2, "--app", f"{broken}:app")

        def health(place: int, *words: str) -> tuple[int, str]:
            ran = stage.otpq("health", "--node", cluster.name(place), "--timeout", "3", *words)
            return ran.returncode, ran.stdout

        wait_until(lambda: health(2)[0] == 1)
        _, said = health(2, "--json")
        facts = json.loads(said)
        assert (facts["node"], facts["state"], facts["leader"]) == (cluster.name(2), "up", cluster.leader)
        assert "no such thing" in facts["problems"][0]
        assert health(1)[0] == 0, "what is wrong elsewhere is no reason to start this one anew"
        with cluster.connect() as client:
            assert client.health()["ok"] is False, "of the cluster as a whole"
        assert health(2, "--alive") == (0, f"alive: true\nnode: {cluster.name(2)}\nleader: {cluster.leader}\n")

        other.process.send_signal(signal.SIGSTOP)
        assert health(2, "--alive")[0] == 1
        other.process.send_signal(signal.SIGCONT)

        cluster.nodes[cluster.leader].process.send_signal(signal.SIGSTOP)
        assert health(1, "--alive")[0] == 1
        assert health(2)[0] == 1, "nobody says that it is up"
        assert health(2, "--alive")[0] == 0, "and yet it is alive"
    finally:
        cluster.close()


def test_a_node_that_is_not_there_or_is_another_is_told_in_one_line(stage: Stage) -> None:
    stage.node()
    port = default_port(stage.plain)
    stage.environment["OTPQ_NODE"] = stage.name
    assert stage.otpq("health").returncode == 0
    for words, code, said in (
        (("--node", f"nobody@127.0.0.1:{port}"), 1, stage.name),
        (("--node", f"{stage.plain}@127.0.0.9", "--timeout", "2"), 1, "nothing listens there"),
        (("--node", "no name"), 2, "'no name'"),
    ):
        for probe in ((), ("--alive",)):
            ended = stage.otpq("health", *words, *probe)
            assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (code, "", 1), ended.stderr
            assert said in ended.stderr
    other = stage.home / "other"
    other.write_text(stage.otpq("cookie", "new").stdout)
    other.chmod(0o600)
    for probe in ((), ("--alive",)):
        assert stage.otpq("health", "--cookie-file", str(other), *probe).returncode == 5


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
