"""Real software on a volume, in the double: the scripts that the lab runs over 9p.

RUNX_SOFTWARE=1 asks for it, as a root of Debian is made for the programs, which takes minutes.
"""

import os

import pytest

from software_tests import *  # noqa: F403

pytestmark = pytest.mark.skipif("RUNX_SOFTWARE" not in os.environ, reason="RUNX_SOFTWARE=1 fetches packages of Debian")
