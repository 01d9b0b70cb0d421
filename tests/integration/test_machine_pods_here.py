"""Pods that are one virtual machine, at the machine's own speed: all that tests/shared has, pods of podman, and faults of xl."""

import pytest

from cri import CallError
from engine_tests import IMAGE
from kube_play_tests import *  # noqa: F403
from machine_pod_tests import *  # noqa: F403
from machine_pod_tests import domains, execute
from pod_tests import WAIT
from podman_tests import engine  # noqa: F401  # a fixture
from pods import Pod
from runxtools.double.host import Double
from runxtools.testing.containers import LIMIT_S


def test_a_pod_of_podman(host: Double, engine: list[str]) -> None:  # noqa: F811
    """Roots by 9p, as podman's storage is `vfs` here. It is stopped and started again as a whole."""

    def podman(*words: str, status: int = 0) -> str:
        result = host.run([*engine, *words], timeout=LIMIT_S)
        assert result.returncode == status, result.stderr
        return result.stdout.decode()

    # podman 4.3 makes a cgroup for the pod in which no device can be opened.
    podman("pod", "create", "--share-parent=false", "--name", "web", "--network", "none")
    serve = "trap 'exit 4' TERM; echo page > /tmp/page; httpd -p 127.0.0.1:80 -h /tmp; echo up; while :; do sleep 0.1; done"
    podman("run", "--detach", "--pod", "web", "--name", "one", IMAGE, "/bin/sh", "-c", serve)
    ask = "until wget -q -O - http://127.0.0.1/page; do sleep 0.1; done; hostname; exit 3"
    assert podman("run", "--pod", "web", "--name", "two", IMAGE, "/bin/sh", "-c", ask, status=3) == "page\nweb\n"
    assert podman("exec", "one", "ls", "/tmp") == "page\n"
    assert len(domains(host)) == 1
    podman("pod", "stop", "web")
    assert domains(host) == []
    assert podman("inspect", "--format", "{{.State.ExitCode}}", "one") == "4\n"
    podman("pod", "start", "web")
    assert podman("exec", "one", "sh", "-c", ask, status=3) == "page\nweb\n"
    podman("pod", "rm", "--force", "--time", "2", "web")
    assert domains(host) == []


def test_a_disk_that_cannot_be_attached(host: Double, pod: Pod) -> None:
    """It is an error of `create`, with xl's words, and nothing is left."""
    first = pod.run("one", WAIT)
    loops = ["sh", "-c", 'losetup -ln -O BACK-FILE | grep -F "$1"', "sh", pod.cri.home]
    before = host.run(loops, check=True).stdout
    host.fault("block-attach-fails", "no such backend")
    try:
        with pytest.raises(CallError, match=r"xl block-attach failed .* no such backend"):
            pod.cri.call("StartContainer", container_id=pod.create("two", "true"))
    finally:
        host.no_fault("block-attach-fails")
    assert host.run(loops, check=True).stdout == before
    assert execute(pod, first, "true") == ("", 0)
    assert pod.end(pod.run("two", "exit 7", attempt=1)).exit_code == 7
