"""Groups of real processes, where this machine lets us make them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otpq.worker import cgroup
from otpq.worker.cgroup import Cgroup
from tests.integration.worker.rounds import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]

GREEDY = """
import os, sys
input()
if sys.argv[1:] == ["below"] and os.fork() != 0:
    os.wait()
    sys.exit(0)
big = bytearray(200 << 20)
print("it has them")
"""


@pytest.fixture
def group() -> Iterator[Cgroup]:
    made = Cgroup.create("test")
    if made is None:
        pytest.skip("this machine has no memory cgroup that may be written")
    yield made
    eventually(made.remove)


@pytest.fixture
def greedy() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """A function that starts a process which waits for a line and then takes 200 MiB."""
    with contextlib.ExitStack() as closing:

        def start(*words: str) -> subprocess.Popen[str]:
            process = closing.enter_context(
                subprocess.Popen(  # noqa: S603 - our own source
                    [sys.executable, "-c", GREEDY, *words],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            closing.callback(process.kill)
            return process

        yield start


def test_a_process_that_takes_more_than_the_limit_is_ended_by_the_kernel(
    group: Cgroup, greedy: Callable[..., subprocess.Popen[str]]
) -> None:
    process = greedy()
    assert group.add(process.pid)
    assert group.limit(60)
    assert group.oom_kills() == 0
    assert process.communicate("\n")[0] == ""
    assert process.returncode == -9
    assert group.oom_kills() == 1


def test_what_a_process_starts_counts_with_it(group: Cgroup, greedy: Callable[..., subprocess.Popen[str]]) -> None:
    process = greedy("below")
    assert group.add(process.pid)
    assert group.limit(60)
    assert "it has them" not in process.communicate("\n")[0]
    assert group.oom_kills() == 1


def test_a_limit_that_was_lifted_bounds_nothing(group: Cgroup, greedy: Callable[..., subprocess.Popen[str]]) -> None:
    process = greedy()
    assert group.add(process.pid)
    for mib in (60, 90, 50, None):  # up and down
        assert group.limit(mib)
    assert process.communicate("\n")[0] == "it has them\n"
    assert group.oom_kills() == 0


def test_a_neighbour_in_another_group_is_not_touched(
    group: Cgroup, greedy: Callable[..., subprocess.Popen[str]]
) -> None:
    other = Cgroup.create("other")
    assert other is not None
    first, second = greedy(), greedy()
    assert group.add(first.pid)
    assert other.add(second.pid)
    assert group.limit(60)
    assert second.communicate("\n")[0] == "it has them\n"
    assert first.communicate("\n")[0] == ""
    assert other.oom_kills() == 0
    eventually(other.remove)


def test_a_group_with_a_process_in_it_is_removed_when_that_has_ended(
    group: Cgroup, greedy: Callable[..., subprocess.Popen[str]]
) -> None:
    process = greedy()
    assert group.add(process.pid)
    assert not group.remove()
    process.kill()
    process.wait()
    eventually(group.remove)
    assert group.remove()
    assert (group.add(os.getpid()), group.limit(60), group.oom_kills()) == (False, False, 0)


def test_a_process_that_has_ended_cannot_be_added(group: Cgroup) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert not group.add(process.pid)


def test_the_next_start_removes_what_the_dead_have_left_and_leaves_what_the_living_have(group: Cgroup) -> None:
    left = subprocess.run(
        [sys.executable, "-c", "from otpq.worker.cgroup import Cgroup; print(Cgroup.create('left')._folder)"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert Path(left).is_dir()
    mine = Cgroup.create("mine")
    assert mine is not None
    cgroup._place.cache_clear()
    again = Cgroup.create("again")
    assert again is not None
    assert not Path(left).exists()
    for each in (mine, again):
        assert each._folder.is_dir()
        assert each.remove()
    assert group._folder.is_dir()


def test_the_last_group_takes_the_folder_along(group: Cgroup) -> None:
    if len(list(group._folder.parent.glob("*@*"))) > 1:
        pytest.skip("another test has a group at this moment")
    assert group.remove()
    assert not group._folder.parent.is_dir() or list(group._folder.parent.glob("*@*"))
    made = Cgroup.create("after")  # and the folder is made again
    assert made is not None
    assert made.remove()


def test_where_none_may_be_made_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTPQ_PORTABLE", "1")
    cgroup._place.cache_clear()
    try:
        assert Cgroup.create("test") is None
    finally:
        cgroup._place.cache_clear()


# --- version 2, whose tree is on few machines of ours: its files, as plain ones ----------------------------------------


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in the place of a group of version 2 that this process is in."""
    monkeypatch.setattr(cgroup, "_own_groups", lambda: [("0", "", "/service/own")])
    monkeypatch.setattr(cgroup, "_mounts", lambda kind, _option: [tmp_path] if kind == "cgroup2" else [])
    (tmp_path / "service" / "own").mkdir(parents=True)
    for group in (tmp_path / "service", tmp_path / "service" / "own"):
        (group / "cgroup.subtree_control").write_text("")
    cgroup._place.cache_clear()
    yield tmp_path / "service"
    cgroup._place.cache_clear()


def test_a_group_whose_control_cannot_be_written_has_none_below(tree: Path) -> None:
    (tree / "own" / "cgroup.subtree_control").unlink()
    assert Cgroup.create("test") is None
    assert list((tree / "own").iterdir()) == []


def test_the_group_around_is_taken_only_if_it_was_given_to_us(tree: Path) -> None:
    assert cgroup._candidates() == [(tree / "own", cgroup._V2)]
    try:
        os.setxattr(tree, "user.delegate", b"1")
    except OSError:
        pytest.skip("the file system of this directory has no attributes of users")
    assert cgroup._candidates() == [(tree / "own", cgroup._V2), (tree, cgroup._V2)]


def test_a_limit_is_written_in_the_words_of_version_2(tmp_path: Path) -> None:
    names = ("memory.max", "memory.swap.max", "memory.oom.group", "memory.events", "cgroup.procs")
    files = {name: tmp_path / name for name in names}
    for file in files.values():
        file.write_text("")
    group = Cgroup(tmp_path, cgroup._V2)
    assert group.add(1234)
    assert group.limit(2)
    assert (files["cgroup.procs"].read_text(), files["memory.max"].read_text()) == ("1234", "2097152")
    assert files["memory.swap.max"].read_text()[0] == "0"
    assert files["memory.oom.group"].read_text() == "1"
    files["memory.events"].write_text("low 0\noom 5\noom_kill 3\noom_group_kill 0\n")
    assert group.oom_kills() == 3
