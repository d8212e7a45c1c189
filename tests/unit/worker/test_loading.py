"""What a child can run."""

from __future__ import annotations

from otpq.task import SCRIPT_HANDLER, Options
from otpq.worker import loading


def test_a_child_knows_the_name_of_scripts_without_importing_it() -> None:
    assert loading.SCRIPT_HANDLER == SCRIPT_HANDLER


def test_a_script_child_has_no_app_and_scripts_no_time_limit() -> None:
    assert loading.load_tasks("", []) == {}
    assert Options.unpack(loading.ScriptDefinition.declaration) == Options(timeout=None)
