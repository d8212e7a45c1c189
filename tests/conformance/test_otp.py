"""Conformance to real Erlang/OTP: every scenario that was recorded there leaves the same trace here.

The scenarios, the traces and the script that compares them are given data, in `otp/`; `otp_adapter.py` runs them.
"""

import importlib.util
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
VECTORS = HERE / "otp"
SECONDS = 60  # that a scenario may take before it counts as hanging; none needs ten


def load_compare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("otp_compare", VECTORS / "compare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


compare = load_compare()


@pytest.mark.parametrize("scenario", sorted((VECTORS / "scenarios").glob("*.json")), ids=lambda path: path.stem)
def test_trace_is_that_of_otp(scenario: Path) -> None:
    options = Namespace(adapter=str(HERE / "otp_adapter.py"), timeout=SECONDS, skip_tag=[], loose=[])
    result = compare.judge(options, scenario)  # in a Python process of its own
    assert result["verdict"] == "PASS", f"{result.get('doc', '')}\n{result['why']}"


def test_every_scenario_has_its_trace() -> None:
    scenarios, traces = ({path.name for path in (VECTORS / kind).iterdir()} for kind in ("scenarios", "traces"))
    assert scenarios == traces
    assert len(scenarios) == 125
