"""podman in the lab: all that tests/shared has."""

from podman_tests import *  # noqa: F403
