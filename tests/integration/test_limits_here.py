"""Control groups and `update` at the machine's own speed: all that tests/shared has."""

from limits_tests import *  # noqa: F403
