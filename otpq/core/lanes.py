"""What waits to run: queues, in them priorities, in these handlers, and of each handler its lanes, one a partition.

The order in which a queue is served, all of it:

1. The highest priority first.
2. Within a priority, the handler whose lane *in turn* has the oldest head, by (due, seq). A queue without partitions is so
   served in exact order of (due, seq), whichever handlers its tasks have.
3. Of one handler, the partitions take turns, one task each: a tenant's millionth task waits behind the others' first.
4. Within a lane, by (due, seq).

A handler that is paused, at its limit or had by no pool is passed over as a whole, so its lanes, be they a hundred thousand,
cost nothing and hide nobody. A lane whose head is outside its window stops its queue until the store has answered: it is
never overtaken by a lower priority only because it has to be read.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from otpq.core.pauses import Pausable
from otpq.core.records import LaneId, LaneRange
from otpq.core.window import Room, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping

    from otpq.core.handlers import Handler, Handlers
    from otpq.core.records import LaneSummary, TaskRow

__all__ = ["LOOK_AHEAD", "Group", "Lane", "LaneKey", "Lanes", "Queue", "QueueSettings"]

LaneKey: TypeAlias = tuple[str, str, str, int]
"""(queue, handler, partition, priority), as in `LaneId`; a plain tuple is looked up fastest."""

MAX_WINDOW = 1_000
"""Rows that one lane may hold: two of the largest commits."""

MIN_WINDOW = 4
"""With many lanes each may hold this many, while there is room at all."""

MAX_ASKS = 256
"""Lanes that are read for one step. A step hands out about 500 tasks; with more lanes it takes a second one."""

LOOK_AHEAD = 512
"""How many turns ahead a lane is looked at: those of one step."""

REFILL_BYTES = 4 << 20
"""Payloads that one lane's refill may read."""


class Lane(Window):
    """One line of tasks that are equal but for their order."""

    __slots__ = ("group", "partition")

    def __init__(self, group: Group, partition: str, room: Room) -> None:
        super().__init__(room)
        self.group = group
        self.partition = partition

    @property
    def key(self) -> LaneKey:
        """What it is filed under."""
        group = self.group
        return (group.queue.name, group.handler.name, self.partition, group.priority)


class Group:
    """The lanes of one handler in one priority of a queue, in the order of their turns."""

    __slots__ = ("handler", "is_held", "is_looked_at", "least", "priority", "queue", "ring", "waiting")

    def __init__(self, queue: Queue, handler: Handler, priority: int) -> None:
        self.queue = queue
        self.handler = handler
        self.priority = priority
        self.ring: deque[Lane] = deque()
        """Lanes with something to do, each once; one may have become empty meanwhile."""
        self.waiting = 0
        self.is_looked_at = False
        """Whether all lanes that are soon in turn have been asked for since the last change."""
        self.is_held = False
        """Whether a window of it may hold a row."""
        self.least: tuple[float, float] | None = None
        """Where all lanes were found to wait for memory: of a node with the first MiB, the second would have to be free; None:
        not looked at since the last change."""


class QueueSettings(Pausable, frozen=True, omit_defaults=True):
    """What operators have set of a queue, durably."""

    max_size: int | None = None
    is_unlimited: bool = False
    """That there is to be no limit, where a file says one; a number counts anyway."""


class Queue:
    """A named line of tasks: its groups by priority, and what operators have set."""

    __slots__ = ("groups", "max_size", "name", "paused", "settings", "size_of_file", "waiting")

    def __init__(self, name: str, size_of_file: int | None = None) -> None:
        self.name = name
        self.size_of_file = size_of_file
        self.groups: tuple[dict[str, Group], ...] = tuple({} for _ in range(10))
        """By 9 - priority, so the most urgent comes first; then by handler."""
        self.waiting = 0
        self.set(QueueSettings())

    def set(self, settings: QueueSettings) -> None:
        """Note what operators have set; what the hot paths ask for is kept at hand."""
        self.settings = settings
        self.paused = settings.paused
        is_filed = settings.max_size is None and not settings.is_unlimited
        self.max_size = self.size_of_file if is_filed else settings.max_size


class Lanes:
    """All lanes of all queues, with the bounds that they share."""

    def __init__(
        self, room: Room, handlers: Handlers, max_window: int = MAX_WINDOW, sizes: Mapping[str, int] | None = None
    ) -> None:
        """`sizes`: how many tasks a queue may hold unless an operator sets it."""
        self.room = room
        self.queues: dict[str, Queue] = {name: Queue(name, size) for name, size in (sizes or {}).items()}
        self.lanes: dict[LaneKey, Lane] = {}
        self._handlers = handlers
        self._max_window = max_window
        self._asked: list[tuple[Lane, int]] = []
        self._first_asker = 0

    @property
    def cap(self) -> int:
        """How many rows a lane may hold: the fewer, the more lanes there are."""
        share = self.room.max_rows // (len(self.lanes) or 1)
        return min(self._max_window, max(MIN_WINDOW, share))

    def queue(self, name: str) -> Queue:
        """The queue of this name; new ones come into being as they are named."""
        queue = self.queues.get(name)
        if queue is None:
            queue = self.queues[name] = Queue(name)
        return queue

    def restore(self, summaries: Iterable[LaneSummary]) -> None:
        """Take note of what waits in the store. Nothing of it is held yet."""
        for summary in summaries:
            lane_id = summary.lane
            lane = self._lane((lane_id.queue, lane_id.name, lane_id.partition, lane_id.priority))
            self._grow(lane, summary.queued)
            lane.waiting = summary.queued

    def put(self, row: TaskRow) -> None:
        """Add a queued task to its lane, at its place."""
        lane = self._lane((row.queue, row.name, row.partition, row.priority))
        self._grow(lane, 1)
        lane.add(row, 0 if self._is_barred(lane) else self.cap)

    def put_run(self, run: list[TaskRow]) -> None:
        """`put` for rows of one lane in order."""
        row = run[0]
        lane = self._lane((row.queue, row.name, row.partition, row.priority))
        self._grow(lane, len(run))
        lane.extend(run, 0 if self._is_barred(lane) else self.cap)

    def find(self, row: TaskRow) -> TaskRow | None:
        """The row that a window holds of the task of `row`."""
        lane = self.lanes.get((row.queue, row.name, row.partition, row.priority))
        return lane.find(row.due, row.seq) if lane else None

    def remove(self, row: TaskRow) -> None:
        """Take a waiting task out of its lane."""
        lane = self.lanes[row.queue, row.name, row.partition, row.priority]
        lane.remove(row)
        self.shrink(lane.group, 1)

    def discount(self, row: TaskRow) -> None:
        """Take out a task that the store counts as queued although it is leased (recovery)."""
        lane = self.lanes[row.queue, row.name, row.partition, row.priority]
        lane.waiting -= 1
        self.shrink(lane.group, 1)

    def shrink(self, group: Group, count: int) -> None:
        """Note that `count` tasks have left a lane of `group`."""
        group.waiting -= count
        group.queue.waiting -= count
        group.is_looked_at = False
        group.least = None

    def front(self, group: Group) -> Lane | None:
        """The lane of `group` that is in turn; forgets those that have become empty."""
        ring = group.ring
        while ring:
            lane = ring[0]
            if lane.waiting:
                return lane
            ring.popleft()
            del self.lanes[lane.key]
        group.queue.groups[9 - group.priority].pop(group.handler.name, None)
        return None

    def ask(self) -> list[LaneRange]:
        """What to read for the lanes that are soon in turn and hold less than half of what they may."""
        self._asked = []
        if self.room.is_full:
            self.drop(self._is_idle)
        # Each step another queue asks first, so that none is kept from reading by a busy one.
        self._first_asker += 1
        queues = list(self.queues.values())
        first = self._first_asker % (len(queues) or 1)
        for queue in queues[first:] + queues[:first]:
            if queue.waiting and not queue.paused:
                for group in self._groups(queue):
                    if not group.is_looked_at and not self._is_idle(group):
                        self._ask_for(group)
        return [LaneRange(LaneId(*lane.key), lane.after, limit) for lane, limit in self._asked]

    def refill(self, answers: Iterable[list[TaskRow]], leased: Container[int]) -> None:
        """Take in the answers to the last `ask`."""
        for (lane, limit), rows in zip(self._asked, answers, strict=False):
            lane.refill(rows, limit, leased)
            lane.group.is_held = True
            lane.group.least = None
            if lane.waiting and not lane.rows:  # all that was read is leased: read on
                lane.group.is_looked_at = False
        self._asked = []

    def drop(self, which: Callable[[Group], bool]) -> None:
        """Hold nothing of the lanes of these groups."""
        for queue in self.queues.values():
            for group in self._groups(queue):
                if group.is_held and which(group):
                    group.is_held = group.is_looked_at = False
                    group.least = None
                    for lane in group.ring:
                        lane.drop()

    def look_again(self) -> None:
        """Forget what was found out of the memory that tasks need."""
        for queue in self.queues.values():
            for group in self._groups(queue):
                group.least = None

    def _ask_for(self, group: Group) -> None:
        cap = self.cap
        for lane in islice(group.ring, LOOK_AHEAD):
            if len(self._asked) == MAX_ASKS:
                return
            held = len(lane.rows)
            if lane.waiting > held and held <= cap // 2:
                by_bytes = REFILL_BYTES // (lane.row_bytes + 1)
                # When all is full, one row for each lane that is about to be in turn: it leaves with this very step.
                limit = 1 if self.room.is_full else max(1, min(cap - held, by_bytes))
                if held == 0 or not self.room.is_full:
                    self._asked.append((lane, limit))
        group.is_looked_at = True

    def _is_idle(self, group: Group) -> bool:
        """Whether nothing of it can start now, so that it need hold nothing."""
        return group.handler.is_blocked or not self._handlers.is_served(group.handler.name)

    def _groups(self, queue: Queue) -> Iterator[Group]:
        for groups in queue.groups:
            yield from groups.values()

    def _is_barred(self, lane: Lane) -> bool:
        return lane.group.queue.paused or lane.group.handler.paused

    def _lane(self, key: LaneKey) -> Lane:
        lane = self.lanes.get(key)
        if lane is None:
            queue_name, name, partition, priority = key
            queue = self.queue(queue_name)
            groups = queue.groups[9 - priority]
            group = groups.get(name)
            if group is None:
                group = groups[name] = Group(queue, self._handlers[name], priority)
            lane = self.lanes[key] = Lane(group, partition, self.room)
            group.ring.append(lane)
        return lane

    def _grow(self, lane: Lane, count: int) -> None:
        group = lane.group
        group.waiting += count
        group.queue.waiting += count
        group.is_looked_at = False
        group.is_held = True
        group.least = None
