"""The ring between processes: one that writes as fast as it can, read meanwhile, and killed at a random moment."""

from __future__ import annotations

import random
import signal
import subprocess
import sys

import pytest

from otpq.worker.log_ring import LogRing

WRITER = """
import sys
from otpq.worker.log_ring import LogRing
ring = LogRing.of_descriptor(int(sys.argv[1]))
print(flush=True)
number = 0
while True:
    number += 1
    ring.put(b"%d:" % number + b"x" * (number * 7919 % 3000) + b":%d" % number)
"""


def number_of(record: bytes) -> int:
    """The number of a record that is whole."""
    number, filling, again = record.split(b":")
    assert number == again
    assert filling == b"x" * (int(number) * 7919 % 3000)
    return int(number)


@pytest.mark.parametrize("seed", range(10))
def test_what_is_read_of_a_writer_that_is_killed_is_whole_and_in_order(seed: int) -> None:
    wanted = random.Random(seed).randrange(1, 4000)  # noqa: S311 - a test's dice
    ring = LogRing.create()
    with subprocess.Popen(  # noqa: S603 - ours
        [sys.executable, "-c", WRITER, str(ring.descriptor)], pass_fds=(ring.descriptor,), stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        numbers: list[int] = []
        while len(numbers) < wanted:
            numbers += map(number_of, ring.take())
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        numbers += map(number_of, ring.take())
    assert numbers == sorted(set(numbers))
    assert not ring.has_news
    # A new one goes on where the killed one was torn away.
    ring.put(b"1:" + b"x" * (7919 % 3000) + b":1")
    assert list(map(number_of, ring.take())) == [1]
    ring.close()
