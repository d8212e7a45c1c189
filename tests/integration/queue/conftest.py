from collections.abc import Iterator
from pathlib import Path

import pytest

from otpq.client.client import Client
from otpq.otp import Registry, attach, is_alive, stop
from tests.integration.queue.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with attach("pool", registry=Registry()) as me:
        bench = Bench(tmp_path, me)
        yield bench
        if is_alive(bench.server):
            stop(bench.server)


@pytest.fixture
def client(bench: Bench) -> Iterator[Client]:
    with bench.connect() as client:
        yield client
