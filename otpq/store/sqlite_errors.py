"""What SQLite's errors mean to us."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import apsw

from otpq.store.errors import StoreDamaged, StoreUnreachable, TookTooLong

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otpq.store.errors import RefusedBecause

__all__ = ["refused_at_commit", "refused_before_commit", "translated"]

_REFUSED: Final[dict[type[apsw.Error], RefusedBecause]] = {
    apsw.FullError: "full",
    apsw.ConstraintError: "constraint",
    apsw.MismatchError: "value",
    apsw.TooBigError: "value",
    apsw.ReadOnlyError: "read_only",
    apsw.BusyError: "busy",
    apsw.LockedError: "busy",
    apsw.CorruptError: "damaged",
    apsw.NotADBError: "damaged",
}

# SQLITE_FULL while COMMIT writes is certain too: the frame that makes a commit one is written last and checksummed, so a
# write that ran out of room has not completed it. A disk that notices only at fsync answers with an I/O error instead.
_CERTAIN_AT_COMMIT: Final = (apsw.FullError, apsw.ConstraintError, apsw.ReadOnlyError, apsw.BusyError, apsw.LockedError)


def refused_before_commit(error: apsw.Error) -> RefusedBecause:
    """Why a transaction came to nothing that had not begun to commit: whatever happened, nothing was written."""
    return _REFUSED.get(type(error), "io")


def refused_at_commit(error: apsw.Error) -> RefusedBecause | None:
    """Why a COMMIT came to nothing; None: that is not certain."""
    return _REFUSED[type(error)] if isinstance(error, _CERTAIN_AT_COMMIT) else None


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn what SQLite and the system raise while a store is opened or read into errors of `place`."""
    try:
        yield
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise StoreDamaged(place, str(error)) from error
    except apsw.ReadOnlyError as error:
        raise StoreUnreachable(place, f"it, its directory or the disk is read-only ({error})") from error
    except apsw.FullError as error:
        raise StoreUnreachable(place, f"the disk is full ({error})") from error
    except apsw.InterruptError as error:
        raise TookTooLong(place) from error
    except apsw.CantOpenError as error:
        raise StoreUnreachable(
            place, f"it cannot be opened: does it exist, and may this user read it? ({error})"
        ) from error
    except apsw.Error as error:
        raise StoreUnreachable(place, str(error)) from error
    except OSError as error:
        raise StoreUnreachable(place, f"{error.strerror}: {error.filename}") from error
