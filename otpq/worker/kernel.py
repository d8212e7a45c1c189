"""The two favours that Linux does for whoever looks after processes, and whether to do without them.

A *subreaper* adopts the orphans below it, so that a daemon that a handler left behind can still be found. A *parent-death
signal* ends a process with its parent, even inside C code. Elsewhere, and with `OTPQ_PORTABLE=1`, neither exists.

Of the standard library alone, as the warden imports it.
"""

from __future__ import annotations

import os
import sys

__all__ = ["become_subreaper", "die_with_parent", "is_portable"]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36
_SIGKILL = 9


def is_portable() -> bool:
    """Whether to do without the means that Linux alone has: not on Linux, or told so by `OTPQ_PORTABLE=1`."""
    return sys.platform != "linux" or os.environ.get("OTPQ_PORTABLE", "") not in {"", "0"}


def become_subreaper() -> None:
    """From now on, every orphan among the descendants of this process becomes its child. Survives exec, not fork.

    Raises:
        OSError: The kernel refused.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """The kernel kills this process when `parent` ends; if it has ended already, this process ends here and now.

    The signal is bound to the *thread* that forked, so a parent must be single-threaded, as the warden is. Survives exec,
    except that of a program with other rights; not fork: grandchildren are the subreaper's affair.

    Raises:
        OSError: The kernel refused.
    """
    _prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    # The parent may have ended between the fork and the line above; then no signal will ever come.
    if os.getppid() != parent:
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    import ctypes  # 4 ms, and only whoever comes here pays them

    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    if libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}, {value}): {os.strerror(code)}")
