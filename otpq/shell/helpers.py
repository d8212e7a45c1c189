"""The names at the prompt: each method of `Client` that users call, by reflection, and what `h` says of them."""

from __future__ import annotations

import builtins
import inspect
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from otpq.client.client import Client
from otpq.client.schedules import Schedules
from otpq.shell.pretty import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["EXAMPLES", "Helper", "ScheduleHelpers", "client_helpers", "handler_names", "help_on", "overview"]

_PLUMBING: Final = frozenset(
    {
        "close",
        "fetch",
        "handles_of",
        "node_lost",
        "submit_soon",
        "wait_answer",
        "wait_connected",
        "wait_ended",
        "wait_for",
    }
)
"""Public methods of a client that are for handles, for programs and for nodes."""

EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "cancel": ("cancel(id)", "cancel(Selector(queue='mail'))"),
    "cancel_workflow": ("cancel_workflow(id)", "cancel_workflow(handle, grace=30)"),
    "connect": ("connect('b@127.0.0.1')", "connect()"),
    "count": ("count(Selector(state='failed'))", "count(Selector(queue='mail'), to='cancel')"),
    "counts": ("counts()", "counts('mail')"),
    "delete": ("delete(Selector(state='succeeded'))",),
    "drain": ("drain('b@host')",),
    "events": ("events()", "events(follow=True)"),
    "exit": ("exit()",),
    "flush": ("flush()",),
    "get_task_status": ("get_task_status(id)", "get_task_status(id).error"),
    "h": ("h()", "h(cancel)", "h('cancel')"),
    "handle": ("handle(id).get(timeout=10)",),
    "handlers": ("handlers()",),
    "health": ("health()",),
    "info": ("info(pid)",),
    "iter_tasks": ("iter_tasks(Selector(tag='import'))", "[t.id for t in iter_tasks() if t.attempt > 2]"),
    "kill": ("kill(pid)",),
    "handler_stats": ("handler_stats()['mail.send']['run']['1m']['p95']",),
    "limits": ("limits()",),
    "logs": ("logs(id)", "logs(id, follow=True)"),
    "map_task": ("list(map_task('resize', ['a.png', 'b.png']))", "sum(map_task(size.s, paths, chunk=100))"),
    "nodes": ("nodes()",),
    "pause": ("pause('mail', why='the provider is down')", "pause(handler='mail.send')"),
    "purge": ("purge('mail')",),
    "queue_stats": ("queue_stats()", "queue_stats()['mail']['pending']"),
    "queues": ("queues()", "[q['queue'] for q in queues() if q['paused']]"),
    "reload": ("reload()", "reload('default', timeout=60)"),
    "resume": ("resume('mail')",),
    "retry": ("retry(Selector(state='failed', name='mail.send'))",),
    "retry_workflow": ("retry_workflow(id)",),
    "rpc": ("rpc('a@host', 'status')", "rpc('a@host', 'log_level', level='DEBUG')"),
    "scale": ("scale('default', 8)",),
    "schedules.add": ("schedules.add('nightly', Call('tidy'), cron='0 3 * * *', timezone='Europe/Berlin')",),
    "schedules.disable": ("schedules.disable('nightly')",),
    "schedules.enable": ("schedules.enable('nightly')",),
    "schedules.list": ("schedules.list()", "[s.name for s in schedules.list() if not s.enabled]"),
    "schedules.pause_all": ("schedules.pause_all('maintenance')",),
    "schedules.remove": ("schedules.remove('nightly')",),
    "schedules.resume_all": ("schedules.resume_all()",),
    "schedules.run": ("schedules.run('nightly').get(timeout=10)",),
    "stacks": ("stacks('default/0')",),
    "state": ("state(pid)",),
    "stats": ("stats()",),
    "submit": ("submit(Call('mail.send', ('a@b.c',), priority='high'))",),
    "submit_many": ("submit_many([Call('add', (n, 1)) for n in range(1000)])",),
    "submit_script": ("submit_script('/srv/scripts/report.sh', ['2026'])",),
    "submit_task": ("submit_task('mail.send', 'a@b.c', html=True)", "submit_task({'job': 'add', 'params': [1, 2]})"),
    "tasks": ("tasks()", "tasks(Selector(state='failed'), limit=10)"),
    "trace": ("trace(pid)", "trace(id)"),
    "tree": ("tree()", "tree('b@host')"),
    "v": ("v()", "v(3)"),
    "wait": ("wait([handle(id)], timeout=10)",),
    "why": ("why(id)",),
    "workflow": ("workflow(id)", "workflow(id).counts", "workflow(id, members=False).progress"),
    "workflows": ("workflows()", "[w.id for w in workflows() if w.state == 'failed']"),
    "worker_stats": ("worker_stats()['pools']",),
    "workers": ("workers()",),
}


class _Bare(str):
    """An annotation that was never more than a text, shown without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Helper:
    """A function of the prompt: called like any, and shown as what it does."""

    def __init__(self, name: str, function: Callable[..., Any], of: Callable[..., Any] | None = None) -> None:
        described = function if of is None else of
        self.__name__ = name
        self.__doc__ = inspect.getdoc(described)
        self.__signature__ = _signature(described)
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it. A text of several lines that it returns is shown as it is.

        Raises:
            TypeError: The arguments are not its own; the message has its signature.
        """
        try:
            self.__signature__.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.title}: {error}") from None
        value = self._function(*args, **kwargs)
        return Text(value) if isinstance(value, str) and "\n" in value else value

    @property
    def title(self) -> str:
        """Its name and its signature."""
        return f"{self.__name__}{self.__signature__}"

    @property
    def summary(self) -> str:
        """What it gives, in a line."""
        return (self.__doc__ or "").partition("\n")[0]

    def __repr__(self) -> str:
        return f"<{self.title}; h({self.__name__}) says more>"


def client_helpers(client: Callable[[], Client]) -> dict[str, Helper]:
    """A helper for each method of a client, which calls it on the client that there is then."""
    methods = inspect.getmembers(Client, inspect.isfunction)
    return {
        name: Helper(name, _calling(client, name), method)
        for name, method in methods
        if not name.startswith("_") and name not in _PLUMBING
    }


class ScheduleHelpers:
    """`schedules.add`, `schedules.list` and so on: what makes tasks when it is their time."""

    def __init__(self, client: Callable[[], Client]) -> None:
        for name, method in inspect.getmembers(Schedules, inspect.isfunction):
            if not name.startswith("_"):
                setattr(self, name, Helper(f"schedules.{name}", _calling(lambda: client().schedules, name), method))

    def __repr__(self) -> str:
        return f"<schedules: {', '.join(sorted(vars(self)))}; h(schedules.add) says more>"


def _calling(client: Callable[[], Any], name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(client(), name)(*args, **kwargs)

    return call


def handler_names(handlers: Mapping[str, Any]) -> dict[str, Any]:
    """Handlers by the names under which one types them: `shop.add`, and `add` unless that is taken, by Python itself for one."""
    names: dict[str, Any] = {}
    for name, handler in handlers.items():
        *path, last = name.split(".")
        if all(part.isidentifier() for part in (*path, last)):
            place = names
            for part in path:
                there = place.setdefault(part, SimpleNamespace())
                place = vars(there) if isinstance(there, SimpleNamespace) else {}
            place[last] = handler
            names.setdefault(last, handler)
    return {name: what for name, what in names.items() if not hasattr(builtins, name)}


def overview(helpers: Iterable[Helper], width: int | None = None) -> Text:
    """All helpers, a line each, of `width` characters at most."""
    helpers = sorted(helpers, key=lambda helper: helper.__name__)
    left = max(len(helper.__name__) for helper in helpers) + 2
    lines = [f"{helper.__name__ + '()':<{left}}  {helper.summary}"[:width] for helper in helpers]
    return Text("\n".join([*lines, "", "h(x) says more of one, and of anything else that has a name."]))


def help_on(what: Any) -> Text:
    """What there is to say of a helper, a handler, or anything else."""
    is_helper = isinstance(what, Helper)
    examples = EXAMPLES.get(what.__name__, ()) if is_helper else _of_handler(what)
    lines = [what.title if is_helper else _title(what), "", inspect.getdoc(what) or "It has no description."]
    lines += ["", "Examples:", *(f"    {example}" for example in examples)] if examples else []
    return Text("\n".join(lines))


def _signature(of: Callable[..., Any]) -> inspect.Signature:
    """How something is called, by who has it: without `self`."""
    signature = inspect.signature(of)
    parameters = [
        one.replace(annotation=_bare(one.annotation)) for name, one in signature.parameters.items() if name != "self"
    ]
    return signature.replace(parameters=parameters, return_annotation=_bare(signature.return_annotation))


def _bare(annotation: Any) -> Any:
    return _Bare(annotation) if isinstance(annotation, str) else annotation


def _title(what: Any) -> str:
    name = getattr(what, "__qualname__", None) or getattr(what, "__name__", None) or repr(what)
    try:
        return f"{name}{_signature(what)}"
    except (TypeError, ValueError):  # it cannot be called, or does not say how
        return str(name)


def _of_handler(what: Any) -> tuple[str, ...]:
    """How a handler is called: it has a name that tasks bear, and a function."""
    if not (hasattr(what, "submit") and hasattr(what, "handler")):
        return ()
    name, shown = what.name.rpartition(".")[2], ", ".join(inspect.signature(what.handler).parameters)
    return (f"{name}.submit({shown})", f"{name}.options(priority='high').submit({shown})", f"{name}({shown})")
