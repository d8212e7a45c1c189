"""One worker crashes under each of the three strategies: who ended, who was stopped, who was started, in order.

The workers a, b and c are started in this order, and b crashes. The workers send what happens to them to the main thread,
which prints it as it comes.
"""

from __future__ import annotations

import logging

from otpq.otp import Attached, Crash, GenServer, Reason, Supervisor, attach, cast, register, send, stop

MEANING = {
    "one_for_one": "only the one that crashed is started again",
    "one_for_all": "all are stopped, the last one first, and all are started again",
    "rest_for_one": "those started after it are stopped, then it and they are started again",
}
PATIENCE = 10.0
"""Seconds after which something has gone wrong."""


class Worker(GenServer):
    """Tells the process named `log` what happens to it."""

    trap_exit = True  # so that `terminate` runs when the supervisor stops it, too

    def init(self, label: str) -> None:
        """Say that it is there."""
        self.label = label
        self.tell("started")

    def handle_cast(self, request: object) -> None:
        """Crash."""
        raise ValueError(request)

    def terminate(self, reason: Reason) -> None:
        """Say why it ends."""
        self.tell(f"crashed ({reason})" if isinstance(reason, Crash) else "stopped")

    def tell(self, event: str) -> None:
        """Send `event` to the log."""
        send("log", (self.label, event))


def main() -> None:
    """Show each strategy in turn."""
    # This program shows what happens by itself; the tracebacks in the log would drown it.
    logging.getLogger("otpq.otp").setLevel(logging.CRITICAL)
    for strategy, meaning in MEANING.items():
        print(f"{strategy}: {meaning}")
        with attach() as me:
            register("log", me.pid)
            show(strategy, me)


def show(strategy: str, me: Attached) -> None:
    """Start a tree, have b crash, and stop the tree."""
    workers = [Worker.child_spec(label, id=label, name=label) for label in ("a", "b", "c")]
    tree = Supervisor.start_link(workers, strategy=strategy)
    print_waiting(me)

    print("    -- b gets a message that it cannot handle")
    cast("b", "nonsense")
    while print_next(me) != ("b", "started"):
        pass
    Supervisor.which_children(tree)  # the supervisor answers when the whole restart is done
    print_waiting(me)

    print("    -- the tree is stopped")
    stop(tree)
    print_waiting(me)


def print_next(me: Attached, timeout: float = PATIENCE) -> tuple[str, str]:
    """Print the next event and give it."""
    label, event = me.receive(timeout)
    print(f"    {label} {event}")
    return label, event


def print_waiting(me: Attached) -> None:
    """Print all events that are here already."""
    try:
        while True:
            print_next(me, timeout=0)
    except TimeoutError:
        return


if __name__ == "__main__":
    main()
