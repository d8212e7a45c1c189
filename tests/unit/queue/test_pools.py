"""Which pools there are, and what they were ordered."""

from __future__ import annotations

from typing import Any

import pytest

from otpq.core.events import SessionOpened
from otpq.queue.messages import PoolAnswer, Reload, Scale
from otpq.queue.pools import Pools
from otpq.queue.queries import BadQuery

CLIENT = b"c" * 16


def pools(*names: str) -> tuple[Pools, dict[str, Any]]:
    made = Pools()
    pids: dict[str, Any] = {name: object() for name in names}
    for name in names:
        made.opened(opened(name), pids[name])
    return made, pids


def opened(name: str, *dirs: str) -> SessionOpened:
    return SessionOpened(
        session=f"s/{name}", node="a@h", incarnation="1", queues=("q",), pool=name.rstrip("123"), script_dirs=dirs
    )


def test_a_session_is_new_to_a_pid_once() -> None:
    some = Pools()
    pid: Any = object()
    assert some.opened(opened("cpu"), pid)
    assert not some.opened(opened("cpu"), pid)
    other: Any = object()
    assert some.opened(opened("cpu"), other)
    assert (list(some), some.pid_of("s/cpu"), some.node_of("s/cpu")) == (["s/cpu"], other, "a@h")
    assert some.pid_of("s/none") is None
    assert some.node_of("s/none") is None


def test_an_order_goes_to_the_pools_of_that_name_and_ends_with_the_last_answer() -> None:
    some, pids = pools("cpu1", "gpu", "cpu2")
    told = some.order(CLIENT, 1, "cpu", Scale(3))
    assert [(pid, order.order) for pid, order in told] == [(pids["cpu1"], Scale(3)), (pids["cpu2"], Scale(3))]
    number = told[0][1].number
    assert some.answered(PoolAnswer(number, "s/cpu2", {"pool": "cpu", "workers": 3})) is None
    assert some.answered(PoolAnswer(number, "s/cpu2", {"pool": "cpu", "workers": 3})) is None, "said twice"
    assert some.answered(PoolAnswer(number, "s/gpu", {})) is None, "not asked"
    assert some.answered(PoolAnswer(number + 1, "s/cpu1", {})) is None, "another's"
    ordered = some.answered(PoolAnswer(number, "s/cpu1", {"pool": "cpu", "workers": 3}))
    assert ordered is not None
    assert (ordered.client, ordered.request, len(ordered.facts), ordered.failure) == (CLIENT, 1, 2, None)
    assert some.answered(PoolAnswer(number, "s/cpu1", {})) is None, "it is over"


def test_without_a_name_all_are_meant() -> None:
    some, pids = pools("cpu", "gpu")
    assert [pid for pid, _ in some.order(CLIENT, 1, None, Reload())] == list(pids.values())


def test_a_request_that_comes_again_is_the_same_one() -> None:
    some, _ = pools("cpu")
    ((_, first),) = some.order(CLIENT, 1, "cpu", Reload())
    assert some.order(CLIENT, 1, "cpu", Reload()) == []
    assert len(some.order(CLIENT, 2, "cpu", Reload())) == len(some.order(b"d" * 16, 1, "cpu", Reload())) == 1
    assert some.answered(PoolAnswer(first.number, "s/cpu", {})) is not None


def test_an_unknown_pool_is_told_with_those_there_are() -> None:
    some, _ = pools("cpu", "gpu")
    with pytest.raises(BadQuery, match="there is no pool 'cpus'; there are: cpu, gpu") as caught:
        some.order(CLIENT, 1, "cpus", Reload())
    assert caught.value.code == "no_pool"
    with pytest.raises(BadQuery, match=r"there is no pool$"):
        Pools().order(CLIENT, 1, None, Reload())


def test_a_pool_that_ends_ends_what_it_has_not_answered() -> None:
    some, _ = pools("cpu1", "cpu2")
    ((_, first), _) = some.order(CLIENT, 1, "cpu", Reload())
    some.order(CLIENT, 2, "cpu", Reload())
    some.answered(PoolAnswer(first.number, "s/cpu1", {}))
    (ended,) = some.gone("s/cpu1")
    assert ended.request == 2
    assert ended.failure is not None
    assert (ended.failure.code, "'cpu' on " in str(ended.failure)) == ("pool_gone", True)
    assert [each.request for each in some.gone("s/cpu2")] == [1]
    assert some.gone("s/cpu2") == []
    assert list(some) == []


def test_a_pool_that_does_not_obey_ends_the_order_with_its_words() -> None:
    some, _ = pools("cpu1", "cpu2")
    ((_, order), _) = some.order(CLIENT, 1, "cpu", Scale(0))
    ended = some.answered(PoolAnswer(order.number, "s/cpu2", {"pool": "cpu", "error": "it drains"}))
    assert ended is not None
    assert ended.failure is not None
    assert (ended.failure.code, str(ended.failure)) == ("refused", "pool 'cpu': it drains")


def test_scripts_may_lie_where_some_open_session_runs_them() -> None:
    some = Pools()
    pid: Any = object()
    some.opened(opened("a", "/x", "/y"), pid)
    some.opened(opened("b", "/y", "/z"), pid)
    assert some.script_dirs == {"a@h": {"/x", "/y", "/z"}}
    some.closed("s/a")
    some.closed("s/none")
    assert some.script_dirs == {"a@h": {"/y", "/z"}}
    some.gone("s/b")
    assert some.script_dirs == {}
