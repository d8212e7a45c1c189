"""The asyncio client: the same as `Client`, awaitable. The sockets stay with the I/O thread; only answers enter the loop.

Methods take `timeout=` as the blocking ones do, so that the two clients have one signature; `asyncio.timeout` works too.
"""
# ruff: noqa: ASYNC109 - see above

from __future__ import annotations

import asyncio
import warnings
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from otpq.client import questions
from otpq.client.address import known_nodes, target
from otpq.client.calls import as_call
from otpq.client.errors import NodeUnreachable, TaskNotFound, UnknownHandlerWarning, WaitTimeout
from otpq.client.handle import AsyncTaskHandle
from otpq.client.ids import id_bytes
from otpq.client.questions import Page, Question, Selector
from otpq.client.session import CHUNKS_UNDER_WAY, Session, chunks, in_thousands
from otpq.errors import OtpqError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from pathlib import Path

    from otpq.client.calls import Call
    from otpq.client.cell import Cell
    from otpq.client.core import Settings
    from otpq.client.effects import Acknowledged
    from otpq.client.io import Target
    from otpq.task import Task
    from otpq.wire.messages import NewTask, Outcome

__all__ = ["AsyncClient", "connect_async"]

T = TypeVar("T")


def connect_async(
    address: str | None = None, timeout: float = 10, *, cookie_file: Path | str | None = None
) -> AsyncClient:
    """A client for `async with`, which connects it. Arguments and errors are those of `connect`."""
    return AsyncClient(target(address, cookie_file), timeout)


class AsyncClient:
    """A connection to a cluster, for the tasks of one event loop. Connected by `async with`."""

    def __init__(self, to: Target, timeout: float = 10, settings: Settings | None = None) -> None:
        self._session = Session(to, timeout, settings)
        self._bridge: Bridge | None = None
        self._finalizer = weakref.finalize(self, Session.close, self._session)

    async def __aenter__(self) -> Self:
        try:
            await self._connected()
        except BaseException:
            await self.close()
            raise
        return self

    async def _connected(self) -> None:
        timeout, io = self._session.timeout, self._session.io
        if not await self.wait_for(io.welcomed, timeout):
            to = self._session.target
            raise NodeUnreachable(to.shown, (io.why_down() or "no answer") + known_nodes(to.node), timeout)
        io.welcomed.get()

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def close(self, timeout: float = 5.0) -> None:
        """Close the connection after up to `timeout` seconds for what is not acknowledged. Twice is fine."""
        if self._finalizer.detach() is not None:
            await asyncio.to_thread(self._session.close, timeout)

    # ------------------------------------------------------------ submitting

    async def submit(
        self, call: Call | Mapping[str, Any], timeout: float | None = None, *, strict: bool = False
    ) -> AsyncTaskHandle[Any]:
        """Submit a call; when this returns, the task is durable. Raises as `Client.submit` does.

        Many at a time (`asyncio.gather`) travel together.
        """
        return (await self._submit([self._session.task(call, strict=strict)], timeout))[0]

    async def submit_task(
        self, what: str | Call | Mapping[str, Any], *args: Any, **kwargs: Any
    ) -> AsyncTaskHandle[Any]:
        """Submit by name with arguments, by a `Call`, or by a map."""
        return await self.submit(as_call(what, args, kwargs))

    async def submit_many(
        self, calls: Iterable[Call | str | Mapping[str, Any]], timeout: float | None = None, *, strict: bool = False
    ) -> list[AsyncTaskHandle[Any]]:
        """Submit many calls in chunks of at most 1,000, each made as a whole or not at all; as `Client.submit_many`."""
        under_way: deque[asyncio.Task[list[AsyncTaskHandle[Any]]]] = deque()
        handles: list[AsyncTaskHandle[Any]] = []
        try:
            for chunk in chunks(self._session.task(call, strict=strict) for call in calls):
                under_way.append(asyncio.create_task(self._submit(chunk, timeout)))
                if len(under_way) == CHUNKS_UNDER_WAY:
                    handles += await under_way.popleft()
            while under_way:
                handles += await under_way.popleft()
        except OtpqError as error:
            rest = await asyncio.gather(*under_way, return_exceptions=True)
            handles += [handle for one in rest if isinstance(one, list) for handle in one]
            error.handles = handles  # type: ignore[attr-defined]
            raise
        return handles

    async def _submit(self, tasks: list[NewTask], timeout: float | None) -> list[AsyncTaskHandle[Any]]:
        ticket, slots = self._session.send(tasks)
        return self._handles_of(await self._answer(ticket, "the submission", timeout), slots)

    def _handles_of(self, acknowledged: Acknowledged, slots: Sequence[Cell[Outcome]]) -> list[AsyncTaskHandle[Any]]:
        for warning in self._session.warnings(acknowledged):
            warnings.warn(warning, UnknownHandlerWarning, stacklevel=4)
        session, io = self._session, self._session.io
        places = zip(acknowledged.ids, slots, strict=True)
        return [AsyncTaskHandle(self, session, id, slot, io) for id, slot in places]

    # --------------------------------------------------------------- waiting

    def handle(self, id: str) -> AsyncTaskHandle[Any]:
        """A handle of the task with that id; as `Client.handle`."""
        return AsyncTaskHandle(self, self._session, id_bytes(id))

    async def wait(self, handles: Iterable[AsyncTaskHandle[Any]], timeout: float | None = None) -> list[Task]:
        """The tasks, in the order of `handles`, when all have ended; as `Client.wait`."""
        handles = list(handles)
        cells = [handle.outcome_cell() for handle in handles]
        try:
            async with asyncio.timeout(timeout):
                for cell in cells:
                    await self.wait_for(cell, None)
        except TimeoutError:
            pending = [handle for handle, cell in zip(handles, cells, strict=True) if not cell.is_filled]
            if pending:
                raise WaitTimeout(pending, timeout or 0.0) from None
        for cell in cells:
            cell.get()  # raises if the client was closed meanwhile
        return await self._tasks_of([id_bytes(handle.id) for handle in handles])

    async def _tasks_of(self, ids: list[bytes]) -> list[Task]:
        found = {task.id: task for part in in_thousands(ids) for task in await self._ask(questions.get(part))}
        for id in ids:
            if id.hex() not in found:
                raise TaskNotFound(id.hex())
        return [found[id.hex()] for id in ids]

    # ---------------------------------------------------------------- asking

    async def get_task_status(self, id: str) -> Task:
        """The task as it is now. Raises `TaskNotFound`."""
        return (await self._tasks_of([id_bytes(id)]))[0]

    async def tasks(self, selector: Selector | None = None, *, limit: int = 100, after: str | None = None) -> Page:
        """A page of tasks, the newest first; its `next` is given back as `after` for the following one."""
        return await self._ask(questions.tasks(selector or Selector(), limit, after))

    async def iter_tasks(self, selector: Selector | None = None) -> AsyncIterator[Task]:
        """All tasks that `selector` selects, the newest first, fetched page by page."""
        after: str | None = None
        while True:
            page = await self.tasks(selector, limit=1000, after=after)
            for task in page:
                yield task
            after = page.next
            if after is None:
                return

    async def counts(self, queue: str | None = None) -> dict[str, dict[str, int]]:
        """How many tasks are where: {queue: {state: n}}, all eight states present."""
        return await self._ask(questions.counts(queue))

    async def why(self, id: str) -> dict[str, Any] | None:
        """Why a task is not at work now: {"code": ..., "facts": {...}}; None once it has ended.

        Codes: `not_due`, `paused`, `handler_limit`, `no_handler`, `no_worker`, `assigned` (in front of a child, or running).

        Raises:
            TaskNotFound: There is none with this id.
        """
        return await self._ask(questions.why(id_bytes(id)))

    async def cancel(self, id: str, grace: float = 5.0) -> str:
        """End a task: 'cancelled' (it had not started; durable), 'cancelling' (it has `grace` seconds) or 'too_late'."""
        return await self._ask(questions.cancel(id_bytes(id), grace))

    async def cancel_all(self, selector: Selector) -> int:
        """Cancel what `selector` selects and has not ended; how many."""
        return await self._ask(questions.affected("cancel_all", selector))

    async def retry(self, selector: Selector) -> int:
        """Start ended tasks again, at attempt 1; how many."""
        return await self._ask(questions.affected("retry", selector))

    async def delete(self, selector: Selector) -> int:
        """Remove ended tasks; how many."""
        return await self._ask(questions.affected("delete", selector))

    async def purge(self, queue: str) -> int:
        """Throw away what waits in a queue, never what runs; how many."""
        return await self._ask(questions.queue("purge", queue))

    async def pause(self, queue: str) -> int:
        """Hold a queue back until `resume`; how many tasks wait in it."""
        return await self._ask(questions.queue("pause", queue))

    async def resume(self, queue: str) -> int:
        """Let a paused queue go on; how many tasks wait in it."""
        return await self._ask(questions.queue("resume", queue))

    async def queues(self) -> list[dict[str, Any]]:
        """What is known of each queue."""
        return await self._ask(questions.facts("queues"))

    async def handlers(self) -> list[dict[str, Any]]:
        """What is known of each handler."""
        return await self._ask(questions.facts("handlers"))

    async def workers(self) -> list[dict[str, Any]]:
        """What is known of each worker."""
        return await self._ask(questions.facts("workers"))

    async def nodes(self) -> list[dict[str, Any]]:
        """What is known of each node."""
        return await self._ask(questions.facts("nodes"))

    async def health(self) -> dict[str, Any]:
        """Whether the node serves, and what is wrong if it does not."""
        return await self._ask(questions.facts("health"))

    async def stats(self) -> dict[str, Any]:
        """The node's counters."""
        return await self._ask(questions.facts("stats"))

    # ------------------------------------------------------------ for handles

    async def wait_for(self, cell: Cell[Any], timeout: float | None) -> bool:
        """Whether the cell is filled, after waiting up to `timeout` seconds for it."""
        if cell.is_filled:
            return True
        loop = asyncio.get_running_loop()
        if self._bridge is None or self._bridge.loop is not loop:
            self._bridge = Bridge(loop)
        future: asyncio.Future[None] = loop.create_future()
        wake = partial(self._bridge.post, future)
        cell.when_filled(wake)
        try:
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            return cell.is_filled
        finally:
            cell.forget(wake)
        return True

    async def fetch(self, id: bytes) -> bytes:
        """The packed result of a task, whatever its size."""
        return await self._answer(self._session.fetch(id), "the request for a result")

    async def _ask(self, question: Question[T]) -> T:
        return question.answer(await self._answer(self._session.ask(question), f"{question.verb!r}"))

    async def _answer(self, cell: Cell[T], what: str, timeout: float | None = None) -> T:
        seconds = self._session.timeout if timeout is None else timeout
        if not await self.wait_for(cell, seconds):
            raise self._session.give_up(cell, what, seconds)
        return cell.get()


class Bridge:
    """From the I/O thread into an event loop: futures to complete, handed over in batches.

    `call_soon_threadsafe` writes to a pipe each time; here it is called once for all that comes until the loop gets to it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._futures: deque[asyncio.Future[None]] = deque()
        self._is_called = False

    def post(self, future: asyncio.Future[None]) -> None:
        """Complete `future` in its loop. From any thread."""
        self._futures.append(future)
        if not self._is_called:
            self._is_called = True
            try:
                self.loop.call_soon_threadsafe(self._complete)
            except RuntimeError:  # the loop is closed: nobody awaits any more
                self._futures.clear()

    def _complete(self) -> None:
        self._is_called = False  # before looking: what comes from here on calls again
        while self._futures:
            future = self._futures.popleft()
            if not future.done():
                future.set_result(None)
