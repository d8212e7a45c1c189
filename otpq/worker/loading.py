"""Find what a child can run: the handlers of the user's app, and scripts.

An app is found by module, or by file where it lives in a program that was run as `__main__`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

__all__ = ["MAIN_ALIAS", "SCRIPT_HANDLER", "AppError", "AppLike", "Definition", "load_app", "load_tasks"]

MAIN_ALIAS = "__otpq_main__"
"""The name under which a program's file is loaded, so that its `if __name__ == "__main__":` stays shut."""


SCRIPT_HANDLER: Final = "@script"
WEBHOOK_HANDLER: Final = "@webhook"
"""As in `otpq.task`, which not every child imports."""


class AppError(Exception):
    """The reference to the app leads nowhere; the message says what it should be."""


class Definition(Protocol):
    """What a child needs of a handler's definition."""

    @property
    def handler(self) -> Callable[..., Any]:
        """The function, plain or `async def`."""

    @property
    def declaration(self) -> bytes:
        """The options it is defined with: a MessagePack map, or nothing."""


class AppLike(Protocol):
    """What a child needs of an app."""

    @property
    def tasks(self) -> Mapping[str, Definition]:
        """The definitions by name."""


class ScriptDefinition:
    """The handler that runs scripts. Scripts have no time limit unless one is said."""

    declaration: Final = (
        b"\x81\xa7timeout\xc0"  # MessagePack {"timeout": None}; a program that only defines an app imports this file
    )

    def __init__(self, script_dirs: Sequence[str]) -> None:
        from otpq.worker.scripts import ScriptRunner

        self.handler: Callable[..., Any] = ScriptRunner(script_dirs)


class WebhookDefinition:
    """The handler that tells webhooks of events: up to 13 times within some five hours, unless a file says otherwise."""

    def __init__(self, webhooks: Mapping[str, Sequence[str]]) -> None:
        import msgpack

        from otpq.worker.webhooks import WebhookRunner

        self.handler: Callable[..., Any] = WebhookRunner(webhooks)
        self.declaration = bytes(msgpack.packb({"retries": 12, "retry_delay": 5.0, "timeout": 60.0}))


def load_tasks(app: str, script_dirs: Sequence[str], webhooks: Mapping[str, Sequence[str]]) -> Mapping[str, Definition]:
    """All that a child can run, by name; `app` may be empty.

    Raises:
        BaseException: As `load_app`.
    """
    tasks: Mapping[str, Definition] = load_app(app).tasks if app else {}
    if script_dirs:
        tasks = {**tasks, SCRIPT_HANDLER: ScriptDefinition(script_dirs)}
    if webhooks:
        tasks = {**tasks, WEBHOOK_HANDLER: WebhookDefinition(webhooks)}
    return tasks


def load_app(reference: str) -> AppLike:
    """The app that `package.module:attribute` or `/path/of/file.py:attribute` means.

    Raises:
        AppError: There is no such file or attribute, or it is no app.
        BaseException: Whatever the user's module raises when it is imported.
    """
    where, colon, attribute = reference.rpartition(":")
    if not colon or not where or not attribute:
        raise AppError(f"{reference!r} is no reference to an app; 'package.module:app' or '/path/file.py:app' would be")
    module = _load_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    found: object = module
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise AppError(f"{reference!r}: {where} has no {attribute!r}") from error
    if not hasattr(found, "tasks"):
        raise AppError(f"{reference!r} is {type(found).__name__}, no app: it has no 'tasks'")
    return cast("AppLike", found)


def _load_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(MAIN_ALIAS, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise AppError(f"{path} is no Python file that can be loaded; the app is named like '/path/file.py:app'")
    module = importlib.util.module_from_spec(spec)
    # Before it runs, as an import would: dataclasses and annotations look their module up.
    sys.modules[MAIN_ALIAS] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        # A one-file program came to `otpq.start`, which is not for its children: what it has defined by then is its app.
        if not getattr(error, "ends_loading", False):
            raise
    return module
