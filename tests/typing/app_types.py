"""What type checkers see of an app. Nothing runs: `mypy --strict` is the test, and an ignore that is not needed fails it."""

from typing import Any, assert_type

import otpq
from otpq.client.calls import Call
from otpq.client.workflows import Chain

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


@app.task
def resize(ctx: otpq.Context, n: int, *, quality: int = 90) -> str:
    return f"{ctx.id} {n} {quality}"


@app.task(name="resize.later", retries=1)
async def resize_later(ctx: otpq.Context, n: int) -> str:
    return f"{ctx.id} {n}"


@app.task
def show(value: object, n: int = 0) -> int:
    return n if value else 0


@app.default
def any_map_with_context(ctx: otpq.Context, payload: dict[str, object]) -> str:
    return f"{ctx.id} {payload}"


@resize.on_success
def well(task: otpq.Task, result: str) -> int:
    return len(task.id + result)


@resize.on_failure
@resize_later.on_retry
async def badly(task: otpq.Task, error: otpq.TaskError | None) -> None:
    pass


def contexts() -> None:
    assert_type(resize(1, quality=2), str)
    assert_type(resize.submit(1), otpq.TaskHandle[str])
    assert_type(resize_later.submit(1), otpq.TaskHandle[str])
    assert_type(resize.options(delay=3).s(1), Call)
    resize.submit(otpq.current(), 1)  # type: ignore[arg-type, call-arg]
    resize.submit("1")  # type: ignore[arg-type]
    assert_type(any_map_with_context.submit({}).get(), str)
    # What takes anything takes no context.
    assert_type(show.submit("x", 1).get(), int)
    show.submit()  # type: ignore[call-arg]


def hooks(task: otpq.Task) -> None:
    assert_type(well(task, "x"), int)

    def wrong(task: otpq.Task, result: bytes) -> None:
        pass

    resize.on_success(wrong)  # type: ignore[arg-type]
    resize.on_retry(wrong)  # type: ignore[arg-type]


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


def workflows() -> None:
    assert_type(add.si(1), Call)
    add.si("1")  # type: ignore[arg-type]
    assert_type(otpq.chain(add.s(1), add.s()).submit(), otpq.WorkflowHandle[Any])
    assert_type(add.s(1) | otpq.group(add.s(n) for n in range(3)) | add.s(), Chain)
    assert_type(add.s(1) | add.s(), Chain)
    graph = otpq.Workflow(on_failure="collect")
    graph.add(add.s(), after=graph.add(otpq.chord([add.s(1)], add.s())))
    otpq.Workflow(on_failure="stop")  # type: ignore[arg-type]
    otpq.chain(add)  # type: ignore[arg-type]
    assert_type(next(add.map([1, 2])), int)


def options() -> None:
    app.task(retires=3)  # type: ignore[call-overload]
    add.options(priority="urgent")  # type: ignore[arg-type]
    add.options(max_concurrency=3)  # type: ignore[call-arg]
    app.register_task("add", add.handler, retries="many")  # type: ignore[arg-type]
