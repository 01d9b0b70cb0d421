"""Pods of Kubernetes, made as by a kubelet: by the CRI plugin of a containerd beside the machine's own."""

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from cri import CONTAINER, EXITED, Client
from runxtools import ociimage
from runxtools.machine import Machine
from runxtools.testing.containers import IMAGE, LIMIT_S, RUNX, until

BRIDGE = "pods0"
ADDRESS = "10.214.10."
"""First bytes of the addresses of pods."""
_KUBEPODS = "/sys/fs/cgroup/kubepods"
_CONFIG = """\
version = 2
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  stream_server_address = "127.0.0.1"
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{home}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runx"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runx]
    runtime_type = "io.containerd.runc.v2"
    pod_annotations = ["org.runx.*"]
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runx.options]
      BinaryName = "{runx}"
      Root = "{home}/states"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runx-pod]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runx-pod.options]
      BinaryName = "{home}/runx-pod"
      Root = "{home}/states"
"""
_START = """
    set -e
    mkdir -p "$1/cni" "$1/states/k8s.io" /run/netns
    cat > "$1/config.toml"
    printf %s "$2" > "$1/cni/10-pods.conflist"
    printf '#!/bin/sh\\nexec %s --pod-machine pod "$@"\\n' "$3" > "$1/runx-pod"  # docs/kubernetes.md
    chmod 755 "$1/runx-pod"
"""
_RUN = """
    containerd --config "$1/config.toml" --root "$1/root" --state "$1/state" --address "$1/socket" < /dev/null >> "$1/log" 2>&1 &
    echo $!
"""
_KILL = """
    kill "$2"
    while kill -0 "$2" 2> /dev/null; do sleep 0.1; done
"""
_END = """
    ! [ -e "/sys/class/net/$3" ] || ip link delete "$3"
    # A kubelet makes the groups of pods and removes them.
    ! [ -e "$4" ] || find "$4" -depth -type d -exec rmdir {} +
    rm -rf --one-file-system "$1"
"""


class Cri:
    """A containerd whose CRI plugin has the runtimes runx and runx-pod, which makes each pod one machine; a network for pods; and
    the test image.

    The test image is the sandbox's image too, as no program of that runs. `home` is its directory on the host.
    """

    def __init__(self, host: Machine, home: str, client: Client, pid: str) -> None:
        self.host = host
        self.call = client.call
        self.home = home
        self.pid = pid
        """containerd's."""
        self.states = f"{home}/states/k8s.io"
        self._traces = {
            "domain": ("xl list", "^(?!Name |Domain-0 )"),
            "state": (f"ls -A {self.states}", ""),
            "network namespace": ("ls -A /run/netns", ""),
            "link": ("ls /sys/class/net", "^(veth|vif)"),
            "filter": ("tc qdisc show", " ingress "),
            "control group": (f"{{ [ ! -e {_KUBEPODS} ] || find {_KUBEPODS} -mindepth 2 -type d; }}", ""),
            "mount": ("cat /proc/mounts", re.escape(home)),
            "process": ("ps -eo args", f"^(?!containerd ).*{re.escape(home)}"),  # shims, supervisors, QEMU
        }

    def restart(self) -> None:
        """End containerd, as an update of it does, and start it again. Shims and containers go on."""
        words = ["sh", "-c", f"set -e\n{_KILL}{_RUN}", "sh", self.home, self.pid]
        self.pid = self.host.run(words, check=True, timeout=LIMIT_S).stdout.decode().strip()
        ctr = ["ctr", "--address", f"{self.home}/socket", "version"]
        until(lambda: not self.host.run(ctr).returncode, lambda: self.host.run(["cat", f"{self.home}/log"]).stdout)

    def left(self) -> list[str]:
        """A line for each part of pods and containers on the host, except files of the plugin."""
        script = "".join(f"{command} | sed 's/^/{kind}: /'\n" for kind, (command, _) in self._traces.items())
        lines = self.host.run(["bash", "-eo", "pipefail"], stdin=script.encode(), check=True).stdout.decode().splitlines()
        found = (line.partition(": ") for line in lines)
        return [f"{kind} {thing}" for kind, _, thing in found if re.search(self._traces[kind][1], thing)]

    def end_shim(self, sandbox: str) -> None:
        """End the shim of a sandbox if it is left. containerd 2.1 leaves that of a sandbox that was killed, under runc too."""
        self.host.run(["pkill", "-f", "--", f"containerd-shim-runc-v2 .*-id {sandbox} "])

    def until_nothing_is_left(self) -> None:
        """Wait until nothing is left: a shim ends some time after its container. Raises AssertionError."""
        until(lambda: not self.left(), self.left)

    def remove_pods(self) -> None:
        for sandbox in self.call("ListPodSandbox").items:
            self.call("StopPodSandbox", pod_sandbox_id=sandbox.id)
            self.call("RemovePodSandbox", pod_sandbox_id=sandbox.id)


@contextmanager
def started(host: Machine, directory: Path) -> Iterator[Cri]:
    """Run a containerd during the context, with an empty local `directory`. Raises AssertionError with its log."""
    home = host.run(["mktemp", "-d", "/tmp/pods.XXXXXX"], check=True).stdout.decode().strip()
    ipam = {"type": "host-local", "dataDir": f"{home}/leases", "ranges": [[{"subnet": f"{ADDRESS}0/24"}]]}
    bridge = {"type": "bridge", "bridge": BRIDGE, "isDefaultGateway": True, "ipam": ipam}
    network = {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}
    config = _CONFIG.format(image=IMAGE, home=home, runx=RUNX)
    start = ["sh", "-c", _START + _RUN, "sh", home, json.dumps(network), RUNX]
    pid = host.run(start, stdin=config.encode(), check=True).stdout.decode().strip()
    cri: Cri | None = None
    try:
        ctr = ["ctr", "--address", f"{home}/socket", "--namespace", "k8s.io"]
        until(lambda: not host.run([*ctr, "version"]).returncode, lambda: host.run(["cat", f"{home}/log"]).stdout)
        host.get("/bin/busybox", directory / "busybox")
        ociimage.write(directory / "image.tar", directory / "busybox")
        host.put(directory / "image.tar", f"{home}/image.tar")
        host.run([*ctr, "image", "import", f"{home}/image.tar"], check=True, timeout=LIMIT_S)
        with host.socket(f"{home}/socket") as socket, closing(Client(socket)) as client:
            # The plugin learns of the image a little later.
            until(lambda: client.call("ImageStatus", image={"image": IMAGE}).image.id)
            cri = Cri(host, home, client, pid)
            yield cri
    finally:
        words = ["sh", "-c", f"set -e\n{_KILL}{_END}", "sh", home, cri.pid if cri else pid, BRIDGE, _KUBEPODS]
        host.run(words, check=True, timeout=LIMIT_S)


class Pod:
    """A ready sandbox, used as by a kubelet. `directory` on the host is for its logs, and for programs."""

    def __init__(self, cri: Cri, directory: str, pid: int = CONTAINER, handler: str = "runx", **settings: Any) -> None:
        self.cri = cri
        self.directory, self.logs = directory, f"{directory}/logs"
        self.namespaces = {"namespace_options": {"pid": pid}}
        self.group = f"/kubepods/{uuid.uuid4().hex[:12]}"
        linux = {"cgroup_parent": self.group, "security_context": self.namespaces, **settings.pop("linux", {})}
        self.config = {
            "metadata": {"name": "web", "uid": self.group[-12:], "namespace": "default"},
            "hostname": "web-0",
            "log_directory": self.logs,
            "linux": linux,
            **settings,
        }
        self.id: str = cri.call("RunPodSandbox", config=self.config, runtime_handler=handler).pod_sandbox_id

    def status(self) -> Any:
        return self.cri.call("PodSandboxStatus", pod_sandbox_id=self.id).status

    @cached_property
    def sandbox(self) -> int:
        """Pid of the sandbox's process."""
        words = [RUNX, "--root", self.cri.states, "ps", "--format", "json", self.id]
        (pid,) = json.loads(self.cri.host.run(words, check=True).stdout)
        return int(pid)

    def put(self, name: str, *needed: str) -> str:
        """Copy a program of this directory to the host, and modules that it needs: its path there."""
        for each in (name, *needed):
            self.cri.host.put(Path(__file__).with_name(each), f"{self.directory}/{each}")
        return f"{self.directory}/{name}"

    def create(self, name: str, script: str, attempt: int = 0, **settings: Any) -> str:
        self.cri.host.run(["mkdir", "-p", f"{self.logs}/{name}"], check=True)
        config = {
            "metadata": {"name": name, "attempt": attempt},
            "image": {"image": IMAGE},
            "command": ["/bin/sh", "-c", script],
            "log_path": f"{name}/{attempt}.log",
            "linux": {"security_context": self.namespaces},
            **settings,
        }
        created = self.cri.call("CreateContainer", pod_sandbox_id=self.id, config=config, sandbox_config=self.config)
        container: str = created.container_id
        return container

    def run(self, name: str, script: str, attempt: int = 0, **settings: Any) -> str:
        """Create and start a container: its id. If its script prints `ready`, wait for that."""
        container = self.create(name, script, attempt, **settings)
        self.cri.call("StartContainer", container_id=container)
        if "echo ready" in script:
            # Wait on the host: repeated questions from here would slow down an emulated machine.
            wait = 'until grep -q "stdout F ready$" "$1"; do sleep 0.1; done'
            self.cri.host.run(["sh", "-c", wait, "sh", self._log(name, attempt)], check=True, timeout=LIMIT_S)
        return container

    def stop(self, container: str, timeout_s: int = 0) -> None:
        self.cri.call("StopContainer", container_id=container, timeout=timeout_s)

    def end(self, container: str) -> Any:
        """Wait for the container's end: its status."""
        return until(lambda: (status := self.container(container)).state == EXITED and status)

    def container(self, container: str) -> Any:
        return self.cri.call("ContainerStatus", container_id=container).status

    def log(self, name: str, attempt: int = 0, stream: str = "stdout") -> str:
        """Output of a container, from its log, which has time, stream, F for a full line, and the line."""
        text = self.cri.host.run(["cat", self._log(name, attempt)], check=True).stdout.decode()
        lines = [line.split(" ", 3) for line in text.split("\n")[:-1]]
        assert all(words[2] == "F" for words in lines)
        return "".join(f"{words[3]}\n" for words in lines if words[1] == stream)

    def _log(self, name: str, attempt: int) -> str:
        return f"{self.logs}/{name}/{attempt}.log"

    def states(self) -> dict[str, int]:
        """State of each container of the pod, by name."""
        listed = self.cri.call("ListContainers").containers
        return {one.metadata.name: one.state for one in listed if one.pod_sandbox_id == self.id}
