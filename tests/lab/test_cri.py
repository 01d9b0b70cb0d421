"""Pods in the lab: all that tests/shared has."""

from pod_tests import *  # noqa: F403
