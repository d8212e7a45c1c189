"""A node reduced to what the kill rounds need: a warden, two children that always have work, a lease that it renews.

    node_program.py DIRECTORY INCARNATION LEASE_SECONDS JOURNAL SEED

It prints `warden KEEPER STARTER` at each start of a warden. When its warden is lost it starts another one and runs the
same tasks again; when it is fenced it ends with FENCED.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgpack

from otpq.worker.blackboard import Blackboard
from otpq.worker.child_link import ChildLink, ChildSettings
from otpq.worker.deadline import Deadline, boottime_ns
from otpq.worker.errors import WardenError, WardenLost
from otpq.worker.packets import Item, pack_packet
from otpq.worker.warden_client import WardenClient

if TYPE_CHECKING:
    from collections.abc import Callable

FENCED = 9
CHILDREN = 2
APP = f"{Path(__file__).with_name('busy_app.py')}:app"


def keep_lease(deadline: Deadline, seconds: float) -> None:
    """As if every heartbeat were acknowledged at once, from before the first warden on."""
    while True:
        deadline.set(boottime_ns() + int(seconds * 1e9))
        time.sleep(seconds / 10)


def run_tasks(client: WardenClient, board: Blackboard, packet: Callable[[int], bytes]) -> None:
    """Give each child one task after the other, always the same few, until the warden is gone."""
    links = [ChildLink.start(client, ChildSettings(APP), board, slot) for slot in range(CHILDREN)]
    for number, link in enumerate(links):
        link.wait_ready()
        link.send(packet(number))
    while client.lost is None:
        for number, link in enumerate(links):
            if link.read(0.005):
                link.send(packet(number))
    for link in links:
        link.close()


def main() -> None:
    directory, incarnation, lease, journal, seed = sys.argv[1:]
    chance = random.Random(seed)  # noqa: S311 - a moment, no secret

    def packet(number: int) -> bytes:
        arguments = msgpack.packb([[journal, incarnation, number, chance.uniform(0.0, 0.03)], {}])
        return pack_packet(1, [Item(number, number.to_bytes(16, "big"), "work", 1, b"", arguments)])

    lasting = Deadline.of(Path(directory), incarnation)
    lasting.set(boottime_ns() + int(float(lease) * 1e9))  # before the warden looks for the first time
    threading.Thread(target=keep_lease, args=(lasting, float(lease)), daemon=True).start()
    while True:
        try:
            client = WardenClient(Path(directory), "a@test", incarnation)
            print("warden", client.keeper, client.starter, flush=True)  # noqa: T201 - read by rounds.py
            run_tasks(client, Blackboard.create(Path(directory) / "board", CHILDREN), packet)
            client.wait_gone(None)
        except WardenLost as lost:
            if lost.fenced:
                sys.exit(FENCED)
        except WardenError as error:
            print("again:", error, file=sys.stderr)  # noqa: T201 - read by rounds.py


if __name__ == "__main__":
    main()
