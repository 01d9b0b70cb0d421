"""Whether the program of a container exists, as far as the host can tell before there is a guest.

runc looks for it during `create`, and engines keep what it says (docker's State.Error, podman's and docker's status 127). The
guest looks again, as the process's user: it alone knows what mounts and hooks of its own bring. So this is an error only for a
path that is certainly not there. The words are runc's, for which engines look.
"""

import errno
import os
import stat
from collections.abc import Iterable, Sequence

from runx.errors import RunxError

NOT_EXECUTABLE, NOT_FOUND = 126, 127
_LINKS_MOST = 40
"""As of the kernel (path_resolution(7))."""


class Program:
    """The program that a process of a root filesystem is to execute."""

    def __init__(self, root: str, mounts: Iterable[str], args: Sequence[str], env: Sequence[str]) -> None:
        """root: directory of the root filesystem on the host. mounts: destinations; what is below one is not in `root`."""
        self._root = root
        self._covered: frozenset[str] = frozenset()
        self._covered = frozenset(place for mount in mounts for place in (mount, self._real(mount)))
        self._name = args[0]
        paths = [entry[len("PATH=") :] for entry in env if entry.startswith("PATH=")]
        self._directories = paths[0].split(":") if len(paths) == 1 else [""]
        """Of PATH. A relative one is the process's business, as its working directory may be made first."""

    def check(self) -> None:
        """Raise RunxError if it certainly cannot be executed."""
        name = self._name
        if "/" in name:
            fault = self._fault(name)
            why = ("" if fault == errno.EACCES else f"stat {name}: ") + os.strerror(fault).lower()
        else:
            is_missing = all(self._fault(f"{directory}/{name}" if directory else "") for directory in self._directories)
            fault = errno.ENOENT if is_missing else 0
            why = "executable file not found in $PATH"
        if not fault:
            return
        error = RunxError(f'unable to start container process: exec: "{name}": {why}')
        error.status = NOT_EXECUTABLE if fault == errno.EACCES else NOT_FOUND
        raise error

    def _fault(self, path: str) -> int:
        """An errno: why the file at a path of the container cannot be executed; 0 if it can be, or if nobody knows here."""
        if not path.startswith("/") or ".." in path.split("/"):
            return 0
        try:
            mode = self._look(path)[1]
        except (FileNotFoundError, NotADirectoryError) as error:
            return error.errno or 0
        except OSError:
            return 0
        is_executable = not stat.S_ISDIR(mode) and (not stat.S_ISREG(mode) or mode & 0o111)
        return 0 if is_executable else errno.EACCES

    def _real(self, path: str) -> str:
        """A path of the container without symbolic links. What is missing is a directory to be made; what the guest alone knows
        is left as it is."""
        try:
            return self._look(path, may_be_missing=True)[0]
        except OSError:
            return path

    def _look(self, path: str, *, may_be_missing: bool = False) -> tuple[str, int]:
        """The path without symbolic links, which lead to places in the root, and the mode of the file. Raises OSError: also
        EXDEV, for what is below a mount, or is made for one."""
        rest = path.split("/")[::-1]
        place, mode, links = "", stat.S_IFDIR, 0
        while rest:
            part = rest.pop()
            if part in ("", "."):
                continue
            if part == "..":
                place, mode = place.rpartition("/")[0], stat.S_IFDIR
                continue
            if f"{place}/{part}" in self._covered:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            # No part of `place` is a symbolic link, and the last one is not followed.
            try:
                mode = os.lstat(f"{self._root}{place}/{part}").st_mode
            except FileNotFoundError:
                if any(mount.startswith(f"{place}/{part}/") for mount in self._covered):
                    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV)) from None  # it is made for the mount
                if not may_be_missing:
                    raise
                mode = stat.S_IFDIR
            if not stat.S_ISLNK(mode):
                place = f"{place}/{part}"
                continue
            links += 1
            if links > _LINKS_MOST:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = os.readlink(f"{self._root}{place}/{part}")
            rest += target.split("/")[::-1]
            if target.startswith("/"):
                place = ""
        return place or "/", mode
