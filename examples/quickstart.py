"""The whole of otpq in one file: an app, a node of the program's own, tasks.

python examples/quickstart.py
"""

from __future__ import annotations

import asyncio

import otpq

app = otpq.App("quickstart")


@app.task
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@app.task(name="greeting.send", retries=5, priority="high")
async def greet(name: str, *, loud: bool = False) -> str:
    """Greet somebody, after a moment."""
    await asyncio.sleep(0.01)
    return f"Hello, {name}{'!' if loud else '.'}"


@app.default
def any_map(payload: dict[str, object]) -> list[str]:
    """Get each map that names no job."""
    return sorted(payload)


if __name__ == "__main__":
    with otpq.start(app):  # in a process of its own; it ends with this block
        print("add:", add.submit(20, 22).get(timeout=30))
        print("greet:", greet.options(tags=["example"]).submit("world", loud=True).get(timeout=30))

        # By name, from a program that does not have the functions:
        print("by name:", otpq.submit_task("greeting.send", "you").get(timeout=30))
        print("by map:", otpq.submit_task({"job": "quickstart.add", "params": [1, 2]}).get(timeout=30))
        print("default:", otpq.submit_task({"colour": "blue", "size": 3}).get(timeout=30))
