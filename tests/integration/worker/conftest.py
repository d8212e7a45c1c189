"""A warden, a blackboard and children for one test; and nothing of them after it, whatever the test did."""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING, Any

import pytest

from otpq.worker.blackboard import Blackboard
from otpq.worker.child_link import ChildLink, ChildSettings
from otpq.worker.kernel import is_portable
from otpq.worker.warden_client import WardenClient, end_marked
from tests.integration.worker.child_stage import Stage, StartStage
from tests.integration.worker.support import BUSY_APP, Hand, StartChild

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SLOTS = 8


@pytest.fixture(params=["linux", "portable"])
def portable(request: pytest.FixtureRequest) -> bool:
    """The same test with Linux's means and without."""
    if request.param == "linux" and is_portable():
        pytest.skip("needs a subreaper")
    return bool(request.param == "portable")


@pytest.fixture
def incarnation(tmp_path: Path) -> Iterator[str]:
    name = f"{tmp_path.name}-{os.getpid()}"
    yield name
    end_marked(name)


@pytest.fixture
def client(tmp_path: Path, incarnation: str, portable: bool) -> Iterator[WardenClient]:  # noqa: FBT001 - a fixture
    with contextlib.ExitStack() as closing:
        made = WardenClient(tmp_path, "a@test", incarnation, portable=portable)
        closing.callback(made.close)
        yield made


@pytest.fixture
def start_child(client: WardenClient, tmp_path: Path) -> Iterator[StartChild]:
    """A function that starts a child of an app (the busy one, unless said) which is ready when it returns."""
    board = Blackboard.create(tmp_path / "board", SLOTS)
    slots = itertools.count()
    links = []

    def start(app: str = BUSY_APP, **settings: Any) -> Hand:
        slot = next(slots)
        with (tmp_path / f"log{slot}").open("wb") as log:
            link = ChildLink.start(
                client, ChildSettings(app, **settings), board, slot, log=(log.fileno(), log.fileno())
            )
        links.append(link)
        link.wait_ready()
        return Hand(link, board, slot)

    yield start
    for link in links:
        link.kill()
        link.close()


@pytest.fixture
def write_app(tmp_path: Path) -> Callable[[str], str]:
    """A function that makes an app of the functions in a source text; its reference."""

    def write(source: str) -> str:
        path = tmp_path / "users_app.py"
        functions = (
            "{name: N(handler=each, declaration=b'') for name, each in list(globals().items()) if callable(each)}"
        )
        path.write_text(f"from types import SimpleNamespace as N\n{source}\napp = N(tasks={functions})\n")
        return f"{path}:app"

    return write


@pytest.fixture(scope="module")
def stage_warden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WardenClient]:
    """One for the stages of a whole file: each has a child of its own, which the warden ends with all that it started."""
    directory = tmp_path_factory.mktemp("warden")
    incarnation = f"{directory.name}-{os.getpid()}"
    with contextlib.ExitStack() as closing:
        closing.callback(end_marked, incarnation)
        client = WardenClient(directory, "a@test", incarnation, portable=is_portable())
        closing.callback(client.close)
        yield client


@pytest.fixture
def start_stage(stage_warden: WardenClient, tmp_path: Path, write_app: Callable[[str], str]) -> Iterator[StartStage]:
    """A function that starts a child of the functions in a source text, with all its descriptors in the test's hands."""
    stages: list[Stage] = []

    def start(
        source: str = "", executor: str = "process", parallel: int = 1, *, app: str = "", **settings: Any
    ) -> Stage:
        app = write_app(source) if source else app
        stages.append(Stage(stage_warden, tmp_path, app, executor=executor, parallel=parallel, **settings))
        return stages[-1]

    yield start
    for stage in stages:
        stage.close()
