"""What is wrong is told in one line on standard error that says what would be right, and has its exit code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from otpq.client.calls import Call
from otpq.wire.cookie import Cookie
from tests.acceptance.conftest import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_TASK = "f" * 32


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("home"))
    stage.node()
    with stage.connect() as client:
        client.submit(Call("add", (1, 2), {}, queue="mail", delay=3600))
    Cookie.new().write(stage.home / "other", replace=True)
    (stage.home / "nonsense").write_text("x")
    (stage.home / "nonsense").chmod(0o600)
    (stage.home / "cluster.yaml").write_text("nodes:\n  a@127.0.0.1:\n    pols: {}\n")
    yield stage
    stage.close()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("lst",), 2, "otpq: no such command 'lst'. Did you mean 'list'?"),
        (("list", "--stat", "failed"), 2, "otpq list: no such option: --stat; did you mean '--state'?"),
        (("list", "--colour"), 2, "otpq list: no such option: --colour; `otpq list --help` shows which there are"),
        (("list", "--limit", "many"), 2, "otpq list: invalid value for '--limit'"),
        (("list", "--limit", "0"), 2, "limit=0 is not allowed: 1 to 1000"),
        (("list", "--after", "x"), 1, "after='x' is not the `next` of a page"),
        (("list", "--state", "faild"), 2, "'faild' is no state; states are pending, queued, running"),
        (("list", "--before", "1y"), 2, "before='1y' is not allowed: an age such as 30s, 5m, 1h, 2d or 1w"),
        (("show",), 2, "otpq show: missing argument 'ID'"),
        (("show", "abc"), 6, "there is no task 'abc'"),
        (("show", NO_TASK), 6, f"there is no task '{NO_TASK}'"),
        (("why", NO_TASK), 6, f"there is no task '{NO_TASK}'"),
        (("logs", NO_TASK), 6, f"there is no task '{NO_TASK}'"),
        (("cancel", NO_TASK), 6, f"there is no task '{NO_TASK}'"),
        (("retry", NO_TASK), 6, f"there is no task '{NO_TASK}'"),
        (("delete", "abc", NO_TASK), 6, "there is no task 'abc'"),
        (("cancel",), 2, "name tasks by their ids, or select some"),
        (("cancel", "--state", "runing"), 2, "'runing' is no state"),
        (
            ("cancel", "--queue", "mail"),
            2,
            "this would cancel 1 task, and nobody is here to be asked; with --yes it is done",
        ),
        (("purge", "mail"), 2, "this would purge 1 task, and nobody is here"),
        (("purge", "mial"), 6, "there is no queue 'mial'; did you mean 'mail'?"),
        (("pause",), 2, "pause() is told what: a queue, or handler=, or both"),
        (("scale", "defualt", "2"), 6, "there is no pool 'defualt'; there are: default"),
        (("scale", "default", "-1"), 2, "-1"),
        (("reload", "gpu"), 6, "there is no pool 'gpu'; there are: default"),
        (("submit", "add", "-o", "retires=1"), 2, "unknown option 'retires'; did you mean 'retries'?"),
        (("submit", "ad", "--strict"), 2, "did you mean 'add'?"),
        (("submit-script", "/etc/passwd"), 2, "--script-dir"),
        (("queues", "--node", "nonsense"), 2, "has no '@'"),
        (("queues", "--cookie-file", "none"), 5, "none"),
        (("queues", "--cookie-file", "nonsense"), 5, "nonsense"),
        (
            ("queues", "--cookie-file", "other"),
            5,
            "the cookie is refused; other is not the cookie of that node's cluster",
        ),
        (("check", "none.db"), 3, ""),
        (("check", "postgres:x"), 2, "unknown kind of store 'postgres'"),
        (("migrate", "none.db"), 3, "none.db"),
        (("config", "check", "cluster.yaml"), 2, "did you mean 'pools'?"),
        (("config", "check", "none.yaml"), 2, "none.yaml"),
        (("up", "--config", "none.yaml"), 2, "none.yaml"),
        (("top",), 2, "top draws on a terminal, and this is none; use --once, or --json"),
    ],
)
def test_each_slip_has_its_line_and_its_code(stage: Stage, words: tuple[str, ...], code: int, said: str) -> None:
    ended = stage.otpq(*words)
    assert said in (ended.stderr or ended.stdout)
    assert (ended.returncode, len((ended.stderr or ended.stdout).splitlines())) == (code, 1)


def test_a_store_that_a_node_has_is_not_migrated(stage: Stage) -> None:
    ended = stage.otpq("migrate", str(stage.store))
    assert ended.returncode == 4
    assert re.fullmatch(r"otpq: store .* is held by process \d+; .*\n", ended.stderr)


def test_a_node_that_is_not_there_is_told_with_those_that_are(stage: Stage) -> None:
    ended = stage.otpq("queues", "--node", "nobody@127.0.0.1")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(r"otpq: no node was reached at .* within 2 s: nothing listens there; .*\n", ended.stderr)
    assert stage.name in ended.stderr


def test_debug_shows_where(stage: Stage) -> None:
    ended = stage.otpq("show", "abc", "--debug")
    assert ended.stderr.startswith("Traceback")
    assert "TaskNotFound: there is no task 'abc'" in ended.stderr
