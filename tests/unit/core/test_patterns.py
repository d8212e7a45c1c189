"""Patterns of names: the same words select the same names here and in a store."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otpq.core.patterns import is_named
from otpq.store.protocol import is_pattern

LETTERS = "ab.*?[]^-\n\\"


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("mail.send", "mail.send", True),
        ("mail.send", "mail", False),
        ("mail.send", "mail.*", True),
        ("email.send", "mail.*", False),
        ("mail.send", "mail.sen?", True),
        ("m[x]", "m[x]", True),  # no pattern
        ("a*", "a[*]", True),
        ("ab", "a[*]", False),
    ],
)
def test_names_and_patterns(name: str, pattern: str, expected: bool) -> None:  # noqa: FBT001 - a table
    assert is_named(name, pattern) is expected


@given(st.text(LETTERS, max_size=8), st.text(LETTERS, max_size=8))
@example("b", "[^a]*")
@example("]", "*[]]")
@example("-", "*[a-]")
@example("a", "*[b-a]")
@example("a", "*[a")
def test_a_name_is_of_a_pattern_if_a_store_says_so(name: str, pattern: str) -> None:
    database = sqlite3.connect(":memory:")
    how = "GLOB" if is_pattern(pattern) else "="
    (expected,) = database.execute(f"SELECT ?1 {how} ?2", (name, pattern)).fetchone()
    database.close()
    assert is_named(name, pattern) is bool(expected)
