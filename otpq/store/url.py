"""From a store's URL to the store: `sqlite:///absolute/path`, a bare path, or `memory:`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from otpq.errors import did_you_mean
from otpq.store.errors import BadStoreUrl

if TYPE_CHECKING:
    from otpq.store.protocol import Reading, Store

__all__ = ["open_reading", "open_store", "parse_url"]

_SCHEMES = ("sqlite", "memory")


def open_store(url: str) -> Store:
    """A store for `url`, not yet opened.

    Raises:
        BadStoreUrl: There can be no such store.
    """
    from otpq.store.sqlite import SqliteStore
    from otpq.store.sqlite_place import FilePlace, MemoryPlace

    path = parse_url(url)
    return SqliteStore(MemoryPlace() if path is None else FilePlace(path))


def open_reading(url: str, *, patience: float | None = None) -> Reading:
    """A way to look into the store at `url`, from any process; for `memory:` ask its store, in its process.

    Args:
        url: Which store.
        patience: Seconds that a question may take, then it ends with `TookTooLong`; None: as long as it takes.

    Raises:
        BadStoreUrl: There can be no such store, or it is in memory.
        StoreUnreachable: There is no store there, or it cannot be read.
        StoreDamaged: It is no store.
    """
    from otpq.store.sqlite_place import FilePlace
    from otpq.store.sqlite_reader import SqliteReader

    path = parse_url(url)
    if path is None:
        raise BadStoreUrl(url, "a store in memory can be read in its own process alone")
    return SqliteReader(FilePlace(path), patience=patience)


def parse_url(url: str) -> Path | None:
    """The absolute path of a SQLite store; None for `memory:`.

    A word before a colon is taken for a scheme, so that `postgres:...` is an error and not a file of that name; a path
    with a colon in its first part is written `./a:b.db`. `~` is the home directory in a bare path.

    Raises:
        BadStoreUrl: Neither.
    """
    if url == "memory:":
        return None
    scheme, colon, rest = url.partition(":")
    if not colon or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        return _path(url, url, expand=True)
    if scheme == "sqlite":
        if not rest.startswith("///"):
            raise BadStoreUrl(url, "sqlite: is followed by three slashes and an absolute path")
        return _path(url, unquote(rest[2:]), expand=False)
    if scheme == "memory":
        raise BadStoreUrl(url, "nothing follows memory:")
    raise BadStoreUrl(url, f"unknown kind of store {scheme!r}{did_you_mean(scheme, _SCHEMES)}")


def _path(url: str, text: str, *, expand: bool) -> Path:
    if "\0" in text or not text.strip("/ ") or text.endswith("/"):
        raise BadStoreUrl(url, "the path of a file is missing")
    if "?" in text and not expand:
        raise BadStoreUrl(url, "a store takes no parameters")
    try:
        path = Path(text).expanduser() if expand else Path(text)
    except RuntimeError as error:
        raise BadStoreUrl(url, str(error)) from error
    # Links are resolved, so that two names of one file find the same lock beside it.
    return path.absolute().resolve()
