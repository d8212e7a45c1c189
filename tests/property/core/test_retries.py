"""Waits after runs that went wrong, for any options."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otpq.core.retries import jitter, wait_before_next
from otpq.task import Options

seconds = st.floats(0.0, 1e6, allow_nan=False)
many_options = st.builds(
    Options,
    retries=st.integers(0, 8),
    retry_delay=seconds,
    backoff=st.floats(1.0, 10.0),
    max_delay=seconds,
    jitter=st.floats(0.0, 1.0),
)


@given(options=many_options, seq=st.integers(1, 1 << 62), attempt=st.integers(1, 12))
def test_the_reason_decides_how_long_a_task_waits_and_never_whether_it_does(
    options: Options, seq: int, attempt: int
) -> None:
    crashed, failed = (wait_before_next(options, seq, attempt, reason=reason) for reason in ("crashed", "error"))
    if attempt > options.retries:
        assert crashed is failed is None
    else:
        assert crashed is not None
        assert failed is not None
        assert 0.0 <= crashed <= failed


@given(options=many_options, seq=st.integers(1, 1 << 62))
def test_only_one_crash_of_a_task_goes_without_the_wait_that_the_options_ask_for(options: Options, seq: int) -> None:
    waits = [wait_before_next(options, seq, n, reason="crashed") for n in range(1, options.retries + 1)]
    policy = options.retry
    assert (
        waits == [0.0, *(policy.wait(n - 1, jitter(seq, n)) for n in range(2, options.retries + 1))][: options.retries]
    )
