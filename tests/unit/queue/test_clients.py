"""What clients are owed for their submissions."""

from __future__ import annotations

from otpq.core import effects as ef
from otpq.queue.clients import Clients
from otpq.wire import messages as m

SESSION = b"s" * 16


def test_a_warning_names_the_place_in_the_message_though_a_part_of_it_was_refused() -> None:
    clients = Clients("a@h", "1", 1)
    clients.hello(b"peer", m.Hello([m.VERSION], SESSION))
    clients.outbox.clear()
    message = m.Submit(1, [m.NewTask(bytes([n]) * 16, name, b"") for n, name in enumerate(("f", "g", "gg"))])
    client = clients.submit(SESSION, message).event().client

    refused = ef.Refused(client=client, request=1, refusals=[ef.Refusal(0, "unknown_handler", "no")])
    left = clients.refused(refused)
    assert left is not None
    ids = [task.id for task in left.event().tasks]
    warnings = [ef.Refusal(1, "unknown_handler", "no handler 'gg' is known")]
    clients.accepted(ef.Accepted(client=client, request=1, ids=ids, warnings=warnings))

    ((peer, accepted),) = clients.outbox
    assert peer == b"peer"
    assert accepted == m.Accepted(
        1,
        [m.Refusal(0, "unknown_handler", "no")],
        [],
        [m.Refusal(2, "unknown_handler", "no handler 'gg' is known")],
    )
