"""What type checkers see of an app. Nothing runs: `mypy --strict` is the test, and an ignore that is not needed fails it."""

from typing import assert_type

import otpq
from otpq.client.calls import Call

app = otpq.App()


@app.task
def add(a: int, b: int = 0) -> int:
    return a + b


@app.task(name="greeting.send", retries=5, priority="high")
async def greet(name: str) -> str:
    return f"Hello, {name}."


@app.default
def any_map(payload: dict[str, object]) -> None:
    pass


def plain() -> None:
    assert_type(add(1, 2), int)
    assert_type(add.submit(1, b=2).get(timeout=1.0), int)
    assert_type(add.options(delay=3).submit(1).get(), int)
    handle: otpq.TaskHandle[int] = add.submit(1)
    handle.then(lambda total: assert_type(total, int))
    add.submit(1).then(len)  # type: ignore[arg-type]
    assert_type(add.s(1), Call)
    assert_type(any_map.submit({}).get(), None)
    add.submit("1")  # type: ignore[arg-type]
    add.submit()  # type: ignore[call-arg]
    add(1, c=2)  # type: ignore[call-arg]


async def awaited() -> None:
    assert_type(await greet("you"), str)
    assert_type(greet.submit("you").get(), str)
    handle = await add.asubmit(1)
    assert_type(await handle, int)
    assert_type(await handle.get(), int)
    await greet.asubmit(1)  # type: ignore[arg-type]


def options() -> None:
    app.task(retires=3)  # type: ignore[call-overload]
    add.options(priority="urgent")  # type: ignore[arg-type]
    add.options(max_concurrency=3)  # type: ignore[call-arg]
    app.register_task("add", add.handler, retries="many")  # type: ignore[arg-type]
