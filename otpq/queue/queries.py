"""The verbs of `Query`: their bodies read, their answers written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from otpq.wire import messages as wire
from otpq.wire import verbs
from otpq.wire.codec import Fault, decode_body, encode

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BadQuery", "answer", "decode", "packed"]


class BadQuery(Exception):
    """A query that cannot be answered, with the wire's code and words for it, and the values behind it."""

    def __init__(
        self, code: str, text: str, field: str = "", facts: Mapping[str, str | int | float] | None = None
    ) -> None:
        super().__init__(text)
        self.code = code
        self.field = field
        self.facts = {} if facts is None else dict(facts)


def decode(query: wire.Query) -> Any:
    """The body of a query, as its verb wants it.

    Raises:
        BadQuery: There is no such verb, or its body is wrong.
    """
    verb = verbs.VERBS.get(query.verb)
    if verb is None:
        raise BadQuery("unknown_verb", f"this node does not know {query.verb!r}")
    if verb.takes is None:
        return None
    body = decode_body(query.body, verb.takes)
    if isinstance(body, Fault):
        raise BadQuery("invalid", f"{query.verb}: {body.text}")
    return body


def answer(number: int, value: object) -> wire.Answer:
    """The message that answers a query."""
    return packed(number, encode(value))


def packed(number: int, value: bytes) -> wire.Answer:
    """As `answer`, where the value is packed already."""
    return wire.Answer(number, msgspec.Raw(value))
