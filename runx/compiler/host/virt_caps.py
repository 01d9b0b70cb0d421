"""What this machine's hardware and Xen offer guests: asked once after each boot, as `xl info` takes a while."""

import os
import stat
from collections.abc import Callable

from runx import paths
from runx.compiler.host.facts import NoAnswer
from runx.errors import RunxError
from runx.linux.files import write_atomically

_LIMIT = 4096


def virt_caps(ask: Callable[[], str] | None, *, keep: bool) -> frozenset[str]:
    """The words of virt_caps (xl(1), `info`), as kept in paths.VIRT_CAPS, else as xl says. keep: whether to keep what xl says.

    ask: the output of `xl info`, or RunxError. Raises NoAnswer.
    """
    kept = _kept()
    if kept is not None:
        return kept
    if ask is None:
        raise NoAnswer("xl is not asked")
    try:
        said = ask()
    except RunxError as error:
        raise NoAnswer(error.message) from None
    words = next((line.partition(":")[2] for line in said.splitlines() if line.startswith("virt_caps")), None)
    if words is None:
        raise NoAnswer("xl info has no virt_caps")
    if keep:
        try:
            write_atomically(paths.VIRT_CAPS, f"{words.strip()}\n".encode(), 0o644)
        except OSError:
            pass  # the next one asks again
    return frozenset(words.split())


def _kept() -> frozenset[str] | None:
    """What was kept; None if nothing is, or if others than root may have written it."""
    try:
        descriptor = os.open(paths.VIRT_CAPS, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    with open(descriptor, encoding="ascii", errors="replace") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid or status.st_mode & 0o022:
            return None
        return frozenset(file.read(_LIMIT).split())
