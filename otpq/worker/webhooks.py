"""Webhooks: the built-in handler that tells others of events, by HTTP. Run in a child, as all that may hang or break.

A delivery says which webhook it is for; where that is, and what it is signed with, the child has from its node's own settings. So
whoever may submit tasks cannot have a node call any address, and no address or secret stands in a task.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
import time as clock
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from otpq.context import running_context
from otpq.endings import Discard
from otpq.worker.webhook_secret import read_secret

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["WebhookFailed", "WebhookRunner", "signature"]

PATIENCE: Final = 10.0
"""Seconds that a receiver may be silent."""
_GONE: Final = 410


class WebhookFailed(Exception):
    """The receiver was not reached, or did not answer with 2xx. The message names no address, which may be a secret."""


def signature(secret: bytes, time: int, body: bytes) -> str:
    """The header `Otpq-Signature`: when it was sent, and the HMAC-SHA256 of 'TIME.BODY'."""
    return f"t={time},v1={hmac.digest(secret, b'%d.%b' % (time, body), hashlib.sha256).hex()}"


class _NoRedirect(HTTPRedirectHandler):
    """A receiver that has moved is to be told of in the file: what is signed goes nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class WebhookRunner:
    """Delivers to the webhooks that its node knows; several threads may call it at once."""

    def __init__(self, webhooks: Mapping[str, Sequence[str]]) -> None:
        """`webhooks`: by key, the address and the file with the secret."""
        self._webhooks = webhooks
        self._opener = build_opener(_NoRedirect(), HTTPSHandler(context=ssl.create_default_context()))

    def __call__(self, webhook: str, event: str, time: float, facts: dict[str, Any]) -> int:
        """Post it once, signed.

        Args:
            webhook: The key of who is to be told.
            event: The kind.
            time: When it happened, seconds since the epoch.
            facts: What else there is to say; keys of the body.

        Returns:
            The status that the receiver answered with, 2xx.

        Raises:
            Discard: The webhook is not in this node's file any more, or its receiver is gone (410).
            WebhookFailed: It was not told; another attempt may do.
            BadSecret: It could not be signed.
        """
        if webhook not in self._webhooks:
            raise Discard("this node's cluster.yaml does not have the webhook (any more)")
        url, secret_file = self._webhooks[webhook]
        when = datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")
        body = json.dumps({"event": event, "time": when, **facts}, ensure_ascii=False, default=str).encode()
        context = running_context.get()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "otpq",
            "Otpq-Delivery": "" if context is None else context.id,
            "Otpq-Signature": signature(read_secret(Path(secret_file)), int(clock.time()), body),
        }
        return self._post(Request(url, body, headers, method="POST"))  # noqa: S310 - http or https, as the node has checked

    def _post(self, request: Request) -> int:
        try:
            with self._opener.open(request, timeout=PATIENCE) as answer:
                return int(answer.status)
        except HTTPError as refused:
            refused.close()
            if refused.code == _GONE:
                raise Discard(f"{request.host} answered {_GONE}: it wants to hear no more") from None
            raise WebhookFailed(f"{request.host} answered {refused.code}") from None
        except (OSError, HTTPException) as error:  # URLError, timeouts and TLS among them
            raise WebhookFailed(f"{request.host} was not reached: {getattr(error, 'reason', error)!s}") from None
