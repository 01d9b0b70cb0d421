"""A hostile guest on a bridge, in a virtual machine: all that tests/shared has."""

from anti_spoofing_tests import *  # noqa: F403
