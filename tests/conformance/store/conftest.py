"""The stores that must pass this suite. A new one is one more class here, and its name in STORES."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from otpq.store.check import check
from otpq.store.sqlite import SqliteStore
from otpq.store.sqlite_place import FilePlace, MemoryPlace
from tests.integration.store.rows import make_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otpq.core.records import TaskRow
    from otpq.store.protocol import Store


class Data(Protocol):
    """Somewhere with nothing in it, where stores can be opened."""

    durable: bool
    """Whether what was committed outlives the last store object."""

    def store(self) -> Store:
        """A new store object over the same data, not open."""
        ...

    def break_lock(self) -> None:
        """Make it possible to open a second store although one is open: as if the first were cut off."""
        ...

    def problems(self) -> list[str]:
        """What an offline check of the data finds."""
        ...


class SqliteFile:
    durable = True

    def __init__(self, folder: Path) -> None:
        self.path = folder / "tasks.db"

    def store(self) -> Store:
        return SqliteStore(FilePlace(self.path))

    def break_lock(self) -> None:
        self.path.with_name("tasks.db.lock").unlink()

    def problems(self) -> list[str]:
        return [str(problem) for problem in check(self.path)]


class SqliteMemory:
    durable = False

    def __init__(self, _folder: Path) -> None:
        self._place = MemoryPlace()

    def store(self) -> Store:
        return SqliteStore(self._place)

    def break_lock(self) -> None:
        """There is none."""

    def problems(self) -> list[str]:
        return []


STORES: dict[str, Callable[[Path], Data]] = {"sqlite": SqliteFile, "memory": SqliteMemory}


@pytest.fixture(params=sorted(STORES))
def kind(request: pytest.FixtureRequest) -> Callable[[], Any]:
    """Makes new data of one kind of store, as often as asked: `with kind() as data`."""
    make = STORES[request.param]

    @contextmanager
    def new() -> Iterator[Data]:
        with tempfile.TemporaryDirectory() as folder:
            yield make(Path(folder))

    return new


@pytest.fixture
def data(kind: Callable[[], Any]) -> Iterator[Data]:
    with kind() as data:
        yield data


@pytest.fixture
def store(data: Data) -> Iterator[Store]:
    """An open store; after the test its data must be sound."""
    store = data.store()
    store.open()
    yield store
    store.close()
    assert data.problems() == []


@pytest.fixture
def row() -> Callable[..., TaskRow]:
    return make_row
