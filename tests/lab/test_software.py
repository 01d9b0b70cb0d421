"""Real software on a volume, over 9p: its locks, its syncs and its renames, and a machine that is killed."""

from software_tests import *  # noqa: F403
