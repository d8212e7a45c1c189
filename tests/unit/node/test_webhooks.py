"""What a cluster.yaml may say of webhooks, and how it is told what it may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otpq.errors import UsageError
from otpq.node.cluster_file import ClusterFile
from otpq.node.config import NodeConfig

if TYPE_CHECKING:
    from pathlib import Path

ONE = "nodes:\n  a@h:\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cluster.yaml"


def read(file: Path, webhook: str) -> ClusterFile:
    file.write_text(f"{ONE}webhooks:\n  - {webhook}\n")
    return ClusterFile.read(file)


def test_webhooks_are_what_the_file_says(file: Path) -> None:
    secret = file.with_name("s")
    secret.write_text("0123456789abcdef\n")
    secret.chmod(0o600)
    found = read(file, "{url: 'https://h/x', events: [failed, node_down], name: 'mail.*', queue: q, secret_file: s}")
    config = NodeConfig(**found.settings(found.names[0]))
    (webhook,) = config.webhooks
    assert (webhook.url, webhook.events, webhook.name, webhook.queue) == (
        "https://h/x",
        ("failed", "node_down"),
        "mail.*",
        "q",
    )
    assert (webhook.secret_file, webhook.via) == (secret, "default")
    file.write_text(f"{ONE}webhooks:\n")
    assert ClusterFile.read(file).settings(found.names[0])["webhooks"] == ()


@pytest.mark.parametrize(
    ("webhook", "said"),
    [
        ("x", "webhooks[0] in cluster.yaml, line 4: 'x' is not allowed: a map; the keys are url,"),
        ("{url: 'https://h/'}", "webhooks[0] in cluster.yaml, line 4: it has no events; right would be {url: https"),
        ("{urls: 'https://h/'}", "unknown key 'urls' in cluster.yaml, line 4; did you mean 'url'?"),
        (
            "{url: h, events: [failed], secret_file: s}",
            "webhooks[0].url in cluster.yaml, line 4: url='h' is not allowed",
        ),
        (
            "{url: 'https://h/', events: [faild], secret_file: s}",
            "webhooks[0].events in cluster.yaml, line 4: events='faild' is not allowed",
        ),
        ("{url: 'https://h/', events: [faild], secret_file: s}", "did you mean 'failed'"),
        ("{url: 'https://h/', events: failed, secret_file: s}", "a list of events, as in [failed, node_down]"),
        (
            "{url: 'https://h/', events: [failed], secret_file: s,\n     via: hooks}",
            "webhooks[0].via in cluster.yaml, line 5: deliveries wait in queue 'hooks', which no pool of this file serves;",
        ),
        (
            "{url: 'https://h/', events: [failed], secret_file: s}\n  - {url: 'https://h/', events: [expired], secret_file: t}",
            "webhooks[1] in cluster.yaml, line 5: another webhook has the same url and another secret_file",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(file: Path, webhook: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(file, webhook)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "text", "said"),
    [
        (0o640, "0123456789abcdef", "others may read the secret at"),
        (0o600, "short", "fewer than 16 characters; make one: openssl rand -hex 32"),
        (None, "", "cannot be read: No such file or directory"),
    ],
)
def test_a_secret_that_is_none_is_told_and_not_what_is_in_it(
    file: Path, mode: int | None, text: str, said: str
) -> None:
    found = read(file, "{url: 'https://h/x', events: [failed], secret_file: s}")
    if mode is not None:
        file.with_name("s").write_text(text)
        file.with_name("s").chmod(mode)
    with pytest.raises(UsageError) as caught:
        NodeConfig(**found.settings(found.names[0]))
    assert said in str(caught.value)
    assert not text or text not in str(caught.value)
