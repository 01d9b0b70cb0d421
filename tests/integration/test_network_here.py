"""Networks by NETCONF at the machine's own speed: all that tests/shared has."""

from bridge_tests import *  # noqa: F403
