"""containerd's ctr runs containers with runx at the machine's own speed: all that tests/shared has."""

from ctr_tests import *  # noqa: F403
