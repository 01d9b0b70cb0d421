"""Pods in the lab: all that tests/shared has."""

import pytest

from pod_tests import *  # noqa: F403

pytestmark = pytest.mark.alone
