"""Conformance to real Erlang/OTP: every scenario that was recorded there leaves the same trace here.

The scenarios, the traces and the script that compares them are given data, in `otp/`; `otp_adapter.py` runs them.
"""

import importlib.util
from argparse import Namespace
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
VECTORS = HERE / "otp"
SECONDS = 60  # that a scenario may take before it counts as hanging; none needs ten
AT_ONCE = 4
"""How many scenarios run side by side, each in a Python process of its own: they spend their time waiting for quiet."""


def load_compare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("otp_compare", VECTORS / "compare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


compare = load_compare()


SCENARIOS = sorted((VECTORS / "scenarios").glob("*.json"))


def judge(scenario: Path) -> dict[str, Any]:
    options = Namespace(adapter=str(HERE / "otp_adapter.py"), timeout=SECONDS, skip_tag=[], loose=[])
    result: dict[str, Any] = compare.judge(options, scenario)
    return result


@pytest.fixture(scope="module")
def judged() -> Iterator[Callable[[Path], dict[str, Any]]]:
    """A function that gives what is to be said of a scenario, and has begun with those that follow it."""
    begun: dict[Path, Future[dict[str, Any]]] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:

        def of(scenario: Path) -> dict[str, Any]:
            place = SCENARIOS.index(scenario)
            for each in SCENARIOS[place : place + AT_ONCE]:
                if each not in begun:
                    begun[each] = pool.submit(judge, each)
            return begun[scenario].result()

        yield of


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.stem)
def test_trace_is_that_of_otp(judged: Callable[[Path], dict[str, Any]], scenario: Path) -> None:
    result = judged(scenario)
    assert result["verdict"] == "PASS", f"{result.get('doc', '')}\n{result['why']}"


def test_every_scenario_has_its_trace() -> None:
    scenarios, traces = ({path.name for path in (VECTORS / kind).iterdir()} for kind in ("scenarios", "traces"))
    assert scenarios == traces
    assert len(scenarios) == 125
