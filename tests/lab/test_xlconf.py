"""XLCONF: what xl makes of settings that the host allows, and that it gets none that the host does not."""

import json
from collections.abc import Iterator

import pytest

from runxtools.lab.lab import Lab
from runxtools.testing.containers import LIMIT_S, Running, sh

CONFIG = "/etc/runx/runx.toml"


@pytest.fixture
def allowed(lab: Lab) -> Iterator[None]:
    """A host whose runx.toml allows two keys."""
    text = b'[policy]\nxlconf_keys = ["maxvcpus", "max_event_channels"]\n'
    lab.run(["sh", "-c", f"mkdir -p /etc/runx && cat > {CONFIG}"], stdin=text, check=True)
    yield
    lab.run(["sh", "-c", f"rm {CONFIG} && rmdir --ignore-fail-on-non-empty /etc/runx"], check=True)


def test_xl_has_the_settings(lab: Lab, allowed: None) -> None:
    setting = "XLCONF=maxvcpus = 0x3; max_event_channels = 200 # enough"
    container = Running(lab, "echo ready; echo $XLCONF; cat", ["--env", setting])
    domains = json.loads(lab.run(["xl", "list", "-l"], check=True, timeout=LIMIT_S).stdout)
    configs = [domain["config"] for domain in domains]
    built = next(c["b_info"] for c in configs if c["c_info"].get("name", "").startswith(f"runx-{container.id}-"))
    assert (built["max_vcpus"], built["event_channels"]) == (3, 200)
    status, output, errors = container.end()
    assert (status, output) == (0, setting.partition("=")[2].encode() + b"\n"), errors


def test_what_is_not_allowed_makes_no_domain(lab: Lab, allowed: None) -> None:
    result = sh(lab, "true", options=["--env", "XLCONF=maxvcpus=2;pool='x'"])
    assert result.returncode != 0
    assert f"not allowed by policy.xlconf_keys ({CONFIG}:2): pool".encode() in result.stderr
