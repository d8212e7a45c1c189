"""Named queries: SQL lives in `sql/*.sql`, keyed by verb; the classes beside it only call it."""

from __future__ import annotations

import re
from importlib.resources import files

__all__ = ["load_queries"]

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load_queries(dialect: str) -> dict[str, str]:
    """The queries of `sql/DIALECT.sql` by name. Each begins with a line `-- name: NAME`; other comments may follow.

    Raises:
        ValueError: Two have the same name.
    """
    text = files("otpq.store").joinpath("sql", f"{dialect}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    queries: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in queries:
            raise ValueError(f"two queries of {dialect}.sql are named {name!r}")
        # Comments go: SQLite's statement cache compares the whole text.
        lines = (line for line in body.splitlines() if not line.lstrip().startswith("--"))
        queries[name] = "\n".join(lines).strip().removesuffix(";")
    return queries
