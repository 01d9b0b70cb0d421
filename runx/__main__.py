"""`python -m runx`."""

from runx.cli.main import program

program()
