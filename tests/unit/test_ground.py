"""The promises of the README that can be checked without running them."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def lines_of(name: str) -> list[str]:
    return [line.strip() for line in (ROOT / name).read_text().splitlines()]


def test_ci_runs_exactly_the_test_line_of_the_readme() -> None:
    readme = [line for line in lines_of("README.md") if line.startswith("python3 -m venv") and line.endswith("pytest")]
    ci = [line for line in lines_of(".ci/run") if line.startswith("python3 -m venv")]
    assert len(readme) == 1
    assert ci == readme


def test_ci_runs_the_processes_tests_without_the_means_of_linux_as_the_docs_say() -> None:
    (line,) = [line for line in lines_of("docs/testing.md") if line.startswith("OTPQ_PORTABLE=1 .venv")]
    assert line in lines_of(".ci/run")
    assert [path for path in line.split()[2:] if not (ROOT / path).exists()] == []


def test_the_readme_has_one_line_that_ends_in_running_otpq() -> None:
    (line,) = [line for line in lines_of("README.md") if line.startswith("python3 -m venv") and "[dev]" not in line]
    assert line.endswith("&& .venv/bin/otpq demo")
    assert "otpq" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def test_every_file_that_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_ruff_ignore_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    block = text.split("ignore = [", 1)[1].split("\n]", 1)[0]
    assert [line for line in block.splitlines() if line.strip() and "#" not in line] == []


def test_the_package_is_typed_and_its_dependencies_are_bounded_where_they_bit() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (ROOT / "otpq" / "py.typed").is_file()
    assert "pykka>=4.5,<5" in project["dependencies"]
