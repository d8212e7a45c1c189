from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "examples" / "deploy" / "otpq.service"
SYSTEMD = shutil.which("systemd-analyze")


@pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze is not installed here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    program = tmp_path / "otpq"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "otpq.service"
    unit.write_text(UNIT.read_text().replace("/opt/otpq/bin/otpq", str(program)))
    ran = subprocess.run(  # noqa: S603 - systemd's own checker
        [str(SYSTEMD), "verify", str(unit)], capture_output=True, text=True, check=False
    )
    wrong = [line for line in ran.stderr.splitlines() if "otpq.service" in line and "'DelegateSubgroup'" not in line]
    assert (ran.returncode, wrong) == (0, [])  # that one key is of systemd 254, and may be unknown here
