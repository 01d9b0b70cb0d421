"""Where runx's own files are. Only `os` is imported: the fast verbs load it."""

import os

DEFAULT_STATE_ROOT = "/run/runx"
FILTER_CACHE = "/var/cache/runx/seccomp"
"""Where compiled seccomp profiles are kept, for root alone; may be deleted at any time."""

_PACKAGE_DIR = os.path.dirname(os.path.abspath(__file__))
LIBRARY_DIR = os.path.dirname(_PACKAGE_DIR)
"""What sys.path needs for `import runx`: PREFIX/lib/runx when installed, else the checkout."""


def machine() -> str:
    """The architecture of guests on this host, as `./build` names it: x86_64, aarch64 or arm."""
    name = os.uname().machine
    return "arm" if name.startswith("armv") else name


def assets_dir() -> str:
    """The directory of the guest's `kernel` and `initrd`: PREFIX/share/runx/ARCH when installed, else the checkout's out/ARCH.

    It need not exist: `runx plan` shows where the files would be.
    """
    prefix = os.path.dirname(os.path.dirname(LIBRARY_DIR))
    installed = LIBRARY_DIR == os.path.join(prefix, "lib", "runx")
    return os.path.join(prefix, "share", "runx", machine()) if installed else os.path.join(LIBRARY_DIR, "out", machine())
