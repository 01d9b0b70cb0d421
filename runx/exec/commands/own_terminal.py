"""The terminal of the person who runs a command, for the time in which it shows a container's."""

import contextlib
import os
import termios
from collections.abc import Iterator


@contextlib.contextmanager
def raw() -> Iterator[None]:
    """Make standard input raw, if it is a terminal: the container's terminal does what a terminal does."""
    if not os.isatty(0):
        yield
        return
    import tty

    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
