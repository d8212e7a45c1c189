"""The blocking client: `connect()`, submit, wait, ask. A thin shell: what it sends and reads is made elsewhere."""

from __future__ import annotations

import math
import sys
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
from otpq.client.errors import (
    NodeUnreachable,
    NotAnswered,
    QueryFailed,
    TaskNotFound,
    UnknownHandlerWarning,
    WaitTimeout,
)
from otpq.client.handle import TaskHandle
from otpq.client.ids import id_bytes
from otpq.client.mapping import calls_in_chunks
from otpq.client.questions import Page, Part, Question, Selector
from otpq.client.session import CHUNKS_UNDER_WAY, POLL, Session, chunks, in_thousands
from otpq.client.touching import MARGIN, SILENCE, ended_message, is_out, is_task_id, line_message, node_of_run
from otpq.client.workflows import Flow
from otpq.errors import OtpqError, Unavailable
from otpq.wire.verbs import MAX_PAGE

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Unpack

    from otpq.client.calls import Call
    from otpq.client.core import Settings
    from otpq.client.effects import Acknowledged
    from otpq.client.events import Event
    from otpq.client.flow_handle import WorkflowHandle
    from otpq.client.flow_views import WorkflowPage, WorkflowStatus
    from otpq.client.io import Target
    from otpq.client.schedules import Schedules
    from otpq.core.events import NodeLost
    from otpq.task import LogLine, Task
    from otpq.typed import CallOptions
    from otpq.wire.messages import NewTask, Outcome
    from otpq.wire.verbs import MemberView

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

    @overload
    def submit(
        self, call: Call | Mapping[str, Any], timeout: float | None = None, *, strict: bool = False
    ) -> TaskHandle[Any]: ...
    @overload
    def submit(self, call: Flow, timeout: float | None = None, *, strict: bool = False) -> WorkflowHandle[Any]: ...

    def submit(
        self, call: Call | Mapping[str, Any] | Flow, timeout: float | None = None, *, strict: bool = False
    ) -> TaskHandle[Any] | WorkflowHandle[Any]:
        """Submit a call, or a workflow as a whole or not at all; when this returns, it is durable.

        Args:
            call: A `Call`, or a map with `job`, `params` and options; a chain, a group, a chord or a `Workflow`.
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
        if isinstance(call, Flow):
            return self._submit_workflow(call, timeout, strict=strict)
        return self._submit([self._session.task(call, strict=strict)]).handle(timeout)

    def _submit_workflow(self, flow: Flow, timeout: float | None, *, strict: bool) -> WorkflowHandle[Any]:
        # Here, since it brings asyncio: most programs have no workflows, and a command lives for a tenth of a second.
        from otpq.client.flow_handle import ChainHandle, GroupHandle, Submitted, not_made

        plan, workflow = self._session.workflow(flow, strict=strict)
        if workflow.members:
            try:
                made = self._ask(questions.submit_workflow(workflow), timeout)
            except QueryFailed as failure:
                raise not_made(failure, plan) from None
            for warning in self._session.warnings(made):
                warnings.warn(warning, UnknownHandlerWarning, stacklevel=3)
        of = Submitted(self, self._session, workflow.id, plan)
        return ChainHandle(of, plan.shape) if isinstance(plan.shape, int) else GroupHandle(of)

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

    def map_task(
        self,
        what: str | Callable[[Any], Call],
        items: Iterable[Any],
        *,
        chunk: int = 1_000,
        timeout: float | None = None,
    ) -> Iterator[Any]:
        """The results of a handler for each item, its one argument, in the order of `items`; as they come.

        Two chunks are under way at a time, so `items` may be without an end. Nothing is submitted before the first result is asked
        for. Whoever stops asking leaves what was submitted running.

        Args:
            what: The handler's name, or what makes a call of an item: `handler.s`.
            items: Walked a chunk at a time.
            chunk: How many tasks are submitted together.
            timeout: Seconds to wait for each result; None waits for ever.

        Raises:
            TaskFailed: In the place of a result, as `TaskHandle.get` does; with it the walk is over.
            OtpqError: As `submit_many` does.
        """
        under_way: deque[list[TaskHandle[Any]]] = deque()
        for calls in calls_in_chunks(what, items, chunk):
            under_way.append(self.submit_many(calls))
            if len(under_way) > 1:
                yield from (handle.get(timeout) for handle in under_way.popleft())
        for handles in under_way:
            yield from (handle.get(timeout) for handle in handles)

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
        handles = list(handles)
        self.wait_ended(handles, timeout)
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

    def events(
        self,
        after: str | None = None,
        follow: bool = False,  # noqa: FBT001, FBT002 - as `logs`
        *,
        kinds: str | Iterable[str] | None = None,
        name: str | None = None,
        queue: str | None = None,
        ids: str | Iterable[str] | None = None,
        node: str | None = None,
    ) -> Iterator[Event]:
        """What happens in the cluster, in its order; with `follow`, also what is to come, without an end.

        Nodes, workers, pauses, orders to pools and the store's troubles are always kept; of tasks, what happens until 30 s after
        the last question, so that nobody pays who does not look. The leader keeps the last 10,000, in memory. Where events are
        missing, one of the kind `gap` says so, whatever is asked for.

        Args:
            after: The `cursor` of an event: where to go on; None: the oldest that is kept.
            follow: Whether to wait for more.
            kinds: These kinds alone, one or several (see `Event.kind`); here and below, None: all. The leader leaves out the rest.
            name: Events of tasks of this handler; a pattern, such as 'email.*', is as in `Selector`.
            queue: Those of tasks of this queue, and of the queue.
            ids: Those of this task, or of these.
            node: Those of this node, of its workers, and of tasks that run or ran there.

        Raises:
            QueryFailed: There is no such kind; the message has the nearest.
        """
        wanted = questions.Wanted(kinds=kinds, name=name, queue=queue, ids=ids, node=node).on_the_wire()
        while True:
            page = self._ask(questions.events(after, wanted))
            yield from page
            after = page.next
            if not page.more:
                if not follow:
                    return
                sleep(POLL)

    def why(self, id: str) -> dict[str, Any] | None:
        """Why a task is not at work now: {"code": ..., "facts": {...}}; None once it has ended.

        The first of these codes that is true, with these facts:

        - `assigned`: `node`, its `node_state`, `incarnation`, `pool`, `lease`, `granted`; once the pool has told (within a second)
          `worker` and `child`; `running`, and if it is, `since`, else its `position` and which task it is `behind`.
        - `not_due`: `due`, `seconds` until then, `state`; if it is retrying, `attempt` of `runs`, `reason` and `error` of the last.
        - `paused`: the `queue`, the `handler` or both; `by`, `why`, `since`.
        - `no_handler`: the `handler`, the `nearest` name that a pool of its `queue` has, `there` (those pools), `elsewhere`
          (pools of other queues that have it).
        - `handler_limit`: `used` of `limit`, `limit_from` (see `limits`), `held_by` (tasks), `tasks` (how many).
        - `no_memory`: `needs`, `free` and `capacity` (MiB) of the largest `node`; `behind` which task, if it is not its own
          need; `held_by`, `tasks`.
        - `no_worker`: `pools` that serve its `queue`; if there are none, `there` are others; if they are busy, `workers` by
          state (of up to ten pools), `demand`, `waiting` (tasks in the queue).

        Lists have ten entries at most.

        Raises:
            TaskNotFound: There is none with this id.
        """
        return self._ask(questions.why(id_bytes(id)))

    def count(self, selector: Selector | None = None, *, to: str | None = None) -> int:
        """How many tasks `selector` selects, or all there are; with `to`, how many of them that would be done to.

        A look through the store, a bounded number of rows at a time: what is submitted meanwhile may be missed.

        Args:
            selector: Which tasks.
            to: 'cancel' counts what has not ended, 'delete' what has, 'retry' of that what has not succeeded, 'purge' what waits.
        """
        return self._in_parts(questions.count(selector or Selector(), to))

    @overload
    def cancel(
        self,
        what: str | TaskHandle[Any] | WorkflowHandle[Any],
        grace: float = 5.0,
        *,
        on_progress: Callable[[int], object] | None = None,
    ) -> str: ...
    @overload
    def cancel(
        self, what: Selector, grace: float = 5.0, *, on_progress: Callable[[int], object] | None = None
    ) -> int: ...

    def cancel(
        self,
        what: str | TaskHandle[Any] | WorkflowHandle[Any] | Selector,
        grace: float = 5.0,
        *,
        on_progress: Callable[[int], object] | None = None,
    ) -> str | int:
        """End a task, by its id or handle: 'cancelled', 'cancelling' or 'too_late'; of a `Selector`, how many it was done to.

        'cancelled': it had not started, and never will; this is durable. 'cancelling': it has `grace` seconds to end by itself
        (`ctx.cancelled()`), then its child is ended. 'too_late': it has ended.

        Args:
            what: A task's id, its handle, that of a workflow, or a selector. What that selects is cancelled some thousands at a time.
            grace: Seconds for those that run.
            on_progress: Told after each of these parts how many it was done to so far. So with `retry`, `delete` and `purge`.

        Raises:
            TaskNotFound: There is none with this id.
        """
        if isinstance(what, Selector):
            return self._in_parts(questions.cancel_all(what, grace), on_progress)
        return self._ask(questions.cancel(what, grace))

    def retry(self, selector: Selector, *, on_progress: Callable[[int], object] | None = None) -> int:
        """Start ended tasks again, at attempt 1; how many."""
        return self._in_parts(questions.affected("retry", selector), on_progress)

    def delete(self, selector: Selector, *, on_progress: Callable[[int], object] | None = None) -> int:
        """Remove ended tasks; how many."""
        return self._in_parts(questions.affected("delete", selector), on_progress)

    def purge(self, queue: str, *, on_progress: Callable[[int], object] | None = None) -> int:
        """Throw away what waits in a queue, never what runs; how many.

        Raises:
            QueryFailed: `no_queue`: nobody knows a queue of that name.
        """
        return self._in_parts(questions.purge(queue), on_progress)

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

    def limits(self) -> list[dict[str, Any]]:
        """Which limits are in force, how much of each is used, and who says so.

        In force is what was set at run time, else what the leader's file says, else the decorator. Of each limit: `of` (handler,
        queue, node or retention), `name`, `limit` (`max_concurrency`, `timeout`, `soft_timeout`, `memory`, `max_size`, or the state in
        which ended tasks are kept), `value` (slots, seconds, MiB, tasks that have not ended; None: no limit), `used` and `available`
        where they are counted, and `from`: 'set', 'file', 'app' (the decorator), 'default' or 'node' (a node's own settings).
        """
        return self._ask(questions.facts("limits"))

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

        Of the last minute, quarter of an hour and day (`1m`, `15m`, `24h`): `rates` of tasks `submitted`, `succeeded`, `failed`,
        `retried`, `cancelled` and `expired`, a second; `wait`, from when a task was due until its run began, and `run`, how long that
        took: `count`, `p50`, `p95` and `p99` in seconds, within 3.2 %, None where there were none. A new queue server begins anew;
        of more than a hundred queues the rest is summed up as `(other)`.
        """
        return self._ask(questions.facts("queue_stats"))

    def handler_stats(self) -> dict[str, dict[str, Any]]:
        """How each handler does, of those that have had something to do.

        `rates`, `wait` and `run` as in `queue_stats`, of up to three hundred handlers; since the queue server's start `runs`,
        `succeeded`, `failed` (for good), `retried` (runs that were followed by another), `mean` and `max` seconds a run; slots
        `used`, and their `limit`, None if there is none.
        """
        return self._ask(questions.facts("handler_stats"))

    def worker_stats(self) -> dict[str, list[dict[str, Any]]]:
        """How the workers stand: `workers`, `pools` and `nodes`, each a list.

        `done` (runs), of them `failed` and `retried`, `mean` and `max` (seconds a run); of a worker its `state`, of pools and
        nodes how many are `active`, `idle`, `starting` and `offline`.
        """
        return self._ask(questions.facts("worker_stats"))

    def rpc(self, node: str, function: str, **arguments: Any) -> Any:
        """What a management function of a node returns.

        `status`, `log_level(level=...)`; of that node's pool alone `scale(pool=..., workers=...)`, and `pause(pool=...)` and
        `resume(pool=...)`, between which it takes nothing new. Others have a method here: `tree`, `info`, `state`, `kill`, `trace`, `stacks`, `drain`.

        Raises:
            QueryFailed: There is no such node or function, or the arguments are not its own; the message says which there are.
        """
        return self._ask(questions.rpc(node, function, arguments))

    def node_lost(self, death: NodeLost) -> str:
        """Tell of the proven death of a node's incarnation; for whoever has seen its tombstone."""
        return self._ask(questions.node_lost(death))

    def health(self, node: str | None = None, *, timeout: float | None = None) -> dict[str, Any]:
        """Whether a node serves, and what is wrong if it does not: `ok`, `node`, `state`, `leader`, `store`, `pools`, `problems`.

        A node that does not lead serves if the one that leads says that it is up.

        Args:
            node: Its name; else of the node that leads, with the problems of all.
            timeout: Seconds to wait for the answer; None: as long as `connect` was told.

        Raises:
            QueryFailed: No such node is in the cluster; the message says which are.
        """
        return self._ask(questions.health(node), timeout)

    def stats(self) -> dict[str, Any]:
        """The node's counters."""
        return self._ask(questions.facts("stats"))

    # ------------------------------------------------------------ workflows

    def workflow(self, id: str, *, members: bool = True) -> WorkflowStatus:
        """A workflow as it is now.

        Args:
            id: Its own, or that of one of its tasks.
            members: Whether to tell of each task; else of how many there are in which state.

        Raises:
            TaskNotFound: There is none with this id, and no task of one.
        """
        from otpq.client.flow_views import status_of

        key = id_bytes(id)
        found: list[MemberView] = []
        after = 0
        while True:
            view = self._ask(questions.workflow(key, after, MAX_PAGE if members else 0))
            found += view.members
            if view.next is None or not members:
                return status_of(view, found)
            after = view.next

    def workflows(self, *, limit: int = 100, after: int | None = None) -> WorkflowPage:
        """A page of workflows, the newest first, without their tasks; its `next` is given back as `after` for the following one."""
        return self._ask(questions.workflows(limit, after))

    def cancel_workflow(self, what: str | WorkflowHandle[Any], grace: float = 5.0) -> str:
        """End a workflow, by its handle, its id or that of one of its tasks: 'cancelling' or 'too_late'.

        What has not started never will; tasks that run have `grace` seconds.

        Raises:
            TaskNotFound: There is none with this id, and no task of one.
        """
        return self._ask(questions.cancel_workflow(what, grace))

    def retry_workflow(self, what: str | WorkflowHandle[Any]) -> str:
        """Start a workflow again from where it failed: all its tasks that did not succeed, those that wait for others after them.

        'retried', 'too_early' (it has not ended), 'too_late' (it has succeeded) or 'incomplete' (some tasks have been deleted).

        Raises:
            TaskNotFound: There is none with this id, and no task of one.
        """
        return self._ask(questions.retry_workflow(what))

    # ------------------------------------------------- what runs on a node

    def tree(self, node: str | None = None) -> dict[str, Any]:
        """The supervision tree of a node (None: of the one that this client is connected to), nested by `children`.

        Of each process: `id`, `pid`, `name`, `type`, `strategy`, `restarts`, `status`, `mailbox` (how many messages wait), and
        what it does now: `callback`, for `callback_seconds`. Nobody is asked, so it answers also about one that is stuck.
        """
        return self._ask(questions.rpc(node or self.node, "tree", {}))

    def info(self, pid: str | int, node: str | None = None) -> dict[str, Any]:
        """What can be seen of a process from outside: as in `tree`, and its `links`, `parent`, `started_at`.

        Args:
            pid: Its name ('queue_server', 'pool default'), its pid as `tree` shows it, or the number in that.
            node: Where; None: on the node that this client is connected to.

        Raises:
            QueryFailed: There is no such process; the message has the nearest name. So do all that follow.
        """
        return self._ask(questions.rpc(node or self.node, "info", {"pid": pid}))

    def state(self, pid: str | int, node: str | None = None) -> Any:
        """What a process holds, in plain values: a part of large things, and no secrets. It is asked, between two messages."""
        return self._ask(questions.rpc(node or self.node, "state", {"pid": pid}))

    def kill(self, pid: str | int, node: str | None = None) -> dict[str, Any]:
        """End a process at once, whatever it does: what was `killed`, and `then`: what follows, its restart mostly.

        It is for what is broken. No task is lost; those of a killed worker may run again. What passes on this answer ends
        `seconds` after it. If the top of the tree is killed, the node ends.
        """
        return self._ask(questions.rpc(node or self.node, "kill", {"pid": pid}))

    def trace(self, what: str | int, node: str | None = None) -> Iterator[dict[str, Any]]:
        """What a process gets and sends, or what a task's log tells, as it comes: messages, each a dict.

        Of a process: `time`, `kind` ('receive', 'send', 'cast', 'call', 'reply'), `peer` and `message`, in a bounded form without
        secrets; `dropped` tells how many are missing before it. The last one, of kind 'ended', has the reason of its end. It is
        traced from now on.
        Of a task: as `logs` with `follow`, the steps of its life among the lines.

        Close the iterator, or leave it, to end it: a trace that nobody reads ends by itself after ten seconds.

        Args:
            what: A process as for `info`, or a task's id.
            node: Where the process is; None: on the node that this client is connected to.

        Raises:
            QueryFailed: There is no such process.
            TaskNotFound: There is no such task.
        """
        if is_task_id(what):
            return map(line_message, self.logs(str(what), follow=True))
        node = node or self.node
        return self._messages(node, self._ask(questions.rpc(node, "trace_start", {"pid": what})))

    def _messages(self, node: str, begun: dict[str, Any]) -> Iterator[dict[str, Any]]:
        after = begun["after"]
        while True:
            read = self._ask(questions.rpc(node, "trace_read", {"pid": begun["pid"], "after": after}))
            after = read["after"]
            yield from read["messages"]
            if read["ended"] is not None:
                yield ended_message(read["ended"])
                return
            if not read["messages"]:
                sleep(POLL)

    def stacks(self, worker: str | None = None, node: str | None = None) -> dict[str, str]:
        """The Python stack of each thread: of the node's process; of a worker's child; of the child that runs a task.

        A child says it whatever it is doing, within a second: in an endless loop, in C code that does not come back. C code
        that sleeps may wake early by it, as by any signal.

        Args:
            worker: 'default/0', pool and number as `workers` has them, or the id of a task that runs; None: the node itself.
            node: Where; None: on the node that this client is connected to, or where the task runs.

        Raises:
            QueryFailed: There are none, for a script for instance; the message says why.
            UsageError: The task does not run.
        """
        if worker is None:
            return self._ask(questions.rpc(node or self.node, "stacks", {}))
        if node is None and is_task_id(worker):
            node = node_of_run(worker, self.why(worker))
        return self._ask(questions.rpc(node or self.node, "stacks", {"worker": worker}))

    def drain(self, node: str, *, wait: bool = False, timeout: float | None = None) -> dict[str, Any]:
        """Have a node take nothing new, end what runs within its grace, hand back the rest, and stop, as TERM does.

        The answer says what will be done (`then`), how many tasks run (`running`), and the `grace`. The node that leads may be
        drained too: then no node gets tasks until it is started again.

        Args:
            node: Which.
            wait: Whether to return only when it is down.
            timeout: Seconds to wait for that; None: its grace and 20 seconds.

        Raises:
            QueryFailed: There is no such node.
            NotAnswered: It is not down in time; it goes on ending.
        """
        drained: dict[str, Any] = self._ask(questions.rpc(node, "drain", {}))
        if wait:
            self._until_out(drained, drained["grace"] + MARGIN if timeout is None else timeout)
        return drained

    def _until_out(self, drained: dict[str, Any], seconds: float) -> None:
        deadline = monotonic() + seconds
        while True:
            try:
                nodes = self._ask(questions.facts("nodes"), SILENCE)
            except Unavailable:
                if drained["leads"]:
                    return  # who would say so is gone
                raise
            if is_out(drained, nodes):
                return
            if monotonic() >= deadline:
                raise NotAnswered(f"the end of {drained['node']}", self._session.target.shown, seconds)
            sleep(POLL)

    @property
    def schedules(self) -> Schedules:
        """What makes tasks when it is their time: `client.schedules.add('nightly', tidy.s(), cron='0 3 * * *')`."""
        from otpq.client.schedules import Schedules

        return Schedules(self._ask, self.handle)

    # ------------------------------------------------------------ connection

    def wait_connected(self, timeout: float, while_nobody: float = math.inf) -> None:
        """Return when the node has answered.

        Args:
            timeout: Seconds to keep trying.
            while_nobody: Seconds after which it is given up if nothing listens there then.

        Raises:
            NodeUnreachable: It has not answered in time, or says that it never will.
        """
        io = self._session.io
        seconds = min(timeout, while_nobody)
        if not io.welcomed.wait(seconds) and not io.is_nobody_there:
            io.welcomed.wait(timeout - seconds)
            seconds = timeout
        if not io.welcomed.is_filled:
            to = self._session.target
            raise NodeUnreachable(to.shown, (io.why_down() or "no answer") + known_nodes(to.node), seconds)
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

    def wait_ended(self, handles: Iterable[TaskHandle[Any]], timeout: float | None) -> None:
        """Return when all these tasks have ended. Raises as `wait` does."""
        self._warn_in_loop()
        handles = list(handles)
        cells = [handle.outcome_cell() for handle in handles]
        if not wait_all(cells, timeout):
            pending = [handle for handle, cell in zip(handles, cells, strict=True) if not cell.is_filled]
            if pending:
                raise WaitTimeout(pending, timeout or 0.0)
        for cell in cells:
            cell.get()  # raises if the client was closed meanwhile

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

    def _in_parts(
        self, part: Callable[[str | None], Question[Part]], on_progress: Callable[[int], object] | None = None
    ) -> int:
        done = 0
        after: str | None = None
        while True:
            answer: Part = self._ask(part(after))
            done += answer.done
            if on_progress is not None:
                on_progress(done)
            after = answer.next
            if after is None:
                return done

    def _ask(self, question: Question[T], timeout: float | None = None) -> T:
        self._warn_in_loop()
        return question.answer(self.wait_answer(self._session.ask(question), f"{question.verb!r}", timeout))

    def _warn_in_loop(self) -> None:
        if not self._has_warned and _is_in_loop():
            self._has_warned = True
            warnings.warn(
                "a blocking call of otpq in a running event loop stops everything else in it; "
                "use `async with otpq.connect_async(...)`",
                stacklevel=3,
            )


def _is_in_loop() -> bool:
    asyncio = sys.modules.get("asyncio")  # to import it takes 40 ms, and who has a loop has imported it
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001 - it does not raise, so 40 ns


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
