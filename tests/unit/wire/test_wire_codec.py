# ruff: noqa: FBT003 - fields in the order of the wire
from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpq.wire import messages as m
from otpq.wire import verbs
from otpq.wire.codec import Fault, FaultKind, decode_body, decode_from_server, encode
from otpq.wire.peer_codec import decode_at_leader

ID = b"i" * 16
TASK = m.NewTask(
    ID,
    "ok",
    b"payload",
    "q",
    9,
    False,
    1.0,
    2.0,
    3.0,
    math.inf,
    "key",
    ",a,",
    "title",
    "part",
    ID,
    b"o",
    b"whole",
    True,
)
FROM_CLIENT: list[Any] = [
    m.Hello([1], ID),
    m.Submit(1, [TASK, m.NewTask(ID, "x", b"")], [2], True),
    m.Watch([ID]),
    m.Unwatch([ID]),
    m.Fetch(1, ID),
    m.Query(1, "get", msgspec.Raw(encode(verbs.GetTasks([ID])))),
    m.Ping(1),
    m.Goodbye(),
]
FROM_SERVER: list[Any] = [
    m.Welcome(1, ID, 1, "a@b", "i", 1),
    m.Rejected("version", "no", [2]),
    m.Accepted(
        1,
        [m.Refusal(0, "queue_full", "no", "queue", {"size": 5})],
        [m.Duplicate(1, ID)],
        [m.Refusal(2, "unknown_handler", "no handler 'fo' is known; did you mean 'foo'?")],
    ),
    m.Outcomes([m.Outcome(ID, "failed", None, False, "error", b"e", "ok"), m.Outcome(ID, "succeeded", b"r")]),
    m.Fetched(1, b"r"),
    m.Answer(1, msgspec.Raw(b"\x01")),
    m.Failed(1, "not_found", "no"),
    m.Pong(1, 2),
]


@pytest.mark.parametrize("message", FROM_CLIENT)
def test_messages_of_a_client_arrive_whole(message: Any) -> None:
    assert decode_at_leader(encode(message)) == message
    assert isinstance(decode_from_server(encode(message)), Fault)  # nobody speaks for the other side


@pytest.mark.parametrize("message", FROM_SERVER)
def test_messages_of_a_server_arrive_whole(message: Any) -> None:
    assert decode_from_server(encode(message)) == message
    assert isinstance(decode_at_leader(encode(message)), Fault)


def test_each_message_has_a_number_of_its_own() -> None:
    tags = [type(message).__struct_config__.tag for message in FROM_CLIENT + FROM_SERVER]
    assert sorted(tags) == list(range(1, 17))


@pytest.mark.parametrize("message", FROM_CLIENT + FROM_SERVER)
def test_cut_short_it_is_a_fault(message: Any) -> None:
    decode: Any = decode_at_leader if message in FROM_CLIENT else decode_from_server
    data = encode(message)
    for end in range(len(data)):
        assert isinstance(decode(data[:end]), Fault)
    assert isinstance(decode(data + b"\0"), Fault)


@pytest.mark.parametrize(
    ("data", "kind", "said"),
    [
        (b"", FaultKind.GARBAGE, "truncated"),
        (b"\xc1", FaultKind.GARBAGE, "malformed"),
        (encode(m.Ping(1)) + b"\0", FaultKind.GARBAGE, "trailing"),
        (b"\x93\x04\x01" + b"\x91" * 100_000, FaultKind.INVALID, "$[2][0]"),
        (
            b"\x97\x04\x01\x91\x94\xc4\x10" + ID + b"\xa2ok\xc4\0\xa1q\xc0\xc2\xc0" + b"\x91" * 100_000,
            FaultKind.GARBAGE,
            "",
        ),
        (b"\x93\x04\x01\xdd\xff\xff\xff\xff", FaultKind.INVALID, "length <= 1000 - at `$[2]`"),
        (encode([99, 1]), FaultKind.INVALID, "Invalid value 99 - at `$[0]`"),
        (encode({"a": 1}), FaultKind.INVALID, "Expected `array`, got `object`"),
        (encode([4, 0, [[ID, "ok", b""]]]), FaultKind.INVALID, ">= 1 - at `$[1]`"),
        (encode([4, 1, []]), FaultKind.INVALID, "at `$[2]`"),
        (encode([4, 1, [[ID[:15], "ok", b""]]]), FaultKind.INVALID, "length >= 16 - at `$[2][0][0]`"),
        (encode([4, 1, [[ID, "", b""]]]), FaultKind.INVALID, "length >= 1 - at `$[2][0][1]`"),
        (encode([4, 1, [[ID, "ok", b""], [ID, "ok", b"", "q", 10]]]), FaultKind.INVALID, "<= 9 - at `$[2][1][4]`"),
        (encode([4, 1, [[ID, "ok", b"", "q", 5, True, -1.0]]]), FaultKind.INVALID, ">= 0.0 - at `$[2][0][6]`"),
        (b"\x93\x04\x01\x91\x93\xc4\x10" + ID + b"\xa1\xff\xc4\x00", FaultKind.GARBAGE, "utf-8"),
        (bytes(m.MAX_MESSAGE + 1), FaultKind.OVERSIZED, "at most 17,825,792"),
    ],
)
def test_faults_say_what_and_where(data: bytes, kind: FaultKind, said: str) -> None:
    fault = decode_at_leader(data)
    assert isinstance(fault, Fault)
    assert fault.kind is kind
    assert said in fault.text


@given(st.binary(max_size=200))
def test_no_bytes_raise(data: bytes) -> None:
    decode_at_leader(data)
    decode_from_server(data)
    decode_body(data, verbs.ListTasks)


@given(st.sampled_from(FROM_CLIENT + FROM_SERVER), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=5))
def test_no_changed_message_raises(message: Any, changes: list[tuple[int, int]]) -> None:
    data = bytearray(encode(message))
    for place, byte in changes:
        data[place % len(data)] = byte
    for decode in (decode_at_leader, decode_from_server):
        decoded = decode(bytes(data))
        assert isinstance(decoded, Fault) or encode(decoded)


@pytest.mark.parametrize("message", FROM_CLIENT + FROM_SERVER)
def test_a_newer_node_may_add_fields(message: Any) -> None:
    """What a later version appends, at the end of a message, is skipped by this one."""
    decode: Any = decode_at_leader if message in FROM_CLIENT else decode_from_server
    newer = [*msgspec.msgpack.decode(encode(message)), "new", {"field": [1]}]
    assert decode(encode(newer)) == message


def test_a_newer_node_may_add_fields_inside() -> None:
    newer = msgspec.msgpack.decode(encode(m.Submit(1, [TASK])))
    newer[2][0] += ["new", 1]
    decoded = decode_at_leader(encode(newer))
    assert isinstance(decoded, m.Submit)
    assert decoded.tasks == [TASK]
    view = {**msgspec.to_builtins(verbs.TaskView(id=ID, name="a", state="queued"), builtin_types=(bytes,)), "new": 1}
    assert decode_body(encode(view), verbs.TaskView) == verbs.TaskView(id=ID, name="a", state="queued")


@pytest.mark.parametrize(
    ("older", "message"),
    [
        ([1, [1], ID], m.Hello([1], ID)),
        ([2, 1, ID, 1, "a@b", "i", 1], m.Welcome(1, ID, 1, "a@b", "i", 1)),
        ([3, "version", "no"], m.Rejected("version", "no")),
        ([4, 1, [[ID, "ok", b""]]], m.Submit(1, [m.NewTask(ID, "ok", b"")])),
        ([5, 1], m.Accepted(1)),
        ([5, 1, [[0, "code", "no"]]], m.Accepted(1, [m.Refusal(0, "code", "no")])),
        ([8, [[ID, "succeeded"]]], m.Outcomes([m.Outcome(ID, "succeeded")])),
        ([11, 1, "health"], m.Query(1, "health")),
        ([12, 1], m.Answer(1)),
        ([13, 1, "code", "no"], m.Failed(1, "code", "no")),
        ([15, 1], m.Pong(1)),
    ],
)
def test_an_older_node_leaves_fields_out(older: list[Any], message: Any) -> None:
    """These are the fields without which there is no message; the test fails if one is ever added without a default."""
    decode: Any = decode_at_leader if isinstance(decode_from_server(encode(older)), Fault) else decode_from_server
    assert decode(encode(older)) == message


def test_a_hello_of_any_version_can_be_read() -> None:
    hello = decode_at_leader(encode([1, [7, 8], ID, 1, "", "", "what", "version", 7, "adds"]))
    assert isinstance(hello, m.Hello)
    assert m.VERSION not in hello.versions


def test_every_verb_has_types_that_can_be_read() -> None:
    for name, verb in verbs.VERBS.items():
        assert isinstance(decode_body(b"\xc1", verb.takes), Fault), name
        assert isinstance(decode_body(b"\xc1", verb.answers), Fault), name


@pytest.mark.parametrize(
    ("takes", "body"),
    [
        (verbs.ListWorkflows, [10, 2**63]),
        (verbs.ListWorkflows, [10, -1]),
        (verbs.WorkflowOf, [ID, 2**63]),
        (verbs.NewMember, [[ID, "f", b""], [], b"x" * (verbs.MAX_TAKES + 1)]),
    ],
)
def test_numbers_and_shapes_that_no_store_could_take_are_refused(takes: type, body: list[object]) -> None:
    assert isinstance(decode_body(encode(body), takes), Fault)
