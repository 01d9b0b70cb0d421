"""Arguments and environment that execve(2) would refuse."""

import json
from typing import Any

import pytest

from compiler_cases import TextFacts
from runx.compiler.diagnostics import CompileError
from runx.compiler.pipeline import Inputs, compile


def faults(**process: Any) -> list[tuple[str, tuple[str | int, ...]]]:
    """IDs and paths of the faults of a process."""
    config = {
        "ociVersion": "1.2.0",
        "process": {"cwd": "/", "args": ["/x"], **process},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "network"}]},
    }
    try:
        compile(Inputs("/bundle", container_id="c", state_root="/r", assets="/a", facts=TextFacts(json.dumps(config))))
    except CompileError as error:
        return [(fault.id, fault.path) for fault in error.diagnostics]
    return []


def stack(soft: int) -> list[dict[str, Any]]:
    return [{"type": "RLIMIT_STACK", "soft": soft, "hard": soft}]


@pytest.mark.parametrize(
    ("process", "fault"),
    [
        ({"args": ["/x", "y" * 131071]}, ()),
        ({"args": ["/x", "y" * 131072]}, ("RX116", ("process", "args", 1))),
        ({"env": ["A=" + "\u00e9" * 65535]}, ("RX116", ("process", "env", 0))),
        ({"env": [f"A{n}=" + "x" * 1000 for n in range(2000)]}, ()),
        ({"env": [f"A{n}=" + "x" * 1000 for n in range(2100)]}, ("RX116", ("process", "env"))),
        ({"args": ["x"] * 220000}, ("RX116", ("process", "args"))),
        ({"env": [f"A{n}=" + "x" * 1000 for n in range(2100)], "rlimits": stack(64 << 20)}, ()),
        ({"env": [f"A{n}=" + "x" * 1000 for n in range(7000)], "rlimits": stack(2**64 - 1)}, ("RX116", ("process", "env"))),
        ({"env": [f"A{n}=" + "x" * 1000 for n in range(120)], "rlimits": stack(1)}, ()),
        ({"env": [f"A{n}=" + "x" * 1000 for n in range(140)], "rlimits": stack(1)}, ("RX116", ("process", "env"))),
        ({"user": {"uid": 0, "gid": 0, "additionalGids": list(range(65536))}}, ()),
        ({"user": {"uid": 0, "gid": 0, "additionalGids": [1] * 65537}}, ("RX115", ("process", "user", "additionalGids"))),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) and value else None,
)
def test_what_the_kernel_has_room_for(process: dict[str, Any], fault: tuple[str, tuple[str | int, ...]]) -> None:
    assert faults(**process) == ([fault] if fault else [])
