"""What a cluster.yaml says of webhooks, and whether this machine has the secrets that they are signed with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from otpq.core.webhooks import Webhook
from otpq.errors import BadOption
from otpq.worker.webhook_secret import BadSecret, read_secret

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from otpq.node.yaml_spots import Spot

__all__ = ["check_secrets", "webhooks_of"]

_KEYS: Final = ("url", "events", "name", "queue", "secret_file", "via")
_NEEDED: Final = ("url", "events", "secret_file")


def webhooks_of(spot: Spot, base: Path, served: Collection[str] | None) -> tuple[Webhook, ...]:
    """The webhooks of the file.

    Args:
        spot: The list.
        base: Where files are that are named there.
        served: The queues that the file's pools serve; None: there may be others.

    Raises:
        BadFile: Something there cannot be right; the message says where, and what would be.
    """
    found: dict[str, Webhook] = {}
    items = [] if spot.is_empty else spot.items()
    webhooks = tuple(_webhook(item, base, served) for item in items)
    for item, webhook in zip(items, webhooks, strict=True):
        if found.setdefault(webhook.url, webhook).secret_file != webhook.secret_file:
            raise item.wrong("another webhook has the same url and another secret_file; one receiver has one")
    return webhooks


def _webhook(spot: Spot, base: Path, served: Collection[str] | None) -> Webhook:
    said = spot.entries(_KEYS)
    for key in _NEEDED:
        if key not in said:
            right = "{url: https://host/path, events: [failed], secret_file: FILE}"
            raise spot.wrong(f"it has no {key}; right would be {right}")
    options: dict[str, Any] = {key: said[key].text() for key in ("url", "name", "queue", "via") if key in said}
    options["events"] = said["events"].texts("a list of events, as in [failed, node_down]")
    options["secret_file"] = base / Path(said["secret_file"].text("a file's path")).expanduser()
    try:
        webhook = Webhook(**options)
    except BadOption as error:
        raise said[error.option].wrong(str(error)) from None
    if served is not None and webhook.via not in served:
        words = f"deliveries wait in queue {webhook.via!r}, which no pool of this file serves; via is one of "
        raise said.get("via", spot).wrong(words + ", ".join(sorted(served)))
    return webhook


def check_secrets(webhooks: Iterable[Webhook]) -> None:
    """Raise `BadOption` if the file of a webhook's secret cannot be used here."""
    for webhook in webhooks:
        try:
            read_secret(webhook.secret_file)
        except BadSecret as error:
            raise BadOption("secret_file", str(webhook.secret_file), f"a file of mode 0600; {error}") from None
