"""How long ended tasks are kept."""

import pytest

from otpq.errors import BadOption
from otpq.queue.retention import DAY, Retention
from otpq.store.protocol import Ended


def ended(name: str, state: str, finished: float) -> Ended:
    return Ended(1, b"", name, "default", state, finished)


def test_a_day_for_what_went_well_and_thirty_for_what_did_not() -> None:
    retention = Retention()
    assert {state: retention.of("any", state) for state in ("succeeded", "cancelled", "failed", "expired")} == {
        "succeeded": DAY, "cancelled": DAY, "failed": 30 * DAY, "expired": 30 * DAY
    }  # fmt: skip


def test_it_is_said_by_state_and_by_handler() -> None:
    retention = Retention.parse("succeeded=90s, failed=1.5h,mail.send:failed=forever,a:b:succeeded=2w")
    assert retention.of("other", "succeeded") == 90.0
    assert retention.of("other", "failed") == 5400.0
    assert retention.of("mail.send", "failed") is None
    assert retention.of("a:b", "succeeded") == 14 * DAY
    assert retention.of("other", "expired") == 30 * DAY


def test_a_task_goes_when_its_own_time_is_over() -> None:
    retention = Retention.parse("succeeded=10s,slow:succeeded=100s,kept:succeeded=forever")
    now = 1_000.0
    assert retention.before(now)["succeeded"] == 990.0, "the shortest: whatever may go is looked at"
    assert retention.is_over(ended("quick", "succeeded", 989.0), now)
    assert not retention.is_over(ended("quick", "succeeded", 990.0), now)
    assert not retention.is_over(ended("slow", "succeeded", 989.0), now)
    assert retention.is_over(ended("slow", "succeeded", 899.0), now)
    assert not retention.is_over(ended("kept", "succeeded", 0.0), now)


def test_what_is_kept_for_ever_is_not_looked_at() -> None:
    retention = Retention.parse("succeeded=forever,cancelled=forever,failed=forever,expired=forever")
    assert retention.before(1_000.0) == {}
    assert retention.shortest == float("inf")


@pytest.mark.parametrize(
    "text", ["suceeded=1d", "running=1d", "succeeded=1", "succeeded", "succeeded=-1d", "succeeded=1y", "=1d", "1d"]
)
def test_what_cannot_be_right_is_refused(text: str) -> None:
    with pytest.raises(BadOption, match="retention"):
        Retention.parse(text)


def test_a_near_miss_is_named() -> None:
    with pytest.raises(BadOption, match="succeeded"):
        Retention({"suceeded": 1.0})


def test_it_is_told_like_other_limits() -> None:
    told = Retention.parse("succeeded=90s,failed=30d,mail:failed=forever").limits()
    assert [(each["name"], each["limit"], each["value"], each["from"]) for each in told] == [
        ("all", "cancelled", DAY, "default"),
        ("all", "expired", 30 * DAY, "default"),
        ("all", "failed", 30 * DAY, "default"),
        ("all", "succeeded", 90.0, "node"),
        ("mail", "failed", None, "node"),
    ]
