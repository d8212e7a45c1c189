from __future__ import annotations

from pathlib import Path

import pytest

from otpq.store.errors import BadStoreUrl
from otpq.store.url import open_reading, parse_url


def test_three_ways_to_name_a_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert parse_url("memory:") is None
    assert parse_url("sqlite:///var/lib/otpq/tasks.db") == Path("/var/lib/otpq/tasks.db")
    assert parse_url("sqlite:///a%20b") == Path("/a b")
    assert parse_url("tasks.db") == tmp_path / "tasks.db"
    assert parse_url("./a:b.db") == tmp_path / "a:b.db"
    assert parse_url("/x/../tasks.db") == Path("/tasks.db")
    assert parse_url("~/tasks.db") == tmp_path / "home" / "tasks.db"


def test_two_names_of_one_file_are_one_store(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "tasks.db")
    assert parse_url(str(tmp_path / "link")) == tmp_path / "tasks.db"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "path of a file is missing"),
        ("/", "path of a file is missing"),
        ("dir/", "path of a file is missing"),
        ("a\0b", "path of a file is missing"),
        ("sqlite:", "three slashes"),
        ("sqlite:tasks.db", "three slashes"),
        ("sqlite://tasks.db", "three slashes"),
        ("sqlite:///", "path of a file is missing"),
        ("sqlite:///a.db?mode=ro", "no parameters"),
        ("memory:x", "nothing follows memory:"),
        ("sqlit:///a.db", "did you mean 'sqlite'?"),
        ("postgres://host/db", "unknown kind of store 'postgres'"),
        ("~nobody-of-this-name/x", "home"),
    ],
)
def test_a_wrong_url_is_refused_with_what_would_be_right(url: str, says: str) -> None:
    with pytest.raises(BadStoreUrl) as refused:
        parse_url(url)
    assert says in str(refused.value)
    assert "right would be sqlite:///absolute/path.db" in str(refused.value)
    assert refused.value.url == url


def test_memory_is_not_read_from_elsewhere() -> None:
    with pytest.raises(BadStoreUrl, match="in its own process alone"):
        open_reading("memory:")
