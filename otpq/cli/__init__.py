"""The command line. Each command is one method of `Client` and a way to print what it gives; no logic is here.

What a command needs is imported when it runs, so that `otpq --help` is quick, and a node small.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """The program `otpq`."""
    import sys

    if sys.argv[1:2] == ["node"]:  # the one command that lives long; the program below has it too, for its help
        from otpq.cli.exits import one_line_errors
        from otpq.cli.node import run

        with one_line_errors():
            raise SystemExit(run(sys.argv[2:]))
    from otpq.cli.quick import run as run_quickly

    run_quickly(sys.argv[1:])
    from otpq.cli.program import app

    app(prog_name="otpq")
