"""Calls: which handler, with what, and how. Values; from here on they are packed."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from copy import copy
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from otpq.client import program
from otpq.errors import BadOption, UnknownOption, UsageError
from otpq.task import DEFAULT_HANDLER, DEFAULTS, SCRIPT_HANDLER, Options, normalized, overlaid, pack_said
from otpq.wire.messages import MAX_PAYLOAD, NewTask
from otpq.wire.values import BadValue, pack_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otpq.client.handle import AsyncTaskHandle, TaskHandle
    from otpq.client.workflows import Chain, Flow

__all__ = ["Call", "as_call", "new_task", "script_call"]

NAME_BYTES: Final = 255
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Call:
    """One call of a handler: `Call('email.send', ('a@b.c',), {'html': True}, delay=60, priority='high')`.

    A value: `.with_(...)` makes another one. Options are checked here, so a wrong one is told where it is written.
    """

    __slots__ = ("args", "kwargs", "name", "options", "said", "takes_result", "whole")

    def __init__(
        self, name: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        """Call handler `name` with `args` and `kwargs`.

        Raises:
            UsageError: The name cannot be one, or an option is wrong (`UnknownOption`, `BadOption`).
        """
        _check_name(name)
        self.name = name
        self.args = args if type(args) is tuple else _positional(args)
        self.kwargs: dict[str, Any] = {} if kwargs is None else _named(kwargs)
        self.said: Mapping[str, Any] = _said(options) if options else _NOTHING
        """The options that it names, which count more than what its handler declares."""
        self.options = Options(**self.said) if options else DEFAULTS
        """All of them, as far as this program knows: what the handler declares may be known to its workers alone."""
        self.whole: Mapping[str, Any] | None = None
        """The map that it was given as, for the app's default handler if this one is not known."""
        self.takes_result = True
        """Whether in a workflow the result of what is before it becomes its first argument."""

    def with_(self, **options: Any) -> Call:
        """This call with some options changed."""
        other = copy(self)
        changed = _said(options)
        other.said = overlaid(self.said, changed)
        in_force = {name: getattr(self.options, name) for name in Options.__struct_fields__}
        other.options = Options(**overlaid(in_force, changed))
        return other

    def si(self) -> Call:
        """This call as one that takes no result: in a workflow it gets its own arguments alone."""
        other = copy(self)
        other.takes_result = False
        return other

    def __or__(self, after: Call | Flow) -> Chain:
        """A chain of this call and what comes after it."""
        from otpq.client.workflows import piped

        return piped(self, after)

    def submit(self) -> TaskHandle[Any]:
        """Submit it on the program's client; as `Client.submit`."""
        return program.client().submit(self)

    async def asubmit(self) -> AsyncTaskHandle[Any]:
        """As `submit`, without blocking the event loop."""
        return await (await program.async_client()).submit(self)

    def __repr__(self) -> str:
        parts = [
            repr(self.name),
            *([repr(self.args)] if self.args else []),
            *([repr(self.kwargs)] if self.kwargs else []),
        ]
        return f"Call({', '.join(parts)})"


def as_call(
    what: Call | str | Mapping[str, Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
) -> Call:
    """The call that the arguments of `submit_task` mean: a name and arguments, a call, or a map with `job` and `params`."""
    if isinstance(what, str):
        return Call(what, args, kwargs)
    if args or kwargs:
        raise UsageError(f"arguments go with a handler's name; {type(what).__name__} holds its own")
    if isinstance(what, Call):
        return what
    if isinstance(what, Mapping):
        return _call_of_map(what)
    raise UsageError(
        f"{what!r} is no call: give a handler's name, a Call, or a map such as {{'job': 'name', 'params': [1]}}"
    )


def _call_of_map(what: Mapping[str, Any]) -> Call:
    if "job" not in what:
        return Call(DEFAULT_HANDLER, (dict(what),))
    options = {key: value for key, value in what.items() if key not in {"job", "params"}}
    known = ("job", "params", *Options.__struct_fields__)
    for key in options:
        if key not in known:
            raise UnknownOption(key, known)
    args, kwargs = _spread(what.get("params", ()))
    call = Call(what["job"], args, kwargs, **options)
    call.whole = what
    return call


def _spread(params: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
    if isinstance(params, list | tuple):
        return params, {}
    if isinstance(params, Mapping):
        return (), params
    return (params,), {}


def script_call(
    path: str | os.PathLike[str],
    args: Sequence[object] = (),
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, object] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Call:
    """The call that runs a script: its arguments and its environment are texts.

    Raises:
        UsageError: `args` is a text, which would be taken letter by letter.
    """
    if isinstance(args, str | bytes):
        raise UsageError(f"args={args!r} is one text; a script's arguments are a list of them: [{args!r}]")
    kwargs = {
        "args": [str(arg) for arg in args],
        "cwd": None if cwd is None else os.fspath(cwd),
        "env": None if env is None else {str(name): str(value) for name, value in env.items()},
    }
    return Call(SCRIPT_HANDLER, (os.fspath(path),), kwargs, **(options or {}))


def new_task(
    call: Call, id: bytes, *, watch: bool = True, parent: bytes | None = None, strict: bool = False
) -> NewTask:
    """The call as it travels; with `strict` it is refused if its handler is not known.

    Raises:
        BadValue: An argument cannot travel; the message has its path.
    """
    payload = pack_arguments(call.args, call.kwargs)
    whole = None if call.whole is None else _pack_whole(call.whole, payload)
    said = call.said
    if not said:
        return NewTask(id, call.name, payload, None, None, watch, parent=parent, whole=whole, strict=strict)
    eta, expires = said.get("eta"), said.get("expires")
    is_never = expires is None and "expires" in said
    return NewTask(
        id=id,
        name=call.name,
        payload=payload,
        queue=said.get("queue"),
        priority=said.get("priority"),
        watch=watch,
        delay=said.get("delay", 0.0 if "eta" in said else None),
        eta=None if eta is None else eta.timestamp(),
        expires_in=None if isinstance(expires, datetime) else expires,
        expires_at=expires.timestamp() if isinstance(expires, datetime) else math.inf if is_never else None,
        key=said.get("idempotency_key"),
        tags=_joined(said["tags"]) if "tags" in said else None,
        title=said["title"] or "" if "title" in said else None,
        partition=said.get("partition"),
        parent=parent,
        options=pack_said(said),
        whole=whole,
        strict=strict,
    )


def _joined(tags: Sequence[str]) -> str:
    return f",{','.join(tags)}," if tags else ""


def _pack_whole(what: Mapping[str, Any], payload: bytes) -> bytes:
    """The map as the one argument of the app's default handler; it travels beside `payload`, so both must fit together."""
    whole = pack_arguments((dict(what),), {})
    if len(whole) + len(payload) > MAX_PAYLOAD:
        raise BadValue(
            "params", f"a map with a job travels twice, and may have {MAX_PAYLOAD // 2:,} bytes; use Call(...)"
        )
    return whole


def _positional(args: object) -> tuple[Any, ...]:
    if not isinstance(args, list | tuple):
        raise UsageError(f"args is a list or a tuple of arguments, got {type(args).__name__}; one is written (value,)")
    return tuple(args)


def _named(kwargs: object) -> dict[str, Any]:
    if not isinstance(kwargs, Mapping):
        raise UsageError(f"kwargs is a map of arguments by name, got {type(kwargs).__name__}")
    return dict(kwargs)


def _said(options: Mapping[str, Any]) -> dict[str, Any]:
    said = normalized(options)
    if said.get("max_concurrency") is not None:
        raise BadOption("max_concurrency", said["max_concurrency"], "it is set where the handler is defined")
    return said


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name:
        raise UsageError(f"a handler's name is a text, got {name!r}")
    if len(name) * 4 > NAME_BYTES and len(name.encode(errors="replace")) > NAME_BYTES:
        raise UsageError(f"a handler's name has at most {NAME_BYTES} bytes, this one begins with {name[:40]!r}")
    if not name.isprintable():
        raise UsageError(f"a handler's name is printable text, got {name!r}")
