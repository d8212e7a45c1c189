"""What a child can run."""

from __future__ import annotations

from otpq.task import SCRIPT_HANDLER, WEBHOOK_HANDLER, Options
from otpq.worker import loading


def test_a_child_knows_the_name_of_scripts_without_importing_it() -> None:
    assert loading.SCRIPT_HANDLER == SCRIPT_HANDLER
    assert loading.WEBHOOK_HANDLER == WEBHOOK_HANDLER


def test_a_script_child_has_no_app_and_scripts_no_time_limit() -> None:
    assert loading.load_tasks("", [], {}) == {}
    assert Options.unpack(loading.ScriptDefinition.declaration) == Options(timeout=None)


def test_a_child_that_knows_webhooks_has_a_handler_that_tells_them() -> None:
    tasks = loading.load_tasks("", [], {"key": ("https://hooks.example.com/x", "/secret")})
    assert set(tasks) == {WEBHOOK_HANDLER}
    options = Options.unpack(tasks[WEBHOOK_HANDLER].declaration)
    assert (options.retry.retries, options.timeout) == (12, 60.0)
