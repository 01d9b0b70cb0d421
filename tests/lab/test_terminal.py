"""Terminals in the lab: all that tests/shared has."""

from terminal_tests import *  # noqa: F403
