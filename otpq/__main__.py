"""`python -m otpq`: the command line, as `otpq`."""

from otpq.cli import main

main()
