from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from otpq.client.flow_picture import ranges
from otpq.client.flow_views import Member, WorkflowStatus
from otpq.task import TaskState

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def member(place: int, name: str, state: str, after: tuple[int, ...] = (), **more: Any) -> Member:
    return Member(place=place, id=f"{place:02}", name=name, state=TaskState(state), after=after, **more)


def picture(*members: Member, **more: Any) -> list[str]:
    ended = sum(one.state in {"succeeded", "failed", "cancelled"} for one in members)
    status = WorkflowStatus(
        id="w", created_at=NOW, total=len(members), ended=ended, members=tuple(members), **{"state": "running", **more}
    )
    return status.picture().splitlines()


def test_each_task_is_a_line_indented_by_how_many_stand_before_it() -> None:
    assert picture(
        member(0, "fetch", "succeeded"),
        member(1, "resize", "running", (0,), title="small"),
        member(2, "publish", "pending", (0, 1)),
        title="pictures",
    ) == [
        "workflow w (pictures): running, 1 of 3 ended, on_failure=fail",
        "PLACE  STATE      ID  NAME",
        "0      succeeded  00  fetch",
        "1      running    01    resize (small), after 0",
        "2      pending    02      publish, after 0-1",
    ]


def test_a_wide_group_is_one_line_and_its_first_failures() -> None:
    states = ["failed", "queued", *["succeeded"] * 7, "running"]
    wide = [member(1 + n, "resize", state, (0,)) for n, state in enumerate(states)]
    lines = picture(member(0, "a", "succeeded"), *wide, member(11, "sum", "pending", tuple(range(1, 11))), failed=1)
    assert lines[0] == "workflow w: running, 9 of 12 ended, 1 without success, on_failure=fail"
    assert lines[2:] == [
        "0      succeeded  00  a",
        "1-10                    resize, group of 10, after 0: 1 queued, 1 running, 7 succeeded, 1 failed",
        "1      failed     01      resize, after 0",
        "11     pending    11      sum, after 1-10",
    ]


def test_many_chains_side_by_side_are_a_line_a_step() -> None:
    members = [
        one
        for n in range(0, 40, 2)
        for one in (member(n, "a", "succeeded"), member(n + 1, "b", "failed", (n,), reason="error"))
    ]
    lines = picture(*members, state="failed")
    assert [line.split("  ")[-1].strip() for line in lines[2:]] == [
        "a, group of 20: 20 succeeded",
        "b, group of 20: 20 failed",
        "b, after 0",
        "b, after 2",
        "b, after 4",
    ]
    assert lines[3].startswith("1, 3, 5, ..., 39")
    assert "failed: error" in lines[4]


def test_the_same_call_again_and_again_is_no_group() -> None:
    members = [member(n, "step", "pending", (n - 1,) if n else ()) for n in range(30)]
    lines = picture(*members)
    assert len(lines) == 32
    assert lines[31].endswith(f"{'  ' * 20}step, after 28")


def test_without_members_there_is_a_line() -> None:
    assert picture(state="succeeded") == ["workflow w: succeeded, 0 of 0 ended, on_failure=fail"]


def test_what_a_terminal_would_obey_is_not_sent() -> None:
    lines = picture(member(0, "a\x1b[31m", "queued", title="two\nlines"), title="\x1b[0m")
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)


def test_places_are_told_in_ranges() -> None:
    assert ranges([]) == ""
    assert ranges([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"
