"""Find what containers leave behind in dom0."""

import time

from runxtools.lab.dom0 import ASSETS
from runxtools.machine import Machine


def inventory(lab: Machine) -> set[str]:
    """A line for each domain, mount, runx process, state directory, backend, network link, loop device, container."""
    script = (ASSETS / "inventory.py").read_bytes()
    result = lab.run(["python3", "-"], stdin=script, check=True)
    return set(result.stdout.decode(errors="replace").splitlines())


def leaks(lab: Machine, before: set[str], limit_s: float = 30) -> list[str]:
    """Lines of the inventory that are not in `before`. Wait up to `limit_s` seconds for them to go."""
    deadline = time.monotonic() + limit_s
    while True:
        left = sorted(inventory(lab) - before)
        if not left or time.monotonic() > deadline:
            return left
