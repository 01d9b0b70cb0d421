"""Root filesystems and bundles for the containers of benchmarks. Must be in the directory of the program that imports it."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable

RUNX = "/usr/local/bin/runx"


def make_root(path: str, *applets: str) -> None:
    """Make a root filesystem at `path`: the host's busybox, with links for these applets."""
    os.makedirs(f"{path}/bin")
    os.mkdir(f"{path}/proc")
    shutil.copy("/bin/busybox", f"{path}/bin/busybox")
    for applet in applets:
        os.symlink("busybox", f"{path}/bin/{applet}")


def make_bundle(
    directory: str,
    root: str,
    args: list[str],
    *,
    env: Iterable[str] = (),
    network_namespace: str = "",
    memory_limit: int = 0,
    **more: object,
) -> str:
    """Make a bundle in `directory`: its path. The container runs `args` in `root`, in its own namespaces.

    network_namespace: path of a namespace to join. memory_limit: in bytes; 0 for none. more: further members of the
    configuration (OCI config.md).
    """
    bundle = tempfile.mkdtemp(prefix="bundle-", dir=directory)
    network = {"type": "network", **({"path": network_namespace} if network_namespace else {})}
    config = {
        "ociVersion": "1.0.2",
        "process": {"args": args, "cwd": "/", "env": ["PATH=/bin", *env], "user": {"uid": 0, "gid": 0}},
        "root": {"path": root},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "namespaces": [network, *({"type": kind} for kind in ("pid", "ipc", "uts", "mount"))],
            **({"resources": {"memory": {"limit": memory_limit}}} if memory_limit else {}),
        },
        **more,
    }
    with open(f"{bundle}/config.json", "w") as file:
        json.dump(config, file)
    return bundle


def bundle_of(directory: str, program: str, memory_limit: int = 0, **more: object) -> str:
    """Make a bundle in `directory`, with a root filesystem of busybox and `program`, which the container runs: its path."""
    root, name = f"{directory}/root", f"/bin/{os.path.basename(program)}"
    make_root(root)
    shutil.copy(program, root + name)
    os.chmod(root + name, 0o755)
    return make_bundle(directory, root, [name], memory_limit=memory_limit, **more)


def output_of(directory: str, bundle: str, carrier: str) -> str:
    """Run a container of the bundle, with its root by this carrier: its output. Raises SystemExit if it fails."""
    argv = [RUNX, "--root", f"{directory}/state", "run", "--root-carrier", carrier, "--bundle", bundle, "bench"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"a container by {carrier} ended with status {done.returncode}: {done.stderr}")
    return done.stdout
