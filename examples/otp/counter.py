"""A counter as a server: many threads raise one number, and nobody writes a lock.

The client functions stand on top, and run in the thread that calls them. The callbacks stand below, and run one after the
other on the counter's own thread. No other module knows what the messages look like.
"""

from __future__ import annotations

from threading import Thread
from typing import Any

from otpq.otp import Caller, GenServer, Reply, Server, Supervisor, attach, call, cast, stop, whereis


class Counter(GenServer):
    """A number that grows."""

    @staticmethod
    def add(counter: Server, amount: int) -> None:
        """Raise the number by `amount`, without waiting."""
        cast(counter, ("add", amount))

    @staticmethod
    def next(counter: Server) -> int:
        """Raise the number by one and give it."""
        value: int = call(counter, "next")
        return value

    def init(self, start: int = 0) -> None:
        """Begin at `start`."""
        self.value = start

    def handle_cast(self, request: tuple[str, int]) -> None:
        """Add."""
        _, amount = request
        self.value += amount

    def handle_call(self, request: Any, caller: Caller) -> Reply:  # noqa: ARG002 - GenServer's signature
        """Add one, and answer."""
        self.value += 1
        return Reply(self.value)


def main() -> None:
    """Count, alone and in company."""
    with attach():  # the main thread is a process now: it can be the parent of a tree, and look names up
        tree = Supervisor.start_link([Counter.child_spec(5, name="counter")])
        print("next:", Counter.next("counter"))
        print("next:", Counter.next("counter"))

        counter = whereis("counter")
        if counter is None:
            raise SystemExit("there is no counter")
        threads = [Thread(target=add_often, args=(counter,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print("after 4 threads added 1 a thousand times each:", Counter.next("counter"))
        stop(tree)


def add_often(counter: Server) -> None:
    """Add 1 a thousand times. A plain thread has no registry to look names up in, so it is given the pid."""
    for _ in range(1000):
        Counter.add(counter, 1)


if __name__ == "__main__":
    main()
