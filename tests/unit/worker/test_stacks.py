from otpq.worker.child import WRITTEN
from otpq.worker.stacks import threads_of

DUMP = """Thread 0x00007f01 (most recent call first):
  File "/a/app.py", line 3 in inner
  File "/a/app.py", line 1 in outer

Current thread 0x00007f02 (most recent call first):
  File "/a/otpq/worker/child.py", line 9 in write_stacks
  File "/a/app.py", line 7 in loop
  ...
"""


def test_stacks_are_read_by_thread_the_most_recent_call_last() -> None:
    assert threads_of(DUMP) == {
        "Thread 0x00007f01": '  File "/a/app.py", line 1 in outer\n  File "/a/app.py", line 3 in inner',
        "Current thread 0x00007f02": '  ...\n  File "/a/app.py", line 7 in loop',
    }


def test_what_comes_behind_the_end_is_of_another_time() -> None:
    later = 'Thread 0x00007f01 (most recent call first):\n  File "/b.py", line 1 in late\n'
    assert threads_of(DUMP + WRITTEN + later) == threads_of(DUMP)


def test_a_thread_that_is_written_twice_counts_as_it_was_last() -> None:
    assert threads_of(DUMP + DUMP.replace("inner", "other")) == threads_of(DUMP.replace("inner", "other"))


def test_nothing_is_no_thread() -> None:
    assert threads_of("") == {}
    assert threads_of("  File without a thread\n") == {}
