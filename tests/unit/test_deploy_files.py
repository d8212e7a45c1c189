"""The files of examples/deploy: each option as its reader takes it, each name the one that is meant; and docs/operations.md."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from typer.main import get_command

from otpq.cli import program, status
from otpq.cli.command import made
from otpq.cli.exits import COOKIE, TAKEN, USAGE
from otpq.cli.node import _environment, _given, _settings
from otpq.node.config import NodeConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "examples" / "deploy"
POD_IP = "10.1.2.3"


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a node, with its app."""
    (tmp_path / "jobs.py").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config_of(words: Sequence[str], environment: Mapping[str, str]) -> NodeConfig:
    """What `otpq node` would be with these words."""
    assert words[0] == "node"
    return NodeConfig(**_settings({**_environment(environment), **_given(words[1:])}, None))


def check_probe(words: Sequence[str]) -> float:
    """Have `otpq health` read its words; its --timeout."""
    assert words[:2] == ["otpq", "health"]
    timeout: float = made("health", status.health).make_context("health", list(words[2:])).params["timeout"]
    return timeout


# ------------------------------------------------------------ systemd


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(DEPLOY / "otpq.service")
    return parser


@pytest.mark.usefixtures("app")
def test_the_unit_starts_a_node_and_gives_it_the_time_that_it_needs() -> None:
    service = unit()["Service"]
    config = config_of(shlex.split(service["ExecStart"])[1:], {})
    assert config.leads
    assert config.app is not None
    assert float(service["TimeoutStopSec"]) > config.grace
    assert service["Type"] == "notify"
    assert "HUP" in service["ExecReload"]
    assert set(map(int, service["RestartPreventExitStatus"].split())) == {USAGE, TAKEN, COOKIE}


# ------------------------------------------------------------ a container


def instructions() -> Iterator[tuple[str, str]]:
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        name, _, words = line.partition(" ")
        if name.isupper():
            yield name, words


@pytest.mark.usefixtures("app")
def test_the_image_starts_a_node_and_can_be_built() -> None:
    said = dict(instructions())
    config = config_of(json.loads(said["CMD"]), {})
    assert (config.leads, config.app is not None) == (True, True)
    assert json.loads(said["ENTRYPOINT"]) == ["otpq"]
    seconds = re.search(r"--timeout=(\d+)s", said["HEALTHCHECK"])
    assert seconds is not None
    assert check_probe(json.loads(said["HEALTHCHECK"].partition("CMD ")[2])) < int(seconds[1])
    for name, words in instructions():
        if name == "COPY":
            assert (ROOT / words.split()[0]).exists(), words


# ------------------------------------------------------------ Kubernetes


def manifests() -> dict[tuple[str, str], dict[str, Any]]:
    text = (DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text)}


def pod_of(kind: str, name: str) -> dict[str, Any]:
    template = manifests()[kind, name]["spec"]["template"]
    assert template["metadata"]["labels"] == manifests()[kind, name]["spec"]["selector"]["matchLabels"]
    pod: dict[str, Any] = template["spec"]
    return pod


def node_of(pod: dict[str, Any]) -> NodeConfig:
    (container,) = pod["containers"]
    environment = {each["name"]: each.get("value", POD_IP).replace("$(POD_IP)", POD_IP) for each in container["env"]}
    return config_of(container["args"], environment)


@pytest.mark.usefixtures("app")
def test_the_nodes_of_the_manifests_find_each_other() -> None:
    found = manifests()
    leader, worker = node_of(pod_of("StatefulSet", "otpq-leader")), node_of(pod_of("Deployment", "otpq-workers"))
    service = found["Service", "otpq-leader"]
    assert leader.leads
    assert not worker.leads
    assert worker.join == (leader.name,)
    assert leader.name.host == service["metadata"]["name"] == found["StatefulSet", "otpq-leader"]["spec"]["serviceName"]
    assert [port["port"] for port in service["spec"]["ports"]] == [leader.name.port]
    assert service["spec"]["selector"] == {"app": "otpq-leader"}
    assert service["spec"]["publishNotReadyAddresses"], "or the readiness probe waits for itself"
    assert leader.listens_at == f"tcp://0.0.0.0:{leader.name.port}"
    assert worker.name.host == POD_IP
    assert (leader.staffed, len(worker.staffed)) == ((), 1)


@pytest.mark.parametrize(("kind", "name"), [("StatefulSet", "otpq-leader"), ("Deployment", "otpq-workers")])
@pytest.mark.usefixtures("app")
def test_pods_have_time_to_drain_probes_that_end_and_volumes_that_are_there(kind: str, name: str) -> None:
    pod = pod_of(kind, name)
    assert pod["terminationGracePeriodSeconds"] > node_of(pod).grace
    (container,) = pod["containers"]
    probes = [probe for key, probe in container.items() if key.endswith("Probe")]
    assert len(probes) >= 2
    for probe in probes:
        assert check_probe(probe["exec"]["command"]) < probe["timeoutSeconds"]
    assert "--alive" in container["livenessProbe"]["exec"]["command"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in manifests()[kind, name]["spec"].get("volumeClaimTemplates", ())}
    (cookie,) = pod["initContainers"]
    assert {mount["name"] for each in (container, cookie) for mount in each["volumeMounts"]} <= volumes
    assert cookie["command"][:3] == ["install", "-m", "600"]


# ------------------------------------------------------------ the page


def test_what_the_page_quotes_is_in_the_files() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    quoted = dict(re.findall(r"^```(ini|dockerfile|yaml)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    assert quoted["ini"] == (DEPLOY / "otpq.service").read_text(encoding="utf-8")
    assert quoted["dockerfile"] == (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    assert quoted["yaml"] in (DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["operations", "troubleshooting"])
def test_the_commands_of_the_pages_exist(page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^    |\$ |\$\(|bin/|jobs )otpq ([a-z][a-z-]+)", text, re.MULTILINE))
    known = set(get_command(program.app).commands)  # type: ignore[attr-defined]
    assert "health" in named
    assert named <= known
