"""A program as many a task is: it prints its arguments, sleeps, and fails in a fifth of its runs. It knows nothing of otpq.

    python examples/scripts/sample_task.py [--seconds 0.5] [--failing 0.2] some words

`examples/sample_script_producer.py` has a node run it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time


def main() -> int:
    """Print the words, sleep, fail now and then; gives the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--failing", type=float, default=0.2)
    parser.add_argument("words", nargs="*")
    said = parser.parse_args()
    print("sample:", *said.words)
    time.sleep(said.seconds)
    if random.random() < said.failing:  # noqa: S311 - no secret
        print("sample: this run fails", file=sys.stderr)
        return 1
    print("sample: done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
