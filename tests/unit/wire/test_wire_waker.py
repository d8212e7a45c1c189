from __future__ import annotations

from typing import TYPE_CHECKING

from otpq.wire import waker

if TYPE_CHECKING:
    import pytest


def test_a_waker_that_outlives_its_module_closes_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    unraised: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", unraised.append)
    one = waker.Waker()
    with monkeypatch.context() as late:
        late.setattr(waker, "os", None)  # as it is when the interpreter ends
        del one
    assert unraised == []
