"""How a handler is to be called: looked up once for each handler and set of options, not for each task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgpack

from otpq.context import takes_context
from otpq.worker.conversion import Converter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from otpq.worker.backing import RunContext
    from otpq.worker.conversion import Fit
    from otpq.worker.loading import Definition
    from otpq.worker.packets import Item

__all__ = ["NoHandler", "Plan", "Plans"]

_MOST: Final = 1_000
"""Plans that are kept. Callers name few sets of options."""

_CO_COROUTINE: Final = 0x80  # inspect.CO_COROUTINE; inspect takes a child longer to import than this file


class NoHandler(LookupError):
    """The app has no handler of this name."""


class Plan:
    """One way of calling one handler."""

    __slots__ = (
        "fit",
        "handler",
        "is_coroutine",
        "is_free",
        "memory",
        "name",
        "soft_timeout",
        "takes_context",
    )

    def __init__(self, name: str, handler: Callable[..., Any], fit: Fit | None, options: Mapping[str, Any]) -> None:
        code = getattr(handler, "__code__", None)
        self.name = name
        self.handler = handler
        self.fit = fit
        self.takes_context = takes_context(handler)
        self.is_coroutine: bool = code is not None and bool(code.co_flags & _CO_COROUTINE)
        """Whether it is an `async def` function."""
        self.soft_timeout: float | None = options.get("soft_timeout")
        self.memory: float | None = options.get("memory")
        self.is_free = self.soft_timeout is None and self.memory is None
        """Whether it has no limit of these two."""

    def arguments(self, context: RunContext) -> tuple[Sequence[Any], dict[str, Any]]:
        """What to call the handler with.

        Raises:
            BadArgument: One has no form that fits its annotation.
        """
        args, kwargs = msgpack.unpackb(context.item.payload, timestamp=3, strict_map_key=False)
        if self.fit is not None:
            args, kwargs = self.fit(args, kwargs)
        return ((context, *args), kwargs) if self.takes_context else (args, kwargs)


class Plans:
    """The plans of an app's handlers."""

    def __init__(self, tasks: Mapping[str, Definition]) -> None:
        self._tasks = tasks
        self._converter = Converter()
        self._known: dict[tuple[str, bytes], Plan] = {}

    def of(self, item: Item) -> Plan:
        """How to run this.

        Raises:
            NoHandler: Not at all.
        """
        return self._known.get((item.name, item.options)) or self._make(item.name, item.options)

    def _make(self, name: str, said: bytes) -> Plan:
        definition = self._tasks.get(name)
        if definition is None:
            raise NoHandler(f"the app has no handler {name!r}")
        options = {**_options(definition.declaration), **_options(said)}
        made = Plan(name, definition.handler, self._converter.of(definition), options)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[name, said] = made
        return made


def _options(packed: bytes) -> dict[str, Any]:
    return msgpack.unpackb(packed, timestamp=3) if packed else {}
