"""Python's garbage collector, kept away from objects that live as long as the process."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Collect nothing meanwhile, and never the objects made meanwhile.

    The compiler's modules, models and plan are needed until the process ends. To look through them again and again takes a sixth
    of a command's time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
