"""A queue server in a thread: it speaks `otpq.wire.messages` over a real socket and keeps tasks in a dictionary.

It runs a task the moment it is accepted: `ok` gives its first argument back, `fail` fails, `big` gives 100 KB; any other name
waits until a test says `finish`. Tests steer it by its attributes and by `do`, which runs a function in its thread.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self

import msgspec

from otpq.task import HistoryEntry, TaskState
from otpq.wire import messages as m
from otpq.wire import verbs
from otpq.wire.codec import Fault, decode, decode_body, encode
from otpq.wire.listener import Listener
from otpq.wire.values import pack_result, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.wire.cookie import Cookie

_from_client: msgspec.msgpack.Decoder[m.FromClient] = msgspec.msgpack.Decoder(m.FromClient)

LONG = 30.0
"""Seconds after which a test has failed, not merely been slow."""


class FakeServer:
    """Listens from construction to `stop`; `tasks` can be given to another one, as a store would survive."""

    def __init__(
        self, cookie: Cookie, address: str = "tcp://127.0.0.1:0", tasks: dict[bytes, verbs.TaskView] | None = None
    ) -> None:
        self.listener = Listener(address, cookie)
        self.tasks = {} if tasks is None else tasks
        self.parts = 1
        """In how many parts what is done to many is answered."""
        self.keys: dict[str, bytes] = {}
        self.faults: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        """Messages by the names of their types."""
        self.sizes: list[int] = []
        """Tasks in each `Submit`, in order."""
        self.refuse: m.Refusal | None = None
        """What each task called `refused` is refused with."""
        self.is_mute = False
        self.unanswered: set[str] = set()
        """Verbs."""
        """Whether it takes messages and answers none."""
        self.log: list[int] = []
        self.returns: dict[str, list[Any]] = {}
        """What the functions of nodes, and verbs that take nothing, return in their turn; the last one again and again."""
        """Numbers of the lines that every task's log has."""
        self.asked: list[tuple[str, Any]] = []
        """Verbs with their bodies, in order."""
        self.node = "fake@127.0.0.1"
        self.versions = [m.VERSION]
        self.dropped = 0
        self._peers: dict[bytes, bytes] = {}  # peer to session
        self._watched: dict[bytes, set[bytes]] = {}  # task to sessions
        self._outcomes: dict[bytes, list[m.Outcome]] = {}
        self._inbox: deque[Callable[[], object]] = deque()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="fake-server")
        self._thread.start()

    @property
    def address(self) -> str:
        return self.listener.address

    @property
    def name(self) -> str:
        return f"fake@127.0.0.1:{self.address.rpartition(':')[2]}"

    # ------------------------------------------------- for tests, from their thread

    def do(self, function: Callable[[], Any]) -> Any:
        """Run `function` in the server's thread and return what it does."""
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)
                raise

        self._inbox.append(run)
        self.listener.wake()
        return future.result(LONG)

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Return when `is_so` after some message; it is looked at after each."""
        with self._changed:
            assert self._changed.wait_for(is_so, LONG), (self.seen, self.faults)

    def finish(self, id: str, result: object = None) -> None:
        """End the task with a result."""
        self.do(lambda: self._end(bytes.fromhex(id), "succeeded", result=pack_result(result)))

    def unmute(self) -> None:
        self.is_mute = False

    def stop(self) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            self.listener.wake()
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    # ------------------------------------------------- the thread

    def _run(self) -> None:
        try:
            while not self._is_stopping:
                self.listener.wait()
                while self._inbox:
                    self._inbox.popleft()()
                while (got := self.listener.receive()) is not None:
                    self._take(*got)
                self._send_outcomes()
        finally:
            self.listener.close()

    def _take(self, peer: bytes, data: bytes) -> None:
        message = decode(_from_client, data)
        if isinstance(message, Fault):
            self.faults[message.kind] += 1
        else:
            self.seen[type(message).__name__] += 1
            if not self.is_mute:
                self._answer(peer, message)
        with self._changed:
            self._changed.notify_all()

    def _send(self, peer: bytes, message: m.FromServer) -> None:
        if not self.listener.send(peer, encode(message)):
            self.dropped += 1

    def _answer(self, peer: bytes, message: m.FromClient) -> None:
        match message:
            case m.Hello():
                self._greet(peer, message)
            case m.Submit():
                self._submit(peer, message)
            case m.Watch():
                self._watch(peer, message.ids)
            case m.Unwatch():
                for id in message.ids:
                    self._watched.get(id, set()).discard(self._peers[peer])
            case m.Fetch():
                view = self.tasks[message.id]
                self._send(peer, m.Fetched(message.number, view.result or b""))
            case m.Query():
                self._query(peer, message)
            case m.Ping():
                self._send(peer, m.Pong(message.number, self.dropped))
            case m.Goodbye():
                self._peers.pop(peer, None)

    def _greet(self, peer: bytes, hello: m.Hello) -> None:
        if not set(hello.versions) & set(self.versions):
            text = f"this node speaks versions {self.versions}, the client {hello.versions}"
            return self._send(peer, m.Rejected("version", text, self.versions))
        if hello.node not in {"", self.node}:
            return self._send(peer, m.Rejected("node", f"this is {self.node}, not {hello.node}", node=self.node))
        for old in [old for old, session in self._peers.items() if session == hello.session]:
            del self._peers[old]
        self._peers[peer] = hello.session
        return self._send(peer, m.Welcome(m.VERSION, hello.session, hello.connection, self.node, "inc-1", 1))

    def _submit(self, peer: bytes, message: m.Submit) -> None:
        self.sizes.append(len(message.tasks))
        refused: list[m.Refusal] = []
        duplicates: list[m.Duplicate] = []
        made: list[m.NewTask] = []
        start = 0
        for size in message.groups or [1] * len(message.tasks):
            group = message.tasks[start : start + size]
            wrong = [i for i, task in enumerate(group) if task.name == "refused"]
            if wrong and self.refuse is not None:
                refused.append(msgspec.structs.replace(self.refuse, index=start + wrong[0]))
            else:
                for index, task in enumerate(group, start):
                    other = self.keys.setdefault(task.key, task.id) if task.key else task.id
                    if other != task.id:
                        duplicates.append(m.Duplicate(index, other))
                    elif task.id not in self.tasks:
                        self.tasks[task.id] = _view(task)
                made += group
            start += size
        self._send(peer, m.Accepted(message.number, refused, duplicates))
        self._watch(peer, [task.id for task in made if task.watch and task.id in self.tasks])
        for task in made:
            self._perform(task)

    def _perform(self, task: m.NewTask) -> None:
        if task.id not in self.tasks or self.tasks[task.id].state != "queued":
            return
        if task.name == "ok":
            args, _ = unpack(task.payload)
            self._end(task.id, "succeeded", result=pack_result(args[0] if args else None))
        elif task.name == "big":
            self._end(task.id, "succeeded", result=pack_result("x" * 100_000))
        elif task.name == "fail":
            error = encode(["ValueError", "no such user", 'Traceback ...\n  File "app.py", line 7, in fail'])
            self._end(task.id, "failed", reason="error", error=error)

    def _end(self, id: bytes, state: str, **columns: Any) -> None:
        self.tasks[id] = msgspec.structs.replace(self.tasks[id], state=state, **columns)
        sessions = self._watched.pop(id, set())
        for peer, session in list(self._peers.items()):
            if session in sessions:
                self._outcomes.setdefault(peer, []).append(self._outcome(id))

    def _send_outcomes(self) -> None:
        """Once a round, many in a message: one message a task would soon be more than ZeroMQ holds for a peer."""
        for peer, outcomes in self._outcomes.items():
            self._send(peer, m.Outcomes(outcomes))
        self._outcomes.clear()

    def _watch(self, peer: bytes, ids: list[bytes]) -> None:
        ended = []
        for id in ids:
            view = self.tasks.get(id)
            if view is None or view.state in {"succeeded", "failed", "cancelled", "expired"}:
                ended.append(self._outcome(id))
            elif peer in self._peers:
                self._watched.setdefault(id, set()).add(self._peers[peer])
        if ended:
            self._outcomes.setdefault(peer, []).extend(ended)

    def _outcome(self, id: bytes) -> m.Outcome:
        view = self.tasks.get(id)
        if view is None:
            return m.Outcome(id, m.UNKNOWN)
        is_large = view.result is not None and len(view.result) > m.FETCH_ABOVE
        result = None if is_large else view.result
        return m.Outcome(id, view.state, result, is_large, view.reason, view.error, view.name)

    def _query(self, peer: bytes, query: m.Query) -> None:
        verb = verbs.VERBS.get(query.verb)
        if verb is None:
            return self._send(peer, m.Failed(query.number, "unknown_verb", f"no verb {query.verb!r}"))
        body: Any = decode_body(query.body, verb.takes)
        if isinstance(body, Fault):
            return self._send(peer, m.Failed(query.number, "invalid", body.text))
        self.asked.append((query.verb, body))
        if query.verb in self.unanswered:
            return None
        answer = self._facts(query.verb, body)
        return self._send(peer, m.Answer(query.number, msgspec.Raw(encode(answer))))

    def _facts(self, verb: str, body: Any) -> object:  # noqa: PLR0911 - a table of verbs
        match verb:
            case "get":
                return [self.tasks[id] for id in body.ids if id in self.tasks]
            case "list":
                return self._page(body)
            case "counts":
                counts = Counter((view.queue, view.state) for view in self.tasks.values())
                return {queue: {state: n} for (queue, state), n in counts.items()}
            case "cancel":
                if self.tasks[body.id].state != "queued":
                    return "too_late"
                self._end(body.id, "cancelled")
                return "cancelled"
            case "cancel_all" | "retry" | "delete" | "purge" | "pause" | "resume" | "count":
                return self._part(body)
            case "logs":
                return self._log(body)
            case "events":
                return self._happened(body)
            case "scale" | "reload":
                return [{"pool": body.pool, "workers": getattr(body, "workers", None)}]
            case _:
                return self._stats().get(verb, []) if verb != "rpc" else self._next(body.function)

    def _part(self, body: Any) -> verbs.Affected:
        """All at once; or, if there are `parts`, so many, each as large as there are tasks."""
        number = int(getattr(body, "after", None) or 1)
        return verbs.Affected(len(self.tasks), str(number + 1) if number < self.parts else None)

    def _stats(self) -> dict[str, object]:
        """Answers to verbs that take nothing."""
        return {
            "queue_stats": {"default": {"queued": len(self.tasks)}},
            "handler_stats": {"ok": {"runs": len(self.tasks)}},
            "worker_stats": {"workers": [], "pools": [], "nodes": []},
            "health": {"status": "serving", "node": self.node},
            "stats": {"tasks": len(self.tasks)},
            **{verb: self._next(verb) for verb in ("nodes", "why") if verb in self.returns},
        }

    def _next(self, what: str) -> Any:
        left = self.returns.get(what, [{}])
        return left.pop(0) if len(left) > 1 else left[0]

    def _log(self, body: verbs.LogsOf) -> verbs.LogPage:
        """Two lines a page, and no more than `log` has now."""
        at = int(body.after or 0)
        lines = [verbs.LogLine(float(n), "out", "info", f"line {n}", {"n": n}, 1, n) for n in self.log[at : at + 2]]
        end = at + len(lines)
        return verbs.LogPage(lines, str(end), end < len(self.log), self.tasks[body.id].state == "succeeded")

    def _happened(self, body: verbs.EventsOf) -> verbs.EventPage:
        """Two events a page, and no more than `log` has now."""
        at = int((body.after or "t.0").partition(".")[2])
        found = [verbs.Happening(n, float(n), "node_up", {"node": "b@h"}) for n in self.log[at : at + 2]]
        end = at + len(found)
        return verbs.EventPage("t", found, f"t.{end}", end < len(self.log))

    def _page(self, body: verbs.ListTasks) -> verbs.TaskPage:
        chosen = [view for view in self.tasks.values() if body.selector.state in {None, view.state}]
        start = int(body.after or 0)
        end = start + body.limit
        return verbs.TaskPage(chosen[start:end], str(end) if end < len(chosen) else None)


def _view(task: m.NewTask) -> verbs.TaskView:
    begin = [HistoryEntry(time=1.0, target=TaskState.QUEUED)]
    return verbs.TaskView(
        id=task.id,
        name=task.name,
        state="queued",
        queue=task.queue or "default",
        priority=5 if task.priority is None else task.priority,
        created=1.0,
        updated=1.0,
        tags=[tag for tag in (task.tags or "").split(",") if tag],
        payload=task.payload,
        options=task.options,
        history=encode(begin),
    )
