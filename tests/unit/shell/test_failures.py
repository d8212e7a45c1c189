from __future__ import annotations

from otpq.errors import UsageError
from otpq.shell.evaluator import Evaluator
from otpq.shell.failures import failure
from otpq.shell.helpers import Helper


def broken() -> None:
    raise UsageError("no such queue 'mial'; did you mean 'mail'?")


def failed(source: str) -> str:
    """What is printed for an input that fails."""
    evaluator = Evaluator({"broken": Helper("broken", broken)}, lambda value: value)
    try:
        evaluator.run(source)
    except BaseException as error:  # noqa: BLE001 - as the shell does
        return failure(error)
    finally:
        evaluator.close()
    return ""


def test_an_error_of_otpq_is_its_class_and_its_words() -> None:
    assert failed("broken()") == "UsageError: no such queue 'mial'; did you mean 'mail'?"


def test_an_error_of_the_user_begins_at_the_input() -> None:
    lines = failed("def f():\n    return 1/0\nf()").splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1:3] == ['  File "<otpq 1>", line 3, in <module>', "    f()"]
    assert '  File "<otpq 1>", line 2, in f' in lines
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert "evaluator" not in failed("1/0")


def test_so_does_one_behind_await() -> None:
    text = failed("async def f():\n    1/0\nawait f()")
    assert text.splitlines()[1] == '  File "<otpq 1>", line 3, in <module>'
    assert "asyncio" not in text


def test_a_wrong_call_of_a_helper_says_how_it_is_called_and_not_how_it_is_made() -> None:
    text = failed("broken(1)")
    assert text.endswith("TypeError: broken() -> None: too many positional arguments")
    assert "helpers.py" not in text


def test_causes_are_told_and_cut_too() -> None:
    text = failed("try:\n    broken()\nexcept ValueError as error:\n    raise KeyError('x') from error")
    assert "UsageError: no such queue" in text
    assert "direct cause" in text
    assert "helpers.py" not in text


def test_what_is_no_python_is_shown_with_its_place() -> None:
    lines = failed("a b").splitlines()
    assert lines[0] == '  File "<otpq 1>", line 1'
    assert lines[-1].startswith("SyntaxError: ")


def test_ctrl_c_is_a_word() -> None:
    assert failed("raise KeyboardInterrupt") == "KeyboardInterrupt"
