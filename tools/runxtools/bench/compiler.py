"""tools/bench: `runx plan` of a configuration of podman, 24 KiB with a seccomp profile."""

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from runxtools.errors import ToolError

SIZE = 24 * 1024
"""Size of the configuration in bytes."""

_OWN_WORK = """\
import gc, sys, time
sys.path.insert(0, sys.argv[1])
from runx.compiler.pipeline import Inputs, compile
from runx.compiler.host.host_facts import HostFactsWithBridges
facts = HostFactsWithBridges()
gc.disable()
begin = time.perf_counter()
compile(Inputs(sys.argv[2], container_id="c", state_root="/run/runx", assets=sys.argv[3], facts=facts))
print((time.perf_counter() - begin) * 1000)
"""


def make_program(root: Path, config: dict[str, Any]) -> None:
    """Make a root filesystem in which the program of a configuration exists. Nothing runs it."""
    path = root / config["process"]["args"][0].lstrip("/")
    path.parent.mkdir(parents=True)
    path.touch(0o755)


def make_bundle(directory: Path, example: Path) -> None:
    """Make a bundle of the configuration `example`: with paths that exist here, and environment up to SIZE bytes."""
    config = json.loads(example.read_text())
    make_program(directory / "rootfs", config)
    config["root"]["path"] = "rootfs"
    config.pop("hooks", None)
    config["process"]["terminal"] = False  # no engine takes one here
    for mount in config["mounts"]:
        if "bind" in (mount.get("type"), *mount.get("options", ())) or "rbind" in mount.get("options", ()):
            mount["source"] = str(directory)
    number = 0
    while len(text := json.dumps(config, indent=1)) < SIZE:
        config["process"]["env"].append(f"VARIABLE_{number}=/usr/local/share/something/of/usual/length")
        number += 1
    (directory / "config.json").write_text(text)


def own_work(python: str, prefix: Path, bundle: Path) -> float:
    """Milliseconds of compile() in a process that has only imported it. Raises ToolError when it fails."""
    argv: list[str | Path] = [python, "-I", "-S", "-c", _OWN_WORK, f"{prefix}/lib/runx", bundle, f"{prefix}/share/runx"]
    result = subprocess.run(argv, capture_output=True, text=True)
    if result.returncode:
        raise ToolError(f"compile() failed: {result.stderr.strip()}")
    return float(result.stdout)


def sample(floor: Callable[[], float], plan: Callable[[], float], own: Callable[[], float], rounds: int) -> Sequence[list[float]]:
    """Milliseconds of the three, measured in turn each round. The first round warms the caches and is dropped."""
    times = [(floor(), plan(), own()) for _ in range(rounds + 1)][1:]
    return [list(column) for column in zip(*times, strict=True)]
