"""Tasks that make themselves: an interval and a cron expression on handlers, and a schedule added while the program runs.

python examples/scheduled_tasks.py
"""

from __future__ import annotations

import time

import otpq

app = otpq.App("scheduled")


@app.task(every=0.5)
def beat(ctx: otpq.Context) -> str:
    """Twice a second."""
    return f"{ctx.slot:%S.%f}"[:4]


# The sixth field is of seconds; with five, a minute is the smallest step.
@app.task(cron="* * * * * */2", timezone="Europe/Berlin", cron_args=["Berlin"], overlap="skip")
def report(place: str) -> str:
    """Every other second, by the clock of Berlin; not while the one before has not ended."""
    return f"from {place}"


@app.task
def greet(name: str) -> str:
    """What is scheduled while the program runs."""
    return f"Hello, {name}."


def main() -> None:
    """Let it run for a few seconds, and print what has run."""
    with otpq.start(app, workers=1, store="memory:") as node:
        node.schedules.add("hello", greet.s("you"), every=0.7)
        print("now:", node.schedules.run("hello").get(timeout=30))
        while sum(schedule.runs > 1 for schedule in node.schedules.list()) < 3:  # noqa: PLR2004 - all of them
            time.sleep(0.1)
        node.schedules.disable("hello")
        node.schedules.pause_all("that is enough")
        for schedule in node.schedules.list():
            when = f"every {schedule.every:g} s" if schedule.every else f"{schedule.cron} {schedule.timezone}"
            state = "enabled" if schedule.enabled else "disabled"
            last = node.client.handle(schedule.last_task or "").get(timeout=30)
            print(f"{schedule.name}: {when}, {state}, more than once: {schedule.runs > 1}, the last gave {last!r}")


if __name__ == "__main__":
    main()
