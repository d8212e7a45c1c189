"""What SQLite's errors mean to us."""

from __future__ import annotations

import errno
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


_ADVICE: Final = {
    errno.ENOENT: "; make the directory, or name another file",
    errno.EISDIR: "; name a file",
    errno.EROFS: "; make it writable, or name another file",
    errno.EACCES: "; give this user the right to write there, or name another file",
    errno.EPERM: "; give this user the right to write there, or name another file",
    errno.ENOSPC: "; free some space, or name another file",
    errno.EDQUOT: "; free some space, or name another file",
}


def _is_full(error: BaseException) -> bool:
    """Whether the disk has no room: SQLite calls it an I/O error where it is the log's index that cannot grow."""
    return isinstance(error, apsw.FullError) or (
        isinstance(error, apsw.IOError) and getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE
    )


def refused_before_commit(error: apsw.Error) -> RefusedBecause:
    """Why a transaction came to nothing that had not begun to commit: whatever happened, nothing was written."""
    if _is_full(error):
        return "full"
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
        raise StoreUnreachable(
            place, f"it, its directory or the disk is read-only ({error}){_ADVICE[errno.EROFS]}"
        ) from error
    except apsw.InterruptError as error:
        raise TookTooLong(place) from error
    except apsw.CantOpenError as error:
        raise StoreUnreachable(
            place, f"it cannot be opened: does it exist, and may this user read it? ({error})"
        ) from error
    except apsw.Error as error:
        words = f"the disk is full ({error}){_ADVICE[errno.ENOSPC]}" if _is_full(error) else str(error)
        raise StoreUnreachable(place, words) from error
    except OSError as error:
        where = "" if error.filename is None else f": {error.filename}"
        raise StoreUnreachable(place, f"{error.strerror}{where}{_ADVICE.get(error.errno or 0, '')}") from error
