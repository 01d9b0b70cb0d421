"""Terminals at the machine's own speed: all that tests/shared has."""

from terminal_tests import *  # noqa: F403
