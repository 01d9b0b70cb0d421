"""The log of a domain's QEMU, which a guest can make say something again and again (class of XSA-180)."""

import os
import time

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    import select

LIMIT = 1024 * 1024
"""Bytes, beyond which the log begins anew."""
_LOOK_EVERY_S = 10.0


def path_of(domain: str) -> str:
    """The log of a domain's QEMU, by the domain's name (libxl, tools/libs/light/libxl_dm.c)."""
    return f"/var/log/xen/qemu-dm-{domain}.log"


class QemuLog:
    """The part of the loop that looks how large it is, from time to time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._look_at = 0.0

    def watch(self, _poller: "select.poll") -> float:
        return self._look_at

    def handle(self, _ready: dict[int, int]) -> None:
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_EVERY_S
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return  # there is none, or it was rotated away
        try:
            if os.fstat(file).st_size > LIMIT:
                os.ftruncate(file, 0)  # QEMU appends, so it goes on at the beginning
        except OSError:
            pass
        finally:
            os.close(file)
