"""Tasks that depend on each other: a chain, a group and a chord, a graph; one that fails half way and is started again.

python examples/chain_workflow.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import otpq
from otpq import chain, chord, group

app = otpq.App("workflows")


@app.task
def price(articles: list[float]) -> float:
    """Add up."""
    return sum(articles)


@app.task
def with_tax(net: float, rate: float) -> float:
    """Take the result of the task before as first argument, and what was written as the others."""
    return round(net * (1 + rate), 2)


@app.task
def receipt(gross: float) -> str:
    """Word it."""
    return f"to pay: {gross:.2f}"


@app.task
def count(text: str) -> int:
    """Count words."""
    return len(text.split())


@app.task
def total(counts: list[int]) -> int:
    """Take all results of a group, in its order."""
    return sum(counts)


@app.task(retries=0)
def upload(text: str, place: str) -> str:
    """Fail while there is no such directory."""
    Path(place, "receipt").write_text(text, encoding="utf-8")
    return "uploaded"


@app.task
def report(results: list[object]) -> str:
    """Take the results of two tasks that it comes after."""
    return " and ".join(map(str, results))


def main() -> None:
    """Submit each as a whole, and wait for its end."""
    texts = ["one two three", "four five", "six"]
    with otpq.start(app, store="memory:") as node:
        bill = price.s([10.0, 5.5]) | with_tax.s(0.2) | receipt.s()
        print("chain:", bill.submit().get(timeout=30))
        print("group:", group(count.s(text) for text in texts).submit().get(timeout=30))
        print("chord:", chord((count.s(text) for text in texts), total.s()).submit().get(timeout=30))

        graph = otpq.Workflow(title="what is paid, and for how many words")
        paid = graph.add(bill)
        words = graph.add(chord([count.s(text) for text in texts], total.s()))
        graph.add(report.s(), after=[paid, words])
        print("graph:", graph.submit().get(timeout=30))

        with tempfile.TemporaryDirectory() as directory:
            place = Path(directory, "mounted")
            handle = chain(price.s([1.0]), receipt.s(), upload.s(str(place)), report.si(["all", "well"])).submit()
            try:
                handle.get(timeout=30)
            except otpq.TaskFailed as failure:
                print("failed:", failure.error and failure.error.type)
            handle.wait(timeout=30)
            print(node.client.workflow(handle.workflow).picture())
            place.mkdir()
            print("again:", handle.retry())
            print("result:", handle.get(timeout=30))


if __name__ == "__main__":
    main()
