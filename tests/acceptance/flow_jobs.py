"""The app of the workflows' tests; it takes the place of `jobs.py` in the home of each."""

import os
import time
from pathlib import Path
from typing import Any

import otpq

app = otpq.App("flows")
place = Path(os.environ.get("JOBS_PLACE", "."))


def note(line: str) -> None:
    """Leave a line, whole or not at all."""
    descriptor = os.open(place / "notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


@app.task(name="one")
def one(n: Any) -> Any:
    """Give what it is given."""
    return n


@app.task(name="add")
def add(a: int, b: int) -> int:
    return a + b


@app.task(name="double")
def double(n: int) -> int:
    return 2 * n


@app.task(name="total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(name="listed")
def listed(*values: Any) -> list[Any]:
    """All that it is given."""
    return list(values)


@app.task(name="nothing")
def nothing() -> None:
    return None


@app.task(name="fail", retries=0)
def fail(text: Any) -> None:
    note(f"fail {text}")
    raise ValueError(text)


@fail.on_failure
def told(task: otpq.Task, error: otpq.TaskError | None) -> None:
    note(f"told {task.args[-1]}" if error is not None else "told of no error")


@app.task(name="die", retries=0)
def die() -> None:
    """Take the child along."""
    os.kill(os.getpid(), 9)


@app.task(name="second_time", retries=1, retry_delay=0)
def second_time(ctx: otpq.Context, value: int) -> int:
    """Fail at the first attempt."""
    if ctx.attempt == 1:
        raise ValueError("not yet")
    return value


@app.task(name="when_there", retries=0)
def when_there(name: str, value: Any = None) -> Any:
    """Fail unless the file is there."""
    note(f"when_there {name}")
    if not (place / name).exists():
        raise FileNotFoundError(name)
    return value


@app.task(name="after", retries=1000, retry_delay=0)
def after(name: str, value: Any = None) -> Any:
    """Run until the file is there; tell by another that it runs."""
    (place / f"{name}.begun").touch()
    while not (place / name).exists():
        time.sleep(0.01)
    return value


@app.task(name="step", retries=1000, retry_delay=0)
def step(n: int) -> int:
    """Count on, slowly enough to be met at it."""
    time.sleep(0.05)
    return n + 1


@app.task(name="slow", retries=1000, retry_delay=0)
def slow(n: int) -> int:
    time.sleep(0.002)
    return n


@app.task(name="noted", retries=1000, retry_delay=0)
def noted(values: Any) -> int:
    """Leave a line for each run that comes to its end, and how many values it was given, in order or not."""
    is_in_order = values == sorted(values) if isinstance(values, list) else True
    note(f"noted {len(values) if isinstance(values, list) else values} {is_in_order}")
    return len(values) if isinstance(values, list) else values
