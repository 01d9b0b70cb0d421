"""Networks by NETCONF in the lab: all that tests/shared has."""

from bridge_tests import *  # noqa: F403
