"""A host that allows exec in containers that are created while a test runs (runx.toml, policy.exec)."""

from collections.abc import Iterator

import pytest

from runxtools.machine import Machine

PUT = """
    mkdir -p /run/settings/runx
    printf '[policy]\\nexec = true\\n' > /run/settings/runx/runx.toml
    mount -t overlay -o lowerdir=/run/settings:/etc overlay /etc
"""


@pytest.fixture
def may_exec(host: Machine) -> Iterator[None]:
    """In an overlay on /etc, which the double shares with its host."""
    host.run(["sh", "-euc", PUT], check=True)
    yield
    host.run(["sh", "-euc", "umount /etc; rm -r /run/settings"], check=True)
