"""The app of the acceptance tests; copied to the home of each."""

import asyncio
import os
import signal
import time
from pathlib import Path

import otpq

app = otpq.App("jobs")
place = Path(os.environ.get("JOBS_PLACE", "."))


@app.task(name="add")
def add(a: int, b: int) -> int:
    return a + b


@app.task(name="later")
async def later(value: str) -> str:
    await asyncio.sleep(0)
    return value


@app.task(name="fail", retries=0)
def fail(text: str) -> None:
    raise ValueError(text)


@app.task(name="wait_for", retry_delay=0.05)
def wait_for(name: str) -> str:
    """Run until the file is there; tell by another that it runs."""
    place.joinpath(f"{name}.begun").touch()
    while not place.joinpath(name).exists():
        time.sleep(0.01)
    return name


@app.task(name="note")
def note(n: int) -> int:
    """Leave a line, whole or not at all, for each run."""
    descriptor = os.open(place / "notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{n}\n".encode())
    os.close(descriptor)
    return n


@app.task(name="size")
def size(value: bytes) -> int:
    return len(value)


@app.task(name="strange")
def strange() -> dict[str, object]:
    return {"set": {1}}


@app.default
def any_map(payload: dict[str, object]) -> list[str]:
    return sorted(payload)


@app.task(name="marked")
def marked(number: int, seconds: float) -> int:
    """Write down when it began and when it ended, in one write each, so that lines of two processes do not mix."""
    log = os.open(place / "marks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(log, f"start {number} {os.getpid()} {time.monotonic_ns()}\n".encode())
        time.sleep(seconds)
        os.write(log, f"end {number} {os.getpid()} {time.monotonic_ns()}\n".encode())
    finally:
        os.close(log)
    return number


@app.task(name="marked_after")
def marked_after(gate: str, number: int, seconds: float) -> int:
    """The same, as soon as the file is there."""
    while not place.joinpath(gate).exists():
        time.sleep(0.002)
    return marked(number, seconds)


@app.task(name="die")
def die() -> None:
    """Take the child along."""
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="submit_add")
def submit_add(a: int, b: int) -> str:
    """Submit another task, wait for nothing, and give its id."""
    return add.submit(a, b).id


@app.task(name="asubmit_add")
async def asubmit_add(a: int, b: int) -> str:
    """The same from an event loop, by name."""
    handle = await add.asubmit(a, b)
    return handle.id


@app.task(name="home")
def home() -> list[str]:
    """Where submissions of this child go."""
    return [os.environ["OTPQ_NODE"], os.environ["OTPQ_COOKIE_FILE"]]


@app.task(name="slot", retries=1000, retry_delay=0.0)
def slot(ctx: otpq.Context) -> float | None:
    """The time that it was scheduled for."""
    return None if ctx.slot is None else ctx.slot.timestamp()
