"""Control groups and `update` in the lab: all that tests/shared has."""

from limits_tests import *  # noqa: F403
