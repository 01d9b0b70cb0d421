"""Pods that are one virtual machine, in the lab: all that tests/shared has."""

from kube_play_tests import *  # noqa: F403
from machine_pod_tests import *  # noqa: F403
from podman_tests import engine  # noqa: F401  # a fixture
