from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Self

import pytest

from otpq.client import address, aio, client, program


class Fake:
    def __init__(self, address: str | None = None, cookie_file: Path | None = None) -> None:
        self.place = (address, cookie_file)
        self.is_closed = False
        self.entered = 0

    async def __aenter__(self) -> Self:
        self.entered += 1
        return self

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "connect", Fake)
    monkeypatch.setattr(aio, "connect_async", Fake)
    monkeypatch.setattr(program, "_clients", {})
    monkeypatch.setattr(program, "_own", [])
    monkeypatch.setattr(address, "_own_node", lambda: None)


def fake_client() -> Any:
    return program.client()


def test_a_program_has_one_client() -> None:
    assert fake_client().place == (None, None)
    assert fake_client() is fake_client()


def test_of_threads_that_connect_at_once_all_get_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Fake] = []

    def connect() -> Fake:
        made.append(one := Fake())
        if len(made) == 1:
            assert fake_client() is made[1], "another thread need not wait for the first"
        return one

    monkeypatch.setattr(client, "connect", connect)
    assert fake_client() is fake_client()
    slow, quick = made
    assert fake_client() is quick
    assert (slow.is_closed, quick.is_closed) == (True, False)


def test_the_node_of_the_program_goes_before_any_other_until_it_ends() -> None:
    other = fake_client()
    node = program.OwnNode("a@h", Path("cookie"))
    program.add_own_node(node)
    own = fake_client()
    assert own.place == ("a@h", Path("cookie"))
    assert address.find_node() == "a@h"

    program.remove_own_node(node)
    assert (own.is_closed, other.is_closed) == (True, False)
    assert fake_client() is other


def test_of_two_nodes_the_later_is_meant() -> None:
    first, second = program.OwnNode("a@h", None), program.OwnNode("b@h", None)
    program.add_own_node(first)
    program.add_own_node(second)
    assert fake_client().place[0] == "b@h"
    program.remove_own_node(first)
    assert fake_client().place[0] == "b@h"
    assert not fake_client().is_closed


def test_an_event_loop_has_one_client() -> None:
    async def both() -> tuple[Any, Any]:
        one, two = await asyncio.gather(program.async_client(), program.async_client())
        return one, two

    one, two = asyncio.run(both())
    assert one is two
    other, _ = asyncio.run(both())
    assert other is not one
