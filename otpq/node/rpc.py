"""Rpc: the process that calls a node's management functions, for whoever asks: `call(("rpc", node), (function, arguments))`.

Each call runs in a thread of its own, since a function may wait for a process that is busy, and the next one is not to.

Source:
    Erlang's rpc, whose server is a process of that kind on each node.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Final

from otpq.errors import OtpqError
from otpq.otp import CALL_TIMEOUT, GenServer, NoReply, OtpError, Reply, call, reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp import Caller

__all__ = ["Rpc"]

logger = logging.getLogger("otpq.node")

AT_ONCE: Final = 16
"""Calls under way. More than that wait for something that does not answer, and others are told so."""


class Rpc(GenServer):
    """Answers ("ok", value) or ("error", words)."""

    from_afar = frozenset({"call"})

    def init(self, functions: Callable[[str, dict[str, Any]], Any]) -> None:
        """Have these functions called."""
        self._functions = functions
        self._room = threading.BoundedSemaphore(AT_ONCE)

    @staticmethod
    def call(node: str, function: str, timeout: float = CALL_TIMEOUT, **arguments: Any) -> Any:
        """What a management function of a node returns, to a process of any node of the cluster.

        Raises:
            OtpqError: What the function has against it, or that there is none of this name.
            CallFailed: The node cannot be reached (`NoConnection`).
            CallTimeout: It has not answered.
        """
        what, value = call(("rpc", node), (function, arguments), timeout)
        if what == "error":
            raise OtpqError(f"{node}: {value}")
        return value

    def handle_call(self, request: Any, caller: Caller) -> Reply | NoReply:
        """Have it run, unless it is no call or too many run."""
        match request:
            case (str(function), dict(arguments)):
                if not self._room.acquire(blocking=False):
                    return Reply(("error", f"{AT_ONCE} calls are under way and wait; try again"))
                threading.Thread(
                    target=self._run, args=(function, arguments, caller), name=f"otpq-rpc-{function[:20]}", daemon=True
                ).start()
                return NoReply()
            case _:
                return Reply(("error", "a call is (function, arguments)"))

    def _run(self, function: str, arguments: dict[str, Any], caller: Caller) -> None:
        try:
            answer = ("ok", self._functions(function, arguments))
        except (OtpqError, OtpError) as error:
            answer = ("error", str(error))
        except Exception as error:
            logger.exception("%s failed", function)
            answer = ("error", f"{function} failed: {type(error).__name__}: {error}")
        finally:
            self._room.release()
        reply(caller, answer)
