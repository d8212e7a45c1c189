"""What the core's example tests are given."""

from collections.abc import Callable

import pytest

from tests.unit.core.driver import Driver


@pytest.fixture
def queue() -> Driver:
    """A core with an empty store."""
    return Driver()


@pytest.fixture
def queue_with() -> Callable[..., Driver]:
    """Makes a core with other numbers than the usual ones: see `Config`."""
    return Driver
