"""A hostile guest on a bridge, at the machine's own speed: all that tests/shared has."""

from anti_spoofing_tests import *  # noqa: F403
