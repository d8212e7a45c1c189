"""Which scripts may be run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otpq.script_paths import locate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    directory = tmp_path / "scripts"
    (directory / "below").mkdir(parents=True)
    (directory / "job.sh").write_text("")
    (directory / "below" / "job.sh").write_text("")
    (tmp_path / "scripts-not").mkdir()
    (tmp_path / "scripts-not" / "job.sh").write_text("")
    return directory


def test_a_file_in_a_directory_or_below_may_be_run(scripts: Path) -> None:
    assert locate(str(scripts / "job.sh"), [str(scripts)]) is None
    assert locate(str(scripts / "below" / "job.sh"), ["/nowhere", str(scripts) + "/"]) is None
    assert locate(str(scripts / "job.sh"), ["/"]) is None


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("job.sh", "is no absolute path"),
        ("/etc/passwd", "lies in no directory of scripts"),
        ("{dir}/../scripts-not/job.sh", "lies in no directory of scripts"),
        ("{dir}-not/job.sh", "lies in no directory of scripts"),
        ("{dir}", "lies in no directory of scripts"),
        ("{dir}/below", "is no file"),
        ("{dir}/none.sh", "No such file or directory"),
        ("{dir}/a\0b", "is no absolute path"),
    ],
)
def test_what_is_wrong_is_told_with_what_is_allowed(scripts: Path, path: str, words: str) -> None:
    wrong = locate(path.format(dir=scripts), [str(scripts)])
    assert wrong is not None
    assert words in wrong
    assert wrong.endswith(f"scripts may lie in {scripts}")


def test_a_link_counts_by_what_it_leads_to(scripts: Path, tmp_path: Path) -> None:
    (scripts / "out").symlink_to(tmp_path / "scripts-not" / "job.sh")
    assert "lies in no directory" in str(locate(str(scripts / "out"), [str(scripts)]))
    (tmp_path / "in").symlink_to(scripts)
    assert locate(str(tmp_path / "in" / "job.sh"), [str(scripts)]) is None
    assert locate(str(scripts / "job.sh"), [str(tmp_path / "in")]) is None


def test_without_directories_nothing_may_be_run() -> None:
    assert "--script-dir" in str(locate("/bin/true", []))
