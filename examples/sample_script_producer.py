"""Three runs of a program that knows nothing of otpq: one now, one in a minute, one that may fail and is then tried again.

    python examples/sample_script_producer.py                  takes that minute
    python examples/sample_script_producer.py --minute 1       for those who cannot wait

The node is this program's own, and runs what lies in `examples/scripts`; `otpq submit-script` does the same from a shell.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import otpq

if TYPE_CHECKING:
    from collections.abc import Sequence

app = otpq.App("sample-scripts")  # no handlers: scripts need none
SCRIPTS = Path(__file__).resolve().parent / "scripts"


def main(minute: float) -> None:
    """Submit three, wait for them, and print what they printed."""
    script = SCRIPTS / "sample_task.py"
    with otpq.start(app, store="memory:", script_dirs=[SCRIPTS]) as node:
        client = node.client
        now = client.submit_script(script, ["--failing", 0, "now"], title="now")
        later = client.submit_script(script, ["--failing", 0, "in", "a", "minute"], title="in a minute", delay=minute)
        risky = client.submit_script(
            script, ["--failing", 0.5, "may", "fail"], title="may fail", retries=2, retry_delay=0.2
        )
        print("in a minute:", later.state)
        print("now:", now.get(timeout=30)["lines"])
        tell(client, client.wait([now, risky, later], timeout=30 + minute))


def tell(client: otpq.Client, tasks: Sequence[otpq.Task]) -> None:
    """What became of each, and each line that it printed, with its stream."""
    for task in tasks:
        print(f"{task.title}: {task.state} at attempt {task.attempt}{told_by(task.error)}")
        for line in client.logs(task.id):
            if line.stream != "life":
                print(f"  {line.stream}  {line.text}")


def told_by(error: Any) -> str:
    """The words of an error, if there is one."""
    return "" if error is None else f", {error.message!r}, exit code {error.details['exit_code']}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--minute", type=float, default=60.0, metavar="SECONDS", help="How long a minute is.")
    main(parser.parse_args().minute)
