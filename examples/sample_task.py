"""A task that prints its arguments, sleeps a moment, and fails in a fifth of its runs. A program by itself, and a handler.

python examples/sample_task.py some words          run it here
otpq node --app examples/sample_task.py:app        run it as tasks; sample_producer.py submits three
"""

from __future__ import annotations

import random
import sys
import time

import otpq

app = otpq.App("sample")


@app.task(name="sample")
def sample(*words: str, seconds: float = 0.5, failing: float = 0.2) -> str:
    """Print `words`, sleep `seconds`; in a share of `failing` of the runs, say so on standard error and exit with 1."""
    print("sample:", *words, flush=True)
    time.sleep(seconds)
    if random.random() < failing:  # noqa: S311 - no secret
        print("sample: this run fails", file=sys.stderr)
        sys.exit(1)  # in a task: a run that failed, and is retried
    return " ".join(words)


if __name__ == "__main__":
    sample(*sys.argv[1:])
