from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otpq.client.client import connect
from otpq.wire.cookie import Cookie
from tests.integration.client.fake_server import FakeServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from otpq.client.client import Client


@pytest.fixture
def cookie_file(tmp_path: Path) -> Path:
    path = tmp_path / "cookie"
    Cookie.new().write(path, replace=False)
    return path


@pytest.fixture
def cookie(cookie_file: Path) -> Cookie:
    return Cookie.read(cookie_file)


@pytest.fixture
def server(cookie: Cookie) -> Iterator[FakeServer]:
    with FakeServer(cookie) as server:
        yield server


@pytest.fixture
def client(server: FakeServer, cookie_file: Path) -> Iterator[Client]:
    with connect(server.name, cookie_file=cookie_file) as client:
        yield client
