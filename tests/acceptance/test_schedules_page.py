"""The programs of docs/schedules.md, run as they stand, but for the app's name: it is the node's, and so a port."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from otpq.node.cluster_file import ClusterFile
from tests.pages import files_of

if TYPE_CHECKING:
    from tests.acceptance.conftest import Stage

PAGE = Path(__file__).parents[2] / "docs" / "schedules.md"


def test_the_programs_of_the_page_give_what_it_says(stage: Stage) -> None:
    for name, text in files_of(PAGE.read_text(encoding="utf-8")).items():
        (stage.home / name).write_text(text.replace('App("shop")', f'App("{stage.plain}")'), encoding="utf-8")
    program = stage.home / "program.py"
    program.write_text(f"from pathlib import Path\nfrom tests.pages import run_page\nrun_page(Path({str(PAGE)!r}))\n")
    ran = stage.python(program)
    assert ran.returncode == 0, ran.stderr


def test_the_file_of_the_page_can_be_read(stage: Stage) -> None:
    (yaml,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    file = stage.home / "cluster.yaml"
    file.write_text(f"nodes: {{a@127.0.0.1: }}\n{yaml}")
    read = ClusterFile.read(file)
    schedules = read.settings(read.names[0])["schedules"]
    assert list(schedules) == ["nightly", "hello"]
    assert not schedules["hello"].enabled
