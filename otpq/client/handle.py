"""A task in the hands of whoever submitted it: how it stands, how it ends, and a way to end it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from otpq.client.errors import WaitTimeout
from otpq.client.views import error_of
from otpq.task import Task, TaskState
from otpq.wire.values import unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from otpq.client.aio import AsyncClient
    from otpq.client.cell import Cell
    from otpq.client.client import Client
    from otpq.client.io import Io
    from otpq.client.session import Session
    from otpq.task import Progress
    from otpq.wire.messages import Outcome

__all__ = ["AsyncTaskHandle", "TaskHandle"]


R_co = TypeVar("R_co", covariant=True)


def call_back(
    get: Callable[[], Any], ok: Callable[[Any], object] | None, error: Callable[[BaseException], object] | None
) -> None:
    """Call `ok` with what `get` gives, or `error` with what it raises."""
    try:
        result = get()
    except Exception as failure:  # noqa: BLE001 - whatever `get` would raise is what `error` is for
        if error is not None:
            error(failure)
        return
    if ok is not None:
        ok(result)


class Watched:
    """A task, and where its outcome arrives: from the submission on, or from the first time somebody looks.

    When nobody holds the handle any more, that place is forgotten, so that a program that only submits does not grow.
    """

    __slots__ = ("__weakref__", "_cell", "_client", "_io", "_key", "_session")

    def __init__(
        self, client: Any, session: Session, key: bytes, cell: Cell[Outcome] | None = None, io: Io | None = None
    ) -> None:
        self._client = client
        self._session = session
        self._key = key
        self._cell = cell
        self._io = io

    @property
    def id(self) -> str:
        """The task's id, 32 hexadecimal digits."""
        return self._key.hex()

    def outcome_cell(self) -> Cell[Outcome]:
        """Where the outcome arrives; a fork's child, to which nothing arrives in the parent's, gets a new one."""
        cell = self._cell
        if cell is None or not (cell.is_filled or self._io is self._session.io):
            self._io = self._session.io
            cell = self._cell = self._session.watch(self._key)
        return cell

    def forget_outcome(self) -> None:
        """It has been started again: wait for the end that is to come."""
        self._cell = None

    def __del__(self) -> None:
        if self._io is not None and self._cell is not None and not self._cell.is_filled:
            self._io.drop(self._key, self._cell)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


class TaskHandle(Watched, Generic[R_co]):
    """A task that has been submitted, or any by its id. `state`, `progress`, `ready`, ... are asked now, never guessed.

    `TaskHandle[int]` to a type checker is one whose result is an int.
    """

    __slots__ = ()

    _client: Client

    def task(self) -> Task:
        """The whole task as it is now."""
        return self._client.get_task_status(self.id)

    @property
    def state(self) -> TaskState:
        """The state it has now."""
        return self.task().state

    @property
    def progress(self) -> Progress | None:
        """(fraction, message) as the handler last told; None if it tells none."""
        return self.task().progress

    @property
    def ready(self) -> bool:
        """Whether it has ended: succeeded, failed, cancelled or expired."""
        return self.task().has_ended

    @property
    def successful(self) -> bool:
        """Whether it has succeeded."""
        return self.state is TaskState.SUCCEEDED

    @property
    def failed(self) -> bool:
        """Whether it has failed for good."""
        return self.state is TaskState.FAILED

    def get(self, timeout: float | None = None) -> R_co:
        """The task's result, waited for up to `timeout` seconds; None waits for ever.

        Raises:
            TaskFailed: It failed for good; the message has the child's traceback.
            TaskCancelled: It was cancelled.
            TaskExpired: It had not started when its time was over.
            TaskNotFound: It has been deleted.
            TimeoutError: It had not ended in time. It goes on.
        """
        cell = self.outcome_cell()
        if not self._client.wait_for(cell, timeout):
            raise WaitTimeout([self], timeout or 0.0)
        return self.result_of(cell.get())

    def then(
        self, ok: Callable[[R_co], object] | None = None, error: Callable[[BaseException], object] | None = None
    ) -> None:
        """Call `ok(result)` or `error(exception)` on the client's callback thread when the task ends.

        At once if it has ended. What a callback raises is logged.
        """
        cell = self.outcome_cell()

        cell.when_filled(
            lambda: self._client.callbacks.put(lambda: call_back(lambda: self.result_of(cell.get()), ok, error))
        )

    def cancel(self, grace: float = 5.0) -> str:
        """End the task: 'cancelled' (it had not started), 'cancelling' (it has `grace` seconds) or 'too_late'."""
        return self._client.cancel(self.id, grace)

    def result_of(self, outcome: Outcome) -> R_co:
        """The result that the task ended with, or the error raised; for who has waited for it."""
        failure = error_of(outcome)
        if failure is not None:
            raise failure
        result: Any = None  # it is what the handler said it would be, or it would not be a handle of that type
        if outcome.fetch:
            result = unpack(self._client.fetch(self._key))
        elif outcome.result is not None:
            result = unpack(outcome.result)
        return result  # type: ignore[no-any-return]


class AsyncTaskHandle(Watched, Generic[R_co]):
    """A task in asyncio's world. `state`, `progress`, `ready`, ... are as of the last `await handle.refresh()`."""

    __slots__ = ("_task",)

    _client: AsyncClient

    def __init__(self, *watched: Any) -> None:
        super().__init__(*watched)
        self._task: Task | None = None

    async def refresh(self) -> Task:
        """The whole task as it is now; the properties tell of it from here on."""
        self._task = await self._client.get_task_status(self.id)
        return self._task

    @property
    def state(self) -> TaskState | None:
        """The state at the last refresh; None before the first."""
        return None if self._task is None else self._task.state

    @property
    def progress(self) -> Progress | None:
        """(fraction, message) at the last refresh."""
        return None if self._task is None else self._task.progress

    @property
    def ready(self) -> bool:
        """Whether it had ended at the last refresh."""
        return self._task is not None and self._task.has_ended

    @property
    def successful(self) -> bool:
        """Whether it had succeeded at the last refresh."""
        return self.state is TaskState.SUCCEEDED

    @property
    def failed(self) -> bool:
        """Whether it had failed for good at the last refresh."""
        return self.state is TaskState.FAILED

    async def get(self, timeout: float | None = None) -> R_co:  # noqa: ASYNC109 - as the blocking one
        """The task's result, waited for up to `timeout` seconds. Raises as `TaskHandle.get` does."""
        cell = self.outcome_cell()
        if not await self._client.wait_for(cell, timeout):
            raise WaitTimeout([self], timeout or 0.0)
        return await self.result_of(cell.get())

    async def result_of(self, outcome: Outcome) -> R_co:
        """The result that the task ended with, or the error raised; for who has waited for it."""
        failure = error_of(outcome)
        if failure is not None:
            raise failure
        result: Any = None
        if outcome.fetch:
            result = unpack(await self._client.fetch(self._key))
        elif outcome.result is not None:
            result = unpack(outcome.result)
        return result  # type: ignore[no-any-return]

    def __await__(self) -> Generator[Any, None, R_co]:
        """`await handle` is `await handle.get()`."""
        return self.get().__await__()

    async def cancel(self, grace: float = 5.0) -> str:
        """End the task: 'cancelled' (it had not started), 'cancelling' (it has `grace` seconds) or 'too_late'."""
        return await self._client.cancel(self.id, grace)
