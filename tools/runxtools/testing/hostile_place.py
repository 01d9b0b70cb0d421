"""A directory that a hostile guest may change, beside one that it may not."""

import os
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path


class HostilePlace:
    """The two directories. The process's working directory is that of the server."""

    def __init__(self, directory: Path, name: str) -> None:
        """name: of the directory that the guest may change, which is made by others."""
        self.inside, self.outside = directory / name, directory / "outside"
        self.outside.mkdir(parents=True)
        (self.outside / "secret").write_text("secret")
        self._before = self._state()
        os.umask(0)
        os.chdir("/proc/self/fd")

    def _state(self) -> list[tuple[int, ...]]:
        paths = (self.outside, self.outside / "secret")
        return [(s.st_mode, s.st_uid, s.st_size, s.st_mtime_ns, s.st_nlink) for s in map(os.lstat, paths)]

    def check(self) -> None:
        """Raise AssertionError if something outside has changed."""
        assert self._state() == self._before, f"something outside of {self.inside.name} has changed"


def stands(hear: Callable[[], Callable[[bytes], None]], inputs: Iterable[bytes]) -> bool:
    """Whether a server stands these inputs, in a child, as it has a working directory of its own.

    hear: makes in the child what takes an input.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            take = hear()
            for data in inputs:
                take(data)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
