"""The blocking client: `connect()`, submit, wait, ask. A thin shell: what it sends and reads is made elsewhere."""

from __future__ import annotations

import asyncio
import warnings
import weakref
from collections import deque
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

from otpq.client import questions
from otpq.client.address import known_nodes, target
from otpq.client.callbacks import Callbacks
from otpq.client.calls import as_call, script_call
from otpq.client.cell import Cell, wait_all
from otpq.client.errors import NodeUnreachable, TaskNotFound, UnknownHandlerWarning, WaitTimeout
from otpq.client.handle import TaskHandle
from otpq.client.ids import id_bytes
from otpq.client.questions import Page, Question, Selector
from otpq.client.session import CHUNKS_UNDER_WAY, POLL, Session, chunks, in_thousands
from otpq.errors import OtpqError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Unpack

    from otpq.client.calls import Call
    from otpq.client.core import Settings
    from otpq.client.effects import Acknowledged
    from otpq.client.io import Target
    from otpq.core.events import NodeLost
    from otpq.task import LogLine, Task
    from otpq.typed import CallOptions
    from otpq.wire.messages import NewTask, Outcome

__all__ = ["Client", "Receipt", "connect"]

T = TypeVar("T")


def connect(address: str | None = None, timeout: float = 10, *, cookie_file: Path | str | None = None) -> Client:
    """A client of the node at `address` ('a@host' or 'a@host:port'), connected.

    Without an address: the node of this program, else `OTPQ_NODE`, else the only node of this user on this machine.

    Args:
        address: The node's name.
        timeout: Seconds to keep trying; later also how long a call waits for the server's answer.
        cookie_file: Where the cookie is; else `OTPQ_COOKIE_FILE`, else `~/.otpq/cookie`.

    Raises:
        NodeUnreachable: There was no answer in time; the message has the address and the cause. At once, without trying on,
            if the cookie is refused (`CookieRefused`), or another node (`WrongNode`) or version (`VersionRefused`) answers.
        UsageError: The address, or the cookie file, is wrong or missing.
    """
    client = Client(target(address, cookie_file), timeout)
    try:
        client.wait_connected(timeout)
    except BaseException:
        client.close()
        raise
    return client


class Receipt(Generic[T]):
    """A submission that is under way: `handle()` waits for its acknowledgement."""

    __slots__ = ("_client", "_slots", "_tasks", "_ticket")

    def __init__(
        self, client: Client, tasks: Sequence[NewTask], ticket: Cell[Acknowledged], slots: Sequence[Cell[Outcome]]
    ) -> None:
        self._client = client
        self._tasks = tasks
        self._ticket = ticket
        self._slots = slots

    @property
    def is_acknowledged(self) -> bool:
        """Whether the server has answered: `handle()` would not wait."""
        return self._ticket.is_filled

    def handle(self, timeout: float | None = None) -> TaskHandle[Any]:
        """The task's handle, once the task is durable. Raises as `Client.submit` does."""
        return self.handles(timeout)[0]

    def handles(self, timeout: float | None = None) -> list[TaskHandle[Any]]:
        """All handles of the submission."""
        acknowledged = self._client.wait_answer(self._ticket, "the submission", timeout)
        return self._client.handles_of(acknowledged, self._slots)


class Client:
    """A connection to a cluster, for any number of threads. Use it as a context manager, or `close` it.

    It reconnects by itself; what is unanswered then is sent again and happens once. After a fork, the child's copy starts
    anew with a connection of its own.
    """

    def __init__(self, to: Target, timeout: float = 10, settings: Settings | None = None) -> None:
        self._session = Session(to, timeout, settings)
        self.callbacks = Callbacks()
        """The thread on which `then` calls back."""
        self._has_warned = False
        self._finalizer = weakref.finalize(self, Session.close, self._session)

    # ------------------------------------------------------------ submitting

    def submit(
        self, call: Call | Mapping[str, Any], timeout: float | None = None, *, strict: bool = False
    ) -> TaskHandle[Any]:
        """Submit a call; when this returns, the task is durable.

        Args:
            call: A `Call`, or a map with `job`, `params` and options.
            timeout: Seconds to wait for the acknowledgement; None: as long as `connect` was told.
            strict: Refuse a handler that no node has ever told of. Else its tasks wait for it, and one warning says so.

        Raises:
            UsageError: The call is wrong: an option, or a value that cannot travel (`BadValue`), or refused by the server.
            UnknownHandler: With `strict`; the message has the nearest one.
            QueueFull: The queue has as many tasks as it may.
            StoreFull: The store has no room; also `StoreUnavailable`.
            NodeUnreachable: There is no connection; also `NotAnswered`. The task may be made all the same.
        """
        self._warn_in_loop()
        return self._submit([self._session.task(call, strict=strict)]).handle(timeout)

    def submit_task(self, what: str | Call | Mapping[str, Any], *args: Any, **kwargs: Any) -> TaskHandle[Any]:
        """Submit by name with arguments, by a `Call`, or by a map: `submit_task('email.send', 'a@b.c', html=True)`."""
        if not (args or kwargs or isinstance(what, str)):
            return self.submit(what)
        return self.submit(as_call(what, args, kwargs))

    def submit_soon(self, call: Call | str | Mapping[str, Any]) -> Receipt[Any]:
        """Send a call on its way and go on: for many, one after the other. Not durable before its receipt says so.

        Waits only if tens of thousands are unacknowledged. `close` waits for what is under way.
        """
        if not self._session.io.wait_for_room(self._session.timeout):
            raise NodeUnreachable(self._session.target.shown, "too many submissions wait for it", self._session.timeout)
        return self._submit([self._session.task(call)])

    def submit_script(
        self,
        path: str | os.PathLike[str],
        args: Sequence[object] = (),
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, object] | None = None,
        **options: Unpack[CallOptions],
    ) -> TaskHandle[Any]:
        """Submit a script of any kind: a task that runs the file at `path` on a node, with a log of what it writes.

        Its result is `{"exit_code": 0, "signal": None, "lines": [...]}`, the last lines that it wrote among them; any other
        exit code fails the attempt with the same as `error.details`. It has no `timeout` unless one is given.

        Args:
            path: Absolute, as the node sees it, and in a directory that the node runs scripts of (`--script-dir`).
            args: The script's arguments; each becomes a text.
            cwd: Where it runs; None: in its own directory.
            env: Variables beside the few that every script has.
            options: As of any call: `priority`, `retries`, `timeout`, ...

        Raises:
            SubmissionRefused: No node may run this file; the message has the directories that are allowed.
            OtpqError: As `submit` does.
        """
        return self.submit(script_call(path, args, cwd, env, options))

    def submit_many(
        self, calls: Iterable[Call | str | Mapping[str, Any]], timeout: float | None = None, *, strict: bool = False
    ) -> list[TaskHandle[Any]]:
        """Submit many calls in chunks of at most 1,000 (and 1 MiB), each made as a whole or not at all.

        With `strict`, a chunk with a handler that no node has ever told of is refused.

        Raises:
            OtpqError: As `submit` does. Its `handles` are those of the tasks that were accepted all the same.
        """
        self._warn_in_loop()
        under_way: deque[Receipt[Any]] = deque()
        handles: list[TaskHandle[Any]] = []
        try:
            for chunk in chunks(self._session.task(call, strict=strict) for call in calls):
                under_way.append(self._submit(chunk))
                if len(under_way) == CHUNKS_UNDER_WAY:
                    handles += under_way.popleft().handles(timeout)
            while under_way:
                handles += under_way.popleft().handles(timeout)
        except OtpqError as error:
            raise _with_handles(error, handles, under_way, timeout) from None
        return handles

    def _submit(self, tasks: list[NewTask]) -> Receipt[Any]:
        return Receipt(self, tasks, *self._session.send(tasks))

    # --------------------------------------------------------------- waiting

    def handle(self, id: str) -> TaskHandle[Any]:
        """A handle of the task with that id.

        Raises:
            TaskNotFound: No task can have this id. Whether one has it is told when the handle is asked.
        """
        return TaskHandle(self, self._session, id_bytes(id))

    def wait(self, handles: Iterable[TaskHandle[Any]], timeout: float | None = None) -> list[Task]:
        """The tasks, in the order of `handles`, when all have ended, however they ended.

        Raises:
            WaitTimeout: Some had not ended after `timeout` seconds: its `pending`.
            TaskNotFound: One has been deleted.
        """
        self._warn_in_loop()
        handles = list(handles)
        cells = [handle.outcome_cell() for handle in handles]
        if not wait_all(cells, timeout):
            pending = [handle for handle, cell in zip(handles, cells, strict=True) if not cell.is_filled]
            if pending:
                raise WaitTimeout(pending, timeout or 0.0)
        for cell in cells:
            cell.get()  # raises if the client was closed meanwhile
        return self._tasks_of([id_bytes(handle.id) for handle in handles])

    def _tasks_of(self, ids: list[bytes]) -> list[Task]:
        found = {task.id: task for part in in_thousands(ids) for task in self._ask(questions.get(part))}
        for id in ids:
            if id.hex() not in found:
                raise TaskNotFound(id.hex())
        return [found[id.hex()] for id in ids]

    # ---------------------------------------------------------------- asking

    def get_task_status(self, id: str) -> Task:
        """The task as it is now.

        Raises:
            TaskNotFound: There is none with this id.
        """
        return self._tasks_of([id_bytes(id)])[0]

    def tasks(self, selector: Selector | None = None, *, limit: int = 100, after: str | None = None) -> Page:
        """A page of tasks, the newest first; its `next` is given back as `after` for the following one."""
        return self._ask(questions.tasks(selector or Selector(), limit, after))

    def iter_tasks(self, selector: Selector | None = None) -> Iterator[Task]:
        """All tasks that `selector` selects, the newest first, fetched page by page."""
        after: str | None = None
        while True:
            page = self.tasks(selector, limit=1000, after=after)
            yield from page
            after = page.next
            if after is None:
                return

    def counts(self, queue: str | None = None) -> dict[str, dict[str, int]]:
        """How many tasks are where: {queue: {state: n}}, all eight states present."""
        return self._ask(questions.counts(queue))

    def logs(self, id: str, follow: bool = False, after: str | None = None) -> Iterator[LogLine]:  # noqa: FBT001, FBT002 - `logs(id, True)` is what one types
        """The lines of a task's log, in the order of their times; with `follow`, also those to come, until the task has ended.

        Among what its runs wrote stand the steps of its life (`stream` is 'life'). A log keeps its beginning and its end;
        `dropped` of a line tells how many are missing before it. Who follows is told of a run's start when that run has ended.

        Args:
            id: The task's.
            follow: Whether to wait for more.
            after: `LogPage.next` of a page: where to go on; None: the beginning.

        Raises:
            TaskNotFound: There is none with this id, or it was deleted meanwhile.
        """
        while True:
            page = self._ask(questions.logs(id_bytes(id), after))
            yield from page
            after = page.next
            if not page.more:
                if page.ended or not follow:
                    return
                sleep(POLL)

    def why(self, id: str) -> dict[str, Any] | None:
        """Why a task is not at work now: {"code": ..., "facts": {...}}; None once it has ended.

        Codes: `not_due`, `paused`, `handler_limit`, `no_handler`, `no_memory`, `no_worker`, `assigned` (in front of a child, or running).

        Raises:
            TaskNotFound: There is none with this id.
        """
        return self._ask(questions.why(id_bytes(id)))

    @overload
    def cancel(self, what: str | TaskHandle[Any], grace: float = 5.0) -> str: ...
    @overload
    def cancel(self, what: Selector, grace: float = 5.0) -> int: ...

    def cancel(self, what: str | TaskHandle[Any] | Selector, grace: float = 5.0) -> str | int:
        """End a task, by its id or handle: 'cancelled', 'cancelling' or 'too_late'; of a `Selector`, how many it was done to.

        'cancelled': it had not started, and never will; this is durable. 'cancelling': it has `grace` seconds to end by itself
        (`ctx.cancelled()`), then its child is ended. 'too_late': it has ended.

        Raises:
            TaskNotFound: There is none with this id.
        """
        answer: str | int = self._ask(questions.cancel(what, grace))
        return answer

    def retry(self, selector: Selector) -> int:
        """Start ended tasks again, at attempt 1; how many."""
        return self._ask(questions.affected("retry", selector))

    def delete(self, selector: Selector) -> int:
        """Remove ended tasks; how many."""
        return self._ask(questions.affected("delete", selector))

    def purge(self, queue: str) -> int:
        """Throw away what waits in a queue, never what runs; how many."""
        return self._ask(questions.queue("purge", queue))

    def pause(self, queue: str | None = None, *, handler: str | None = None, why: str = "") -> None:
        """Hold back what waits in a queue, or for a handler, until `resume`; what runs goes on. Durable.

        Who did it (`user@host`), `why` and since when is told by `queues`, `handlers`, and `why` of a task.
        """
        self._ask(questions.pause("pause", queue, handler, why))

    def resume(self, queue: str | None = None, *, handler: str | None = None) -> None:
        """Let a paused queue or handler go on. One that is not paused stays as it is."""
        self._ask(questions.pause("resume", queue, handler))

    def scale(self, pool: str, n: int) -> list[dict[str, Any]]:
        """Have a pool run `n` workers from now on; what each pool of that name answers. Surplus workers end what they run first.

        Raises:
            QueryFailed: `no_pool`: there is none of that name; `pool_gone`: it ended meanwhile; `refused`: it does not.
        """
        return self._ask(questions.scale(pool, n))

    def reload(self, pool: str | None = None, *, timeout: float | None = None) -> list[dict[str, Any]]:
        """Replace each child of a pool, or of all, by one that loads the app anew; returns when that is done.

        No task is charged for it: what runs ends first, or hands over at its next checkpoint. So it may take as long as tasks
        do: after `timeout` seconds (None: as long as `connect` was told) it is `NotAnswered`, and goes on. Else raises as `scale`.
        """
        return self._ask(questions.reload(pool), timeout)

    def queues(self) -> list[dict[str, Any]]:
        """What is known of each queue: tasks by state, and whether it is `paused`, `by` whom, `why` and `since` when."""
        return self._ask(questions.facts("queues"))

    def handlers(self) -> list[dict[str, Any]]:
        """What is known of each handler: options, slots, run times, and as for `queues` whether it is paused."""
        return self._ask(questions.facts("handlers"))

    def workers(self) -> list[dict[str, Any]]:
        """What is known of each worker: its node, pool, child, what it runs, and its `state`, active, idle, starting or offline."""
        return self._ask(questions.facts("workers"))

    def nodes(self) -> list[dict[str, Any]]:
        """What is known of each node."""
        return self._ask(questions.facts("nodes"))

    def queue_stats(self) -> dict[str, dict[str, Any]]:
        """How each queue stands, by name.

        `pending`, which is `delayed` (due later) and `blocked` (waits for other tasks); `queued`, `running`, `retrying`;
        `slots_in_use` and `slots_available`, over the handlers of that queue that have a limit; None: none of them has.
        """
        return self._ask(questions.facts("queue_stats"))

    def worker_stats(self) -> dict[str, list[dict[str, Any]]]:
        """How the workers stand: `workers`, `pools` and `nodes`, each a list.

        `done` (runs), of them `failed` and `retried`, `mean` and `max` (seconds a run); of a worker its `state`, of pools and
        nodes how many are `active`, `idle`, `starting` and `offline`.
        """
        return self._ask(questions.facts("worker_stats"))

    def rpc(self, node: str, function: str, **arguments: Any) -> Any:
        """What a management function of a node returns: `status`, `tree`, `stacks`, `log_level(level=...)`.

        Raises:
            QueryFailed: There is no such node or function, or the arguments are not its own; the message says which there are.
        """
        return self._ask(questions.rpc(node, function, arguments))

    def node_lost(self, death: NodeLost) -> str:
        """Tell of the proven death of a node's incarnation; for whoever has seen its tombstone."""
        return self._ask(questions.node_lost(death))

    def health(self) -> dict[str, Any]:
        """Whether the node serves, and what is wrong if it does not."""
        return self._ask(questions.facts("health"))

    def stats(self) -> dict[str, Any]:
        """The node's counters."""
        return self._ask(questions.facts("stats"))

    # ------------------------------------------------------------ connection

    def wait_connected(self, timeout: float) -> None:
        """Return when the node has answered.

        Raises:
            NodeUnreachable: It has not after `timeout` seconds, or says that it never will.
        """
        io = self._session.io
        if not io.welcomed.wait(timeout):
            to = self._session.target
            raise NodeUnreachable(to.shown, (io.why_down() or "no answer") + known_nodes(to.node), timeout)
        io.welcomed.get()

    @property
    def node(self) -> str:
        """The name of the node that answered, once one has."""
        return self._session.io.welcomed.get().node

    @property
    def why_away(self) -> str | None:
        """Why the node does not answer now, in words; None: it does, as far as is known."""
        return self._session.io.why_down()

    def close(self, timeout: float = 5.0) -> None:
        """Close the connection after up to `timeout` seconds for what `submit_soon` has under way. Twice is fine."""
        if self._finalizer.detach() is not None:
            self._session.close(timeout)
            self.callbacks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # ------------------------------------------------- for handles and receipts

    def wait_for(self, cell: Cell[Any], timeout: float | None) -> bool:
        """Whether the cell is filled, after waiting up to `timeout` seconds for it."""
        if not cell.is_filled:
            self._warn_in_loop()
        return cell.wait(timeout)

    def wait_answer(self, cell: Cell[T], what: str, timeout: float | None = None) -> T:
        """What the server answers, or the error that says why it does not."""
        seconds = self._session.timeout if timeout is None else timeout
        if not cell.wait(seconds):
            raise self._session.give_up(cell, what, seconds)
        return cell.get()

    def handles_of(self, acknowledged: Acknowledged, slots: Sequence[Cell[Outcome]]) -> list[TaskHandle[Any]]:
        """The handles of tasks that are durable."""
        for warning in self._session.warnings(acknowledged):
            warnings.warn(warning, UnknownHandlerWarning, stacklevel=4)
        session, io = self._session, self._session.io
        places = zip(acknowledged.ids, slots, strict=True)
        return [TaskHandle(self, session, id, slot, io) for id, slot in places]

    def fetch(self, id: bytes) -> bytes:
        """The packed result of a task, whatever its size."""
        return self.wait_answer(self._session.fetch(id), "the request for a result")

    def _ask(self, question: Question[T], timeout: float | None = None) -> T:
        self._warn_in_loop()
        return question.answer(self.wait_answer(self._session.ask(question), f"{question.verb!r}", timeout))

    def _warn_in_loop(self) -> None:
        if not self._has_warned and asyncio._get_running_loop() is not None:  # noqa: SLF001 - it does not raise, so 40 ns
            self._has_warned = True
            warnings.warn(
                "a blocking call of otpq in a running event loop stops everything else in it; "
                "use `async with otpq.connect_async(...)`",
                stacklevel=3,
            )


def _with_handles(
    error: OtpqError, handles: list[TaskHandle[Any]], under_way: Iterable[Receipt[Any]], timeout: float | None
) -> OtpqError:
    """`error` with the handles of all chunks that were accepted, those sent after the refused one too."""
    deadline = monotonic() + timeout if timeout is not None else None
    for receipt in under_way:
        try:
            handles += receipt.handles(None if deadline is None else max(0.0, deadline - monotonic()))
        except OtpqError:
            continue  # one reason is told; this chunk was not accepted either
    error.handles = handles  # type: ignore[attr-defined]
    return error
