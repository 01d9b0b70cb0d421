"""The time of a compilation is linear in the input, whatever there is much of."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from compiler_cases import TextFacts
from runx.compiler.pipeline import Inputs, compile
from runx.errors import RunxError

FEW, FACTOR = 500, 8
LIMIT = 3.0
"""How many times what is linear it may take: caches and collections of garbage have their part. Quadratic is FACTOR."""

Config = dict[str, Any]


def plain() -> Config:
    namespaces = [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]
    return {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["sh"], "env": []},
        "mounts": [],
        "linux": {"namespaces": namespaces, "devices": []},
    }


def mounts(kind: str, **words: Any) -> Callable[[Config, int], None]:
    def add(config: Config, count: int) -> None:
        config["mounts"] += [{"destination": f"/m{n}", "type": kind, "source": f"/srv/{n}", **words} for n in range(count)]

    return add


def devices(config: Config, count: int) -> None:
    config["linux"]["devices"] += [{"path": f"/m{n}/d/x", "type": "c", "major": 1, "minor": 3} for n in range(count)]


def mounts_and_devices(config: Config, count: int) -> None:
    mounts("bind", options=["ro"])(config, count)
    devices(config, count)


def one_place(config: Config, count: int) -> None:
    config["mounts"] += [{"destination": "/m", "type": "tmpfs", "source": "tmpfs"}] * count


def options(config: Config, count: int) -> None:
    config["mounts"] = [{"destination": "/m", "type": "tmpfs", "source": "x", "options": [f"o{n}=1" for n in range(count)]}]


def text_of_options(config: Config, count: int) -> None:
    config["mounts"] = [{"destination": "/m", "type": "tmpfs", "source": "x", "options": ["ro," * count]}]


def unknown(config: Config, count: int) -> None:
    config.update({f"unknown{n}": n for n in range(count)})
    config["process"]["cwd"] = "x"


def cpus(config: Config, count: int) -> None:
    config["linux"]["resources"] = {"cpu": {"cpus": "0-8191," * count + "0"}}


def environment(config: Config, count: int) -> None:
    config["process"]["env"] = [f"V{n}=x" for n in range(count)]


def netconf(config: Config, count: int) -> None:
    config["process"]["env"] = ["NETCONF=x"] * count


def annotations(config: Config, count: int) -> None:
    config["annotations"] = {f"org.runx.x{n}": "x" for n in range(count)}


def paths(config: Config, count: int) -> None:
    config["linux"]["maskedPaths"] = config["linux"]["readonlyPaths"] = [f"/m{n}/x" for n in range(count)]


def sysctl(config: Config, count: int) -> None:
    config["linux"]["sysctl"] = {f"net.x{n}": "1" for n in range(count)}


def hooks(config: Config, count: int) -> None:
    config["hooks"] = {"prestart": [{"path": "/bin/true", "args": ["true"]}] * count}


def limits(config: Config, count: int) -> None:
    config["process"]["rlimits"] = [{"type": f"RLIMIT_{n}", "soft": 1, "hard": 1} for n in range(count)]


def groups(config: Config, count: int) -> None:
    config["process"]["user"] = {"uid": 0, "gid": 0, "additionalGids": list(range(count))}


def namespaces(config: Config, count: int) -> None:
    config["linux"]["namespaces"] += [{"type": "pid"}] * count


SHAPES = [
    mounts("tmpfs"), mounts("bind", options=["rbind", "ro"]), mounts("nosuch"), mounts("tmpfs", options=["nosuch", "huge=no"]),
    devices, mounts_and_devices, one_place, options, text_of_options, unknown, cpus, environment, netconf, annotations, paths,
    sysctl, hooks, limits, groups, namespaces,
]  # fmt: skip


def seconds(add: Callable[[Config, int], None], count: int) -> float:
    """The best of three, of this process's time alone."""
    config = plain()
    add(config, count)
    facts = TextFacts(json.dumps(config, indent=1), {f"/srv/{n}": "directory" for n in range(count)})
    best = float("inf")
    for _ in range(3):
        begin = time.process_time()
        try:
            compile(Inputs("/bundle", container_id="box", state_root="/r", assets="/a", facts=facts))
        except RunxError as error:
            assert str(error)
        best = min(best, time.process_time() - begin)
    return best


@pytest.mark.parametrize("add", SHAPES, ids=lambda add: add.__qualname__.removesuffix(".<locals>.add"))
def test_it_is_linear(add: Callable[[Config, int], None]) -> None:
    seconds(add, 10)  # imports
    tried = []
    for _ in range(3):  # a processor that others use as well may slow down from one measurement to the next
        few, many = seconds(add, FEW), seconds(add, FACTOR * FEW)
        if many < max(few, 0.002) * FACTOR * LIMIT:
            return
        tried.append((few, many))
    raise AssertionError(tried)


def test_a_path_of_many_parts() -> None:
    """Each is below the last one: what is above a path is looked at once."""

    def nested(config: Config, count: int) -> None:
        config["mounts"] = [{"destination": "/" + "a/" * n + "m", "type": "tmpfs", "source": "x"} for n in range(count)]

    seconds(nested, 10)
    # The text is quadratic in the number of mounts.
    assert seconds(nested, 800) < seconds(nested, 200) * 16 * LIMIT
