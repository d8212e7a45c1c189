import datetime as dt
import sys
import uuid
from threading import get_ident
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

import otpq.wire
from otpq.wire.messages import MAX_PAYLOAD
from otpq.wire.values import BadValue
from otpq.worker import soft_timeout
from otpq.worker.values import MAX_MESSAGE, MAX_TRACEBACK, UnpackableResult, pack_checkpoint, pack_error, pack_value

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda part: st.lists(part) | st.dictionaries(st.text(), part),
)


@given(plain)
def test_plain_values_arrive_as_they_are(value: object) -> None:
    assert msgpack.unpackb(pack_value(value)) == value


def test_an_aware_datetime_arrives() -> None:
    moment = dt.datetime(2026, 11, 21, 5, tzinfo=dt.UTC)
    assert msgpack.unpackb(pack_value(moment), timestamp=3) == moment


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "result: object is not allowed; pass its id, or make it a dataclass"),
        ([1, {"a": [object()]}], "result[1]['a'][0]: object is not allowed"),
        ({"a": ({1, 2},)}, "result['a'][0]: set is not allowed; use a list"),
        ({object: 1}, "result: the key <class 'object'> is of type type; keys are str, use str(key)"),
        ({1: 2}, "result: the key 1 is of type int; keys are str, use str(key)"),
        ({"a": {(1, 2): 3}}, "result['a']: the key (1, 2) is of type tuple"),
        (2**64, "result: an int of more than 64 bits; use str(value)"),
        ([2**64], "result[0]: an int of more than 64 bits"),
        (["\ud800"], "result[0]: a str that is no Unicode text"),
        (dt.datetime(2026, 1, 1), "result: a datetime without a time zone"),  # noqa: DTZ001 - that is the point
        (b"x" * (MAX_PAYLOAD + 1), "bytes when packed, more than 16,777,216; put the data into a file or a database"),
    ],
)
def test_what_has_no_form_is_refused_with_its_path(value: object, message: str) -> None:
    with pytest.raises(UnpackableResult) as caught:
        pack_value(value)
    assert message in str(caught.value)
    assert pack_value(1) == b"\x01"  # the packer is clean again


def test_what_cannot_even_be_looked_at_is_refused_all_the_same() -> None:
    class Hostile(dict[str, object]):
        def items(self) -> object:  # type: ignore[override]
            raise RuntimeError("no")

        def __repr__(self) -> str:
            raise RuntimeError("no")

    with pytest.raises(UnpackableResult, match="no"):
        pack_value(Hostile(a=object()))
    deep: list[object] = []
    for _ in range(2000):
        deep = [deep]
    with pytest.raises(UnpackableResult, match="nested more than 100 deep"):
        pack_value(deep)


def test_values_that_are_not_plain_travel_in_their_plain_form() -> None:
    some = uuid.uuid4()
    assert msgpack.unpackb(pack_value([some, dt.timedelta(seconds=90)])) == [str(some), "PT90S"]


def packed(error: BaseException) -> list[Any]:
    try:
        raise error  # noqa: TRY301 - so that it has a traceback
    except BaseException as caught:  # noqa: BLE001
        fields: list[Any] = msgpack.unpackb(pack_error(caught))
        return fields


def test_an_error_has_its_type_message_and_traceback() -> None:
    kind, message, trace, _ = packed(ValueError("no"))
    assert (kind, message) == ("ValueError", "no")
    assert trace.startswith("Traceback")
    assert trace.endswith("ValueError: no\n")


def test_an_error_tells_the_names_of_its_class_and_of_its_bases() -> None:
    names = packed(ConnectionResetError())[3]
    assert names == ["ConnectionResetError", "ConnectionError", "OSError", "Exception", "BaseException"]
    assert packed(msgpack.exceptions.ExtraData("", b""))[3][0] == "msgpack.exceptions.ExtraData"


def test_a_class_of_the_programs_own_file_is_named_without_one_as_in_the_program() -> None:
    error = type("Mine", (ValueError,), {"__module__": "__otpq_main__"})
    assert packed(error())[3][0] == "Mine"


def test_long_texts_keep_their_begin_and_end() -> None:
    _, message, trace, _ = packed(ValueError("a" + "x" * 10**6 + "z"))
    assert message.startswith("a")
    assert message.endswith("z")
    assert len(message) < MAX_MESSAGE + 100
    assert len(trace) < MAX_TRACEBACK + 100


def test_an_error_that_cannot_be_printed_is_recorded() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise KeyboardInterrupt

    kind, message, *_ = packed(Mute())
    assert kind.endswith("Mute")
    assert "KeyboardInterrupt" in message
    assert packed(ValueError("\udcff"))[1] == "\\udcff"


class Detailed(Exception):
    def __init__(self, details: object) -> None:
        super().__init__("so")
        self._details = details

    @property
    def details(self) -> object:
        if self._details is None:
            raise RuntimeError
        return self._details


def test_the_details_of_an_error_travel_if_they_are_plain() -> None:
    assert msgpack.unpackb(pack_error(Detailed({"code": 3, "lines": ["a"]})))[4] == {"code": 3, "lines": ["a"]}
    for none in (None, "text", {"a": object()}, {"a": 2**70}, {"a": "x" * 100_000}):
        assert len(msgpack.unpackb(pack_error(Detailed(none)))) == 4


def test_a_checkpoint_is_a_value_or_refused_with_its_place() -> None:
    assert msgpack.unpackb(pack_checkpoint({"at": [1, uuid.UUID(int=1)]})) == {"at": [1, str(uuid.UUID(int=1))]}
    with pytest.raises(BadValue, match=r"^checkpoint\['a'\]\[1\]: set is not allowed; use a list"):
        pack_checkpoint({"a": [1, {2}]})
    with pytest.raises(BadValue, match=r"^checkpoint: 1,048,\d\d\d bytes when packed, more than 1,048,576"):
        pack_checkpoint(bytes(1 << 20))


def test_no_soft_timeout_comes_while_a_checkpoint_has_us_import_something(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    class Watching:
        @staticmethod
        def find_spec(name: str, _path: object = None, _target: object = None) -> None:
            if name == "otpq.wire.values":
                seen.append(get_ident() in soft_timeout._interruptible)

    monkeypatch.setattr(otpq.wire, "values", otpq.wire.values)  # to be put back, as is the next
    monkeypatch.delitem(sys.modules, "otpq.wire.values")
    monkeypatch.setattr(sys, "meta_path", [Watching, *sys.meta_path])
    soft_timeout._interruptible.add(get_ident())
    try:
        pack_checkpoint(1)
        assert get_ident() in soft_timeout._interruptible
    finally:
        soft_timeout._interruptible.discard(get_ident())
    assert seen == [False]
