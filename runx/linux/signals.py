"""Signals by the C core of Python's signal module: its enums cost the supervisor 1 MiB of memory, and a fast command 4 ms.

Numbers are plain ints there, and functions have the same names.
"""

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

__all__ = ["signal"]
