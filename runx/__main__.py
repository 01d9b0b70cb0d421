"""`python -m runx`."""

from runx.cli import program

program()
