from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from otpq.otp import NameTaken, Normal, NotRegistered, Pid, Registry, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp.process import Process


@pytest.fixture
def pid(make: Callable[..., Process]) -> Pid:
    return make("till").pid


def test_a_name_leads_to_its_holder(registry: Registry, pid: Pid) -> None:
    registry.register("till", pid)
    assert registry.whereis("till") is pid
    assert registry.names() == {"till": pid}


def test_an_unknown_name_leads_nowhere(registry: Registry) -> None:
    assert registry.whereis("till") is None


def test_a_process_has_one_name(registry: Registry, pid: Pid) -> None:
    registry.register("till", pid)
    with pytest.raises(UsageError) as caught:
        registry.register("desk", pid)
    assert f"{pid!r} cannot be registered as 'desk': it has a name already" in str(caught.value)
    registry.unregister("till")
    registry.register("desk", pid)
    assert registry.names() == {"desk": pid}


def test_a_name_is_held_by_one(registry: Registry, pid: Pid, make: Callable[..., Process]) -> None:
    registry.register("till", pid)
    with pytest.raises(NameTaken) as caught:
        registry.register("till", make().pid)
    assert caught.value.pid is pid


def test_a_name_is_not_given_twice_to_the_same_process(registry: Registry, pid: Pid) -> None:
    registry.register("till", pid)
    with pytest.raises(NameTaken):
        registry.register("till", pid)


def test_an_unregistered_name_is_free(registry: Registry, pid: Pid, make: Callable[..., Process]) -> None:
    registry.register("till", pid)
    registry.unregister("till")
    assert registry.whereis("till") is None
    other = make().pid
    registry.register("till", other)
    assert registry.whereis("till") is other


def test_the_name_of_a_dead_process_is_free(registry: Registry, pid: Pid, make: Callable[..., Process]) -> None:
    registry.register("till", pid)
    pid.process.die(Normal())
    assert registry.names() == {}
    other = make().pid
    registry.register("till", other)
    assert registry.whereis("till") is other


def test_a_death_leaves_the_names_of_others_alone(registry: Registry, pid: Pid, make: Callable[..., Process]) -> None:
    other = make()
    registry.register("till", pid)
    registry.register("desk", other.pid)
    other.die(Normal())
    assert registry.names() == {"till": pid}


def test_a_name_is_free_from_the_declaration_of_the_death_on(
    registry: Registry, pid: Pid, make: Callable[..., Process]
) -> None:
    heir = make().pid
    registry.register("till", pid)

    def take_over() -> None:
        assert registry.whereis("till") is None
        registry.register("till", heir)

    pid.process.own(take_over)
    pid.process.die(Normal())
    assert registry.whereis("till") is heir


@pytest.mark.parametrize("name", ["", None, 7, b"till", ["till"]])
def test_a_name_is_a_non_empty_text(registry: Registry, pid: Pid, name: Any) -> None:
    with pytest.raises(UsageError) as caught:
        registry.register(name, pid)
    assert str(caught.value) == f"name={name!r} is not allowed: a non-empty text"


def test_a_dead_process_gets_no_name(registry: Registry, pid: Pid) -> None:
    pid.process.die(Normal())
    with pytest.raises(UsageError) as caught:
        registry.register("till", pid)
    assert str(caught.value) == f"{pid!r} cannot be registered as 'till': it is dead"


def test_a_name_that_nobody_holds_cannot_be_freed(registry: Registry, pid: Pid) -> None:
    with pytest.raises(NotRegistered, match="no process is registered as 'till'"):
        registry.unregister("till")
    registry.register("till", pid)
    pid.process.die(Normal())
    with pytest.raises(NotRegistered):
        registry.unregister("till")


def test_it_counts_the_living_the_oldest_first(registry: Registry, make: Callable[..., Process]) -> None:
    first, second, third = make(), make(), make()
    second.die(Normal())
    assert registry.processes() == [first.pid, third.pid]


def test_a_process_is_not_among_the_living_from_the_declaration_of_its_death_on(
    registry: Registry, make: Callable[..., Process]
) -> None:
    process = make()
    living: list[list[Pid]] = []
    process.own(lambda: living.append(registry.processes()))
    process.die(Normal())
    assert living == [[]]


def test_a_process_that_was_killed_before_it_was_entered_is_not_counted(
    registry: Registry, make: Callable[..., Process]
) -> None:
    process = make()
    process.die(Normal())
    registry.enter(process.pid)
    assert registry.processes() == []


def test_two_registries_share_nothing(registry: Registry, pid: Pid) -> None:
    registry.register("till", pid)
    other = Registry()
    assert other.whereis("till") is None
    assert other.names() == {}
    assert other.processes() == []


def test_it_counts_zombies_until_they_are_laid(registry: Registry, pid: Pid) -> None:
    registry.haunt(pid)
    assert registry.zombies() == [pid]
    registry.lay(pid)
    registry.lay(pid)
    assert registry.zombies() == []


def test_what_it_gives_out_is_a_copy(registry: Registry, pid: Pid) -> None:
    registry.names()["till"] = pid
    registry.processes().clear()
    registry.zombies().append(pid)
    assert registry.names() == {}
    assert registry.processes() == [pid]
    assert registry.zombies() == []
