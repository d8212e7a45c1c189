"""A supervision tree as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["tree_lines"]


def tree_lines(node: Mapping[str, Any], before: str = "", under: str = "") -> list[str]:
    """A supervision tree as `client.stats()` tells it: nested maps with id, pid, restarts, children."""
    restarts = node.get("restarts")
    facts = [str(node["pid"])] if node.get("pid") is not None else []
    facts += [f"restarted {restarts} times"] if restarts else []
    lines = [f"{before}{node.get('id') or 'node'}" + (f" ({', '.join(facts)})" if facts else "")]
    children = list(node.get("children") or ())
    for child in children:
        is_last = child is children[-1]
        lines += tree_lines(child, under + ("└── " if is_last else "├── "), under + ("    " if is_last else "│   "))
    return lines
