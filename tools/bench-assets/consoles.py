"""The console of a bare domain, hvc0. Must be in the directory of the program that imports it."""

import os
import re
import select
import subprocess
import termios
import time

LIMIT_S = 300
"""Seconds in which a guest must say something."""


def open_console(name: str) -> int:
    """Open the pty of hvc0 in raw mode, so that it does not echo what the guest writes."""
    domid = subprocess.run(["xl", "domid", name], check=True, capture_output=True, text=True).stdout.strip()
    limit = time.monotonic() + LIMIT_S
    path = ""
    while not path:  # xenconsoled publishes the pty a moment after the domain exists
        if time.monotonic() > limit:
            raise SystemExit("xenconsoled gave the domain no console")
        read = subprocess.run(["xenstore-read", f"/local/domain/{domid}/console/tty"], capture_output=True, text=True)
        path = read.stdout.strip()
    pty = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    mode = termios.tcgetattr(pty)
    mode[0] = mode[1] = mode[3] = 0
    termios.tcsetattr(pty, termios.TCSANOW, mode)
    return pty


def read_until(pty: int, pattern: str) -> "re.Match[str]":
    """Read what the guest says until the pattern matches it. Closes the descriptor."""
    limit = time.monotonic() + LIMIT_S
    text = ""
    found = None
    while not found and select.select([pty], [], [], max(0, limit - time.monotonic()))[0]:
        try:
            data = os.read(pty, 4096)
        except OSError:  # EIO: xenconsoled closed its end
            break
        if not data:
            break
        text += data.decode(errors="replace")
        found = re.search(pattern, text)
    os.close(pty)
    if not found:
        raise SystemExit(f"the guest did not say {pattern!r} within {LIMIT_S} s: {text!r}")
    return found
