"""Paths of runx's own files. Imports little: fast commands load this file."""

import os
import stat

from runx.errors import RunxError, reason

HOST_CONFIG = "/etc/runx/runx.toml"
DEFAULT_STATE_ROOT = "/run/runx"
DEFAULT_IMAGES = "/var/lib/runx"
FILTER_CACHE = "/var/cache/runx/seccomp"
"""Directory of compiled seccomp profiles, for root alone. It may be deleted at any time."""

MACS = "/run/runx-macs"
"""Directory with a link for each MAC address that runx has given to a container of this host."""

VIRT_CAPS = "/run/runx-virt-caps"
"""What `xl info` says of the hardware, kept until the next boot (compiler/host/virt_caps.py)."""

LOOPS = "/run/runx-loops"
"""Directory with a link for each loop device of a container, for udev's rules (host-assets/udev.rules)."""

PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH when the environment has none. Programs that make file systems are looked for here in any case."""

_CONFIG_LIMIT = 16 << 20
"""Characters of a runx.toml that are read. The compiler refuses a larger file."""

_PACKAGE_DIR = os.path.dirname(os.path.abspath(__file__))
LIBRARY_DIR = os.path.dirname(_PACKAGE_DIR)
"""Directory for sys.path, to `import runx`: PREFIX/lib/runx when installed, else the checkout."""


def state_root(file: str = "") -> str:
    """Directory of the containers' state without --root: paths.state of runx.toml, else DEFAULT_STATE_ROOT.

    file: read instead of /etc/runx/runx.toml. Raises RunxError for a file that cannot be read, and for one that is not TOML if it
    may hold the setting.
    """
    path = file or HOST_CONFIG
    try:
        # Without O_NONBLOCK, a fifo would hang the caller.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, encoding="utf-8", errors="surrogateescape") as config:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise RunxError(f"{path}: not a file")
            text = config.read(_CONFIG_LIMIT)
    except FileNotFoundError:
        return DEFAULT_STATE_ROOT
    except OSError as error:
        raise RunxError(f"{path}: {reason(error)}") from None
    # Each fast command comes here, and tomllib takes longer to load than such a command (docs/decisions/0009-state-root.md). A
    # text without the word, which a backslash might spell, does not have the setting.
    return _state_of(text, path) if "state" in text or "\\" in text else DEFAULT_STATE_ROOT


def _state_of(text: str, file: str) -> str:
    import tomllib

    try:
        section = tomllib.loads(text).get("paths")
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RunxError(f"{file}: not TOML: {error}", "`runx config` shows the line") from None
    except ValueError:  # sys.set_int_max_str_digits
        raise RunxError(f"{file}: not TOML: a number of thousands of digits", "`runx config` shows the line") from None
    value = section.get("state", DEFAULT_STATE_ROOT) if isinstance(section, dict) else DEFAULT_STATE_ROOT
    if not isinstance(value, str) or not value.startswith("/"):
        raise RunxError(f"{file}: paths.state: must be an absolute path")
    return value


def machine() -> str:
    """The architecture of guests on this host, as `./build` names it: x86_64, aarch64 or arm."""
    name = os.uname().machine
    return "arm" if name.startswith("armv") else name


def data_dir(name: str) -> str:
    """The directory `name` of data files: in the package when pip installed it, else beside the package."""
    packaged = os.path.join(_PACKAGE_DIR, name)
    return packaged if os.path.isdir(packaged) else os.path.join(LIBRARY_DIR, name)


def assets_dir() -> str:
    """The directory of the guest's `kernel` and `initrd`: PREFIX/share/runx/ARCH when installed, else the checkout's out/ARCH.

    LIBRARY_DIR is PREFIX/lib/runx of `./build install`, or pip's PREFIX/lib/pythonVERSION/site-packages (Debian's:
    dist-packages). The directory need not exist: `runx plan` shows where the files would be.
    """
    above, name = os.path.split(LIBRARY_DIR)
    if name in ("site-packages", "dist-packages"):
        above = os.path.dirname(above)
    elif name != "runx" or os.path.basename(above) != "lib":
        return os.path.join(LIBRARY_DIR, "out", machine())
    return os.path.join(os.path.dirname(above), "share", "runx", machine())


def hotplug(name: str) -> str:
    """The path of a hotplug script of runx's own, one of host-assets/: for xl, which calls it for a device of a domain."""
    return f"{assets_dir()}/{name}"
