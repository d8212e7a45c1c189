"""The command line. Each command is one method of `Client` and a way to print what it gives; no logic is here.

What a command needs is imported when it runs, so that `otpq --help` is quick.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """The program `otpq`."""
    from otpq.cli.program import app

    app(prog_name="otpq")
