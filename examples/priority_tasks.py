"""Nine tasks submitted at once, of three priorities, for one worker: the high ones run first, equals in their order.

python examples/priority_tasks.py
"""

from __future__ import annotations

import random
import time

import otpq

app = otpq.App("priorities")


@app.task
def work(what: str) -> str:
    """Take a moment."""
    time.sleep(0.02)
    return what


def main() -> None:
    """Submit them mixed, and print them in the order in which they ran."""
    calls = [
        work.options(priority=priority).s(f"{priority} {n}")
        for n in range(1, 4)
        for priority in ("low", "normal", "high")
    ]
    random.shuffle(calls)
    print("submitted:", ", ".join(call.args[0] for call in calls))
    with otpq.start(app, workers=1, store="memory:") as node:  # what is in memory ends with the node
        handles = node.client.submit_many(calls)
        tasks = node.client.wait(handles, timeout=60)
    ran = sorted(tasks, key=lambda task: task.history[-1].time)
    print("ran:      ", ", ".join(task.result for task in ran))


if __name__ == "__main__":
    main()
