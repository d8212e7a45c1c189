from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from otpq import otp
from otpq.otp import Attached, Kill, Registry, attach
from tests.integration.otp.support import Block, Script, end_of, join_new_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def blocks() -> list[Block]:
    """All blocks of a test; they are released at its end."""
    return []


@pytest.fixture
def new_block(blocks: list[Block]) -> Callable[[], Block]:
    def make() -> Block:
        blocks.append(Block())
        return blocks[-1]

    return make


@pytest.fixture
def block(new_block: Callable[[], Block]) -> Block:
    return new_block()


@pytest.fixture(autouse=True)
def nothing_is_left(blocks: list[Block]) -> Iterator[None]:
    """After each test its threads end: nobody waits for what cannot come."""
    before = set(threading.enumerate())
    yield
    for block in blocks:
        block.release()
    join_new_threads(before)


@pytest.fixture
def registry(nothing_is_left: None, blocks: list[Block]) -> Iterator[Registry]:  # noqa: ARG001 - it comes last
    """A registry of the test's own, whose processes end with the test. Then it is empty, without a zombie."""
    registry = Registry()
    before = set(threading.enumerate())
    yield registry
    with attach("teardown", trap_exit=True) as me:
        while left := registry.processes():
            for pid in left:
                otp.exit(pid, Kill())
                end_of(me, pid)
    assert registry.names() == {}
    for block in blocks:
        block.release()
    join_new_threads(before)
    assert registry.zombies() == []


@pytest.fixture
def me(registry: Registry) -> Iterator[Attached]:
    """The test's thread as a process that traps exits."""
    with attach("test", registry=registry, trap_exit=True) as me:
        yield me


@pytest.fixture
def script() -> Script:
    return Script()
