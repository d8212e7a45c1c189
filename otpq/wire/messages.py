"""What a client and the queue server say to each other: the envelopes, and who sends which.

Each message is one ZeroMQ frame: a MessagePack array whose first element is the message's number (its `tag`), then its
fields in the order below. `codec.py` writes and reads them, `verbs.py` has the bodies of queries.

    session     = hello (welcome | rejected) *traffic [goodbye]
    C: hello         1  who I am (a session id that outlives connections), which versions I speak
    S: welcome       2  who I am; from here on the session is known and everything may be sent
    S: rejected      3  no, and why: the versions have none in common, or this is not the node you dialled
    C: submit        4  tasks, many at once
    S: accepted      5  they are durable, but for these (refused), and these were there already (duplicates)
    C: watch         6  tell me how these tasks end; answered by outcomes, at once for those that have ended
    C: unwatch       7  I no longer care
    S: outcomes      8  how tasks ended
    C: fetch         9  the result of a task that was too large to be pushed
    S: fetched      10  that result
    C: query        11  anything else, by its verb
    S: answer       12  its answer
    S: failed       13  its error; also the answer to a fetch that failed
    C: ping         14  are you there?
    S: pong         15  yes, and I had to drop so many messages to you
    C: goodbye      16  forget this session

Rules that both sides keep:

- `number` names a request; it is new for each request of a session and never 0. An answer repeats it. A client sends a
  request again after a reconnect, under the same number and with the same task ids, so **a server makes no second task for
  an id it has**, and answers `accepted` as if it were the first time. Answers to numbers nobody waits for are dropped.
- A server registers a watch first and looks up the task's state second, so that no end falls between.
- An id that a server does not know is answered to `watch` by an outcome whose state is `unknown`.
- A server keeps what a slow client does not take, up to a bound. What it must drop beyond that, it counts for the session
  and says so in `pong`; a client that sees the count grow asks for everything outstanding again. A client pings only after
  seconds of silence, so this mends, but late: outcomes are to be sent many in a message.
- Fields are only added, at the end, with a default. A reader skips fields it does not know; a writer never leaves one out.
  A change that cannot be made so is a new `VERSION`. `hello` and `rejected` must be readable for ever.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

__all__ = [
    "FETCH_ABOVE",
    "ID_BYTES",
    "MAX_MESSAGE",
    "MAX_PAYLOAD",
    "MAX_TASKS",
    "UNKNOWN",
    "VERSION",
    "Accepted",
    "Answer",
    "Duplicate",
    "Failed",
    "Fetch",
    "Fetched",
    "FromClient",
    "FromServer",
    "Goodbye",
    "Hello",
    "NewTask",
    "Outcome",
    "Outcomes",
    "Ping",
    "Pong",
    "Query",
    "Refusal",
    "Rejected",
    "Submit",
    "Unwatch",
    "Watch",
    "Welcome",
]

VERSION: Final = 1
"""The version of this protocol."""

ID_BYTES: Final = 16
MAX_TASKS: Final = 1_000
"""Tasks in one `submit`."""
MAX_WATCHED: Final = 10_000
"""Ids in one `watch` or `unwatch`, outcomes in one `outcomes`."""
MAX_PAYLOAD: Final = 16 * 1024 * 1024
"""Bytes of the packed arguments of one task, or of its packed result. What is larger belongs into a file or a database."""
MAX_MESSAGE: Final = MAX_PAYLOAD + 1024 * 1024
"""Bytes of one message; a connection that sends a larger one is cut by ZeroMQ itself."""
FETCH_ABOVE: Final = 4 * 1024
"""Bytes from which a result is fetched by who wants it, not pushed to all who watch."""
UNKNOWN: Final = "unknown"
"""The state in an outcome for an id that the server does not have."""

TaskId: TypeAlias = Annotated[bytes, Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
Number: TypeAlias = Annotated[int, Meta(ge=1)]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0)]
Text: TypeAlias = Annotated[str, Meta(max_length=4096)]
Packed: TypeAlias = Annotated[bytes, Meta(max_length=MAX_PAYLOAD)]
"""MessagePack that neither side opens."""

NO_BODY: Final = msgspec.Raw(b"\xc0")  # nil


class Hello(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """First on every connection; the server answers `Welcome` or `Rejected`. Readable for ever."""

    versions: Annotated[list[int], Meta(min_length=1, max_length=32)]
    """Versions that the client speaks, the best first."""
    session: TaskId
    """16 random bytes, made once by a client and kept over reconnects. New in a forked child."""
    connection: int = 1
    """Which connection of the session this is; a lower one than the server has seen is a late echo, to be ignored."""
    node: Text = ""
    """The name of the node that the client means to talk to, `a@host`; empty if it does not care."""
    client: Text = ""
    """Who that is, for the eyes of operators: program, pid, host."""


class Welcome(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """The session stands."""

    version: int
    """The version that both will speak."""
    session: TaskId
    connection: int
    """As in the `Hello` it answers."""
    node: Text
    incarnation: Text
    epoch: int
    """The term of the queue server; it grows at each of its starts."""


class Rejected(msgspec.Struct, array_like=True, frozen=True, tag=3):
    """No session, and trying again will not help. Readable for ever."""

    code: Text
    """`version` (none in common), `node` (this is another node) or `not_leader` (`leader` says where to go)."""
    message: Text
    versions: Annotated[list[int], Meta(max_length=32)] = []
    """Versions that the server speaks."""
    node: Text = ""
    leader: Text = ""


class NewTask(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One task as submitted. Fields that are not needed stay at their defaults, of one byte each."""

    id: TaskId
    name: Name
    payload: Packed
    """MessagePack of [args, kwargs]."""
    queue: Name | None = None
    """Here and below, None: not said. It is then as the handler declares, if it is known, else as `Options` has it."""
    priority: Annotated[int, Meta(ge=0, le=9)] | None = None
    watch: bool = True
    """Whether the client wants the outcome (see `Watch`); saves it a message a task."""
    delay: Seconds | None = None
    """Seconds from acceptance until it may start. The leader's clock counts, so a client's wrong one does no harm."""
    eta: float | None = None
    """When it may start, seconds since the epoch; instead of a delay."""
    expires_in: Seconds | None = None
    """Seconds from acceptance."""
    expires_at: float | None = None
    """Seconds since the epoch; infinite: never, whatever the handler declares."""
    key: Text | None = None
    """Idempotency key."""
    tags: Text | None = None
    """Each between two separators: ",a,b,"; empty: none."""
    title: Text | None = None
    """Empty: none."""
    partition: Annotated[str, Meta(max_length=255)] | None = None
    parent: TaskId | None = None
    options: Packed = b""
    """As `pack_said` gives them: a MessagePack map of those that the caller named and that have no field here."""
    whole: Packed | None = None
    """Of a task that was submitted as a map with a job: MessagePack of [[that map], {}], the payload that the default
    handler gets if nobody knows the job. At most `MAX_PAYLOAD` with `payload`."""
    strict: bool = False
    """Whether to refuse it, with `unknown_handler`, if its handler is not known."""


class Submit(msgspec.Struct, array_like=True, frozen=True, tag=4):
    """Tasks to be made durable. Answered by one `Accepted`."""

    number: Number
    tasks: Annotated[list[NewTask], Meta(min_length=1, max_length=MAX_TASKS)]
    groups: Annotated[list[Annotated[int, Meta(ge=1, le=MAX_TASKS)]], Meta(max_length=MAX_TASKS)] | None = None
    """Sizes of the groups that `tasks` falls into, in order; each group is made as a whole or not at all. None: each task
    is a group of its own."""
    resent: bool = False
    """Whether an earlier sending of the same may have arrived: only then need the server look the ids up."""


class Refusal(msgspec.Struct, array_like=True, frozen=True):
    """Why a group of a `Submit` was not made."""

    index: Annotated[int, Meta(ge=0)]
    """The place in `Submit.tasks` of the task that is at fault; its whole group is refused."""
    code: Text
    """`queue_full`, `store_full`, `store_unavailable`, `store_damaged`, `too_large`, `unknown_handler` (strict), or
    `bad_...` with `field`."""
    message: Text
    field: Text = ""
    """Which of the task's fields or options is wrong."""
    facts: dict[str, str | int | float] = {}
    """Values behind the code, such as `queue` and `size` of `queue_full`."""


class Duplicate(msgspec.Struct, array_like=True, frozen=True):
    """A task that was not made since a living one has its idempotency or unique key: `id` is that one."""

    index: Annotated[int, Meta(ge=0)]
    id: TaskId


class Accepted(msgspec.Struct, array_like=True, frozen=True, tag=5):
    """The tasks of `Submit` `number` are durable, apart from the groups refused; sent after the commit, never before."""

    number: Number
    refused: list[Refusal] = []
    duplicates: list[Duplicate] = []
    warnings: list[Refusal] = []
    """Accepted all the same: names that no handler is known for (`unknown_handler`, with the nearest one), each once."""


class Watch(msgspec.Struct, array_like=True, frozen=True, tag=6):
    """Wanted: the outcome of each of `ids`, once. To ask again for one that is watched is harmless."""

    ids: Annotated[list[TaskId], Meta(max_length=MAX_WATCHED)]


class Unwatch(msgspec.Struct, array_like=True, frozen=True, tag=7):
    """No longer wanted."""

    ids: Annotated[list[TaskId], Meta(max_length=MAX_WATCHED)]


class Outcome(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How one task ended: its state is one that a task stays in."""

    id: TaskId
    state: Text
    """`succeeded`, `failed`, `cancelled`, `expired`, or `unknown`: there is no such task."""
    result: Packed | None = None
    """The packed result of one that succeeded; None where it is larger than `FETCH_ABOVE` (then `fetch` is true)."""
    fetch: bool = False
    reason: Text | None = None
    """Of one that failed: error, timeout, crashed, memory, lost."""
    error: Packed | None = None
    """MessagePack of [type, message, traceback, the types it is of, details] as the child saw it; the last two may be missing."""
    name: Text = ""
    """The handler's, for messages."""


class Outcomes(msgspec.Struct, array_like=True, frozen=True, tag=8):
    """Ends of tasks that the session watches, each once; with it the watch is over."""

    outcomes: Annotated[list[Outcome], Meta(max_length=MAX_WATCHED)]


class Fetch(msgspec.Struct, array_like=True, frozen=True, tag=9):
    """The result of task `id`, whatever its size. Answered by `Fetched` or `Failed`."""

    number: Number
    id: TaskId


class Fetched(msgspec.Struct, array_like=True, frozen=True, tag=10):
    """The packed result."""

    number: Number
    result: Packed


class Query(msgspec.Struct, array_like=True, frozen=True, tag=11):
    """A question or an order: `verb` says which, `verbs.py` what its body is. Answered by `Answer` or `Failed`.

    A verb may come twice under one number, after a reconnect; all verbs are such that a second time does no harm.
    """

    number: Number
    verb: Name
    body: msgspec.Raw = NO_BODY


class Answer(msgspec.Struct, array_like=True, frozen=True, tag=12):
    """What `Query` `number` asked for."""

    number: Number
    body: msgspec.Raw = NO_BODY


class Failed(msgspec.Struct, array_like=True, frozen=True, tag=13):
    """Why `Query` or `Fetch` `number` has no answer."""

    number: Number
    code: Text
    """`not_found`, `invalid` (see `field`), `unknown_verb`, `store_full`, `store_unavailable`, `store_damaged`, `too_large`,
    `too_slow` (ask for less), `busy`, `reader_lost` (ask again), `no_pool` (of that name), `pool_gone` (before it answered),
    `refused` (by a pool)."""
    message: Text
    field: Text = ""
    facts: dict[str, str | int | float] = {}


class Ping(msgspec.Struct, array_like=True, frozen=True, tag=14):
    """Asks for a `Pong` with the same number."""

    number: Number


class Pong(msgspec.Struct, array_like=True, frozen=True, tag=15):
    """The queue server's own thread is alive, not merely its sockets."""

    number: Number
    dropped: int = 0
    """Messages to this session that the server could not send since the `Welcome`."""


class Goodbye(msgspec.Struct, array_like=True, frozen=True, tag=16):
    """The client is closed: its watches are over and the session can be forgotten."""


FromClient: TypeAlias = Hello | Submit | Watch | Unwatch | Fetch | Query | Ping | Goodbye
FromServer: TypeAlias = Welcome | Rejected | Accepted | Outcomes | Fetched | Answer | Failed | Pong
