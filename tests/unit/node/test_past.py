"""What earlier incarnations left, and when it may go."""

import os
import time
from pathlib import Path

import pytest

from otpq.node.past import deaths_in, new_incarnation, remove_leftovers
from otpq.worker import tombstone
from otpq.worker.blackboard import Blackboard
from otpq.worker.deadline import Deadline


def incarnation(days_ago: float) -> str:
    return f"{int((time.time() - days_ago * 86_400) * 1000):012x}{os.urandom(4).hex()}"


def lived(directory: Path, name: str, *, is_buried: bool = True) -> str:
    Blackboard.create(directory / f"default.{name}.blackboard", 2).close()
    Deadline.of(directory, name).close()
    if is_buried:
        tombstone.write(directory, "a@h", name, "gone")
    return name


def left(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_what_is_proven_dead_and_holds_no_lease_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "store.db").touch()
    (tmp_path / "address").touch()
    lived(tmp_path, incarnation(2))
    lived(tmp_path, incarnation(3))
    remove_leftovers(tmp_path, new_incarnation(), frozenset())
    assert left(tmp_path) == {"store.db", "address"}


def test_of_who_holds_a_lease_nothing_goes(tmp_path: Path) -> None:
    held = lived(tmp_path, incarnation(2))
    before = left(tmp_path)
    remove_leftovers(tmp_path, new_incarnation(), frozenset({held}))
    assert left(tmp_path) == before
    assert [death.incarnation for death in deaths_in(tmp_path, "a@h")] == [held]


def test_of_this_start_and_of_what_is_young_nothing_goes(tmp_path: Path) -> None:
    since = incarnation(1)
    lived(tmp_path, since)
    lived(tmp_path, incarnation(0.5), is_buried=False)
    lived(tmp_path, incarnation(0.01))
    before = left(tmp_path)
    remove_leftovers(tmp_path, since, frozenset())
    assert left(tmp_path) == before
    remove_leftovers(tmp_path, new_incarnation(), frozenset(), kept=0.0)
    assert left(tmp_path) == set()


def test_what_has_no_proof_goes_only_if_no_process_bears_its_mark(tmp_path: Path) -> None:
    lost = lived(tmp_path, incarnation(2), is_buried=False)
    remove_leftovers(tmp_path, new_incarnation(), frozenset())
    assert not any(lost in name for name in left(tmp_path))


def test_a_fence_is_no_fault_of_what_ran(tmp_path: Path) -> None:
    for reason in ("gone", "lease"):
        tombstone.write(tmp_path, "a@h", reason, reason)
    assert {death.incarnation: death.fenced for death in deaths_in(tmp_path, "a@h")} == {"gone": False, "lease": True}


def bury(directory: Path, incarnation: str, *, running: int | None = None) -> None:
    """An incarnation that is over, with a pool of one worker."""
    board = Blackboard.create(directory / f"default.{incarnation}.blackboard", 1)
    if running is not None:
        board.slot(0).begin(running, 1, bytes(16), 1, 0.0, 0)
    board.close()
    Deadline.of(directory, incarnation).close()
    tombstone.write(directory, "a@h", incarnation, "gone")


def test_each_death_names_what_its_own_blackboard_shows(tmp_path: Path) -> None:
    bury(tmp_path, "one", running=7)
    bury(tmp_path, "two")
    assert [(lost.incarnation, lost.started) for lost in deaths_in(tmp_path, "a@h")] == [
        ("one", frozenset({7})),
        ("two", frozenset()),
    ]
    assert deaths_in(tmp_path, "b@h") == ()


def test_without_a_blackboard_nobody_can_say_what_ran(tmp_path: Path) -> None:
    tombstone.write(tmp_path, "a@h", "one", "gone")
    (death,) = deaths_in(tmp_path, "a@h")
    assert death.started is None


def test_what_is_known_is_passed_over(tmp_path: Path) -> None:
    bury(tmp_path, "one")
    bury(tmp_path, "two")
    assert [lost.incarnation for lost in deaths_in(tmp_path, "a@h", {"one"})] == ["two"]


def test_the_tombstone_goes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = lived(tmp_path, incarnation(2))
    gone: list[str] = []
    monkeypatch.setattr(type(tmp_path), "unlink", lambda file, **_: gone.append(file.name))
    remove_leftovers(tmp_path, new_incarnation(), frozenset())
    assert len(gone) == 3
    assert gone[-1] == f"tombstone.{one}"
