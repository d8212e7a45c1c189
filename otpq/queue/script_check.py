"""Whether the scripts among submitted tasks may run: told at once, and not by a task that fails hours later.

A path is one of the node that runs it. This node's own are looked for here; where that finds something wrong and other nodes
have directories of scripts, each of them is asked, and the submission waits. A node that does not say in time may have the
file: then the task is taken, and its run will tell.
"""

from __future__ import annotations

from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from otpq.core.effects import Refusal
from otpq.otp import send_request
from otpq.script_paths import locate
from otpq.task import SCRIPT_HANDLER

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from otpq.otp import Response
    from otpq.queue.clients import Submission
    from otpq.wire.messages import NewTask

__all__ = ["AskedScripts", "ScriptChecks", "has_scripts", "wrong_scripts"]

PATIENCE: Final = 2.0
"""Seconds that nodes have to say whether they have a script: two heartbeats, and a fifth of a client's patience."""

_name: Final = attrgetter("name")


def has_scripts(tasks: Iterable[NewTask]) -> bool:
    """Whether any of the tasks is a script. Some 50 ns a task, since all tasks are asked."""
    return SCRIPT_HANDLER in map(_name, tasks)


def wrong_scripts(
    tasks: Sequence[NewTask], script_dirs: Iterable[str], there: Container[bytes] = frozenset()
) -> list[Refusal]:
    """What is wrong, here, with the scripts among the tasks, but for those in `there`, which were accepted once."""
    dirs = tuple(script_dirs)
    return [
        Refusal(index, "bad_path", wrong)
        for index, task in enumerate(tasks)
        if task.name == SCRIPT_HANDLER and task.id not in there and (wrong := _wrong(task.payload, dirs)) is not None
    ]


def _wrong(payload: bytes, script_dirs: tuple[str, ...]) -> str | None:
    path = _path(payload)
    return "a script's one argument is its path, a text" if path is None else locate(path, script_dirs)


def _path(payload: bytes) -> str | None:
    try:
        args, _ = msgspec.msgpack.decode(payload, type=tuple[list[Any], dict[str, Any]])
    except msgspec.MsgspecError:
        return None
    return args[0] if len(args) == 1 and isinstance(args[0], str) else None


class AskedScripts(NamedTuple):
    """The label of a request to a node."""

    check: int
    node: str


class _Check:
    """One submission, of which something is wrong unless a node says otherwise."""

    def __init__(self, submission: Submission, refusals: Sequence[Refusal], nodes: Iterable[str], until: float) -> None:
        tasks = submission.message.tasks
        self.submission = submission
        self.until = until
        self.missing = set(nodes)
        self.paths = [path for each in refusals if (path := _path(tasks[each.index].payload)) is not None]
        self._wrong = [(each, _path(tasks[each.index].payload)) for each in refusals]
        self._there: set[str] = set()

    def answered(self, node: str, verdicts: Sequence[str | None] | None) -> None:
        """A node has said what is wrong with each path; None: it could not say, and may have them all."""
        self.missing.discard(node)
        said = [None] * len(self.paths) if verdicts is None else verdicts
        self._there.update(path for path, wrong in zip(self.paths, said, strict=False) if wrong is None)

    def refusals(self) -> list[Refusal]:
        """Of what no node has."""
        return [refusal for refusal, path in self._wrong if path not in self._there]


class ScriptChecks:
    """The submissions with scripts that wait for what other nodes say."""

    def __init__(self, then: Callable[[Submission, Sequence[Refusal]], None]) -> None:
        """`then` gets each submission, with what is to be refused of it, once."""
        self._then = then
        self._numbers = count(1)
        self._checks: dict[int, _Check] = {}

    def begin(
        self,
        submission: Submission,
        here: Iterable[str],
        elsewhere: Mapping[str, Iterable[str]],
        there: Container[bytes],
        now: float,
    ) -> None:
        """Check a submission.

        Args:
            submission: What was submitted.
            here: The directories of scripts of this node.
            elsewhere: Those of other nodes that can be asked, by node.
            there: Tasks that were accepted once.
            now: By the steady clock.
        """
        self._forget(submission)
        tasks = submission.message.tasks
        refusals = wrong_scripts(tasks, here, there)
        if refusals and elsewhere:
            # In the words of all directories there are; whether one of the others has the file, its node knows.
            everywhere = {*here, *(each for dirs in elsewhere.values() for each in dirs)}
            check = _Check(submission, _in_view_of(tasks, refusals, everywhere), elsewhere, now + PATIENCE)
            if check.paths:
                self._ask(check)
                return
        self._then(submission, refusals)

    def _forget(self, submission: Submission) -> None:
        """The same submission has come again, after a reconnect: it is answered once, by this look."""
        same = submission.session, submission.message.number
        for number, check in list(self._checks.items()):
            if (check.submission.session, check.submission.message.number) == same:
                del self._checks[number]

    def _ask(self, check: _Check) -> None:
        number = next(self._numbers)
        self._checks[number] = check
        for node in list(check.missing):
            send_request(("rpc", node), ("scripts", {"paths": check.paths}), AskedScripts(number, node))

    def answered(self, response: Response) -> None:
        """A node has said what it has, or will not."""
        label = response.label
        assert isinstance(label, AskedScripts)  # noqa: S101 - its receiver has looked
        check = self._checks.get(label.check)
        if check is None:
            return
        match response.reason, response.value:
            case None, ("ok", list(verdicts)):
                check.answered(label.node, verdicts)
            case None, _:  # an older node, or one with too much to do
                check.answered(label.node, None)
            case _:  # its node is gone, and will not run it
                check.answered(label.node, ["gone"] * len(check.paths))
        if not check.missing:
            self._end(label.check)

    def look(self, now: float) -> None:
        """Wait no longer for nodes that do not say."""
        for number, check in list(self._checks.items()):
            if now >= check.until:
                for node in list(check.missing):
                    check.answered(node, None)
                self._end(number)

    def _end(self, number: int) -> None:
        check = self._checks.pop(number)
        self._then(check.submission, check.refusals())


def _in_view_of(tasks: Sequence[NewTask], refusals: Iterable[Refusal], dirs: Iterable[str]) -> list[Refusal]:
    found = tuple(dirs)
    return [
        Refusal(each.index, each.code, _wrong(tasks[each.index].payload, found) or each.message) for each in refusals
    ]
