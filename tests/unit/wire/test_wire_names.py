from __future__ import annotations

import base64
import contextlib
import os
import threading
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpq.wire.cookie import BadCookie, Cookie, default_cookie_file
from otpq.wire.node_name import BadNodeName, NodeName


def test_the_port_follows_from_the_name() -> None:
    name = NodeName.parse("a@127.0.0.1")
    assert (name.name, name.host, name.port) == ("a", "127.0.0.1", 20_000 + zlib.crc32(b"a") % 10_000)
    assert name.address == f"tcp://127.0.0.1:{name.port}"


@pytest.mark.parametrize(
    ("text", "shown", "address"),
    [
        ("a@host", "a@host", None),
        ("a@host:25000", "a@host:25000", "tcp://host:25000"),
        ("web-1.x_2@my.host.example", "web-1.x_2@my.host.example", None),
        ("a@[::1]:25000", "a@[::1]:25000", "tcp://[::1]:25000"),
        ("a@[::1]", "a@[::1]", None),
    ],
)
def test_names_that_are_right(text: str, shown: str, address: str | None) -> None:
    name = NodeName.parse(text)
    assert str(name) == shown
    assert NodeName.parse(str(name)) == name
    assert address is None or name.address == address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no '@'; it is NAME@HOST, such as 'a@127.0.0.1'"),
        ("worker", "such as 'worker@127.0.0.1'"),
        ("My Node@h", "such as 'mynode@h'"),
        ("@h", "such as 'a@h'"),
        ("-a@h", "begins and ends with a letter or digit, such as 'a@h'"),
        ("a" * 64 + "@h", "1 to 63"),
        ("a@", "after '@' stands a host name"),
        ("a@h h", "after '@' stands a host name"),
        ("a@b@c", "after '@' stands a host name"),
        ("a@::1", "an IPv6 address in brackets"),
        ("a@h:0", "'0' is not a port; a port is a number from 1 to 65535"),
        ("a@h:65536", "'65536' is not a port"),
        ("a@h:x", "'x' is not a port"),
        ("a@h:", "'' is not a port"),
    ],
)
def test_names_that_are_wrong_say_what_would_be_right(text: str, said: str) -> None:
    with pytest.raises(BadNodeName) as caught:
        NodeName.parse(text)
    assert said in str(caught.value)


@given(st.text(max_size=30))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    with contextlib.suppress(BadNodeName):
        assert NodeName.parse(NodeName.parse(text).address.replace("tcp://", "a@")).port > 0


def test_a_cookie_survives_its_file(tmp_path: Path) -> None:
    cookie = Cookie.new()
    path = tmp_path / "cookie"
    cookie.write(path, replace=False)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Cookie.read(path) == cookie
    assert [file.name for file in tmp_path.iterdir()] == ["cookie"]


def test_a_cookie_shows_itself_nowhere() -> None:
    cookie = Cookie.new()
    body = base64.b32encode(cookie.secret).decode().lower().rstrip("=")[:-1]
    assert body in cookie.text()
    for shown in (repr(cookie), str(cookie), f"{cookie}", repr(cookie.server_keys()), str(cookie.client_keys())):
        assert body not in shown
        assert cookie.secret.hex() not in shown
    assert repr(cookie.client_keys().secret) not in repr(cookie.client_keys())


def test_all_keys_follow_from_the_cookie_and_no_two_are_alike() -> None:
    cookie, other = Cookie.new(), Cookie.new()
    assert cookie.server_keys() == Cookie.parse(cookie.text()).server_keys()
    keys = [cookie.server_keys(), cookie.client_keys(), other.server_keys(), other.client_keys()]
    assert len({key.public for key in keys}) == len({key.secret for key in keys}) == 4
    assert all(len(key.public) == len(key.secret) == 40 for key in keys)


@given(st.integers(0, 55), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_a_cookie_with_a_wrong_letter_is_refused(place: int, letter: str) -> None:
    text = Cookie(b"k" * 32).text()
    changed = text[: 5 + place] + letter + text[6 + place :]
    if changed != text:
        with pytest.raises(BadCookie):
            Cookie.parse(changed)


@pytest.mark.parametrize(
    "text", ["", "secret", "otpq-", "otpq-secret", "otpq-" + "a" * 56, "a" * 56, "hunter2\n", "otpq-ü"]
)
def test_only_otpq_makes_cookies(text: str) -> None:
    with pytest.raises(BadCookie, match="otpq cookie new") as caught:
        Cookie.parse(text)
    assert len(text) < 6 or text not in str(caught.value)


def test_a_cookie_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cookie"
    Cookie.new().write(path, replace=False)
    for mode in (0o640, 0o604, 0o620, 0o677):
        path.chmod(mode)
        with pytest.raises(BadCookie, match=f"chmod 600 {path}"):
            Cookie.read(path)
    path.chmod(0o400)
    Cookie.read(path)


def test_a_missing_or_damaged_cookie_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cookie"
    with pytest.raises(BadCookie, match=f"no cookie at {path}"):
        Cookie.read(path)
    Cookie.new().write(path, replace=False)
    path.write_bytes(b"\xff" * 10)
    with pytest.raises(BadCookie, match=f"{path}: this is not the output"):
        Cookie.read(path)
    with pytest.raises(BadCookie, match="cannot be read"):
        Cookie.read(tmp_path)


def test_the_first_start_makes_the_cookie_and_all_agree(tmp_path: Path) -> None:
    path = tmp_path / "new" / "dir" / "cookie"
    found: list[Cookie] = []
    threads = [threading.Thread(target=lambda: found.append(Cookie.ensure(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({cookie.secret for cookie in found}) == 1
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(path.parent) == ["cookie"]  # noqa: PTH208 - hidden ones too


def test_where_the_cookie_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTPQ_COOKIE_FILE", "/x/y")
    assert default_cookie_file() == Path("/x/y")
    monkeypatch.delenv("OTPQ_COOKIE_FILE")
    monkeypatch.setenv("HOME", "/home/ann")
    assert default_cookie_file() == Path("/home/ann/.otpq/cookie")
