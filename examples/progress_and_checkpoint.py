"""A long task tells how far it is, and goes on from its last checkpoint after its process was killed in the middle.

python examples/progress_and_checkpoint.py
"""

from __future__ import annotations

import os
import signal
import time

import otpq

app = otpq.App("checkpoints")


@app.task
def climb(ctx: otpq.Context, steps: int) -> dict[str, int]:
    """Go up so many steps. The context is given to it by the child; callers leave it out."""
    begin: int = ctx.last_checkpoint or 0
    ctx.log.info("it begins", step=begin)
    for step in range(begin + 1, steps + 1):
        time.sleep(0.05)
        ctx.progress(step / steps, f"step {step} of {steps}")
        ctx.checkpoint(step)  # durable when this returns
        if step == steps // 2 and ctx.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)  # the machine's memory ran out, say
    return {"began_after": begin, "attempt": ctx.attempt}


def main() -> None:
    """Watch one task from outside."""
    with otpq.start(app, workers=1, store="memory:") as node:
        handle = climb.submit(10)
        seen = None
        while not handle.ready:
            progress = handle.progress
            if progress != seen:
                seen = progress
                print("progress:", progress and f"{progress[0]:.0%} {progress[1]}")
            time.sleep(0.02)
        print("result:", handle.get(timeout=30))
        for line in node.client.logs(handle.id):
            print(f"  {line.stream:4}  {line.text}  {dict(line.fields)}")


if __name__ == "__main__":
    main()
