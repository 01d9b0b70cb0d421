"""Pods that are one virtual machine, in the lab: all that tests/shared has."""

import pytest

from machine_pod_tests import *  # noqa: F403

pytestmark = pytest.mark.alone
