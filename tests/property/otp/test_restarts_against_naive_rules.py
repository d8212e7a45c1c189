"""restarts.py against the same rules written down naively."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from otpq.otp import ChildSpec, Crash, Failure, Kill, Killed, NoProc, Normal, Reason, Shutdown, is_clean
from otpq.otp.restarts import Fate, Intensity, affected, fate, is_shutdown_due

if TYPE_CHECKING:
    from otpq.otp import Pid
    from otpq.otp.child_spec import AutoShutdown, Restart, Strategy


def start() -> Pid:
    raise NotImplementedError


RESTARTS: list[Restart] = ["permanent", "transient", "temporary"]
AUTO_SHUTDOWNS: list[AutoShutdown] = ["never", "any_significant", "all_significant"]
STRATEGIES: list[Strategy] = ["one_for_one", "one_for_all", "rest_for_one"]
details = st.one_of(st.none(), st.integers(), st.text())
reasons: st.SearchStrategy[Reason] = st.one_of(
    st.sampled_from([Normal(), Kill(), Killed(), NoProc()]),
    details.map(Shutdown),
    details.map(Failure),
    st.builds(Crash, st.sampled_from([ValueError("x"), SystemExit(1)])),
)
gaps = st.floats(min_value=0, max_value=20).map(lambda gap: round(gap, 3))


def spec(restart: Restart, *, significant: bool, id: str = "x") -> ChildSpec:
    return ChildSpec(id=id, start=start, restart=restart, significant=significant and restart != "permanent")


specs = st.builds(spec, st.sampled_from(RESTARTS), significant=st.booleans())


@given(
    max_restarts=st.integers(0, 6),
    max_seconds=st.floats(min_value=0.001, max_value=30),
    begin=st.floats(min_value=0, max_value=1e6),
    gaps=st.lists(gaps, max_size=40),
)
def test_the_intensity_counts_what_lies_within_the_window(
    max_restarts: int, max_seconds: float, begin: float, gaps: list[float]
) -> None:
    intensity = Intensity(max_restarts, max_seconds)
    now, times = begin, []
    for gap in gaps:
        now += gap
        times.append(now)
        recent = [time for time in times if time > now - max_seconds]
        assert intensity.allows(now) is (len(recent) <= max_restarts)


@given(max_restarts=st.integers(0, 6), gaps=st.lists(gaps, max_size=40))
def test_a_restart_that_was_refused_counts_as_well(max_restarts: int, gaps: list[float]) -> None:
    intensity = Intensity(max_restarts, float("inf"))
    answers = [intensity.allows(sum(gaps[:number])) for number in range(len(gaps))]
    assert answers == [number < max_restarts for number in range(len(gaps))]


@given(spec=specs, reason=reasons)
def test_a_fate_follows_from_the_restart_type_and_the_reason(spec: ChildSpec, reason: Reason) -> None:
    table = {
        ("permanent", True): Fate.RESTART,
        ("permanent", False): Fate.RESTART,
        ("transient", True): Fate.KEEP,
        ("transient", False): Fate.RESTART,
        ("temporary", True): Fate.DROP,
        ("temporary", False): Fate.DROP,
    }
    assert fate(spec, reason) is table[spec.restart, is_clean(reason)]
    assert is_clean(reason) is isinstance(reason, Normal | Shutdown)


@given(ids=st.lists(st.text(min_size=1, max_size=2), min_size=1, unique=True), data=st.data())
def test_who_is_affected_is_a_run_of_the_children_in_order(ids: list[str], data: st.DataObject) -> None:
    failed = data.draw(st.sampled_from(ids))
    before = ids[: ids.index(failed)]
    for strategy in STRATEGIES:
        group = list(affected(strategy, ids, failed))
        assert failed in group
        assert group == [id for id in ids if id in group]
        match strategy:
            case "one_for_one":
                assert group == [failed]
            case "one_for_all":
                assert group == ids
            case "rest_for_one":
                assert before + group == ids


@given(auto_shutdown=st.sampled_from(AUTO_SHUTDOWNS), ended=specs, running=st.lists(specs))
def test_an_automatic_shutdown_is_due_by_the_significant_alone(
    auto_shutdown: AutoShutdown, ended: ChildSpec, running: list[ChildSpec]
) -> None:
    significant = [other for other in running if other.significant]
    due = {
        "never": False,
        "any_significant": ended.significant,
        "all_significant": ended.significant and significant == [],
    }
    assert is_shutdown_due(auto_shutdown, ended, running) is due[auto_shutdown]
    assert is_shutdown_due(auto_shutdown, ended, significant) is due[auto_shutdown]
