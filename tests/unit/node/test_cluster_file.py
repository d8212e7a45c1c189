"""What a cluster.yaml may say, what follows from it, and how it is told what it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from otpq.errors import UsageError
from otpq.node.cluster_file import ClusterFile
from otpq.node.config import NodeConfig
from otpq.node.pools import PoolSettings
from otpq.wire.node_name import NodeName
from otpq.wire.values import unpack

ROOT = Path(__file__).parents[3]
TWO = "nodes:\n  a@h:\n  b@h:\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cluster.yaml"


def read(file: Path, text: str) -> ClusterFile:
    file.write_text(text)
    return ClusterFile.read(file)


def config(file: Path, text: str, name: str = "a@h") -> NodeConfig:
    found = read(file, text)
    return NodeConfig(**found.settings(found.name(name)))


def names(texts: list[str]) -> tuple[NodeName, ...]:
    return tuple(map(NodeName.parse, texts))


# --------------------------------------------------------------- what follows


def test_the_first_node_leads_unless_one_has_a_store(file: Path) -> None:
    assert config(file, TWO).leads
    assert config(file, TWO).store_url == str(Path("~/.otpq/a@h/store.db").expanduser())
    found = read(file, TWO)
    assert found.settings(found.name("a@h"), Path("/d"))["store"] == "/d/store.db"
    assert config(file, TWO).seeds == names(["b@h"])  # whom it asks whether they know another leader
    assert not config(file, TWO, "b@h").leads
    assert config(file, TWO, "b@h").seeds == names(["a@h"])
    with_store = "nodes:\n  a@h:\n  b@h: {store: 'memory:'}\n"
    assert not config(file, with_store).leads
    assert config(file, with_store, "b@h").leads
    assert read(file, with_store).leader == NodeName.parse("b@h")


def test_nodes_of_a_file_that_joins_another_cluster_do_not_lead(file: Path) -> None:
    text = TWO + "join: [x@elsewhere, a@h]"
    assert read(file, text).leader is None
    assert not config(file, text).leads
    assert config(file, text).seeds == names(["x@elsewhere"])


def test_a_node_is_found_without_its_port(file: Path) -> None:
    found = read(file, "nodes: {'a@h:25000': {}}")
    assert found.name("a@h") == found.name(None) == NodeName.parse("a@h:25000")


def test_all_keys_become_settings(file: Path) -> None:
    (file.parent / "scripts").mkdir()
    found = config(
        file,
        """
nodes:
  a@h:
    store: tasks.db
    memory: 2G
    pools:
      default: {queues: [a, b], executor: thread, parallel: 3, min: 1, max: 4, tags: [x]}
      io: {min: 2}
  b@h:
app: jobs.py:app
script_dirs: [scripts]
memory: none
cookie_file: cookie
handlers: {email.send: {max_concurrency: 3, timeout: 300, no_retry_on: [ValueError]}}
queues: {default: {max_size: 10}}
schedules: {}
scheduler: {enabled: false}
retention: {succeeded: 2h, failed: forever, mail.send: {failed: 60}}
grace: 5
lease: 7.5
heartbeat: 0.5
log: {level: debug, format: json}
""",
    )
    here = file.parent
    assert found.store == str(here / "tasks.db")
    assert found.memory == 2048
    assert found.app == f"{here}/jobs.py:app"
    assert found.path == (str(here),)
    assert found.script_dirs == (here / "scripts",)
    assert found.cookie_file == here / "cookie"
    assert found.pools == (
        PoolSettings(queues=("a", "b"), executor="thread", parallel=3, least=1, most=4, tags=("x",)),
        PoolSettings(name="io", least=2),
    )
    assert found.handler_options == {
        "email.send": {"max_concurrency": 3, "timeout": 300, "no_retry_on": ["ValueError"]}
    }
    assert found.queue_sizes == {"default": 10}
    assert (found.retention.of("f", "succeeded"), found.retention.of("f", "failed")) == (7200.0, None)
    assert found.retention.of("mail.send", "failed") == 60.0
    assert (found.grace, found.lease, found.heartbeat) == (5.0, 7.5, 0.5)
    assert ClusterFile.read(file).log_level == "debug"
    assert ClusterFile.read(file).log_format == "json"
    other = NodeConfig(**ClusterFile.read(file).settings(NodeName.parse("b@h")))
    assert (other.memory, other.store, other.leads) == (None, None, False)


def test_what_is_not_said_is_left_to_the_node(file: Path) -> None:
    found = read(file, "nodes: {a@h: {}}")
    assert set(found.settings(found.name(None))) == {"name", "join", "path", "store"}
    assert (found.log_level, found.log_format) == (None, None)


def test_the_project_s_own_file_is_right() -> None:
    found = ClusterFile.read(ROOT / "cluster.yaml")
    assert [str(name) for name in found.names] == ["a@127.0.0.1", "b@127.0.0.2", "c@127.0.0.3"]
    configs = [NodeConfig(**found.settings(name)) for name in found.names]
    assert [each.leads for each in configs] == [True, False, False]
    assert all(each.app == f"{ROOT}/examples/quickstart.py:app" for each in configs)


# --------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "/cluster.yaml is empty"),
        ("a: [", "/cluster.yaml, line 1 is no YAML: expected the node content"),
        ("a: 1\n\tb: 2", "/cluster.yaml, line 2 is no YAML: found character '\\t' that cannot start any token"),
        ("- a", "the top in cluster.yaml, line 1: a list is not allowed: a map; the keys are nodes,"),
        ("grace: 3", "the top in cluster.yaml, line 1: it has no nodes; right would be nodes: {a@127.0.0.1: {}"),
        (TWO + "graze: 3", "unknown key 'graze' in cluster.yaml, line 4; did you mean 'grace'?"),
        (TWO + "zzz: 3", "unknown key 'zzz' in cluster.yaml, line 4; the keys are nodes, join,"),
        (TWO + "[1, 2]: 3", "the top in cluster.yaml, line 4: a key is a text"),
        (TWO + "grace: 3\nlease: 4\ngrace: 5", "line 6: the key 'grace' stands in line 4 already"),
        ("nodes:\n  a@h:\n  a@h:\n", "nodes in cluster.yaml, line 3: the key 'a@h' stands in line 2 already"),
        (
            "nodes:\n  a@h:\n  a@h:25000:\n",
            "nodes.a@h:25000 in cluster.yaml, line 3: node a@h stands in line 2 already",
        ),
        ("nodes:\n  a:\n", "nodes.a in cluster.yaml, line 2: 'a' is not a node name: it has no '@'"),
        ("nodes: [a@h]", "nodes in cluster.yaml, line 1: a list is not allowed: a map"),
        ("nodes:\n  a@h:\n    stor: x", "unknown key 'stor' in cluster.yaml, line 3; did you mean 'store'?"),
        (
            "nodes:\n  a@h: {store: 'postgres:x'}",
            "nodes.a@h.store in cluster.yaml, line 2: store 'postgres:x': unknown kind",
        ),
        (
            "nodes:\n  a@h: {store: x}\n  b@h: {store: y}",
            "nodes.b@h in cluster.yaml, line 3: b@h has a store, and so has a@h (line 2); one node of a cluster has",
        ),
        (TWO + "store: x", "store in cluster.yaml, line 4: a store stands under the one node that leads"),
        (TWO + "join: a@h", "join in cluster.yaml, line 4: 'a@h' is not allowed: a list, as in [a, b]"),
        (TWO + "join:\n- a@h\n- b", "join[1] in cluster.yaml, line 6: 'b' is not a node name"),
        (TWO + "app: jobs", "app in cluster.yaml, line 4: 'jobs' is not allowed: package.module:app or file.py:app"),
        (TWO + "memory: many", "memory in cluster.yaml, line 4: memory='many' is not allowed: MiB as a number"),
        (TWO + "script_dirs: x", "script_dirs in cluster.yaml, line 4: 'x' is not allowed: a list of texts"),
        (TWO + "cookie_file: 3", "cookie_file in cluster.yaml, line 4: 3 is not allowed: a file's path"),
        (TWO + "grace: soon", "grace in cluster.yaml, line 4: grace='soon' is not allowed: seconds, 0 or more"),
        (TWO + "grace: .nan", "grace in cluster.yaml, line 4: grace=nan is not allowed: seconds, 0 or more"),
        (TWO + "lease: 0", "lease in cluster.yaml, line 4: lease=0 is not allowed: seconds, more than 0"),
        (TWO + "lease: true", "lease in cluster.yaml, line 4: lease=True is not allowed: seconds, more than 0"),
        (
            TWO + "heartbeat: 5",
            "heartbeat in cluster.yaml, line 4: heartbeat=5 is not allowed: seconds, more than 0 and at most 1",
        ),
        (TWO + "grace: {}", "grace in cluster.yaml, line 4: a map is not allowed here"),
        (
            TWO + "log: {level: loud}",
            "log.level in cluster.yaml, line 4: 'loud' is not allowed: debug, info, warning, error",
        ),
        (TWO + "log: {format: jsn}", "'jsn' is not allowed: console, json; did you mean 'json'?"),
        (TWO + "scheduler: {enabled: 3}", "scheduler.enabled in cluster.yaml, line 4: 3 is not allowed: true or false"),
        (
            TWO + "schedules:\n  x: {cron: '* * * * *'}",
            "schedules.x in cluster.yaml, line 5: it has no task; right would be task: the handler's name",
        ),
        (
            TWO + "schedules:\n  x:\n    task: f\n    corn: '* * * * *'",
            "unknown key 'corn' in cluster.yaml, line 7; did you mean 'cron'?",
        ),
        (
            TWO + "schedules:\n  x:\n    task: f\n    cron: '61 * * * *'",
            "schedules.x.cron in cluster.yaml, line 7: '61 * * * *' is not allowed: the minute '61' cannot be",
        ),
        (
            TWO + "schedules:\n  x: {task: f, every: 0}",
            "schedules.x.every in cluster.yaml, line 5: 0 is not allowed: seconds, 0.01 or more",
        ),
        (
            TWO + "schedules:\n  x: {task: f}",
            "schedules.x in cluster.yaml, line 5: cron=None is not allowed: a schedule has cron= or every=",
        ),
        (
            TWO + "schedules:\n  x: {task: f, cron: '@daily', timezone: Europe/Berln}",
            "schedules.x.timezone in cluster.yaml, line 5: 'Europe/Berln' is not allowed: the name of a time zone, such as",
        ),
        (
            TWO + "schedules:\n  x: {task: f, every: 5, overlap: wait}",
            "schedules.x.overlap in cluster.yaml, line 5: 'wait' is not allowed: allow, skip or queue",
        ),
        (
            TWO + "schedules:\n  x: {task: f, every: 5, args: 3}",
            "schedules.x.args in cluster.yaml, line 5: 3 is not allowed: a list of arguments, as in [1, b]",
        ),
        (
            TWO + "schedules:\n  x: {task: f, every: 5, options: {retires: 3}}",
            "schedules.x.options in cluster.yaml, line 5: unknown option 'retires'; did you mean 'retries'?",
        ),
        (
            TWO + "schedules:\n  x: {task: f, every: 5, options: {eta: 2026-01-01T00:00:00Z}}",
            "schedules.x in cluster.yaml, line 5: eta=",
        ),
        (
            TWO + "handlers:\n  f:\n    retires: 3",
            "unknown key 'retires' in cluster.yaml, line 6; did you mean 'retries'?",
        ),
        (
            TWO + "handlers:\n  f:\n    timeout: x",
            "handlers.f.timeout in cluster.yaml, line 6: timeout='x' is not allowed",
        ),
        (
            TWO + "handlers: {f: {priority: 3}}",
            "handlers.f.priority in cluster.yaml, line 4: it is said in the decorator or",
        ),
        (
            TWO + "queues: {q: {max_size: -1}}",
            "queues.q.max_size in cluster.yaml, line 4: max_size=-1 is not allowed: a whole",
        ),
        (TWO + "queues: {q: 5}", "queues.q in cluster.yaml, line 4: 5 is not allowed: a map; the keys are max_size"),
        (TWO + "retention: {failed: 3y}", "retention.failed in cluster.yaml, line 4: retention='3y' is not allowed"),
        (
            TWO + "retention: {fialed: 3d}",
            "retention.fialed in cluster.yaml, line 4: it is one of cancelled, expired, failed",
        ),
        (
            TWO + "retention: {f: {running: 3d}}",
            "unknown key 'running' in cluster.yaml, line 4; the keys are cancelled",
        ),
        (
            TWO + "retention: {failed: -1}",
            "retention.failed in cluster.yaml, line 4: -1 is not allowed: a time such as 30d",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(file: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(file, text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        (
            "executor: threads",
            "default.executor in cluster.yaml, line 5: 'threads' is not allowed: process, thread",
        ),
        ("min: few", "default.min in cluster.yaml, line 5: 'few' is not allowed: a whole number, 0 or more"),
        ("max: 0", "default.max in cluster.yaml, line 5: 0 is not allowed: a whole number, 1 or more"),
        (
            "parallel: 4",
            "default.parallel in cluster.yaml, line 5: 4 is not allowed: 1: the executor 'process'",
        ),
        ("queues: default", "default.queues in cluster.yaml, line 5: 'default' is not allowed: a list of texts"),
        ("queues: []", "default.queues in cluster.yaml, line 5: a list is not allowed: one or more names"),
        ("tags: ['a,b']", "default.tags in cluster.yaml, line 5: a list is not allowed: "),
        (
            "workers: 4",
            "unknown key 'workers' in cluster.yaml, line 5; the keys are queues, executor, parallel, min, max",
        ),
    ],
)
def test_what_is_wrong_with_a_pool_is_told_with_its_line(file: Path, pool: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(file, f"nodes:\n  a@h:\n    pools:\n      default:\n        {pool}\n")
    assert said in str(caught.value)


def test_a_pool_has_a_name_that_can_be_one(file: Path) -> None:
    with pytest.raises(UsageError, match=r"nodes\.a@h\.pools\.a b in cluster\.yaml, line 4: pool='a b' is not allowed"):
        read(file, "nodes:\n  a@h:\n    pools:\n      a b: {}\n")


def test_a_file_that_cannot_be_read_is_told(file: Path) -> None:
    with pytest.raises(UsageError, match=r"cluster\.yaml cannot be read: No such file or directory"):
        ClusterFile.read(file)
    file.write_bytes(b"nodes: \xff")
    with pytest.raises(UsageError, match=r"cluster\.yaml is not UTF-8: invalid start byte at byte 7"):
        ClusterFile.read(file)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("aa@h", "cluster.yaml has no node 'aa@h'; did you mean 'a@h'?"),
        ("x@elsewhere", "cluster.yaml has no node 'x@elsewhere'; it has a@h, b@h"),
        (None, "which of the nodes in cluster.yaml is meant? --name is one of a@h, b@h"),
    ],
)
def test_a_node_that_is_not_in_it_is_told_who_is(file: Path, name: str | None, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(file, TWO).name(name)
    assert said in str(caught.value)


def test_nothing_in_a_file_makes_python_run_anything(file: Path) -> None:
    wrong: Any = "app: !!python/object/apply:os.getcwd []"
    with pytest.raises(UsageError, match="line 4"):
        read(file, TWO + wrong)
    with pytest.raises(UsageError, match="line 4"):
        read(file, TWO + "grace: !!python/name:os.getcwd x")


def test_schedules_of_the_file_reach_the_queue_server(file: Path) -> None:
    found = config(
        file,
        """
nodes: {a@h: }
schedules:
  nightly: {task: tidy, cron: "0 3 * * *", timezone: Europe/Berlin, args: [1, {deep: [x]}], kwargs: {to: a@b.c}, enabled: false}
  often: {task: beat, every: 0.5, misfire: skip, misfire_grace: 2, overlap: queue, max_catch_up: 7, jitter: 0.1, options: {priority: high}}
""",
    )
    nightly, often = found.schedules["nightly"], found.schedules["often"]
    assert (nightly.timing.cron, nightly.timing.timezone, nightly.enabled) == ("0 3 * * *", "Europe/Berlin", False)
    assert unpack(nightly.task.payload) == [[1, {"deep": ["x"]}], {"to": "a@b.c"}]
    assert (often.timing.every, often.misfire, often.misfire_grace, often.overlap) == (0.5, "skip", 2, "queue")
    assert (often.max_catch_up, often.jitter, often.task.priority) == (7, 0.1, 8)
    assert found.scheduler
    assert not config(file, TWO + "scheduler: {enabled: false}").scheduler
