"""What is typed, evaluated: a statement after the other, each value shown and kept, `await` in an event loop that stays."""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import linecache
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from otpq.errors import UsageError
from otpq.shell.statements import FLAGS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping
    from types import CodeType

__all__ = ["INPUT", "KEPT", "Evaluator"]

T = TypeVar("T")

INPUT: Final = "<otpq "
"""What the file's name of each input begins with; its number and '>' follow."""
KEPT: Final = 200
"""Values that `value` can give again: all of them would be a leak in a shell that is open for a week."""


class _Part(NamedTuple):
    """A statement, compiled."""

    code: CodeType
    has_value: bool


class Evaluator:
    """Runs inputs in one namespace, in the caller's thread. Ctrl-C ends an input as `KeyboardInterrupt`, also an `await`.

    `show` is given each value that is not None, and returns what is kept of it.
    """

    def __init__(self, helpers: Mapping[str, Any], show: Callable[[Any], Any]) -> None:
        # Helpers lie under the user's names, as Python's own functions do: who calls a variable `queues` can delete it.
        self.helpers: dict[str, Any] = {**vars(builtins), **helpers}
        self.namespace: dict[str, Any] = {"__name__": "shell", "__builtins__": self.helpers}
        self.number = 1
        """That of the next input."""
        self._show = show
        self._values: dict[int, Any] = {}
        self._runner = asyncio.Runner()

    def run(self, source: str) -> None:
        """Run an input; of its statements, those that are an expression have a value, which is shown.

        Raises:
            SyntaxError: It is no Python; nothing of it was run.
            BaseException: Whatever it raises; what stands before that has happened.
        """
        number, name = self.number, f"{INPUT}{self.number}>"
        lines = [f"{line}\n" for line in source.split("\n")]
        linecache.cache[name] = (len(source), None, lines, name)  # where tracebacks look for it
        self.number += 1
        parts = [*_parts(source, name)]
        if not parts:  # a comment
            self.number = number
        for part in parts:
            value = self._value_of(part.code)
            if part.has_value and value is not None:
                self._keep(number, self._show(self._drained(value) if isinstance(value, AsyncIterator) else value))

    def value(self, n: int = -1) -> Any:
        """The value of input `n`; of -1, the last one, -2 the one before.

        Raises:
            UsageError: It had none, or has been let go.
        """
        numbers = [*self._values]
        number = numbers[n] if -len(numbers) <= n < 0 else n
        if number not in self._values:
            there = f"the last {KEPT} are, here of {', '.join(map(str, numbers[-5:]))}" if numbers else "none is yet"
            raise UsageError(f"v({n}): no value is kept of that input; {there}")
        return self._values[number]

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns, in the loop of all inputs. What they have left there goes on meanwhile."""
        return self._runner.run(coroutine)

    def close(self) -> None:
        """End the loop, and what still runs in it."""
        self._runner.close()

    def _value_of(self, code: CodeType) -> Any:
        value = eval(code, self.namespace)  # noqa: S307 - what a prompt is for
        return self.wait(value) if code.co_flags & inspect.CO_COROUTINE else value

    def _keep(self, number: int, value: Any) -> None:
        self._values.pop(number, None)  # so that it stands at the end
        self._values[number] = self.namespace["_"] = value
        if len(self._values) > KEPT:
            del self._values[next(iter(self._values))]

    def _drained(self, stream: AsyncIterator[T]) -> Iterator[T]:
        async def step() -> T:
            return await anext(stream)

        while True:
            try:
                yield self.wait(step())
            except StopAsyncIteration:
                return


def _parts(source: str, name: str) -> Iterator[_Part]:
    """The statements of an input."""
    # Without the `annotations` of this file's own first line, which would make texts of the user's.
    compiled = partial(compile, filename=name, flags=FLAGS, dont_inherit=True)
    for statement in ast.parse(source, name).body:
        if isinstance(statement, ast.Expr):
            yield _Part(compiled(ast.Expression(statement.value), mode="eval"), has_value=True)
        else:
            yield _Part(compiled(ast.Module([statement], []), mode="exec"), has_value=False)
