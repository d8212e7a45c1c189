"""Scripts as a child runs them, and all that they may do wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from otpq.worker.descendants import marked
from otpq.worker.kernel import is_portable
from tests.integration.worker.rounds import eventually

STAGE = Path(__file__).with_name("script_stage.py")
ROOT = Path(__file__).parents[3]
MARK = "OTPQ_INCARNATION"
FOREVER = 600
"""Seconds that what should be ended would live."""


class Place:
    """A script directory, and a process that runs scripts of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.incarnation = f"{path.name}-{os.getpid()}"
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(path),
            "PYTHONPATH": str(ROOT),
            "SECRET": "not for scripts",
            "OTPQ_NODE": "a@test",
            MARK: self.incarnation,
        }

    def write(self, source: str, name: str = "script", *, mode: int = 0o755) -> str:
        file = self.path / name
        file.write_text(source, encoding="utf-8")
        file.chmod(mode)
        return str(file)

    def sh(self, source: str, name: str = "script") -> str:
        return self.write(f"#!/bin/sh\n{source}\n", name)

    def py(self, source: str, name: str = "script.py") -> str:
        return self.write(source, name)

    def run(self, path: str | int, *, env: dict[str, str] | None = None, **order: Any) -> dict[str, Any]:
        ran = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, str(STAGE)],
            input=json.dumps({"dirs": [str(self.path)], "path": path, **order}),
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        came: dict[str, Any] = json.loads(ran.stdout)
        return came

    def survivors(self) -> list[int]:
        return marked(f"{MARK}={self.incarnation}")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


linux = pytest.mark.skipif(is_portable(), reason="needs a subreaper")


# --- what it gets, what it gives --------------------------------------------------------------------------------------


def test_a_script_gets_its_arguments_and_its_output_comes_line_by_line(place: Place) -> None:
    path = place.sh('for each in "$@"; do echo "$each"; done; echo oops >&2')
    came = place.run(path, kwargs={"args": ["a b", "", "ü"]})
    assert [line for stream, line in came["lines"] if stream == "out"] == ["a b", "", "ü"]
    assert [line for stream, line in came["lines"] if stream == "err"] == ["oops"]
    assert (came["value"]["exit_code"], came["value"]["signal"]) == (0, None)
    assert sorted(came["value"]["lines"]) == ["", "a b", "oops", "ü"]


def test_its_environment_is_a_clean_one(place: Place) -> None:
    path = place.py("import os, json; print(json.dumps(dict(os.environ)))")
    env = json.loads(place.run(path, kwargs={"env": {"MORE": "ä", "HOME": "/else"}})["lines"][0][1])
    del env["OTPQ_SCRIPT_RUN"]
    env.pop("LC_CTYPE", None)  # Python's own
    assert env == {
        "PATH": os.environ["PATH"],
        "HOME": "/else",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "OTPQ_TASK_ID": "ab" * 16,
        "OTPQ_NODE": "a@test",
        MARK: place.incarnation,
        "MORE": "ä",
    }


def test_it_stands_in_its_own_directory_or_where_it_is_told_to(place: Place) -> None:
    path = place.sh("pwd")
    assert place.run(path)["lines"] == [["out", str(place.path)]]
    assert place.run(path, kwargs={"cwd": "/"})["lines"] == [["out", "/"]]


def test_a_script_that_changes_its_directory_changes_nobody_else_s(place: Place) -> None:
    came = place.run(place.sh("cd /; pwd"))
    assert came["value"]["lines"] == ["/"]


def test_a_python_script_is_run_by_this_python_and_need_not_be_executable(place: Place) -> None:
    path = place.write("import sys; print(sys.executable, sys.argv[1:])", "program.py", mode=0o600)
    assert place.run(path, kwargs={"args": ["x"]})["value"]["lines"] == [f"{sys.executable} ['x']"]


def test_it_hears_nothing_on_its_standard_input_and_has_no_other_descriptors(place: Place) -> None:
    path = place.py("import os, sys; print(repr(sys.stdin.read()), sorted(map(int, os.listdir('/dev/fd')))[:-1])")
    assert place.run(path)["value"]["lines"] == ["'' [0, 1, 2]"]


def test_a_link_inside_the_directory_is_followed(place: Place) -> None:
    path = place.sh("echo here")
    (place.path / "link").symlink_to(path)
    assert place.run(str(place.path / "link"))["value"]["lines"] == ["here"]


def test_its_last_twenty_lines_are_its_result(place: Place) -> None:
    came = place.run(place.sh("seq 1 100"))
    assert came["value"]["lines"] == [str(n) for n in range(81, 101)]
    assert came["count"] == 100


# --- how it fails -----------------------------------------------------------------------------------------------------


def test_an_exit_code_is_a_failure_with_the_last_words_on_standard_error(place: Place) -> None:
    came = place.run(place.sh("echo before >&2; echo it is broken >&2; echo; echo out; exit 3"))
    kind, message, details = came["error"]
    assert (kind, message) == ("ScriptFailed", "exit code 3: it is broken")
    assert (details["exit_code"], details["signal"]) == (3, None)
    assert sorted(details["lines"]) == ["", "before", "it is broken", "out"]


def test_without_words_on_standard_error_the_last_line_is_told_if_there_is_one(place: Place) -> None:
    assert place.run(place.sh("echo a; echo b; echo; exit 1"))["error"][1] == "exit code 1: b"
    assert place.run(place.sh("exit 1"))["error"] == [
        "ScriptFailed",
        "exit code 1",
        {"exit_code": 1, "signal": None, "lines": []},
    ]


@pytest.mark.parametrize(
    ("how", "words"), [("KILL", "SIGKILL"), ("SEGV", "SIGSEGV"), ("TERM", "SIGTERM"), ("40", "signal 40")]
)
def test_a_script_that_a_signal_ends_says_which(place: Place, how: str, words: str) -> None:
    came = place.run(place.sh(f"echo last; kill -{how} $$"))
    assert came["error"] == [
        "ScriptFailed",
        f"killed by {words}: last",
        {"exit_code": None, "signal": words, "lines": ["last"]},
    ]


@pytest.mark.parametrize(
    ("source", "mode", "words"),
    [
        ("#!/bin/sh\n", 0o644, "Permission denied"),
        ("echo no first line\n", 0o755, "Exec format error"),
        ("#!/no/such/interpreter\n", 0o755, "No such file or directory"),
        ("", 0o755, "Exec format error"),
    ],
    ids=["not executable", "no first line", "no interpreter", "empty"],
)
def test_a_script_that_cannot_be_started_fails_with_the_system_s_words(
    place: Place, source: str, mode: int, words: str
) -> None:
    path = place.write(source, mode=mode)
    kind, message, details = place.run(path)["error"]
    assert kind == "ScriptFailed"
    assert message.startswith("it could not be started: ")
    assert words in message
    assert path in message
    assert details == {"exit_code": None, "signal": None, "lines": []}


def test_an_argument_that_is_too_large_for_the_system_is_told_so(place: Place) -> None:
    kind, message, _ = place.run(place.sh("true"), kwargs={"args": ["x" * 3_000_000]})["error"]
    assert kind == "ScriptFailed"
    assert "Argument list too long" in message


def test_a_large_argument_arrives_whole(place: Place) -> None:
    assert place.run(place.sh('echo "${#1}"'), kwargs={"args": ["x" * 100_000]})["value"]["lines"] == ["100000"]


def test_a_working_directory_that_is_not_there_is_told_so(place: Place) -> None:
    _, message, _ = place.run(place.sh("true"), kwargs={"cwd": "/no/such/place"})["error"]
    assert "/no/such/place" in message
    assert "working directory" in message


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"args": "text"}, "a list of texts"),
        ({"args": ["a", 3]}, "argument 2 of the script is 3"),
        ({"args": ["a\0b"]}, "without a null character"),
        ({"args": ["\ud800"]}, "argument 1"),
        ({"cwd": 3}, "cwd=3"),
        ({"env": ["A"]}, "a map of texts"),
        ({"env": {"A": 1}}, "env has 'A': 1"),
        ({"env": {"A=B": "x"}}, "env has 'A=B'"),
        ({"env": {"": "x"}}, "env has ''"),
        ({"env": {"A": "\0"}}, "env has 'A'"),
    ],
)
def test_what_no_program_can_be_given_is_refused_for_good(place: Place, kwargs: dict[str, Any], words: str) -> None:
    kind, message, _ = place.run(place.sh("echo it runs"), kwargs=kwargs)["error"]
    assert kind == "NotAllowed"
    assert words in message


def test_a_script_outside_the_directories_is_refused_also_behind_a_link(place: Place, tmp_path_factory: Any) -> None:
    outside = tmp_path_factory.mktemp("outside") / "script"
    outside.write_text("#!/bin/sh\n")
    outside.chmod(0o755)
    (place.path / "link").symlink_to(outside)
    for path in (str(outside), str(place.path / "link"), "script", str(place.path), "/bin/true", 3):
        kind, message, _ = place.run(path)["error"]
        assert kind == "NotAllowed", path
        assert "script" in message


def test_an_exit_code_that_somebody_else_took_is_not_taken_for_success(place: Place) -> None:
    kind, message, details = place.run(place.sh("exit 3"), ignores_children=True)["error"]
    assert (kind, details["exit_code"]) == ("ScriptFailed", None)
    assert "not known" in message


# --- what it prints ---------------------------------------------------------------------------------------------------


def test_a_last_line_without_an_end_and_one_that_is_no_text_come_through(place: Place) -> None:
    came = place.run(place.sh(r"printf 'a\377b\nlast'"))
    assert [line for _, line in came["lines"]] == ["a\ufffdb", "last"]


def test_a_hundred_megabytes_are_read_and_not_kept(place: Place) -> None:
    path = place.py("import os\nfor _ in range(1600): os.write(1, (b'x' * 1023 + b'\\n') * 64)\nprint('done')")
    came = place.run(path)
    assert (came["count"], came["characters"]) == (102_401, 102_400 * 1023 + 4)
    assert came["value"]["lines"][-1] == "done"
    assert came["peak"] < 100  # MiB; the interpreter takes twenty


def test_a_line_of_a_hundred_megabytes_is_not_kept_either(place: Place) -> None:
    path = place.py("import os\nfor _ in range(100): os.write(1, b'x' * 1_000_000)")
    came = place.run(path)
    assert came["characters"] == 100_000_000
    assert came["peak"] < 100


def test_a_script_that_closes_its_output_is_not_taken_for_ended(place: Place) -> None:
    came = place.run(place.sh("echo first; exec >&- 2>&-; sleep 0.3; touch went_on; exit 4"))
    assert came["error"][1] == "exit code 4: first"
    assert (place.path / "went_on").exists()


# --- how it is ended --------------------------------------------------------------------------------------------------


def test_a_cancelled_script_hears_term_once_and_what_it_says_then_is_heard(place: Place) -> None:
    path = place.py(
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('term'))\n"
        "print('begun')\n"
        "end = time.monotonic() + 0.4\n"
        "while time.monotonic() < end: time.sleep(0.01)\n"
        "print('bye')\n"
    )
    came = place.run(path, cues={"begun": "cancel"})
    assert came["error"][0] == "Cancel"
    assert [line for _, line in came["lines"]] == ["begun", "term", "bye"]


def test_a_script_of_a_task_that_is_cancelled_already_is_not_started(place: Place) -> None:
    came = place.run(place.sh("touch ran"), cues={"": "cancel"})
    assert came["error"][0] == "Cancel"
    assert not (place.path / "ran").exists()


@pytest.mark.parametrize("threads", [False, True])
def test_a_soft_timeout_ends_the_script_and_goes_on_out(place: Place, *, threads: bool) -> None:
    came = place.run(
        place.sh(f"echo begun; sleep {FOREVER} & trap 'echo bye; exit 0' TERM; wait"),
        cues={"begun": "soft"},
        threads=threads,
    )
    assert came["error"][0] == "SoftTimeout"
    assert place.survivors() == []


def test_a_script_that_ignores_term_is_killed_after_its_soft_timeout(place: Place) -> None:
    came = place.run(place.sh(f"trap '' TERM; echo begun; while :; do sleep {FOREVER}; done"), cues={"begun": "soft"})
    assert came["error"][0] == "SoftTimeout"
    assert place.survivors() == []


@pytest.mark.parametrize("where", ["start", "watch", "end"])
def test_a_soft_timeout_in_an_awkward_moment_leaves_nothing_behind(place: Place, where: str) -> None:
    if where != "end" and is_portable():
        pytest.skip("needs a subreaper: who was just started is known by its mark alone")
    source = f"sleep {FOREVER} &" if where == "end" else f"sleep {FOREVER}"
    came = place.run(place.sh(source), interrupted_at=where)
    assert came["error"][0] == "SoftTimeout"
    assert came["left"] == []
    assert place.survivors() == []


# --- what it leaves behind --------------------------------------------------------------------------------------------

DAEMON = """
import os, subprocess, sys, time
if os.fork() == 0:
    {setsid}
    if os.fork() == 0:
        {become}
    os._exit(0)
os.wait()
print("over")
"""
BECOME = f"os.execve('/bin/sleep', ['sleep', '{FOREVER}'], {{env}})"
IN_SESSION, OUT_OF_SESSION = "pass", "os.setsid()"


def daemon(setsid: str, env: str) -> str:
    return DAEMON.format(setsid=setsid, become=BECOME.format(env=env))


@linux
@pytest.mark.parametrize(
    ("setsid", "env", "threads"),
    [
        (IN_SESSION, "os.environ", False),
        (OUT_OF_SESSION, "os.environ", False),
        (OUT_OF_SESSION, "{}", False),
        (IN_SESSION, "{}", True),
        (OUT_OF_SESSION, "os.environ", True),
    ],
)
def test_its_daemons_end_with_it_though_they_hold_its_output_open(
    place: Place, setsid: str, env: str, *, threads: bool
) -> None:
    came = place.run(place.py(daemon(setsid, env)), threads=threads)
    assert came["value"]["lines"] == ["over"]
    assert came["left"] == []  # no zombie either
    assert place.survivors() == []


@linux
def test_daemons_that_start_more_while_they_are_ended_are_ended_too(place: Place) -> None:
    source = f"""
import os, time
def breed():
    end = time.monotonic() + {FOREVER}
    while time.monotonic() < end:
        if os.fork() == 0:
            os.setsid()
            time.sleep(0.002)
            if os.fork() != 0: os._exit(0)
            time.sleep(0.02)
            os._exit(0)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]: pass
        except ChildProcessError: pass
        time.sleep(0.005)
for _ in range(3):
    if os.fork() == 0: os.setsid(); breed()
time.sleep(0.2)
print("over")
"""
    came = place.run(place.py(source))
    assert came["value"]["lines"] == ["over"]
    assert came["left"] == []
    assert place.survivors() == []


def test_what_runs_in_its_group_ends_with_it_on_any_system(place: Place) -> None:
    came = place.run(place.sh(f"sleep {FOREVER} & echo over"), env={"OTPQ_PORTABLE": "1"})
    assert came["value"]["lines"] == ["over"]
    eventually(lambda: place.survivors() == [])  # nobody below waits for it, so it is gone a little later


@pytest.mark.parametrize("source", ["exit 3", "exec >&- 2>&-; sleep 0.1; exit 3"])
def test_the_end_of_a_script_is_seen_on_any_system(place: Place, source: str) -> None:
    came = place.run(place.sh(source), env={"OTPQ_PORTABLE": "1"})
    assert came["error"][1] == "exit code 3"


@linux
def test_a_script_that_ends_leaves_those_of_its_neighbours_alone(place: Place) -> None:
    quick = place.sh(
        f"while [ ! -e begun ]; do sleep 0.01; done; sleep {FOREVER} & echo over; touch quick.over", "quick"
    )
    slow = place.sh(
        "sh -c 'while [ ! -e gone ]; do sleep 0.01; done; echo inner' & touch begun\n"
        "while [ ! -e quick.over ]; do sleep 0.01; done; sleep 0.3; touch gone; wait; echo outer",
        "slow",
    )
    came = place.run(quick, threads=True, at_once=[{"path": quick}, {"path": slow}])
    assert [each["value"]["lines"] for each in came["all"]] == [["over"], ["inner", "outer"]]
    assert came["left"] == []


@pytest.mark.parametrize("threads", [False, True])
def test_what_earlier_tasks_left_in_the_child_is_not_the_script_s(place: Place, *, threads: bool) -> None:
    came = place.run(place.py(daemon(OUT_OF_SESSION, "os.environ")), threads=threads)
    assert came["lives"]
