"""`podman kube play` of a pod that is one virtual machine. Modules of the lab and of the double import this."""

from engine_tests import IMAGE
from runxtools.machine import Machine
from runxtools.testing.containers import LIMIT_S, until

_POD = f"""
apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
  - name: server
    image: {IMAGE}
    imagePullPolicy: Never
    command: ["/bin/sh", "-c", "echo page > /tmp/page; httpd -p 127.0.0.1:80 -h /tmp; while :; do sleep 0.1; done"]
  - name: client
    image: {IMAGE}
    imagePullPolicy: Never
    command: ["/bin/sh", "-c", "until wget -q -O - http://127.0.0.1/page; do sleep 0.1; done; while :; do sleep 0.1; done"]
"""


def test_kube_play(host: Machine, engine: list[str], scratch: str) -> None:
    """Two containers, one of which asks the other by localhost.

    podman 4.3 without systemd makes a control group for the pod that has no devices, or fails to make one where there are no
    controllers. Nothing says otherwise to `kube play`.
    """
    has_systemd = not host.run(["test", "-d", "/run/systemd/system"]).returncode
    if has_systemd:
        engine = ["systemd" if word == "cgroupfs" else word for word in engine]
    major = host.run(["podman", "--version"], check=True).stdout.split()[-1].partition(b".")[0]
    host.run(["sh", "-c", f"cat > {scratch}/pod.yaml"], stdin=_POD.encode(), check=True)
    played = host.run([*engine, "play", "kube", "--network", "none", f"{scratch}/pod.yaml"], timeout=LIMIT_S)
    try:
        if int(major) < 5 and not has_systemd:
            assert played.returncode, played
            words = (b"podman pod create --share-parent=false", b"creating cgroup path")
            assert any(one in played.stderr for one in words), played.stderr
            return
        assert played.returncode == 0, played
        assert len(host.run(["xl", "list"], check=True).stdout.splitlines()) == 3, "a header, dom0 and the pod"
        until(lambda: host.run([*engine, "logs", "web-client"], check=True).stdout == b"page\n")
    finally:
        host.run([*engine, "play", "kube", "--down", f"{scratch}/pod.yaml"], timeout=LIMIT_S)
        host.run([*engine, "pod", "rm", "--all", "--force"], check=True, timeout=LIMIT_S)
    assert len(host.run(["xl", "list"], check=True).stdout.splitlines()) == 2
