"""Calls: which handler, with what, and how. Values; from here on they are packed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from otpq.errors import BadOption, UnknownOption, UsageError
from otpq.task import Options
from otpq.wire.messages import NewTask
from otpq.wire.values import pack_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DEFAULT_HANDLER", "Call", "as_call", "new_task"]

DEFAULT_HANDLER: Final = "@default"
"""The name under which a map without a job travels: the queue server gives it to the app's `@app.default` handler."""
NAME_BYTES: Final = 255
_PLAIN: Final = Options()


class Call:
    """One call of a handler: `Call('email.send', ('a@b.c',), {'html': True}, delay=60, priority='high')`.

    A value: `.with_(...)` makes another one. Options are checked here, so a wrong one is told where it is written.
    """

    __slots__ = ("args", "kwargs", "name", "options")

    def __init__(
        self, name: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        """Call handler `name` with `args` and `kwargs`.

        Raises:
            UsageError: The name cannot be one, or an option is wrong (`UnknownOption`, `BadOption`).
        """
        _check_name(name)
        if not isinstance(args, list | tuple):
            raise UsageError(
                f"args is a list or a tuple of arguments, got {type(args).__name__}; one is written (value,)"
            )
        if not isinstance(kwargs, Mapping | None):
            raise UsageError(f"kwargs is a map of arguments by name, got {type(kwargs).__name__}")
        _check_options(options)
        self.name = name
        self.args = tuple(args)
        self.kwargs: dict[str, Any] = dict(kwargs) if kwargs else {}
        self.options = Options.of(**options) if options else _PLAIN

    def with_(self, **options: Any) -> Call:
        """This call with some options changed."""
        _check_options(options)
        other = Call(self.name, self.args, self.kwargs)
        other.options = self.options.with_(**options)
        return other

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
    return Call(what["job"], args, kwargs, **options)


def _spread(params: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
    if isinstance(params, list | tuple):
        return params, {}
    if isinstance(params, Mapping):
        return (), params
    return (params,), {}


def new_task(call: Call, id: bytes, *, watch: bool = True, parent: bytes | None = None) -> NewTask:
    """The call as it travels.

    Raises:
        BadValue: An argument cannot travel; the message has its path.
    """
    payload = pack_arguments(call.args, call.kwargs)
    options = call.options
    if options is _PLAIN:
        return NewTask(id, call.name, payload, "default", 5, watch, parent=parent)
    eta, expires = options.eta, options.expires
    return NewTask(
        id=id,
        name=call.name,
        payload=payload,
        queue=options.queue,
        priority=options.priority,
        watch=watch,
        delay=options.delay,
        eta=None if eta is None else eta.timestamp(),
        expires_in=None if isinstance(expires, datetime) else expires,
        expires_at=expires.timestamp() if isinstance(expires, datetime) else None,
        key=options.idempotency_key,
        tags=f",{','.join(options.tags)}," if options.tags else "",
        title=options.title,
        partition=options.partition,
        parent=parent,
        options=options.pack(),
    )


def _check_options(options: Mapping[str, Any]) -> None:
    whole = options.get("max_concurrency")
    if whole is not None:
        raise BadOption("max_concurrency", whole, "it is set where the handler is defined")


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name:
        raise UsageError(f"a handler's name is a text, got {name!r}")
    if len(name) * 4 > NAME_BYTES and len(name.encode(errors="replace")) > NAME_BYTES:
        raise UsageError(f"a handler's name has at most {NAME_BYTES} bytes, this one begins with {name[:40]!r}")
    if not name.isprintable():
        raise UsageError(f"a handler's name is printable text, got {name!r}")
