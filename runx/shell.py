"""Scripts for the guest's shell, busybox's ash: words, commands, and the lines that each script begins with."""

import shlex

from runx.errors import RunxError

_HEAD = """\
#!/bin/sh
# {about}
set -eu
at=start
trap '[ $? -eq 0 ] || echo "runx: $at failed" >&2' EXIT
"""


def head(about: str) -> str:
    """The first lines. A script assigns the name of each step to `at`, so that the failing step becomes the message."""
    return _HEAD.format(about=about)


def quote(text: str) -> str:
    """`text` as one word (POSIX sh, 2.2.2). Raises RunxError for NUL, which no argument can hold."""
    if "\0" in text:
        raise RunxError(f"{text!r} holds a NUL character, which a shell cannot have", fault_id="RX904")
    return shlex.quote(text)


def command(*words: str) -> str:
    """One command line. Raises RunxError as `quote`."""
    return " ".join(map(quote, words))
