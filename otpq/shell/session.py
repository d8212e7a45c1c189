"""A shell: the node it talks to, the names that it has, and inputs run one after the other. It knows no terminal."""

from __future__ import annotations

import asyncio
import warnings
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

import otpq
from otpq.client import program
from otpq.client.address import find_node
from otpq.client.aio import connect_async
from otpq.client.calls import Call
from otpq.client.questions import Selector
from otpq.errors import UsageError, did_you_mean
from otpq.shell.evaluator import Evaluator
from otpq.shell.helpers import Helper, ScheduleHelpers, client_helpers, handler_names, help_on, overview
from otpq.shell.pretty import Lines, Text
from otpq.shell.statements import statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from otpq.app import App
    from otpq.client.aio import AsyncClient
    from otpq.client.client import Client
    from otpq.shell.output import Output

__all__ = ["Shell"]

_PLAIN: Final = {
    "Call": Call,
    "Selector": Selector,
    "UTC": UTC,
    "asyncio": asyncio,
    "datetime": datetime,
    "otpq": otpq,
    "timedelta": timedelta,
}


class Shell:
    """One shell of this program. It talks to the program's node: that of `otpq.start`, or the last one it was connected to."""

    def __init__(self, output: Output, cookie_file: Path | None = None, app: App | None = None) -> None:
        self.output = output
        self._cookie_file = cookie_file
        self._places: list[program.OwnNode] = []
        self._async_clients: dict[str, AsyncClient] = {}
        self._cursors: dict[str, str] = {}
        own = (self.connect, self.exit, self.flush, self.h, self.quit, self.v)
        self._helpers = client_helpers(program.client)
        self._helpers |= {function.__name__: Helper(function.__name__, function) for function in own}
        handlers = {} if app is None else {**handler_names(app.tasks), "app": app}
        self.evaluator = Evaluator(
            {**handlers, **_PLAIN, **self._helpers, "schedules": ScheduleHelpers(program.client)}, output.show
        )

    @property
    def client(self) -> Client:
        """The client of the node that it talks to now."""
        return program.client()

    @property
    def names(self) -> Mapping[str, Any]:
        """All that can be named."""
        return {**self.evaluator.helpers, **self.evaluator.namespace}

    @contextmanager
    def attached(self, node: str | None) -> Iterator[Self]:
        """Inside, it is connected, and warnings are a line each; at the end, what it has begun here is ended, and nothing else.

        Args:
            node: Its name; None: the one that `otpq.connect()` finds.
        """
        with warnings.catch_warnings():
            warnings.showwarning = self._warn
            try:
                self.connect(find_node() if node is None else node)
                yield self
            finally:
                self._close()

    def _warn(self, message: Warning | str, category: type[Warning], *_where: object, **_to: object) -> None:
        self.output.warn(f"{category.__name__}: {message}")

    def _close(self) -> None:
        for client in self._async_clients.values():
            self.evaluator.wait(client.close())
        self.evaluator.close()
        for place in self._places:
            program.remove_own_node(place)

    # ------------------------------------------------------------ inputs

    def run(self, source: str) -> BaseException | None:
        """Run an input and print what it gives. Whatever it raises is printed too, and returned: a prompt goes on.

        Raises:
            SystemExit: It leaves the shell.
            BrokenPipeError: Nobody reads what is printed.
        """
        try:
            self.evaluator.run(source)
        except SystemExit:
            raise
        except BaseException as error:
            if isinstance(error, BrokenPipeError) and not self.output.is_terminal:
                raise
            self.output.fail(error)
            return error
        return None

    def run_lines(self, lines: Iterable[str], *, goes_on: bool) -> BaseException | None:
        """Run lines as inputs, each as soon as it is whole; the first error. Behind Ctrl-C no more is run.

        Args:
            lines: Each with its end.
            goes_on: Whether to go on behind an error.
        """
        first: BaseException | None = None
        for source in statements(lines):
            error = self.run(source)
            first = first or error
            if isinstance(error, KeyboardInterrupt) or (error is not None and not goes_on):
                return error
        return first

    # ------------------------------------------------------------ helpers

    def connect(self, node: str | None = None) -> str:
        """The name of the node that the shell talks to: from here on `node`, if one is given.

        Raises:
            NodeUnreachable: It was not reached; the shell stays where it is.
        """
        if node is not None:
            place = program.OwnNode(node, self._cookie_file)
            program.client_of(place)
            program.add_own_node(place)
            self._places.append(place)
            name = self.client.node
            if name not in self._async_clients:
                self._async_clients[name] = connect_async(node, cookie_file=self._cookie_file)
            self.evaluator.helpers |= {"client": self.client, "aclient": self._async_clients[name]}
        return self.client.node

    def flush(self) -> Lines:
        """What has happened since the last `flush`, as `events` has it; at first, all that is kept of it."""
        node = self.client.node
        found = Lines(self._helpers["events"](after=self._cursors.get(node)))
        if found:
            self._cursors[node] = found[-1].cursor
        return found

    def h(self, what: Any = None) -> Text:
        """Help: on all helpers, or on one, on a handler, or on anything else; by itself or by its name."""
        if what is None:
            return overview(self._helpers.values(), self.output.width)
        if isinstance(what, str) and what not in self.names:
            raise UsageError(f"nothing is named {what!r} here{did_you_mean(what, self._helpers)}")
        return help_on(self.names[what] if isinstance(what, str) else what)

    def v(self, n: int = -1) -> Any:
        """The value of input `n`, or of the last one that had a value, -2 the one before; `_` is the last, too.

        Of a stream it is the list of what was printed, the last thousand items.

        Raises:
            UsageError: It had none, or is not kept any more.
        """
        return self.evaluator.value(n)

    def exit(self, code: int = 0) -> NoReturn:
        """Leave the shell, as Ctrl-D does. Nothing of the node ends by it."""
        raise SystemExit(code)

    def quit(self, code: int = 0) -> NoReturn:
        """Leave the shell, as `exit`."""
        raise SystemExit(code)
