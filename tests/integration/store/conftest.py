"""What these tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.store.rows import make_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.core.records import TaskRow


@pytest.fixture
def row() -> Callable[..., TaskRow]:
    return make_row
