"""What earlier incarnations left, and that it does not pile up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otpq.node.past import deaths_in, forget
from otpq.worker import tombstone
from otpq.worker.blackboard import Blackboard
from otpq.worker.deadline import Deadline

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


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


def test_what_is_forgotten_leaves_nothing_and_all_else_stays(tmp_path: Path) -> None:
    for incarnation in ("one", "two"):
        bury(tmp_path, incarnation)
    (tmp_path / "store.db").touch()
    forget(tmp_path, {"one"})
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "deadline.two",
        "default.two.blackboard",
        "store.db",
        "tombstone.two",
    ]


def test_the_tombstone_goes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bury(tmp_path, "one")
    gone: list[str] = []
    monkeypatch.setattr(type(tmp_path), "unlink", lambda file, **_: gone.append(file.name))
    forget(tmp_path, {"one"})
    assert gone[-1] == "tombstone.one"
    assert len(gone) == 3
