"""A supervision tree as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["tree_lines"]

_LONG: Final = 0.1
"""Seconds of a callback that is worth a word."""


def tree_lines(node: Mapping[str, Any], before: str = "", under: str = "") -> list[str]:
    """A supervision tree as `client.tree()` tells it: nested maps with id, pid, restarts, children, and what each is doing."""
    facts = ", ".join(_facts(node))
    lines = [f"{before}{node.get('id') or 'node'}" + (f" ({facts})" if facts else "")]
    children = list(node.get("children") or ())
    for child in children:
        is_last = child is children[-1]
        lines += tree_lines(child, under + ("└── " if is_last else "├── "), under + ("    " if is_last else "│   "))
    return lines


def _facts(node: Mapping[str, Any]) -> Iterator[str]:
    """What is worth a word: a callback only if it has run for longer than most."""
    if node.get("pid") is not None:
        yield str(node["pid"])
    if node.get("restarts"):
        yield f"restarted {node['restarts']} times"
    if node.get("status") in {"zombie", "dead"}:
        yield node["status"]
    if node.get("mailbox"):
        yield f"{node['mailbox']:,} messages wait"
    seconds = node.get("callback_seconds") or 0.0
    if seconds >= _LONG:
        yield f"in {node['callback']} for {seconds:.1f} s"
