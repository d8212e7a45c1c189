"""The programs of docs/web-apps.md: run where their frameworks are installed, and read everywhere."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import otpq

if TYPE_CHECKING:
    from tests.acceptance.conftest import Stage

PAGE = Path(__file__).parents[2] / "docs" / "web-apps.md"
BLOCKS = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))

CLASSES = {"client": otpq.AsyncClient, "handle": otpq.TaskHandle, "task": otpq.Task, "app": otpq.App}
"""What the programs' variables are; `report` and `make_report` are handlers."""

FASTAPI = """
from fastapi.testclient import TestClient
from web import web

def ask(how, where, **more):
    answer = getattr(browser, how)(where, **more)
    print(answer.status_code, answer.headers.get("Retry-After"), answer.text, flush=True)
    return answer.json()

with TestClient(web) as browser:
    id = ask("post", "/reports", params={"year": 2026}, headers={"Idempotency-Key": "a"})["id"]
    assert ask("post", "/reports", params={"year": 2026}, headers={"Idempotency-Key": "a"})["id"] == id
    while not ask("get", f"/reports/{id}")["ended"]:
        pass
    ask("get", "/reports/none")
    input()  # the node is ended meanwhile
    ask("post", "/reports", params={"year": 2026})
"""

DJANGO = """
import django
from django.conf import settings

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF="__main__", SECRET_KEY="no secret")
django.setup()
from django.test import Client
from django.urls import path
import views

urlpatterns = [path("reports", views.create), path("reports/<id>", views.look)]
browser = Client()

def ask(how, where, *data, **more):
    answer = getattr(browser, how)(where, *data, **more)
    print(answer.status_code, answer.headers.get("Retry-After"), answer.content.decode(), flush=True)
    return answer.json()

id = ask("post", "/reports", {"year": 2026}, headers={"Idempotency-Key": "a"})["id"]
assert ask("post", "/reports", {"year": 2026}, headers={"Idempotency-Key": "a"})["id"] == id
while not ask("get", f"/reports/{id}")["ended"]:
    pass
ask("get", "/reports/none")
input()  # the node is ended meanwhile
ask("post", "/reports", {"year": 2026})
"""


@pytest.mark.parametrize(("packages", "program"), [(("fastapi", "httpx"), FASTAPI), (("django",), DJANGO)])
def test_a_web_app_answers_as_the_page_says(stage: Stage, packages: tuple[str, ...], program: str) -> None:
    for package in packages:
        pytest.importorskip(package)
    for name, text in BLOCKS.items():
        (stage.home / name).write_text(text)
    stage.environment["OTPQ_NODE"] = stage.name
    node = stage.node("--app", f"{stage.home / 'tasks.py'}:app")
    (stage.home / "program.py").write_text(program)
    web = stage.program("program.py")
    assert web.stdin is not None
    assert web.stdout is not None
    said = []
    for line in web.stdout:
        said.append(line)
        if line.startswith("404 "):
            node.kill()
            web.stdin.write("\n")
            web.stdin.flush()
    _, err = web.communicate(timeout=60)
    assert web.returncode == 0, err
    made, _again, *looks, unknown, down = said
    assert made.startswith("202 None ")
    assert looks[-1].startswith("200 None ")
    last = json.loads(looks[-1].split(" ", 2)[2])
    assert (last["state"], last["result"]) == ("succeeded", {"year": 2026, "pages": 12})
    assert unknown.startswith("404 ")
    assert down.startswith("503 5 ")


@pytest.mark.parametrize("name", ["tasks.py", "web.py", "views.py"])
def test_the_page_uses_what_there_is(name: str) -> None:
    """No run: only that the names exist, for where the frameworks are not installed."""
    seen = 0
    for part in ast.walk(ast.parse(BLOCKS[name])):
        if not isinstance(part, ast.Attribute) or not isinstance(part.value, ast.Name):
            continue
        owner = part.value.id
        if owner == "otpq":
            assert part.attr in otpq.__all__
            seen += 1
        elif owner in CLASSES:
            of = CLASSES[owner]
            assert hasattr(of, part.attr) or part.attr in getattr(of, "__struct_fields__", ()), f"{owner}.{part.attr}"
            seen += 1
        elif owner in {"report", "make_report"}:
            assert hasattr(otpq.Handler, part.attr)
            seen += 1
    assert seen
