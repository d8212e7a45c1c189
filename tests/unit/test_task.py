from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from otpq.errors import BadOption, UnknownOption
from otpq.task import ENDED, TRANSITIONS, Options, RetryPolicy, TaskState, normalized, overlaid, pack_said


def test_the_table_has_a_row_for_each_state_and_ends_where_users_are_told() -> None:
    assert set(TRANSITIONS) == set(TaskState)
    assert TRANSITIONS[TaskState.SUCCEEDED] == {}
    assert {
        state for state, targets in TRANSITIONS.items() if set(targets) <= {TaskState.QUEUED, TaskState.PENDING}
    } == ENDED


def test_the_table_is_the_one_of_the_design() -> None:
    words = {str(source): sorted(map(str, targets)) for source, targets in TRANSITIONS.items()}
    assert words == {
        "pending": ["cancelled", "expired", "queued"],
        "queued": ["cancelled", "expired", "running"],
        "running": ["cancelled", "failed", "pending", "queued", "retrying", "succeeded"],
        "retrying": ["cancelled", "expired", "queued"],
        "succeeded": [],
        "failed": ["queued"],
        "cancelled": ["pending", "queued"],
        "expired": ["pending", "queued"],
    }


def test_the_waits_grow_by_the_backoff_up_to_the_maximum() -> None:
    policy = RetryPolicy(retry_delay=1.0, backoff=2.0, max_delay=10.0, jitter=0.0)
    assert [policy.wait(n, 0.5) for n in (1, 2, 3, 4, 5, 6)] == [1, 2, 4, 8, 10, 10]


@pytest.mark.parametrize(("number", "wait"), [(0.0, 0.9), (0.5, 1.0), (1.0, 1.1)])
def test_jitter_makes_a_wait_shorter_or_longer(number: float, wait: float) -> None:
    assert RetryPolicy().wait(1, number) == pytest.approx(wait)


def test_a_wait_does_not_overflow_at_large_n() -> None:
    assert RetryPolicy(jitter=0.0).wait(10**9, 0.5) == 3600.0


def test_a_delay_of_zero_stays_zero() -> None:
    assert RetryPolicy(retry_delay=0.0).wait(10**9, 0.5) == 0.0


@pytest.mark.parametrize(
    ("policy", "types", "is_retried"),
    [
        (RetryPolicy(), ("ValueError",), True),
        (RetryPolicy(retry_on=("OSError",)), ("ConnectionError", "OSError"), True),
        (RetryPolicy(retry_on=("OSError",)), ("ValueError",), False),
        (RetryPolicy(retry_on=("Timeout",)), ("requests.exceptions.Timeout",), True),
        (RetryPolicy(retry_on=("requests.exceptions.Timeout",)), ("other.Timeout",), False),
        (RetryPolicy(no_retry_on=("ValueError",)), ("ValueError",), False),
        (RetryPolicy(retry_on=("OSError",), no_retry_on=("PermissionError",)), ("PermissionError", "OSError"), False),
    ],
)
def test_an_error_is_retried_by_the_names_of_its_types(
    policy: RetryPolicy, types: tuple[str, ...], *, is_retried: bool
) -> None:
    assert policy.covers(types) is is_retried


def test_the_defaults_are_those_of_the_contract() -> None:
    options = Options.of()
    assert (options.queue, options.priority, options.retries, options.timeout) == ("default", 5, 3, 300.0)
    assert (options.retry_delay, options.backoff, options.max_delay, options.jitter) == (1.0, 2.0, 3600.0, 0.1)


@pytest.mark.parametrize(
    ("given", "name", "kept"),
    [
        ({"priority": "high"}, "priority", 8),
        ({"delay": timedelta(minutes=1)}, "delay", 60.0),
        ({"timeout": 5}, "timeout", 5.0),
        ({"memory": 512}, "memory", 512.0),
        ({"memory": "512M"}, "memory", 512.0),
        ({"memory": "2GiB"}, "memory", 2048.0),
        ({"retry_on": ValueError}, "retry_on", ("ValueError",)),
        ({"retry_on": [OSError, "x.Y"]}, "retry_on", ("OSError", "x.Y")),
        ({"tags": ["a", "b"]}, "tags", ("a", "b")),
        ({"expires": timedelta(seconds=3)}, "expires", 3.0),
    ],
)
def test_options_are_kept_in_one_form(given: dict[str, Any], name: str, kept: object) -> None:
    assert getattr(Options.of(**given), name) == kept


PRIORITY = "0 to 9, 9 first, or 'low', 'normal', 'high'"
TEXT = "printable text of 1 to 255 bytes"
SECONDS = "seconds, 0 or more (up to 100 years), or a timedelta"
LIMIT = "seconds, more than 0, or None for no limit"
RETRIES = "a whole number, 0 or more (up to 1,000,000,000)"
TYPES = "exception types, or their names"
TAGS = "a list of printable texts of 1 to 255 bytes without commas, 4,096 characters in all"
EXPIRES = "seconds after submission, 0 or more (up to 100 years), a timedelta, or a datetime with a time zone"
NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001 - a naive time is what is refused


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"queue": ""}, f"queue='' is not allowed: {TEXT}"),
        ({"queue": "x" * 256}, f"queue='{'x' * 79}... is not allowed: {TEXT}"),
        ({"queue": "ü" * 128}, TEXT),
        ({"queue": "a\nb"}, f"queue='a\\nb' is not allowed: {TEXT}"),
        ({"queue": "\ud800"}, TEXT),
        ({"queue": 5}, f"queue=5 is not allowed: {TEXT}"),
        ({"partition": "x" * 256}, "printable text of at most 255 bytes"),
        ({"priority": 10}, f"priority=10 is not allowed: {PRIORITY}"),
        ({"priority": -1}, PRIORITY),
        ({"priority": 1.5}, PRIORITY),
        ({"priority": "urgent"}, f"priority='urgent' is not allowed: {PRIORITY}"),
        ({"priority": True}, PRIORITY),
        ({"priority": None}, PRIORITY),
        ({"delay": -1}, f"delay=-1.0 is not allowed: {SECONDS}"),
        ({"delay": timedelta(-1)}, f"delay=-86400.0 is not allowed: {SECONDS}"),
        ({"delay": "5"}, f"delay='5' is not allowed: {SECONDS}"),
        ({"delay": float("nan")}, SECONDS),
        ({"delay": 1e300}, SECONDS),
        ({"delay": True}, "delay=True is not allowed: a number"),
        (
            {"delay": 1, "eta": datetime(2030, 1, 1, tzinfo=UTC)},
            "delay=1.0 is not allowed: not together with eta",
        ),
        ({"eta": NAIVE}, f"eta={NAIVE!r} is not allowed: a datetime with a time zone"),
        ({"eta": "2030-01-01"}, "a datetime with a time zone"),
        ({"expires": -1}, EXPIRES),
        ({"expires": NAIVE}, EXPIRES),
        ({"expires": "soon"}, f"expires='soon' is not allowed: {EXPIRES}"),
        ({"retries": -1}, f"retries=-1 is not allowed: {RETRIES}"),
        ({"retries": 1.5}, RETRIES),
        ({"retries": "3"}, RETRIES),
        ({"retries": 2**70}, RETRIES),
        ({"retry_delay": -1}, SECONDS),
        ({"backoff": 0.5}, "backoff=0.5 is not allowed: a factor of 1 or more"),
        ({"max_delay": "1h"}, SECONDS),
        ({"jitter": 2}, "jitter=2.0 is not allowed: a share from 0 to 1"),
        ({"retry_on": 3}, f"retry_on=3 is not allowed: {TYPES}"),
        ({"retry_on": [int]}, f"retry_on=<class 'int'> is not allowed: {TYPES}"),
        ({"no_retry_on": None}, TYPES),
        ({"timeout": 0}, f"timeout=0.0 is not allowed: {LIMIT}"),
        ({"timeout": "5 s"}, LIMIT),
        ({"soft_timeout": -1}, LIMIT),
        ({"memory": "much"}, "memory='much' is not allowed: MiB as a number, or a text with a unit such as '512M'"),
        ({"memory": "5X"}, "such as '512M'"),
        ({"memory": 0}, "MiB, more than 0, or a text such as '512M'"),
        ({"max_concurrency": 0}, "a whole number, 1 or more, or None for no limit"),
        ({"tags": "one"}, "tags='one' is not allowed: a list of texts, as in ['red']"),
        ({"tags": ["a,b"]}, f"tags=('a,b',) is not allowed: {TAGS}"),
        ({"tags": [5]}, TAGS),
        ({"tags": ["a\tb"]}, TAGS),
        ({"tags": ["x" * 200] * 30}, TAGS),
        ({"title": 5}, "title=5 is not allowed: printable text of at most 4,096 characters"),
        ({"title": "x" * 4097}, "printable text of at most 4,096 characters"),
        ({"unique": "order 7"}, "unique='order 7' is not allowed: None: this version cannot do that yet"),
        ({"idempotency_key": ""}, f"idempotency_key='' is not allowed: {TEXT}"),
        ({"idempotency_key": "x" * 256}, TEXT),
        ({"idempotency_key": "a\0b"}, TEXT),
        ({"at_most_once": 1}, "at_most_once=1 is not allowed: True or False"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_what_would_be_right(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadOption) as caught:
        Options.of(**given)
    assert caught.value.option in given
    assert said in str(caught.value)
    assert str(caught.value).endswith(caught.value.allowed)
    assert len(str(caught.value)) < 250


def test_each_option_has_a_wrong_value_above() -> None:
    table = next(mark for mark in test_a_wrong_value_is_refused_with_its_name_and_what_would_be_right.pytestmark)
    assert {name for given, _ in table.args[1] for name in given} == set(Options.__struct_fields__)


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownOption, match="did you mean 'retries'"):
        Options.of(retires=3)


def test_a_declaration_holds_what_differs_from_the_defaults() -> None:
    assert Options.of(retries=3, queue="default").pack() == b""
    declared = Options.of(queue="q", priority=9, delay=3, max_concurrency=2)
    assert Options.unpack(declared.pack()) == declared


def test_a_caller_s_options_are_packed_where_said_and_without_a_column() -> None:
    assert pack_said(normalized({"queue": "q", "priority": 9, "delay": 3, "tags": ["a"]})) == b""
    said = pack_said(normalized({"queue": "q", "retries": 3}))  # 3 is the default, and said all the same
    assert msgspec.msgpack.decode(said) == {"retries": 3}


def test_what_a_caller_says_lies_over_what_the_handler_declares() -> None:
    declared = Options.of(retries=0, timeout=9, retry_on=OSError, eta=datetime(2030, 1, 1, tzinfo=UTC)).pack()
    said = pack_said(normalized({"retries": 3, "timeout": None, "at_most_once": True}))
    both = Options.unpack(declared, said)
    assert (both.retries, both.timeout, both.retry_on, both.at_most_once) == (3, None, ("OSError",), True)
    assert both.eta == datetime(2030, 1, 1, tzinfo=UTC)
    assert Options.unpack(declared, b"") == Options.unpack(declared)
    assert Options.unpack(b"", said).retries == 3


def test_a_delay_takes_the_place_of_an_eta_and_the_other_way_round() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    assert overlaid({"delay": 3.0, "queue": "q"}, {"eta": moment}) == {"queue": "q", "eta": moment}
    assert overlaid({"eta": moment}, {"delay": 0.0}) == {"delay": 0.0}
    by_hand = msgspec.msgpack.encode({"eta": moment})  # no client of ours packs it, and it must do no harm
    assert Options.unpack(Options.of(delay=3).pack(), by_hand).delay == 0.0


def test_options_are_read_as_they_were_packed() -> None:
    options = Options.of(retries=7, at_most_once=True, retry_on=[KeyError])
    assert Options.unpack(options.pack()) == options
    assert Options.unpack(b"") == Options()
