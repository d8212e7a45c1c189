"""Lines of runs on their way into the ring."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpq.worker.journal import MAX_FIELDS, MAX_LINE, Journal

if TYPE_CHECKING:
    from collections.abc import Callable


class Ring:
    """Records what is put, or does something else in the middle of it."""

    def __init__(self) -> None:
        self.records: list[list[Any]] = []
        self.on_put: Callable[[], None] = lambda: None

    def put(self, record: bytes) -> None:
        self.on_put()
        self.records.append(msgpack.unpackb(record))


class Speech:
    """A journal over such a ring."""

    def __init__(self) -> None:
        self.ring = Ring()
        self.journal = Journal(self.ring)  # type: ignore[arg-type]
        self.run: Any = SimpleNamespace(seq=1, lease=2, lines=0, unfinished={})

    def heard(self) -> list[tuple[str, str]]:
        return [(stream, text) for _, _, _, _, stream, _, text, _ in self.ring.records]


@pytest.fixture
def speech() -> Speech:
    return Speech()


@given(st.lists(st.tuples(st.sampled_from(("out", "err")), st.text(alphabet="ab\n\r€", max_size=20))))
def test_lines_are_those_of_each_stream_however_they_were_written(writes: list[tuple[str, str]]) -> None:
    speech = Speech()
    for stream, text in writes:
        speech.journal.write(speech.run, stream, text)
    speech.journal.end(speech.run)
    for stream in ("out", "err"):
        whole = "".join(text for each, text in writes if each == stream)
        *lines, rest = whole.split("\n")
        wanted = [line.removesuffix("\r") for line in lines] + ([rest] if rest else [])
        assert [text for each, text in speech.heard() if each == stream] == wanted
    assert [record[2] for record in speech.ring.records] == list(range(1, len(speech.ring.records) + 1))
    assert speech.run.unfinished == {}


@given(st.text(max_size=5), st.integers(1, 12_000))
def test_long_lines_are_cut_and_nothing_of_them_is_lost(part: str, times: int) -> None:
    speech = Speech()
    text = part.replace("\n", "") * times
    speech.journal.write(speech.run, "out", text)
    speech.journal.write(speech.run, "out", "\n")
    texts = [text for _, text in speech.heard()]
    assert "".join(texts) == text.removesuffix("\r") or "".join(texts) == text
    assert all(len(each.encode()) <= MAX_LINE for each in texts)


def test_a_line_of_lone_surrogates_is_shown(speech: Speech) -> None:
    speech.journal.write(speech.run, "out", "\ud800" * 5000 + "\n")
    assert "".join(text for _, text in speech.heard()) == "\\ud800" * 5000
    assert all(len(text.encode()) <= MAX_LINE for _, text in speech.heard())


def test_a_message_of_several_lines_has_its_fields_once(speech: Speech) -> None:
    speech.journal.say(speech.run, "error", "one\ntwo", {"n": 1, "x": [1, {"a": None}]})
    assert [record[5:] for record in speech.ring.records] == [
        ["error", "one", {"n": 1, "x": [1, {"a": None}]}],
        ["error", "two", None],
    ]


class Rude:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"a": object}, {"a": "<class 'object'>"}),
        ({"a": Rude()}, {"a": "<its __str__ raised RuntimeError>"}),
        ({"a": 2**64, "b": 1}, {"a": str(2**64), "b": "1"}),
        ({"a": "\ud800"}, {"a": "\\ud800"}),
        ({"a": "x" * 20_000}, {"a": "x" * 500 + "..."}),
    ],
)
def test_fields_that_cannot_travel_become_texts(speech: Speech, fields: dict[str, Any], kept: dict[str, Any]) -> None:
    speech.journal.say(speech.run, "info", "m", fields)
    assert speech.ring.records[0][7] == kept


def test_fields_are_bounded_and_it_is_said(speech: Speech) -> None:
    speech.journal.say(speech.run, "info", "m", {f"field{n}": "x" * 100 for n in range(1000)})
    fields = speech.ring.records[0][7]
    assert len(msgpack.packb(fields)) <= MAX_FIELDS
    assert fields["..."] == f"{1000 - len(fields) + 1} left out"
    around: list[Any] = []
    around.append(around)
    speech.journal.say(speech.run, "info", "m", {"a": around})
    assert speech.ring.records[1][7] == {"a": "[[...]]"}


def test_what_is_said_in_the_middle_of_a_line_comes_behind_it(speech: Speech) -> None:
    def interrupt() -> None:
        speech.ring.on_put = lambda: None
        speech.journal.write(speech.run, "err", "signal\n")

    speech.ring.on_put = interrupt
    speech.journal.write(speech.run, "out", "one\ntwo\n")
    assert [record[2] for record in speech.ring.records] == [1, 2, 3]
    assert [text for _, text in speech.heard()] == ["one", "signal", "two"]


def test_an_exception_in_the_middle_of_a_line_leaves_the_journal_usable(speech: Speech) -> None:
    def interrupt() -> None:
        speech.ring.on_put = lambda: None
        raise KeyboardInterrupt

    speech.ring.on_put = interrupt
    with pytest.raises(KeyboardInterrupt):
        speech.journal.write(speech.run, "out", "one\n")
    speech.journal.write(speech.run, "out", "two\n")
    assert speech.heard()[-1] == ("out", "two")
