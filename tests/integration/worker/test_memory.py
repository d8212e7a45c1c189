"""The memory of real processes, and the limit of one."""

from __future__ import annotations

import resource
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from otpq.worker.memory import resident, within_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from /proc")

BIG = 64
"""MiB."""

ALONE = f"""
big = bytearray({BIG} << 20)
print(flush=True)
input()
"""
FORKS = f"""
import os
big = bytearray({BIG} << 20)
for _ in range(3):
    if os.fork() == 0:
        break
else:
    print(flush=True)
input()
"""
BELOW = f"""
import subprocess, sys
below = subprocess.Popen([sys.executable, "-c", {ALONE!r}])
below.wait()
"""


@pytest.fixture(params=[("alone", ALONE), ("forks", FORKS), ("below", BELOW)], ids=lambda each: each[0])
def process(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    source = request.param[1]
    with subprocess.Popen(  # noqa: S603 - our own source
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        assert process.stdin is not None
        process.stdin.close()  # the end of all their inputs


def test_what_a_process_and_those_below_it_have_is_counted_once(process: subprocess.Popen[bytes]) -> None:
    """Three forks share what their parent has; a program that is started has its own."""
    assert BIG < resident(process.pid) < BIG + 60


def test_a_bound_that_is_not_reached_spares_the_walk_over_the_pages(process: subprocess.Popen[bytes]) -> None:
    exact, cheap = resident(process.pid), resident(process.pid, above=4096)
    assert exact <= cheap + 1 < 4096
    assert abs(resident(process.pid, above=BIG / 2) - exact) < 5


def test_a_process_that_has_ended_has_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert resident(process.pid) == 0.0


def test_a_process_that_has_ended_and_is_not_waited_for_has_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read()
        while resident(process.pid) > 0:
            pass
        assert process.returncode is None


def limited(source: str) -> str:
    """What a program of its own prints, which has `within_memory` and the number of MiB it may have more."""
    program = textwrap.dedent(source)
    ran = subprocess.run(  # noqa: S603 - our own source
        [sys.executable, "-c", f"import resource\nfrom otpq.worker.memory import within_memory\n{program}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_what_is_beyond_the_limit_is_refused_and_what_is_within_is_given() -> None:
    said = limited("""
        with within_memory(100):
            kept = bytearray(80 << 20)
            try:
                bytearray(40 << 20)
            except MemoryError:
                print("refused")
            del kept
            bytearray(80 << 20)
            print("given")
        bytearray(400 << 20)
        print("given after")
    """)
    assert said == "refused\ngiven\ngiven after\n"


def test_what_a_process_had_before_does_not_count() -> None:
    assert limited("before = bytearray(300 << 20)\nwith within_memory(100): bytearray(80 << 20); print('given')") == (
        "given\n"
    )


def test_many_small_objects_meet_the_limit_too() -> None:
    assert (
        limited("""
        many = []
        try:
            with within_memory(50):
                while True: many.append(object())
        except MemoryError:
            del many
            print("refused")
    """)
        == "refused\n"
    )


def test_a_lower_limit_that_was_there_stays_in_force() -> None:
    limit = "limit = (300 << 20, resource.RLIM_INFINITY)\nresource.setrlimit(resource.RLIMIT_DATA, limit)\n"
    said = limited(
        f"{limit}with within_memory(9000): print(resource.getrlimit(resource.RLIMIT_DATA) == limit)\n"
        "print(resource.getrlimit(resource.RLIMIT_DATA) == limit)"
    )
    assert said == "True\nTrue\n"


def test_the_limit_before_is_put_back_though_the_block_fails() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)

    def fail() -> None:
        with within_memory(10_000):
            assert resource.getrlimit(resource.RLIMIT_DATA) != before
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
