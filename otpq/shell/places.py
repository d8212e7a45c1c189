"""What a shell stands on: the app whose handlers have names in it, and with `--embedded` a node of its own."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otpq.app import App
from otpq.embedded import start
from otpq.errors import UsageError
from otpq.worker.loading import load_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otpq.embedded import Node

__all__ = ["DEMO", "app_named", "embedded_node"]

DEMO: Final = "otpq.demo.stdlib:app"
_GRACE: Final = 5.0
"""Seconds that running tasks have when a shell is left whose node nobody else knows."""
_TOLD_WITHIN: Final = 10.0
"""Seconds for the first child to come up. An app that has no handlers, or cannot be loaded, is no reason not to start."""
_LOOK: Final = 0.05


def app_named(reference: str) -> App:
    """The app that 'package.module:app' or 'file.py:app' means, imported as `python` would from here.

    Raises:
        UsageError: There is none there, or its own code raised while it was imported.
    """
    where, _, attribute = reference.rpartition(":")
    file = Path(where).expanduser().absolute()
    is_file = where.endswith(".py")
    sys.path.insert(0, str(file.parent if is_file else Path.cwd()))
    try:
        app = load_app(f"{file}:{attribute}" if is_file else reference)
    except Exception as error:
        raise UsageError(f"--app {reference!r} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(app, App):
        raise UsageError(f"--app {reference!r} is {type(app).__name__}; an otpq.App is wanted")
    return app


@contextmanager
def embedded_node(app: App, name: str | None, workers: str | None, cookie_file: Path | None) -> Iterator[Node]:
    """A node of this program's own, stopped at the end.

    Args:
        app: Its handlers.
        name: Its name; with one, its tasks and its directory are kept. None: it is there for once, and keeps nothing.
        workers: How many.
        cookie_file: Where its cookie is.
    """
    for number in {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:
        signal.signal(number, _leave)
    if name is not None:
        with start(app, name, workers=workers, cookie_file=cookie_file) as node:
            yield _ready(node)
        return
    with (
        tempfile.TemporaryDirectory(prefix="otpq-shell-") as directory,
        start(
            app,
            f"shell-{os.getpid()}@127.0.0.1",
            "memory:",
            workers,
            directory=directory,
            cookie_file=cookie_file,
            grace=_GRACE,
        ) as node,
    ):
        yield _ready(node)


def _leave(number: int, _frame: object) -> None:
    """End as Ctrl-D does, also when the terminal is closed: what was made for this shell goes with it."""
    raise SystemExit(128 + number)


def _ready(node: Node) -> Node:
    """The node, once its children have told which handlers there are: until then it cannot tell an unknown job from others."""
    deadline = time.monotonic() + _TOLD_WITHIN
    while not any(handler["known"] for handler in node.client.handlers()) and time.monotonic() < deadline:
        time.sleep(_LOOK)
    return node
