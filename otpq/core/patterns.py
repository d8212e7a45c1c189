"""Names and patterns of them, judged as a store judges them in a list: `*` any characters, `?` any one, `[...]` one of these."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["is_named"]


def is_named(name: str, pattern: str) -> bool:
    """Whether a handler's name is this one, or of this pattern. One is a pattern if it has a `*` or a `?`."""
    if "*" not in pattern and "?" not in pattern:
        return name == pattern
    return _compiled(pattern).fullmatch(name) is not None


@lru_cache(maxsize=1_000)
def _compiled(pattern: str) -> re.Pattern[str]:
    """As SQLite's GLOB has it: in `[...]` a `^` first means none of these, a `]` first is itself, `a-z` is a range."""
    parts, at = [], 0
    while at < len(pattern):
        letter = pattern[at]
        at += 1
        if letter == "*":
            parts.append(".*")
        elif letter == "?":
            parts.append(".")
        elif letter == "[":
            part, at = _class(pattern, at)
            parts.append(part)
        else:
            parts.append(re.escape(letter))
    return re.compile("".join(parts), re.DOTALL)


_NOTHING = "(?!)"


def _class(pattern: str, at: int) -> tuple[str, int]:
    """The expression for what stands behind a `[`, and where it ends; one that is not closed matches nothing."""
    begin = at + (pattern[at : at + 1] == "^")
    end = pattern.find("]", begin + 1)  # one that stands first is itself
    if end < 0:
        return _NOTHING, len(pattern)
    negated, letters = begin > at, pattern[begin:end]
    expression = "|".join(_letters(letters)) or _NOTHING
    return (f"(?:(?!{expression}).)" if negated else f"(?:{expression})"), end + 1


def _letters(letters: str) -> list[str]:
    found, at = [], 0
    while at < len(letters):
        if letters[at + 1 : at + 2] == "-" and at + 2 < len(letters):
            low, high = letters[at], letters[at + 2]
            if low <= high:
                found.append(f"[{re.escape(low)}-{re.escape(high)}]")
            at += 3
        else:
            found.append(re.escape(letters[at]))
            at += 1
    return found
