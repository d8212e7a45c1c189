"""A workflow in the hands of whoever submitted it. One whose result is a task's is that task's handle too."""

from __future__ import annotations

from abc import abstractmethod
from datetime import UTC, datetime
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from otpq.client.cell import when_all
from otpq.client.errors import NotSucceeded, QueryFailed, TaskCancelled, WaitTimeout, refused
from otpq.client.flow_views import WorkflowStatus
from otpq.client.handle import AsyncTaskHandle, TaskHandle, call_back
from otpq.client.ids import member_id
from otpq.client.lowering import Plan, Shape, places_in
from otpq.client.views import error_of, in_place_of
from otpq.task import TaskState
from otpq.wire.messages import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping

    from otpq.client.aio import AsyncClient
    from otpq.client.client import Client
    from otpq.client.session import Session
    from otpq.task import Progress
    from otpq.wire.messages import Outcome

__all__ = [
    "AsyncChainHandle",
    "AsyncGroupHandle",
    "AsyncWorkflowHandle",
    "ChainHandle",
    "GroupHandle",
    "WorkflowHandle",
    "not_made",
]

R_co = TypeVar("R_co", covariant=True)
POLL = 0.2
"""Seconds after which who watches a workflow asks how it is."""


class Submitted:
    """What is known of a workflow that was submitted, without asking."""

    def __init__(self, client: Any, session: Session, key: bytes, plan: Plan) -> None:
        self.client = client
        self.session = session
        self.key = key
        self.shape = plan.shape
        self.count = len(plan.members)
        self.on_failure = plan.on_failure

    def id_of(self, place: int) -> bytes:
        """The id of the task at that place."""
        return member_id(self.key, place)


def not_made(failure: QueryFailed, plan: Plan) -> Exception:
    """The error for a workflow that was refused; it has the place of the call that is at fault, if one is."""
    index = failure.facts.get("index")
    if not isinstance(index, int) or not 0 <= index < len(plan.members):
        return failure
    message = f"{plan.members[index].where}: {failure.args[0]}"
    return refused(Refusal(index, failure.code, message, "", dict(failure.facts)))


def cause_of(status: WorkflowStatus) -> str | None:
    """The id of the first member that has failed, or expired, and so had the others cancelled."""
    guilty = (each.id for each in status.members if each.state in {TaskState.FAILED, TaskState.EXPIRED})
    return next(guilty, None)


def laid_out(shape: Shape, results: Mapping[int, Any]) -> Any:
    """The results in the form that the workflow's result has."""
    return results[shape] if isinstance(shape, int) else [laid_out(one, results) for one in shape]


class Judged(NamedTuple):
    """What the ends of a group's tasks mean for its result."""

    in_place: dict[int, Any]
    """What stands in the place of results that there are not."""
    failure: Exception | None
    """What is to be raised; a cancelled task alone may have its cause elsewhere in the workflow."""
    is_cancelled: bool
    """Whether some were cancelled: then the whole may have been."""


def judged(outcomes: Mapping[int, Outcome], on_failure: str) -> Judged:
    """What these ends mean, by what was said of failures. What has been deleted is always an error."""
    errors = {place: error for place, one in outcomes.items() if (error := error_of(one)) is not None}
    cancelled = [error for error in errors.values() if isinstance(error, TaskCancelled)]
    in_place: dict[int, Any] = {}
    if on_failure != "fail":
        in_place = {
            place: in_place_of(outcomes[place]) if on_failure == "collect" else None
            for place, error in errors.items()
            if isinstance(error, NotSucceeded)
        }
    raised = [error for place, error in errors.items() if place not in in_place]
    failure = next((error for error in raised if not isinstance(error, TaskCancelled)), next(iter(raised), None))
    return Judged(in_place, failure, bool(cancelled))


def nothing_to_do(key: bytes) -> WorkflowStatus:
    """How a workflow without tasks stands: nothing was made of it."""
    now = datetime.now(UTC)
    return WorkflowStatus(id=key.hex(), state="succeeded", created_at=now, finished_at=now)


class WorkflowHandle(Generic[R_co]):
    """A workflow that was submitted. What it is asked is asked now, never guessed.

    `get()` gives the result of a chain's or a chord's last task, the list of a group's results, of a `Workflow` those of the parts
    that nothing comes after: one, or a list.
    """

    __slots__ = ()

    _of: Submitted

    @property
    def workflow(self) -> str:
        """The workflow's id, 32 hexadecimal digits."""
        return self._of.key.hex()

    @property
    def id(self) -> str:
        """The last task's id, or the workflow's where the result is not one task's."""
        return self.workflow

    @property
    def state(self) -> str:
        """`running`, `succeeded`, `failed` or `cancelled`."""
        return self.status(members=False).state

    @property
    def progress(self) -> Progress | None:
        """(fraction, '3 of 10'): how many of its tasks have ended."""
        return self.status(members=False).progress

    @property
    def ready(self) -> bool:
        """Whether all its tasks have ended."""
        return self.status(members=False).has_ended

    @property
    def successful(self) -> bool:
        """Whether it has succeeded."""
        return self.state == "succeeded"

    @property
    def failed(self) -> bool:
        """Whether it has failed."""
        return self.state == "failed"

    @abstractmethod
    def get(self, timeout: float | None = None) -> R_co:
        """The result, waited for up to `timeout` seconds; None waits for ever.

        Raises:
            TaskFailed: A task failed for good; the error is the one of that task, wherever in the workflow it stands.
            TaskCancelled: It was cancelled.
            TaskExpired: A task had not started when its time was over.
            TimeoutError: It had not ended in time. It goes on.
        """

    @abstractmethod
    def then(
        self, ok: Callable[[R_co], object] | None = None, error: Callable[[BaseException], object] | None = None
    ) -> None:
        """Call `ok(result)` or `error(exception)` on the client's callback thread when the result is there, or none will be."""

    def cancel(self, grace: float = 5.0) -> str:
        """End the workflow: 'cancelling' (those that run have `grace` seconds) or 'too_late'."""
        return self._client_of().cancel_workflow(self.workflow, grace)

    def children(self) -> list[TaskHandle[Any]]:
        """The handles of all its tasks, by their places: in the order in which they are written."""
        of = self._of
        return [TaskHandle(of.client, of.session, of.id_of(place)) for place in range(of.count)]

    def status(self, *, members: bool = True) -> WorkflowStatus:
        """How it stands now; as `Client.workflow`."""
        if not self._of.count:
            return nothing_to_do(self._of.key)
        return self._client_of().workflow(self.workflow, members=members)

    def wait(self, timeout: float | None = None) -> WorkflowStatus:
        """How it stands when all its tasks have ended, however they ended.

        Raises:
            TimeoutError: Some had not ended after `timeout` seconds.
        """
        deadline = None if timeout is None else monotonic() + timeout
        for status in self.watch():
            if not status.has_ended and deadline is not None and monotonic() >= deadline:
                raise WaitTimeout([self], timeout or 0.0)
        return self.status()

    def watch(self) -> Iterator[WorkflowStatus]:
        """How it stands, some times a second, without members, until all have ended; that is the last."""
        while True:
            status = self.status(members=False)
            yield status
            if status.has_ended:
                return
            sleep(POLL)

    def retry(self) -> str:
        """Start it again from where it failed: all tasks that did not succeed, those that wait for others after them.

        'retried', 'too_early' (it has not ended), 'too_late' (it has succeeded) or 'incomplete' (some have been deleted).
        """
        answer = self._client_of().retry_workflow(self.workflow)
        if answer == "retried":
            self._start_anew()
        return answer

    def _client_of(self) -> Client:
        client: Client = self._of.client
        return client

    @abstractmethod
    def _start_anew(self) -> None:
        """Forget how it ended."""

    def _raise_cause(self) -> None:
        """If a task was cancelled since another one had failed, raise what that one failed with."""
        guilty = cause_of(self.status())
        if guilty is not None:
            self._client_of().handle(guilty).get()


class ChainHandle(TaskHandle[R_co], WorkflowHandle[R_co]):
    """A workflow whose result is that of one task, its last. `id`, `state`, `progress` are that task's; the rest is of the whole."""

    __slots__ = ("_of",)

    def __init__(self, of: Submitted, last: int) -> None:
        TaskHandle.__init__(self, of.client, of.session, of.id_of(last))
        self._of = of

    def result_of(self, outcome: Outcome) -> R_co:
        """The result, or the error with which the workflow ended."""
        try:
            return super().result_of(outcome)
        except TaskCancelled as cancelled:
            failure = cancelled
        self._raise_cause()
        raise failure

    def cancel(self, grace: float = 5.0) -> str:
        """End the workflow: 'cancelling' (those that run have `grace` seconds) or 'too_late'."""
        return self._client.cancel_workflow(self.workflow, grace)

    def _start_anew(self) -> None:
        self.forget_outcome()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} of workflow {self.workflow}>"


class GroupHandle(WorkflowHandle[R_co]):
    """A workflow whose result is a list: a group's, or of several parts of a `Workflow`. `id` is the workflow's."""

    __slots__ = ("_of", "_parts")

    def __init__(self, of: Submitted) -> None:
        self._of = of
        self._start_anew()

    def _start_anew(self) -> None:
        of = self._of
        self._parts: dict[int, TaskHandle[Any]] = {
            place: TaskHandle(of.client, of.session, of.id_of(place)) for place in places_in(of.shape)
        }

    def get(self, timeout: float | None = None) -> R_co:
        """The results in order, as what comes after the group would get them. Raises as `WorkflowHandle.get` does."""
        self._client_of().wait_ended(self._parts.values(), timeout)
        return self._result()

    def _result(self) -> R_co:
        outcomes = {place: part.outcome_cell().get() for place, part in self._parts.items()}
        ends = judged(outcomes, self._of.on_failure)
        if isinstance(ends.failure, TaskCancelled):
            self._raise_cause()
        elif ends.failure is None and ends.is_cancelled and self.state == "cancelled":
            raise TaskCancelled(self.workflow)
        if ends.failure is not None:
            raise ends.failure
        results = {
            place: part.result_of(outcomes[place]) for place, part in self._parts.items() if place not in ends.in_place
        }
        result: Any = laid_out(self._of.shape, {**results, **ends.in_place})
        return result  # type: ignore[no-any-return]

    def then(
        self, ok: Callable[[R_co], object] | None = None, error: Callable[[BaseException], object] | None = None
    ) -> None:
        """Call `ok(results)` or `error(exception)` on the client's callback thread when all parts have ended."""
        cells = [part.outcome_cell() for part in self._parts.values()]
        client = self._client_of()
        when_all(cells, lambda: client.callbacks.put(lambda: call_back(self._result, ok, error)))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.workflow}>"


class AsyncWorkflowHandle(Generic[R_co]):
    """A workflow in asyncio's world: as `WorkflowHandle`, awaitable."""

    __slots__ = ()

    _of: Submitted

    @property
    def workflow(self) -> str:
        """The workflow's id, 32 hexadecimal digits."""
        return self._of.key.hex()

    @property
    def id(self) -> str:
        """The last task's id, or the workflow's where the result is not one task's."""
        return self.workflow

    @abstractmethod
    async def get(self, timeout: float | None = None) -> R_co:  # noqa: ASYNC109 - as the blocking one
        """The result, waited for up to `timeout` seconds. Raises as `WorkflowHandle.get` does."""

    def __await__(self) -> Generator[Any, None, R_co]:
        """`await handle` is `await handle.get()`."""
        return self.get().__await__()

    def children(self) -> list[AsyncTaskHandle[Any]]:
        """The handles of all its tasks, by their places."""
        of = self._of
        return [AsyncTaskHandle(of.client, of.session, of.id_of(place)) for place in range(of.count)]

    async def status(self, *, members: bool = True) -> WorkflowStatus:
        """How it stands now; as `Client.workflow`."""
        if not self._of.count:
            return nothing_to_do(self._of.key)
        return await self._client_of().workflow(self.workflow, members=members)

    async def wait(self, timeout: float | None = None) -> WorkflowStatus:  # noqa: ASYNC109 - as the blocking one
        """How it stands when all its tasks have ended. Raises as `WorkflowHandle.wait` does."""
        import asyncio  # a program without a loop need not pay for it

        try:
            async with asyncio.timeout(timeout):
                async for _ in self.watch():
                    pass
        except TimeoutError:
            raise WaitTimeout([self], timeout or 0.0) from None
        return await self.status()

    async def watch(self) -> AsyncIterator[WorkflowStatus]:
        """How it stands, some times a second, without members, until all have ended; that is the last."""
        import asyncio

        while True:
            status = await self.status(members=False)
            yield status
            if status.has_ended:
                return
            await asyncio.sleep(POLL)

    async def cancel(self, grace: float = 5.0) -> str:
        """End the workflow: 'cancelling' (those that run have `grace` seconds) or 'too_late'."""
        return await self._client_of().cancel_workflow(self.workflow, grace)

    async def retry(self) -> str:
        """Start it again from where it failed; as `WorkflowHandle.retry`."""
        answer = await self._client_of().retry_workflow(self.workflow)
        if answer == "retried":
            self._start_anew()
        return answer

    def _client_of(self) -> AsyncClient:
        client: AsyncClient = self._of.client
        return client

    @abstractmethod
    def _start_anew(self) -> None:
        """Forget how it ended."""

    async def _raise_cause(self) -> None:
        guilty = cause_of(await self.status())
        if guilty is not None:
            await self._client_of().handle(guilty).get()


class AsyncChainHandle(AsyncTaskHandle[R_co], AsyncWorkflowHandle[R_co]):
    """As `ChainHandle`."""

    __slots__ = ("_of",)

    def __init__(self, of: Submitted, last: int) -> None:
        AsyncTaskHandle.__init__(self, of.client, of.session, of.id_of(last))
        self._of = of

    async def result_of(self, outcome: Outcome) -> R_co:
        """The result, or the error with which the workflow ended."""
        try:
            return await super().result_of(outcome)
        except TaskCancelled as cancelled:
            failure = cancelled
        await self._raise_cause()
        raise failure

    async def cancel(self, grace: float = 5.0) -> str:
        """End the workflow: 'cancelling' (those that run have `grace` seconds) or 'too_late'."""
        return await self._client.cancel_workflow(self.workflow, grace)

    def _start_anew(self) -> None:
        self.forget_outcome()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} of workflow {self.workflow}>"


class AsyncGroupHandle(AsyncWorkflowHandle[R_co]):
    """As `GroupHandle`; how it stands is told by `await handle.status()`."""

    __slots__ = ("_of", "_parts")

    def __init__(self, of: Submitted) -> None:
        self._of = of
        self._start_anew()

    def _start_anew(self) -> None:
        of = self._of
        self._parts: dict[int, AsyncTaskHandle[Any]] = {
            place: AsyncTaskHandle(of.client, of.session, of.id_of(place)) for place in places_in(of.shape)
        }

    async def get(self, timeout: float | None = None) -> R_co:  # noqa: ASYNC109 - as the blocking one
        """The results in order, as what comes after the group would get them. Raises as `WorkflowHandle.get` does."""
        await self._client_of().wait_ended(self._parts.values(), timeout)
        outcomes = {place: part.outcome_cell().get() for place, part in self._parts.items()}
        ends = judged(outcomes, self._of.on_failure)
        if isinstance(ends.failure, TaskCancelled):
            await self._raise_cause()
        elif ends.failure is None and ends.is_cancelled and (await self.status(members=False)).state == "cancelled":
            raise TaskCancelled(self.workflow)
        if ends.failure is not None:
            raise ends.failure
        results = {
            place: await part.result_of(outcomes[place])
            for place, part in self._parts.items()
            if place not in ends.in_place
        }
        result: Any = laid_out(self._of.shape, {**results, **ends.in_place})
        return result  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.workflow}>"
