from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from otpq.errors import UsageError
from otpq.node.config import BadDirectory, NodeConfig
from otpq.wire.node_name import NodeName

WORKERS = "a whole number, 0 or more"
TEXT = "printable text of 1 to 255 bytes"


def test_what_is_not_told_follows_from_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    config = NodeConfig(name=NodeName.parse("a@h"))
    assert config.place == Path("/home/ann/.otpq/a@h")
    assert config.store_url == "/home/ann/.otpq/a@h/store.db"
    assert config.cookie == Path("/home/ann/.otpq/cookie")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"workers": -1}, f"workers=-1 is not allowed: {WORKERS}"),
        ({"workers": 1.5}, f"workers=1.5 is not allowed: {WORKERS}"),
        ({"workers": True}, f"workers=True is not allowed: {WORKERS}"),
        ({"queues": ()}, "queues=() is not allowed: one or more names, each once"),
        ({"queues": ("a", "b", "a")}, "queues=('a', 'b', 'a') is not allowed: one or more names, each once"),
        ({"queues": ("a", "")}, f"queue='' is not allowed: {TEXT}"),
        ({"queues": ("a\nb",)}, TEXT),
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
