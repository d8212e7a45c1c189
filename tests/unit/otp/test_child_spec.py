from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import pytest

from otpq.otp import BadSpec, ChildSpec, SupervisorFlags, check_child_specs

if TYPE_CHECKING:
    from otpq.otp import Pid


def start() -> Pid:
    raise NotImplementedError


def spec(**changes: Any) -> ChildSpec:
    fields: dict[str, Any] = {"id": "till", "start": start}
    return ChildSpec(**(fields | changes))


def refused(error: BadSpec, field: str, value: object, allowed: str) -> bool:
    """Whether the message names the field, the value and what is allowed."""
    return (error.field, error.value) == (field, value) and f"{field}={value!r}" in str(error) and allowed in str(error)


def test_the_defaults_are_those_of_otp() -> None:
    child = spec()
    assert (child.restart, child.shutdown, child.type, child.significant) == ("permanent", 5.0, "worker", False)


def test_a_supervisor_has_all_the_time_it_takes() -> None:
    assert spec(type="supervisor").shutdown == math.inf


@pytest.mark.parametrize(("given", "kept"), [(0, 0), (0.5, 0.5), ("infinity", math.inf), (math.inf, math.inf)])
def test_a_shutdown_time_is_kept_in_seconds(given: object, kept: float) -> None:
    assert spec(shutdown=given).shutdown == kept


def test_brutal_kill_is_kept_as_it_is_also_for_a_supervisor() -> None:
    assert spec(shutdown="brutal_kill", type="supervisor").shutdown == "brutal_kill"


@pytest.mark.parametrize("value", ["", None, 7, ["till"], b"till"])
def test_an_id_is_a_non_empty_text(value: object) -> None:
    with pytest.raises(BadSpec) as caught:
        spec(id=value)
    assert refused(caught.value, "id", value, "a non-empty text")


@pytest.mark.parametrize("value", [None, "Till", 7])
def test_a_start_is_callable(value: object) -> None:
    with pytest.raises(BadSpec) as caught:
        spec(start=value)
    assert refused(caught.value, "start", value, "a callable that starts child 'till' and returns its Pid")


@pytest.mark.parametrize("value", ["always", "", None, True, ["permanent"]])
def test_a_restart_type_is_one_of_three(value: object) -> None:
    with pytest.raises(BadSpec) as caught:
        spec(restart=value)
    assert refused(caught.value, "restart", value, "one of 'permanent', 'transient', 'temporary'")


@pytest.mark.parametrize("value", ["process", None, 1])
def test_a_child_is_a_worker_or_a_supervisor(value: object) -> None:
    with pytest.raises(BadSpec) as caught:
        spec(type=value)
    assert refused(caught.value, "type", value, "one of 'worker', 'supervisor'")


@pytest.mark.parametrize("value", [-1, -0.001, -math.inf, "kill", "5", True, False, [5]])
def test_a_shutdown_time_is_seconds_or_one_of_two_words(value: object) -> None:
    with pytest.raises(BadSpec) as caught:
        spec(shutdown=value)
    assert refused(caught.value, "shutdown", value, "seconds (0 or more), 'brutal_kill' or 'infinity'")


def test_a_shutdown_time_is_not_nan() -> None:
    with pytest.raises(BadSpec, match=r"shutdown=nan is not allowed: seconds \(0 or more\)"):
        spec(shutdown=math.nan)


@pytest.mark.parametrize("value", [1, None, "yes"])
def test_significant_is_true_or_false(value: object) -> None:
    with pytest.raises(BadSpec) as caught:
        spec(significant=value, restart="transient")
    assert refused(caught.value, "significant", value, "True or False")


def test_a_permanent_child_is_not_significant() -> None:
    with pytest.raises(BadSpec) as caught:
        spec(significant=True)
    assert refused(caught.value, "significant", value=True, allowed="only a transient or temporary child; 'till' is")


@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_another_child_may_be_significant(restart: str) -> None:
    assert spec(significant=True, restart=restart).significant


def test_a_spec_is_a_value() -> None:
    assert spec() == spec()
    assert spec() != spec(restart="transient")
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec().id = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        ChildSpec("till", start)  # type: ignore[call-arg]


# --- SupervisorFlags ---------------------------------------------------------------------------------------------------


def test_the_default_flags_are_those_of_otp() -> None:
    flags = SupervisorFlags()
    assert (flags.strategy, flags.max_restarts, flags.max_seconds, flags.auto_shutdown) == (
        "one_for_one",
        1,
        5,
        "never",
    )


@pytest.mark.parametrize("value", ["all_for_one", "simple_one_for_one", None, ""])
def test_an_unknown_strategy_is_refused(value: Any) -> None:
    with pytest.raises(BadSpec) as caught:
        SupervisorFlags(strategy=value)
    assert refused(caught.value, "strategy", value, "one of 'one_for_one', 'one_for_all', 'rest_for_one'")


@pytest.mark.parametrize("value", [-1, 1.5, "3", None, True, math.inf])
def test_max_restarts_is_a_whole_number(value: Any) -> None:
    with pytest.raises(BadSpec) as caught:
        SupervisorFlags(max_restarts=value)
    assert refused(caught.value, "max_restarts", value, "a whole number, 0 or more")


def test_no_restart_at_all_may_be_allowed() -> None:
    assert SupervisorFlags(max_restarts=0).max_restarts == 0


@pytest.mark.parametrize("value", [0, 0.0, -1, "5", None, True])
def test_max_seconds_is_more_than_zero(value: Any) -> None:
    with pytest.raises(BadSpec) as caught:
        SupervisorFlags(max_seconds=value)
    assert refused(caught.value, "max_seconds", value, "seconds, more than 0")


def test_max_seconds_is_not_nan() -> None:
    with pytest.raises(BadSpec, match="max_seconds=nan is not allowed"):
        SupervisorFlags(max_seconds=math.nan)


@pytest.mark.parametrize("value", ["always", None, True])
def test_auto_shutdown_is_one_of_three(value: Any) -> None:
    with pytest.raises(BadSpec) as caught:
        SupervisorFlags(auto_shutdown=value)
    assert refused(caught.value, "auto_shutdown", value, "one of 'never', 'any_significant', 'all_significant'")


# --- check_child_specs -------------------------------------------------------------------------------------------------


def test_specs_with_ids_that_differ_are_right() -> None:
    check_child_specs([spec(id="a"), spec(id="b")])
    check_child_specs([])
    check_child_specs(iter([spec()]))


def test_an_id_stands_once_under_one_supervisor() -> None:
    with pytest.raises(BadSpec) as caught:
        check_child_specs([spec(id="a"), spec(id="b"), spec(id="a")])
    assert refused(caught.value, "id", "a", "each id once under one supervisor")


@pytest.mark.parametrize("value", [None, "till", {"id": "till"}, start, ChildSpec])
def test_each_child_is_a_child_spec(value: Any) -> None:
    with pytest.raises(BadSpec) as caught:
        check_child_specs([spec(), value])
    assert refused(caught.value, "children", value, "each child is a ChildSpec")


def test_a_significant_child_wants_an_auto_shutdown_that_reacts_to_it() -> None:
    child = spec(significant=True, restart="transient")
    check_child_specs([child], auto_shutdown="any_significant")
    check_child_specs([child], auto_shutdown="all_significant")
    with pytest.raises(BadSpec) as caught:
        check_child_specs([child])
    assert refused(
        caught.value, "significant", value=True, allowed="auto_shutdown, which is 'never' here (child 'till')"
    )


def test_specs_are_checked_under_a_known_auto_shutdown_only() -> None:
    with pytest.raises(BadSpec, match="auto_shutdown='sometimes' is not allowed: one of 'never'"):
        check_child_specs([], auto_shutdown="sometimes")  # type: ignore[arg-type]
