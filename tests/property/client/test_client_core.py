"""The client's core against a small model of a queue server, over a link that loses, repeats, reorders and breaks.

What must hold, whatever the link does: each submission is answered exactly once, each slot gets exactly the outcome of its
task and gets it once, no task is made twice, a group is made as a whole or not at all, the window is never exceeded.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from otpq.client.core import ClientCore, Settings, Submission
from otpq.client.effects import Acknowledged, Answered, Ended, Fetched, NotAnswered, NotMade, Redial, Send
from otpq.wire import messages as m
from otpq.wire.codec import Fault, decode_from_server, encode
from otpq.wire.peer_codec import decode_at_leader

if TYPE_CHECKING:
    from collections.abc import Sequence

SMALL = Settings(gather=4, message_tasks=5, message_bytes=500, window_tasks=8, window_bytes=1_000, unwatch=2)
SESSION = b"s" * 16
indexes = st.integers(0, 1_000)


class ModelServer:
    """What messages.py asks of a queue server, without a socket: tasks in a dictionary, watches of the one session."""

    def __init__(self) -> None:
        self.connection = 0
        self.made: Counter[bytes] = Counter()
        self.ended: dict[bytes, str] = {}
        self.keys: dict[str, bytes] = {}
        self.watched: set[bytes] = set()
        self.dropped = 0

    def take(self, connection: int, message: m.FromClient) -> list[m.FromServer]:  # noqa: PLR0911 - a table
        if isinstance(message, m.Hello):
            if message.connection <= self.connection:
                return []
            self.connection, self.dropped = message.connection, 0
            self.watched.clear()
            return [m.Welcome(m.VERSION, message.session, message.connection, "a@b", "i", 1)]
        if connection != self.connection:
            return []  # a late echo of a connection that is no more
        match message:
            case m.Submit():
                return self._submit(message)
            case m.Watch():
                return self._watch(message.ids)
            case m.Unwatch():
                self.watched -= set(message.ids)
            case m.Query():
                return [m.Answer(message.number, message.body)]
            case m.Ping():
                return [m.Pong(message.number, self.dropped)]
            case _:
                pass
        return []

    def end(self, id: bytes) -> list[m.FromServer]:
        self.ended.setdefault(id, "succeeded")
        if id not in self.watched:
            return []
        self.watched.discard(id)
        return [m.Outcomes([m.Outcome(id, "succeeded", result=id)])]

    def _submit(self, message: m.Submit) -> list[m.FromServer]:
        refused, duplicates, start = [], [], 0
        for size in message.groups or [1] * len(message.tasks):
            group = message.tasks[start : start + size]
            wrong = [start + i for i, task in enumerate(group) if task.name == "refused"]
            if wrong:
                refused.append(m.Refusal(wrong[0], "bad_name", "no"))
            else:
                for index, task in enumerate(group, start):
                    other = self.keys.setdefault(task.key, task.id) if task.key else task.id
                    if other != task.id:
                        duplicates.append(m.Duplicate(index, other))
                    elif message.resent:
                        self.made[task.id] = 1
                    else:
                        self.made[task.id] += 1
            start += size
        mine = [task.id for task in message.tasks if self.made[task.id] and task.watch]
        return [m.Accepted(message.number, refused, duplicates), *self._watch(mine)]

    def _watch(self, ids: Sequence[bytes]) -> list[m.FromServer]:
        unknown = [id for id in ids if not self.made[id]]
        ended = [id for id in ids if id in self.ended]
        self.watched.update(id for id in ids if self.made[id] and id not in self.ended)
        outcomes = [m.Outcome(id, "succeeded", result=id) for id in ended]
        outcomes += [m.Outcome(id, m.UNKNOWN) for id in unknown]
        return [m.Outcomes(outcomes)] if outcomes else []


class ClientAndServer(RuleBasedStateMachine):
    """Wishes, and everything a network can do to them, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.core = ClientCore(SESSION, settings=SMALL)
        self.server = ModelServer()
        self.connection = 0
        self.is_up = False
        self.up: list[tuple[int, m.FromClient]] = []
        self.down: list[m.FromServer] = []
        self.submissions: list[Submission] = []
        self.answers: dict[Submission, list[Acknowledged | NotMade]] = {}
        self.outcomes: dict[object, list[m.Outcome]] = {}
        self.wanted: dict[object, bytes] = {}
        """Slots to the id whose outcome belongs in them: as submitted, then as acknowledged."""
        self.forgotten: set[object] = set()
        self.asked: dict[object, list[bytes]] = {}
        self.ids = 0

    # ------------------------------------------------------------- wishes

    @rule(
        kinds=st.lists(st.sampled_from(["ok", "ok", "ok", "refused", "key"]), min_size=1, max_size=6),
        watch=st.booleans(),
    )
    def submit(self, kinds: list[str], watch: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
        tasks = [self._task(kind, watch=watch) for kind in kinds]
        slots = [object() for _ in tasks] if watch else None
        submission = Submission(tasks, slots, 100 * len(tasks), ticket=object())
        for task, slot in zip(tasks, slots or (), strict=False):
            self.outcomes[slot] = []
            self.wanted[slot] = task.id
        self.submissions.append(submission)
        self.answers[submission] = []
        self.core.submit(submission, self.now)
        self._step()

    @rule(which=indexes)
    def watch_a_known_task(self, which: int) -> None:
        known = [id for id in self._acknowledged() if id not in self._forgotten_ids()]
        if known:
            slot, id = object(), known[which % len(known)]
            self.outcomes[slot], self.wanted[slot] = [], id
            self.core.watch(id, slot, self.now)
            self._step()

    @rule(which=indexes)
    def forget_a_slot(self, which: int) -> None:
        """Of an acknowledged task, as a handle does when nobody holds it. Such a task is not watched again here: a watch that
        was overtaken by an older unwatch would be lost, which one TCP connection cannot do and this link can."""
        of_acknowledged = set(self._acknowledged())
        slots = [slot for slot, id in self.wanted.items() if id in of_acknowledged and slot not in self.forgotten]
        if slots:
            slot = slots[which % len(slots)]
            if sum(id == self.wanted[slot] for id in self.wanted.values()) == 1:
                self.forgotten.add(slot)
                self.core.forget(self.wanted[slot], slot)
                self._step()

    @rule()
    def ask(self) -> None:
        ticket = object()
        self.asked[ticket] = []
        self.core.ask(ticket, "echo", encode(len(self.asked)), self.now)
        self._step()

    # ------------------------------------------------------------ the link

    @rule()
    def connect(self) -> None:
        """The old connection, if any, is gone: what was on its way down is lost, what was on its way up may still arrive."""
        if self.is_up:
            self.core.lost()
        self.down.clear()
        self.is_up = True
        self.connection += 1
        self.core.dialled(self.now)
        self._step()

    @rule()
    def break_off(self) -> None:
        if self.is_up:
            self.is_up = False
            self.down.clear()
            self.core.lost()
            self._step()

    @rule(which=indexes)
    def carry_up(self, which: int) -> None:
        if self.up:
            connection, message = self.up.pop(which % len(self.up))
            self._to_client(self.server.take(connection, message), connection)

    @rule(which=indexes)
    def carry_down(self, which: int) -> None:
        if self.down:
            self._arrive(self.down.pop(which % len(self.down)))

    @rule(which=indexes)
    def repeat_down(self, which: int) -> None:
        if self.down:
            self._arrive(self.down[which % len(self.down)])

    @rule(which=indexes)
    def lose_up(self, which: int) -> None:
        if self.up:
            del self.up[which % len(self.up)]

    @rule(which=indexes)
    def lose_down(self, which: int) -> None:
        if self.down:
            del self.down[which % len(self.down)]
            self.server.dropped += 1

    # ----------------------------------------------------- server and time

    @rule(which=indexes)
    def end_a_task(self, which: int) -> None:
        made = [id for id, n in self.server.made.items() if n]
        if made:
            self._to_client(self.server.end(made[which % len(made)]), self.server.connection)

    @rule(seconds=st.sampled_from([0.0005, 0.001, 1.0, 6.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self._step()

    # -------------------------------------------------------------- checks

    @invariant()
    def no_answer_comes_twice(self) -> None:
        assert all(len(answers) <= 1 for answers in self.answers.values())
        assert all(len(outcomes) <= 1 for outcomes in self.outcomes.values())
        assert all(len(bodies) <= 1 for bodies in self.asked.values())

    @invariant()
    def nothing_is_made_twice(self) -> None:
        assert all(n <= 1 for n in self.server.made.values())

    @invariant()
    def load_is_what_is_unanswered(self) -> None:
        open_ = [one for one in self.submissions if not self.answers[one]]
        assert self.core.load == (sum(len(one.tasks) for one in open_), sum(one.size for one in open_))

    def teardown(self) -> None:
        """Let the link work at last, end all tasks: everything must be answered."""
        self.connect()
        self._run_dry()
        for id in list(self.server.made):
            self._to_client(self.server.end(id), self.server.connection)
        self._run_dry()
        for submission in self.submissions:
            self._check_answered(submission)
        for slot, id in self.wanted.items():
            if slot not in self.forgotten:
                assert [outcome.id for outcome in self.outcomes[slot]] == [id]
                assert [outcome.state for outcome in self.outcomes[slot]] == ["succeeded"]
        assert all(len(bodies) == 1 for bodies in self.asked.values())
        assert self.core.awaited == {"submissions": 0, "requests": 0, "outcomes": 0}
        assert not list(self.core.outstanding())

    def _check_answered(self, submission: Submission) -> None:
        (answer,) = self.answers[submission]
        if isinstance(answer, NotMade):
            assert submission.tasks[answer.refusal.index].name == "refused"
            assert not any(self.server.made[task.id] for task in submission.tasks)
        else:
            assert all(self.server.made[id] == 1 for id in answer.ids)

    # ------------------------------------------------------------- helpers

    def _task(self, kind: str, *, watch: bool) -> m.NewTask:
        self.ids += 1
        name = "refused" if kind == "refused" else "ok"
        return m.NewTask(self.ids.to_bytes(16, "big"), name, b"", watch=watch, key="k" if kind == "key" else None)

    def _acknowledged(self) -> list[bytes]:
        return [
            id
            for answers in self.answers.values()
            for one in answers
            if isinstance(one, Acknowledged)
            for id in one.ids
        ]

    def _forgotten_ids(self) -> set[bytes]:
        return {self.wanted[slot] for slot in self.forgotten}

    def _run_dry(self) -> None:
        for _ in range(10_000):
            if self.up:
                connection, message = self.up.pop(0)
                self._to_client(self.server.take(connection, message), connection)
            elif self.down:
                self._arrive(self.down.pop(0))
            elif self.core.load[0]:
                assert self.core.deadline is not None
                self.now = max(self.now, self.core.deadline)
                self._step()
            else:
                return
        raise AssertionError("the core never comes to rest")

    def _to_client(self, messages: list[m.FromServer], connection: int) -> None:
        """Put on the way down what can still arrive: what belongs to the connection that stands."""
        if self.is_up and connection == self.connection:
            self.down.extend(messages)

    def _arrive(self, message: m.FromServer) -> None:
        decoded = decode_from_server(encode(message))
        assert not isinstance(decoded, Fault)
        self.core.received(decoded, self.now)
        self._step()

    def _step(self) -> None:  # noqa: C901 - a table
        for effect in self.core.step(self.now):
            match effect:
                case Send():
                    self._send(effect.message)
                case Acknowledged():
                    self.answers[effect.submission].append(effect)
                    self._note_ids(effect)
                case NotMade():
                    self.answers[effect.submission].append(effect)
                    for slot in effect.submission.slots or ():
                        del self.wanted[slot]
                case Ended():
                    for slot, outcome in effect.outcomes:
                        assert slot not in self.forgotten
                        self.outcomes[slot].append(outcome)
                case Answered():
                    self.asked[effect.ticket].append(bytes(effect.body))
                case Redial():
                    self.is_up = False
                    self.down.clear()
                case Fetched() | NotAnswered():
                    raise AssertionError(effect)
                case _:
                    pass

    def _note_ids(self, effect: Acknowledged) -> None:
        for slot, id in zip(effect.submission.slots or (), effect.ids, strict=False):
            self.wanted[slot] = id

    def _send(self, message: m.FromClient) -> None:
        assert self.is_up
        decoded: Any = decode_at_leader(encode(message))
        assert decoded == message
        if isinstance(message, m.Submit):
            sizes = message.groups or [1] * len(message.tasks)
            assert sum(sizes) == len(message.tasks)
            assert len(sizes) == 1 or len(message.tasks) <= SMALL.message_tasks
        self.up.append((self.connection, message))


ClientAndServer.TestCase.settings = settings(
    max_examples=150, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestClientAndServer = ClientAndServer.TestCase
