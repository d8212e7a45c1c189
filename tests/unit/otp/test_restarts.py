"""The supervisor's decisions, sentence by sentence of supervisor(3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otpq.otp import ChildSpec, Crash, Failure, Killed, Normal, Reason, Shutdown
from otpq.otp.restarts import Fate, Intensity, affected, fate, is_shutdown_due

if TYPE_CHECKING:
    from otpq.otp import Pid
    from otpq.otp.child_spec import AutoShutdown, Restart

CLEAN = [Normal(), Shutdown(), Shutdown("done")]
ABNORMAL = [Killed(), Failure("boom"), Crash(ValueError())]
IDS = ["a", "b", "c", "d"]


def start() -> Pid:
    raise NotImplementedError


def spec(restart: Restart = "permanent", *, id: str = "till", significant: bool = False) -> ChildSpec:
    return ChildSpec(id=id, start=start, restart=restart, significant=significant)


@pytest.mark.parametrize("reason", CLEAN + ABNORMAL, ids=repr)
def test_a_permanent_child_is_always_restarted(reason: Reason) -> None:
    assert fate(spec("permanent"), reason) is Fate.RESTART


@pytest.mark.parametrize("reason", CLEAN + ABNORMAL, ids=repr)
def test_a_temporary_child_is_never_restarted_and_forgotten(reason: Reason) -> None:
    assert fate(spec("temporary"), reason) is Fate.DROP


@pytest.mark.parametrize("reason", CLEAN, ids=repr)
def test_a_transient_child_that_ended_cleanly_stays_down_and_known(reason: Reason) -> None:
    assert fate(spec("transient"), reason) is Fate.KEEP


@pytest.mark.parametrize("reason", ABNORMAL, ids=repr)
def test_a_transient_child_is_restarted_after_an_abnormal_end(reason: Reason) -> None:
    assert fate(spec("transient"), reason) is Fate.RESTART


@pytest.mark.parametrize("failed", IDS)
def test_one_for_one_affects_the_failed_child_alone(failed: str) -> None:
    assert list(affected("one_for_one", IDS, failed)) == [failed]


@pytest.mark.parametrize("failed", IDS)
def test_one_for_all_affects_all_in_start_order(failed: str) -> None:
    assert list(affected("one_for_all", IDS, failed)) == IDS


@pytest.mark.parametrize(("failed", "rest"), [("a", IDS), ("c", ["c", "d"]), ("d", ["d"])])
def test_rest_for_one_affects_the_failed_child_and_those_started_after_it(failed: str, rest: list[str]) -> None:
    assert list(affected("rest_for_one", IDS, failed)) == rest


def test_auto_shutdown_never_is_never_due() -> None:
    assert not is_shutdown_due("never", spec("transient", significant=True), [])


@pytest.mark.parametrize("auto_shutdown", ["any_significant", "all_significant"])
def test_the_end_of_a_child_that_is_not_significant_shuts_nothing_down(auto_shutdown: AutoShutdown) -> None:
    assert not is_shutdown_due(auto_shutdown, spec("transient"), [])


def test_any_significant_is_due_while_other_significant_children_run() -> None:
    other = spec("temporary", id="other", significant=True)
    assert is_shutdown_due("any_significant", spec("transient", significant=True), [other])


def test_all_significant_waits_for_the_last_significant_child() -> None:
    ended = spec("transient", significant=True)
    other = spec("temporary", id="other", significant=True)
    plain = spec("permanent", id="plain")
    assert not is_shutdown_due("all_significant", ended, [plain, other])
    assert is_shutdown_due("all_significant", ended, [plain])
    assert is_shutdown_due("all_significant", ended, [])


def test_as_many_restarts_as_allowed_are_fine_and_one_more_is_not() -> None:
    intensity = Intensity(3, 5)
    assert [intensity.allows(now) for now in (1.0, 1.0, 2.0, 3.0)] == [True, True, True, False]


def test_none_allowed_means_that_the_first_restart_is_too_many() -> None:
    assert not Intensity(0, 5).allows(1.0)


def test_the_window_slides_with_each_restart() -> None:
    intensity = Intensity(2, 10)
    assert [intensity.allows(now) for now in (0.0, 6.0, 11.0, 12.0)] == [True, True, True, False]


def test_a_restart_that_is_as_old_as_the_window_counts_no_more() -> None:
    intensity = Intensity(1, 5)
    assert intensity.allows(100.0)
    assert intensity.allows(105.0)
    assert not intensity.allows(109.999)


def test_the_window_forgets_for_good() -> None:
    intensity = Intensity(1, 5)
    assert all(intensity.allows(now) for now in range(0, 100, 5))


def test_a_window_shorter_than_the_clock_can_tell_is_no_error() -> None:
    assert Intensity(1, 1e-9).allows(1e9)


def test_a_window_shorter_than_the_clock_can_tell_holds_the_restart_itself() -> None:
    assert not Intensity(0, 1e-9).allows(1e9)
