"""podman runs containers with runx at the machine's own speed: all that tests/shared has."""

from podman_tests import *  # noqa: F403
