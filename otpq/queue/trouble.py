"""Trouble: why the store cannot be written now, for clients and for whoever looks after the node."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from otpq.store.errors import CommitRefused, StoreDamaged

if TYPE_CHECKING:
    from otpq.errors import StoreError

__all__ = ["DAMAGED", "Trouble", "trouble_of"]

DAMAGED = "store_damaged"


class Trouble(NamedTuple):
    """What the queue server is in while it is degraded."""

    code: str
    """`store_full`, `store_unavailable` or `store_damaged`: as clients are told."""
    words: str
    """A sentence, with what is to be done."""


def trouble_of(failed: StoreError) -> Trouble:
    """What it means that the store failed so."""
    because = failed.because if isinstance(failed, CommitRefused) else None
    if isinstance(failed, StoreDamaged) or because == "damaged":
        words = f"{failed}. The node does not touch it any more: stop it, then see what `otpq check` says"
        return Trouble(DAMAGED, words)
    if because == "full":
        return Trouble("store_full", f"{failed}; it is tried each second, and goes on when there is room")
    return Trouble("store_unavailable", f"{failed}; it is tried each second, and goes on when the store can be written")
