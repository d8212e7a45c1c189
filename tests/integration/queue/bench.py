"""A queue server on a free port, a client beside it, and a pool that is the test itself."""

from __future__ import annotations

import socket
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import msgpack

from otpq.client.client import Client, connect
from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.otp import Attached, Cast, Pid, cast, stop
from otpq.queue.messages import OpenPool
from otpq.queue.queue_server import QueueServer
from otpq.queue.reader import Reader
from otpq.store.url import open_store
from otpq.wire.cookie import Cookie
from otpq.wire.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SESSION = "a@127.0.0.1/1/default"
HANDLERS = ("echo", "done", "over", "later", "task", "mail")


class Bench:
    """The queue server of a test, restarted at will over the same store."""

    def __init__(self, directory: Path, me: Attached) -> None:
        self.me = me
        self.cookie_file = directory / "cookie"
        self.cookie = Cookie.ensure(self.cookie_file)
        self.url = str(directory / "store.db")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.name = f"a@127.0.0.1:{self.port}"
        self.open_store: Callable[[], Any] = partial(open_store, self.url)
        self.has_reader = False
        self.server = self.start()
        self.told: deque[ef.Effect] = deque()

    def start(self) -> Pid:
        listen = partial(Listener, f"tcp://127.0.0.1:{self.port}", self.cookie)
        self.server = QueueServer.start(
            self.open_store,
            listen,
            "a@127.0.0.1",
            "1",
            has_reader=self.has_reader,
            name="queue_server",
            registry=self.me.registry,
        )
        return self.server

    def restart_with_reader(self) -> Pid:
        """Another queue server, and a Reader that looks into the store for it."""
        stop(self.server)
        self.has_reader = True
        self.start()
        return self.start_reader()

    def start_reader(self) -> Pid:
        return Reader.start(self.url, "queue_server", name="reader", registry=self.me.registry)

    def connect(self) -> Client:
        return connect(self.name, cookie_file=self.cookie_file)

    def open_pool(self, pool: Pid | None = None) -> None:
        opened = ev.SessionOpened(
            session=SESSION,
            node="a@127.0.0.1",
            incarnation="1",
            queues=("default",),
            handlers=dict.fromkeys(HANDLERS, b""),
        )
        cast(self.server, (OpenPool(self.me.pid if pool is None else pool, opened),))

    def ask(self, batches: int) -> None:
        cast(self.server, (ev.Demand(session=SESSION, asked=batches),))

    def effect(self, kind: type[Any], timeout: float = 10.0) -> Any:
        """The next effect of a kind that the server casts to the pool."""
        while True:
            while self.told:
                effect = self.told.popleft()
                if isinstance(effect, kind):
                    return effect
            message = self.me.receive(timeout)
            if isinstance(message, Cast):
                self.told.extend(message.request)

    def succeed(self, dispatch: ef.Dispatch, finished: float = 2.0) -> None:
        """Give each task its arguments back as its result."""
        results: list[ev.Result] = [
            ev.Succeeded(
                seq=row.seq, result=msgpack.packb(msgpack.unpackb(row.payload)[0]), started=1.0, finished=finished
            )
            for row in dispatch.rows
        ]
        cast(self.server, (ev.Results(session=SESSION, lease=dispatch.lease, results=results),))
