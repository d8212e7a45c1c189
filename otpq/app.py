"""App: the handlers of a program, by name. Making one and decorating functions starts nothing and connects to nothing.

Every child imports this file, so what only a client needs is imported where it is used.
"""

from __future__ import annotations

import sys
from functools import update_wrapper
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar, cast, overload

from otpq.client import program
from otpq.context import Context, takes_context
from otpq.errors import BadOption, UsageError
from otpq.hooks import check_hook, hook_name, is_hook_name, runner_of
from otpq.reference import public_name, reference_to
from otpq.task import (
    COLUMNS,
    DEFAULT_HANDLER,
    DEFAULTS,
    HOOKS,
    SCHEDULE_OPTIONS,
    SCRIPT_HANDLER,
    WEBHOOK_HANDLER,
    Options,
    normalized,
    overlaid,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
    from typing import Unpack

    from otpq.client.calls import Call
    from otpq.client.handle import AsyncTaskHandle, TaskHandle
    from otpq.embedded import Node
    from otpq.task import Task, TaskError
    from otpq.typed import CallOptions, HandlerOptions, TaskDecorator

__all__ = ["App", "AsyncHandler", "BaseHandler", "Handler"]

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
C = TypeVar("C", bound=Context)
"""Bound, and not `Context` itself: so a first parameter of type `object` is no context to a type checker."""

_NAME_BYTES: Final = 255
_CO_COROUTINE: Final = 0x80  # inspect.CO_COROUTINE; inspect takes a child longer to import than this file


class BaseHandler(Generic[P, R]):
    """A function that runs tasks, the name they have, and the options they get unless told otherwise."""

    name: str
    handler: Callable[..., Any]
    """The function itself."""
    takes_context: bool
    """Whether its first parameter is an `otpq.Context`: whoever runs it gives one, who submits does not."""
    declared: Mapping[str, Any]
    """The options it was defined with."""
    said: Mapping[str, Any]
    """What its calls say for themselves: `.options(...)`, and where and when the definition puts them.

    The rest of the definition goes the other way, from the children to the queue server, and lies under what is said here.
    """
    defaults: Options
    """The options in force for its calls."""

    def __init__(
        self,
        app: App,
        name: str,
        handler: Callable[..., Any],
        declared: Mapping[str, Any],
        said: Mapping[str, Any] | None = None,
        *,
        schedule: Mapping[str, Any] | None = None,
    ) -> None:
        update_wrapper(cast("Any", self), handler)
        self._app = app
        self.name = name
        self.handler = handler
        self.takes_context = takes_context(handler)
        self.declared = declared
        self.said = {key: declared[key] for key in declared if key in COLUMNS} if said is None else said
        in_force = overlaid(declared, self.said)
        self.defaults = Options(**in_force) if in_force else DEFAULTS
        self.schedule = schedule
        """When tasks of it are made by themselves, as a child tells it; None: never."""

    @property
    def declaration(self) -> bytes:
        """The definition's options as a child tells them: a MessagePack map."""
        options = Options(**self.declared).pack()
        if self.schedule is None:
            return options
        from otpq.schedule import with_schedule

        return with_schedule(options, self.schedule)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Submit a task that calls this handler, on the program's client; when this returns, it is durable.

        Raises:
            OtpqError: As `Client.submit` does.
        """
        return cast("TaskHandle[R]", program.client().submit(self.s(*args, **kwargs)))

    async def asubmit(self, *args: P.args, **kwargs: P.kwargs) -> AsyncTaskHandle[R]:
        """As `submit`, without blocking the event loop."""
        client = await program.async_client()
        return cast("AsyncTaskHandle[R]", await client.submit(self.s(*args, **kwargs)))

    def s(self, *args: Any, **kwargs: Any) -> Call:
        """The call as a value: for `submit_many`, to be submitted elsewhere, or for a workflow.

        There the result of what is before it will be its first argument, in front of `args`; so types are not checked here.
        """
        from otpq.client.calls import Call

        call = Call(self.name, args, kwargs)
        call.options, call.said = self.defaults, self.said
        return call

    def si(self, *args: P.args, **kwargs: P.kwargs) -> Call:
        """As `s`; in a workflow, the call takes no result of those before it."""
        return self.s(*args, **kwargs).si()

    def map(self, items: Iterable[Any], *, chunk: int = 1_000, timeout: float | None = None) -> Iterator[R]:
        """The results for each item, which is the one argument, in the order of `items`; on the program's client, as `Client.map_task`."""
        return cast("Iterator[R]", program.client().map_task(cast("Any", self.s), items, chunk=chunk, timeout=timeout))

    async def amap(self, items: Iterable[Any], *, chunk: int = 1_000, timeout: float | None = None) -> AsyncIterator[R]:  # noqa: ASYNC109 - as `map`
        """As `map`, without blocking the event loop."""
        client = await program.async_client()
        async for result in client.map_task(cast("Any", self.s), items, chunk=chunk, timeout=timeout):
            yield result

    def options(self, **options: Unpack[CallOptions]) -> Self:
        """This handler with other options: `resize.options(priority='high').submit(path)`. It itself stays as it is.

        Raises:
            UnknownOption: There is no such option; the message has the nearest.
            BadOption: A value cannot be right, or is one of the handler as a whole.
        """
        whole = options.get("max_concurrency")
        if whole is not None:
            raise BadOption("max_concurrency", whole, "it is set where the handler is defined")
        said = overlaid(self.said, normalized(options))
        return type(self)(self._app, self.name, self.handler, self.declared, said, schedule=self.schedule)

    # ------------------------------------------------------------ hooks

    def on_success(self, hook: Callable[[Task, R], S], /) -> Callable[[Task, R], S]:
        """Have `hook(task, result)` called when a task of this handler has succeeded: `@resize.on_success`.

        It runs as a task of its own, after the commit, in a child of a pool that serves the task's queue, up to four times if
        it fails; what becomes of it changes nothing for the task it is told of. It is called at least once, also
        if the run's child or node died after the end.

        Raises:
            UsageError: There is such a hook already, or this is none.
        """
        return self._hook("on_success", hook)

    def on_retry(self, hook: Callable[[Task, TaskError | None], S], /) -> Callable[[Task, TaskError | None], S]:
        """Have `hook(task, error)` called when an attempt has failed and another will follow; else as `on_success`.

        However it failed: an error, a crash, a timeout, too much memory. The error is None where nobody can tell one.
        """
        return self._hook("on_retry", hook)

    def on_failure(self, hook: Callable[[Task, TaskError | None], S], /) -> Callable[[Task, TaskError | None], S]:
        """Have `hook(task, error)` called when a task has failed for good; else as `on_retry`."""
        return self._hook("on_failure", hook)

    def _hook(self, kind: str, hook: Callable[..., Any]) -> Callable[..., Any]:
        self._app._add_hook(self.name, kind, hook)  # noqa: SLF001 - its own handlers'
        return hook

    def _given(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments of a plain call, with a context that does nothing if its caller has given none."""
        if not self.takes_context or (args and isinstance(args[0], Context)):
            return args
        return (Context(), *args)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class Handler(BaseHandler[P, R]):
    """A plain function as a handler: call it, and it runs here; `submit` it, and it runs in a child."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here and now, as if it were no handler. A context that it takes is one of no task, which does nothing."""
        return cast("R", self.handler(*self._given(args), **kwargs))


class AsyncHandler(BaseHandler[P, R]):
    """An `async def` function as a handler."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Its coroutine, as if it were no handler; of its context as for `Handler`."""
        return cast("Coroutine[Any, Any, R]", self.handler(*self._given(args), **kwargs))


class App:
    """The handlers of a program.

    Keep it in a variable of a module, so that children find it. `name` is for people, and names the node of `otpq.start`.
    """

    def __init__(self, name: str | None = None) -> None:
        self._module: str = sys._getframe(1).f_globals.get("__name__", "__main__")  # noqa: SLF001 - as `logging` does
        self._name = name
        self._tasks: dict[str, BaseHandler[..., Any]] = {}

    @property
    def name(self) -> str:
        """Its name; unless one was given, that of its module."""
        return self._name or public_name(self._module).rpartition(".")[2]

    @property
    def tasks(self) -> Mapping[str, BaseHandler[..., Any]]:
        """The handlers by name."""
        return MappingProxyType(self._tasks)

    @property
    def reference(self) -> str:
        """Where a child finds this app: 'package.module:attribute' or '/path/of/file.py:attribute'.

        Raises:
            BadApp: No child could: it was typed into a prompt, or has no name in its module.
        """
        return reference_to(self, self._module)

    # ------------------------------------------------------------ handlers

    # A coroutine function is a function that returns a coroutine, and one that takes a context one that takes something, so the
    # overloads overlap; the first that fits is meant.
    @overload
    def task(self, function: Callable[Concatenate[C, P], Coroutine[Any, Any, R]], /) -> AsyncHandler[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, function: Callable[Concatenate[C, P], R], /) -> Handler[P, R]: ...
    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncHandler[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, function: Callable[P, R], /) -> Handler[P, R]: ...
    @overload
    def task(self, *, name: str | None = None, **options: Unpack[HandlerOptions]) -> TaskDecorator: ...

    def task(self, *function: Any, name: str | None = None, **options: Any) -> Any:
        """Make a function a handler: `@app.task`, or `@app.task(name='email.send', retries=5)`.

        Its name is `module.function` unless one is given. With `cron=` or `every=` it is a schedule too, which has the handler's
        name: `@app.task(cron='0 3 * * *', timezone='Europe/Berlin')`, with the arguments `cron_args` (a list, or a map of names).

        Raises:
            UsageError: The name cannot be one or is taken, or an option is wrong (`UnknownOption`, `BadOption`).
        """
        said = _said_of_schedule(options)
        declared = _checked(options)

        def decorate(function: Callable[..., Any]) -> BaseHandler[..., Any]:
            return self._register(_name_of(function) if name is None else name, function, declared, said)

        return decorate(*function) if function else decorate

    @overload
    def default(self, function: Callable[Concatenate[C, P], Coroutine[Any, Any, R]], /) -> AsyncHandler[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def default(self, function: Callable[Concatenate[C, P], R], /) -> Handler[P, R]: ...
    @overload
    def default(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncHandler[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def default(self, function: Callable[P, R], /) -> Handler[P, R]: ...

    def default(self, function: Callable[..., Any], /) -> Any:
        """Make a function the handler of the maps that name no job; it gets the map as its one argument."""
        return self._register(DEFAULT_HANDLER, function, {})

    def register_task(
        self, name: str, handler: Callable[..., Any], **options: Unpack[HandlerOptions]
    ) -> BaseHandler[..., Any]:
        """Make `handler` the one that runs the tasks called `name`; as `task`, in one line."""
        given = dict(options)
        said = _said_of_schedule(given)
        return self._register(name, handler, _checked(given), said)

    def _register(
        self,
        name: str,
        function: Callable[..., Any],
        declared: Mapping[str, Any],
        said: Mapping[str, Any] | None = None,
    ) -> BaseHandler[..., Any]:
        _check(name, function)
        if not said:
            return self._add(name, function, declared)
        from otpq.schedule import schedule_of

        return self._add(name, function, declared, schedule_of(name, function, said))

    def _add_hook(self, name: str, kind: str, hook: Callable[..., Any]) -> None:
        """Make a function the hook of a handler: a handler itself, so that children have it and tell of it."""
        check_hook(kind, hook)
        _check_name(hook_name(name, kind))
        self._add(hook_name(name, kind), runner_of(kind, hook), {})

    def _add(
        self,
        name: str,
        function: Callable[..., Any],
        declared: Mapping[str, Any],
        schedule: Mapping[str, Any] | None = None,
    ) -> BaseHandler[..., Any]:
        there = self._tasks.get(name)
        if there is not None and not _is_same(there.handler, function):
            raise UsageError(f"this app already has a handler {name!r}, {there.handler!r}; give one of them a name=")
        made = _class_for(function)(self, name, function, declared, schedule=schedule)
        self._tasks[name] = made
        return made

    # ------------------------------------------------------------ tasks

    def create_task(self, name: str, payload: Any, **options: Unpack[CallOptions]) -> TaskHandle[Any]:
        """Submit a task with `payload` as its one argument.

        Raises:
            OtpqError: As `Client.submit` does.
        """
        from otpq.client.calls import Call

        known = self._tasks.get(name)
        call = Call(name, (payload,), **options) if known is None else known.options(**options).s(payload)
        return program.client().submit(call)

    def get_task_status(self, id: str) -> Task:
        """The task as it is now.

        Raises:
            TaskNotFound: There is none with this id.
        """
        return program.client().get_task_status(id)

    def start_task_workers(self) -> Node:
        """A node with this app's workers, until the program ends: `otpq.start(app)`."""
        from otpq.embedded import start

        return start(self)

    def __repr__(self) -> str:
        return f"<App {self.name}: {', '.join(self._tasks) or 'no handlers'}>"


def _class_for(function: Callable[..., Any]) -> type[BaseHandler[..., Any]]:
    code = getattr(function, "__code__", None)
    return AsyncHandler if code is not None and code.co_flags & _CO_COROUTINE else Handler


def _said_of_schedule(options: dict[str, Any]) -> dict[str, Any]:
    """What the options say of a schedule, taken out of them."""
    return {name: options.pop(name) for name in SCHEDULE_OPTIONS if name in options}


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    declared = normalized(options)
    Options(**declared)  # raises for what cannot be right, where it is written
    return declared


def _name_of(function: Callable[..., Any]) -> str:
    own = getattr(function, "__name__", "<unnamed>")
    if not own.isidentifier():
        raise UsageError(f"{function!r} has no name of its own; give it one: app.task(name='...')")
    return f"{public_name(function.__module__)}.{own}"


def _check(name: str, function: object) -> None:
    _check_name(name)
    if is_hook_name(name):
        raise UsageError(
            f"{name!r} is a hook's name; make one with {' or '.join(f'@handler.{kind}' for kind in HOOKS)}"
        )
    if name == SCRIPT_HANDLER:
        raise UsageError(f"{name!r} is the name under which scripts run; give the handler another one")
    if name == WEBHOOK_HANDLER:
        raise UsageError(f"{name!r} is the name under which webhooks are told of events; give the handler another one")
    if isinstance(function, BaseHandler):
        raise UsageError(f"{function!r} is a handler already; register its function, `.handler`")
    if not callable(function):
        raise UsageError(f"the handler of {name!r} is {function!r}, which cannot be called")


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name or not name.isprintable() or len(name.encode()) > _NAME_BYTES:
        raise UsageError(f"{name!r} is no name of a handler; it is printable text of 1 to {_NAME_BYTES} bytes")


def _is_same(old: Callable[..., Any], new: Callable[..., Any]) -> bool:
    """Whether `new` is a new edition of `old`: its module was loaded again, or its cell run again in a notebook."""
    return all(getattr(old, part, old) == getattr(new, part, new) for part in ("__module__", "__qualname__"))
