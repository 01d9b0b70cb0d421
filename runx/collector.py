"""Python's garbage collector, kept away from what lives as long as its process."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Nothing is collected while this lasts, nor ever what is made then. The compiler's modules, models and plan are needed until
    the process ends; to look through them, again and again and once more at its end, is a sixth of the time a verb takes."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
