"""What supervisors refuse before they start anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from otpq import otp
from otpq.otp import BadSpec, ChildSpec, DynamicSupervisor, Pid, Supervisor, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp.process import Process


def never() -> Pid:
    raise AssertionError("a child was started although the specs are wrong")


def spec(id: str = "till", **changes: Any) -> ChildSpec:
    return ChildSpec(id=id, start=never, **changes)


@pytest.mark.parametrize(
    ("children", "flags", "words"),
    [
        ([spec(), spec()], {}, "id='till' is not allowed: each id once under one supervisor"),
        ([spec(), "desk"], {}, "children='desk' is not allowed: each child is a ChildSpec"),
        ([], {"strategy": "all_for_one"}, "strategy='all_for_one' is not allowed: one of 'one_for_one', 'one_for_all'"),
        ([], {"max_restarts": -1}, "max_restarts=-1 is not allowed: a whole number, 0 or more"),
        ([], {"max_seconds": 0}, "max_seconds=0 is not allowed: seconds, more than 0"),
        ([], {"auto_shutdown": "always"}, "auto_shutdown='always' is not allowed: one of 'never'"),
        (
            [spec(restart="transient", significant=True)],
            {},
            r"significant=True is not allowed: only with auto_shutdown, which is 'never' here \(child 'till'\)",
        ),
    ],
)
def test_a_supervisor_refuses_wrong_specs_and_flags_before_it_starts_a_child(
    children: list[Any], flags: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadSpec, match=words):
        Supervisor().init(children, **flags)


@pytest.mark.parametrize("template", [None, "till", [spec()], never])
def test_a_dynamic_supervisor_wants_one_template(template: Any) -> None:
    with pytest.raises(BadSpec) as caught:
        DynamicSupervisor().init(template)
    assert str(caught.value) == f"template={template!r} is not allowed: exactly one ChildSpec"


@pytest.mark.parametrize("value", [-1, 1.5, "3"])
def test_max_children_is_a_whole_number_or_none(value: Any) -> None:
    with pytest.raises(BadSpec) as caught:
        DynamicSupervisor().init(spec(), max_children=value)
    expected = f"max_children={value!r} is not allowed: a whole number, 0 or more, or None for no limit"
    assert str(caught.value) == expected


def test_true_is_no_number_of_children() -> None:
    with pytest.raises(BadSpec, match="max_children=True is not allowed"):
        DynamicSupervisor().init(spec(), max_children=True)


def test_a_dynamic_supervisor_checks_its_flags_and_its_template_too() -> None:
    with pytest.raises(BadSpec, match="max_restarts=-1 is not allowed"):
        DynamicSupervisor().init(spec(), max_restarts=-1)
    with pytest.raises(BadSpec, match="significant=True is not allowed: only with auto_shutdown"):
        DynamicSupervisor().init(spec(restart="transient", significant=True))


def test_a_question_that_a_supervisor_does_not_understand_is_refused_by_name() -> None:
    for supervisor in (Supervisor(), DynamicSupervisor()):
        with pytest.raises(UsageError, match=r"a supervisor does not understand \('how_are_you',\)"):
            supervisor.answer(("how_are_you",))


def test_the_questions_refuse_a_bad_timeout_before_they_are_asked(make: Callable[..., Process]) -> None:
    pid = make().pid
    questions: list[Callable[[], object]] = [
        lambda: Supervisor.which_children(pid, timeout=-1),
        lambda: Supervisor.count_children(pid, timeout=-1),
        lambda: Supervisor.get_childspec(pid, "till", timeout=-1),
        lambda: Supervisor.start_child(pid, spec(), timeout=-1),
        lambda: Supervisor.terminate_child(pid, "till", timeout=-1),
        lambda: Supervisor.restart_child(pid, "till", timeout=-1),
        lambda: Supervisor.delete_child(pid, "till", timeout=-1),
        lambda: DynamicSupervisor.start_child(pid, timeout=-1),
        lambda: otp.state(pid, timeout=-1),
    ]
    for question in questions:
        with pytest.raises(UsageError, match="timeout=-1 is not allowed: seconds, 0 or more"):
            question()
