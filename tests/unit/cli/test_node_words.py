"""What `otpq node` is told: by words, by the environment, by a file; the first of them that says it counts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from otpq.cli.node import _environment, _file, _given, _parser, _settings
from otpq.errors import UsageError
from otpq.node.config import NodeConfig
from otpq.node.pools import PoolSettings

FILE = """
nodes:
  a@127.0.0.1:
    store: "memory:"
    pools: {default: {queues: [a], min: 3, max: 3}, io: {executor: thread}}
  b@127.0.0.2:25000:
app: jobs.py:app
grace: 7
lease: 8
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "jobs.py").write_text("")
    path = tmp_path / "cluster.yaml"
    path.write_text(FILE)
    return path


def config(*words: str, **environment: str) -> NodeConfig:
    said: dict[str, Any] = {**_environment(environment), **_given(words)}
    return NodeConfig(**_settings(said, _file(said.get("config"))))


def test_without_a_word_a_node_is_the_usual_one() -> None:
    assert config() == NodeConfig(path=(str(Path.cwd()),))


def test_every_option_has_a_variable() -> None:
    options = {action.dest for action in _parser()._actions} - {"help", "path"}
    values = {"grace": "3", "lease": "3", "quiet": "1", "debug": "1", "no_scheduler": "1"}
    assert _environment({f"OTPQ_{name.upper()}": values.get(name, "x") for name in options}).keys() == options


def test_words_go_before_the_environment_and_that_before_the_file(file: Path) -> None:
    words = ("--config", str(file), "--name", "a@127.0.0.1")
    assert config(*words).grace == 7
    assert config(*words, OTPQ_GRACE="5").grace == 5
    assert config(*words, "--grace", "4", OTPQ_GRACE="5").grace == 4
    assert config(*words, OTPQ_GRACE="").grace == 7  # empty: not said
    assert config(OTPQ_CONFIG=str(file), OTPQ_NAME="b@127.0.0.2").lease == 8


def test_the_file_says_all_that_words_do_not(file: Path) -> None:
    found = config("--config", str(file), "--name", "a@127.0.0.1")
    assert found.app == f"{file.parent}/jobs.py:app"
    assert found.path == (str(file.parent),)
    assert found.pools == (PoolSettings(queues=("a",), least=3, most=3), PoolSettings(name="io", executor="thread"))
    assert found.leads
    other = config("--config", str(file), "--name", "b@127.0.0.2", "--join", "c@127.0.0.1")
    assert str(other.name) == "b@127.0.0.2:25000"
    assert [str(name) for name in other.join] == ["c@127.0.0.1"]


def test_a_word_about_a_pool_changes_that_pool_of_the_file_and_no_other(file: Path) -> None:
    words = ("--config", str(file), "--name", "a@127.0.0.1")
    default, io = config(*words, "--workers", "1", "--pool", "io:parallel=3").pools
    assert (default.queues, default.least, default.most) == (("a",), 1, None)
    assert (io.executor, io.parallel) == ("thread", 3)
    pools = config(*words, OTPQ_POOL="io:tags=x;more:queues=m").pools
    assert [(pool.name, pool.tags) for pool in pools] == [("default", ()), ("io", ("x",)), ("more", ())]


def test_several_directories_stand_in_one_variable(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    found = config(OTPQ_SCRIPT_DIR=os.pathsep.join([f"{tmp_path}/a", f"{tmp_path}/b"]))
    assert found.script_dirs == (tmp_path / "a", tmp_path / "b")


def test_quiet_is_a_word_or_none() -> None:
    assert _environment({"OTPQ_QUIET": "true"}) == {"quiet": True}
    assert _environment({"OTPQ_QUIET": "0"}) == {}


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"OTPQ_GRACE": "soon"}, "OTPQ_GRACE='soon' is not allowed: seconds, as a number"),
        ({"OTPQ_QUIET": "maybe"}, "OTPQ_QUIET='maybe' is not allowed: 0 or 1"),
        ({"OTPQ_WORKERS": "many"}, "workers='many' is not allowed: a number of workers"),
    ],
)
def test_a_variable_that_cannot_be_right_is_named(environment: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        config(**environment)
    assert said in str(caught.value)
