from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from otpq.errors import UsageError
from otpq.node.config import BadDirectory, NodeConfig
from otpq.node.pools import PoolSettings
from otpq.wire.node_name import NodeName


def test_what_is_not_told_follows_from_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    config = NodeConfig(name=NodeName.parse("a@h"))
    assert config.place == Path("/home/ann/.otpq/a@h")
    assert config.store_url == "/home/ann/.otpq/a@h/store.db"
    assert config.cookie == Path("/home/ann/.otpq/cookie")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pools": (PoolSettings(), PoolSettings())}, "pools=['default', 'default'] is not allowed: each name once"),
        ({"memory": -1}, "memory=-1.0 is not allowed: MiB, more than 0"),
        ({"script_dirs": (Path("scripts"),)}, "script_dirs='scripts' is not allowed: absolute paths of directories"),
        ({"script_dirs": (Path("/nowhere"),)}, "script_dirs='/nowhere' is not allowed: absolute paths of directories"),
        ({"grace": -1}, "grace=-1 is not allowed: seconds, 0 or more"),
        ({"grace": math.nan}, "grace=nan is not allowed: seconds, 0 or more"),
        ({"grace": "x"}, "grace='x' is not allowed: seconds, 0 or more"),
        ({"store": "postgres:x"}, "store 'postgres:x': unknown kind of store 'postgres'; right would be sqlite:///"),
        ({"store": ""}, "store '': the path of a file is missing; right would be sqlite:///"),
    ],
)
def test_a_setting_that_cannot_be_right_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        NodeConfig(**given)
    assert said in str(caught.value)


def test_a_directory_that_cannot_be_used_is_told_with_what_to_do() -> None:
    error = BadDirectory(Path("/a"), PermissionError(13, "Permission denied", "/a/b"))
    assert str(error) == (
        "the node's directory /a cannot be used: Permission denied: /a/b; "
        "make it writable for this user, free some space, or name another by --dir"
    )


def test_a_node_without_an_app_runs_scripts_or_nothing(tmp_path: Path) -> None:
    assert NodeConfig().staffed == ()
    pool = PoolSettings(name="io", executor="thread", parallel=4)
    with_scripts = NodeConfig(script_dirs=(tmp_path,), pools=(pool, PoolSettings(name="off", least=0)))
    assert [(each.name, each.executor, each.at_a_time) for each in with_scripts.staffed] == [("io", "script", 1)]
    assert NodeConfig(app="a:b", pools=(pool,)).staffed == (pool,)
