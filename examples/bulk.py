"""Five thousand tasks submitted at once, two thousand more for tomorrow; those are cancelled by their tag, the others counted.

python examples/bulk.py
python examples/bulk.py 100000
"""

from __future__ import annotations

import sys
import time

import otpq

app = otpq.App("bulk")


@app.task
def square(n: int) -> int:
    """Do next to nothing."""
    return n * n


def main(count: int = 5_000) -> None:
    """Submit, cancel, wait, count."""
    with otpq.start(app) as node:
        client = node.client
        begun = time.monotonic()
        handles = client.submit_many(square.s(n) for n in range(count))
        submitted = time.monotonic() - begun
        later = client.submit_many(square.options(delay=86_400, tags=["tomorrow"]).s(n) for n in range(2_000))

        total = sum(handle.get(timeout=300) for handle in handles)
        elapsed = time.monotonic() - begun
        print(f"{count} tasks submitted in {submitted:.2f} s, all done after {elapsed:.2f} s")
        print("their sum:", total, "as it should be" if total == sum(n * n for n in range(count)) else "WRONG")

        print("waiting for tomorrow:", client.counts()["default"]["pending"])
        print("cancelled:", client.cancel(otpq.Selector(tag="tomorrow", state="pending")))
        print("the first of them:", later[0].state)
        print("waiting for tomorrow:", client.counts()["default"]["pending"])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
