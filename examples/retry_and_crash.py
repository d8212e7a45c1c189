"""Tasks that fail in six ways: each ends as it should, and a neighbour beside them runs once.

python examples/retry_and_crash.py
"""

from __future__ import annotations

import os
import time

import otpq

app = otpq.App("failures")


@app.task(retries=3, retry_delay=0.1)
def flaky(ctx: otpq.Context) -> str:
    """Fail twice, and succeed at the third attempt."""
    if ctx.attempt < 3:  # noqa: PLR2004 - it says so above
        raise ConnectionError("the other side hung up")
    return "at last"


@app.task(retries=2, retry_delay=0.1, no_retry_on=ValueError)
def wrong() -> None:
    """Fail with an error that another attempt would not cure."""
    raise ValueError("not a number")


@app.task(retries=5)
def useless() -> None:
    """Say that no other attempt could help."""
    raise otpq.Discard("no such order")


@app.task(retries=1, retry_delay=0.1)
def crash() -> None:
    """Take the process along, at each attempt."""
    os.abort()


@app.task(retries=0, timeout=0.3)
def slow() -> None:
    """Take longer than it may."""
    time.sleep(60)


@app.task(retries=0, memory="100M")
def greedy() -> int:
    """Ask for more memory than it may have."""
    return len(bytes(1 << 30))


@app.task
def neighbour(n: int) -> int:
    """Have nothing to do with all that."""
    return n


def main() -> None:
    """Run them all at once, and print what became of each."""
    calls = [flaky.s(), wrong.s(), useless.s(), crash.s(), slow.s(), greedy.s()]
    with otpq.start(app, workers=2, store="memory:") as node:
        handles = node.client.submit_many([*calls, *(neighbour.s(n) for n in range(20))])
        tasks = node.client.wait(handles, timeout=60)
    for task in tasks[: len(calls)]:
        words = task.result if task.error is None else (task.error.message.splitlines() or [""])[0]
        print(f"{task.name.split('.')[1]:8} {task.state:9} {task.reason or '-':7} attempt {task.attempt}  {words}")
    beside = tasks[len(calls) :]
    print("neighbours:", {(task.state.value, task.attempt) for task in beside})


if __name__ == "__main__":
    main()
