from __future__ import annotations

import pytest

from otpq.shell.statements import is_whole, statements


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "# a comment",
        "await x",
        "a = 1\nb = 2",
        "async with a:\n    b\n",
        "for x in y:\n    f(x)\n    ",
        "x = 'a",
    ],
)
def test_what_can_be_run_or_never_can_is_whole(text: str) -> None:
    assert is_whole(text)


@pytest.mark.parametrize(
    "text",
    [
        "f(",
        "'''a",
        "@decorated",
        "\\",
        "for x in y:",
        "for x in y: f(x)",
        "for x in y:\n    f(x)",
        "async with a:\n    b",
        "if a:\n    b\nelse:",
        "def f():\n    a\n\n    b",
    ],
)
def test_what_wants_more_lines_is_not(text: str) -> None:
    assert not is_whole(text)


def test_lines_are_cut_where_a_statement_ends() -> None:
    pieces = [
        "x = 1\n",
        "for a in b:\n    f(a)\n\n    # between\n    g(a)\nelse:\n    h\n",
        "print(1)\n",
        "t = '''\nabc\n'''\n",
        "@dec\ndef f(\n  a\n): return 1\n",
        "try:\n    a\nexcept E:\n    b\nfinally:\n    c\n",
        "await f(\n1,\n)\n",
        "if x: y",
    ]
    assert list(statements("".join(pieces).splitlines(keepends=True))) == pieces


def test_a_line_is_given_before_the_next_one_is_read() -> None:
    read: list[str] = []

    def lines() -> list[str]:
        return ["a\n", "\n", "b\n"]

    def noted() -> object:
        for line in lines():
            read.append(line)
            yield line

    pieces = statements(noted())  # type: ignore[arg-type]
    assert next(pieces) == "a\n"
    assert read == ["a\n"]
    assert list(pieces) == ["b\n"]


def test_a_line_that_is_wrong_does_not_swallow_those_behind_it() -> None:
    assert list(statements(["a b\n", "c\n"])) == ["a b\n", "c\n"]
