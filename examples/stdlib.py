"""Read Python's own library: one task for each of its 1,800 files, and the sum compared with a plain loop.

    python examples/stdlib.py          all of them
    python examples/stdlib.py 100      the first hundred, in an order that mixes small and large ones

The tasks are in `otpq/demo/stdlib.py`. `otpq demo` runs the same with fewer files, and kills a worker and the node meanwhile.
"""

from __future__ import annotations

import sys
import time

import otpq
from otpq.demo.stdlib import app, count, files, total


def main(limit: int | None = None) -> None:
    """Count by tasks, count by a loop, compare."""
    paths = files()[:limit]
    with otpq.start(app) as node:
        begun = time.monotonic()
        handles = node.client.submit_many([count.s(path) for path in paths])
        by_tasks = total(handle.get() for handle in handles)
        print(f"tasks: {by_tasks['files']} files in {time.monotonic() - begun:.1f} s")

    begun = time.monotonic()
    by_loop = total(count(path) for path in paths)  # a handler is still a function
    print(f"loop:  {by_loop['files']} files in {time.monotonic() - begun:.1f} s")

    print(f"{by_tasks['functions']} functions, {by_tasks['classes']} classes, {by_tasks['lines']} lines")
    print("equal:", "yes" if by_tasks == by_loop else "NO")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
