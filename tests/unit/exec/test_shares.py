"""A container with 9p shares on a fake Xen: nodes in xenstore, a server beside the supervisor, and what its end means."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commandhost import Host
from runx.errors import RunxError
from runx.exec.container.record import Record
from runx.exec.supervisor.shares import Shares

BACKEND, FRONTEND = "/local/domain/0/backend/runx_9pfs/1", "/local/domain/1/device/9pfs"


def node(host: Host, path: str) -> str:
    return host.xen.nodes.get(path, b"").decode()


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def with_volume(host: Host) -> Host:
    mount = {"destination": "/srv", "type": "bind", "source": str(host.bundle), "options": ["bind", "nodev"]}
    host.config["mounts"] = [mount]
    host.write_config()
    return host


def messages(host: Host) -> str:
    return " ".join(json.loads(line)["msg"] for line in host.log.read_text().splitlines())


def errors(host: Host) -> str:
    return (host.bundle / "err").read_text()


def test_nodes_and_the_server(host: Host) -> None:
    supervisor = with_volume(host).create()
    for number, tag in enumerate(("root", "mounts")):
        ours, guests = f"{BACKEND}/{number}", f"{FRONTEND}/{number}"
        assert node(host, f"{guests}/tag") == tag
        assert (node(host, f"{guests}/backend"), node(host, f"{ours}/frontend")) == (ours, guests)
        assert (node(host, f"{ours}/state"), node(host, f"{guests}/state")) == ("2", "1")
        assert (node(host, f"{ours}/max-rings"), node(host, f"{ours}/max-ring-page-order")) == ("2", "8")
        assert (host.xen.permissions[ours], host.xen.permissions[guests]) == (["n0", "r1"], ["n1", "r0"])
    server = int(node(host, f"{BACKEND}/0/server"))
    assert f"PPid:\t{supervisor}\n" in Path(f"/proc/{server}/status").read_text()
    assert sorted(os.listdir(f"/proc/{server}/root")) == ["mounts", "root"]
    assert os.listdir(f"/proc/{server}/root/mounts") == ["0"]
    assert host.runx("delete", "--force", "c").returncode == 0
    until(lambda: not Path(f"/proc/{server}").exists())
    host.nothing_left()
    assert not [path for path in host.xen.nodes if "runx_9pfs" in path]


def test_nothing_that_the_engine_left_open_is_kept(host: Host) -> None:
    """The socket of containerd's shim would be there as long as the container, and nobody would answer."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(host.bundle / "shim"))
        listening.listen()
        with open(host.bundle / "err", "wb") as err:
            argv = host.argv("create", "--bundle", str(host.bundle), "--pid-file", str(host.bundle / "pid"), "c")
            silent = {"stdin": subprocess.DEVNULL, "stdout": err, "stderr": err}
            environment = host.xen.environment() | {"HTTPS_PROXY": "https://user:password@proxy"}
            assert subprocess.run(argv, env=environment, pass_fds=[listening.fileno()], **silent).returncode == 0, errors(host)  # type: ignore[call-overload]
    supervisor = int((host.bundle / "pid").read_text())
    server = int(node(host, f"{BACKEND}/0/server"))
    known = ("PATH", "LC_ALL", "XENSTORED_PATH", "XENSTORED_RUNDIR", "XEN_RUN_DIR")
    for pid in (supervisor, server):
        names = [entry.partition("=")[0] for entry in Path(f"/proc/{pid}/environ").read_text().split("\0") if entry]
        assert "PATH" in names
        assert [name for name in names if name not in known and not name.startswith("LD_")] == [], "passwords of the engine's"
    with socket.socket(socket.AF_UNIX) as caller, pytest.raises(ConnectionRefusedError):
        caller.connect(str(host.bundle / "shim"))


def test_no_server_without_shares(host: Host) -> None:
    host.config["annotations"] = {"org.runx.root.carrier": "9p"}
    supervisor = host.create()
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    assert children == [node(host, f"{BACKEND}/0/server")]
    assert not node(host, f"{BACKEND}/1/server"), "one for all shares, and no share for mounts that there are not"


def test_a_server_that_dies_ends_the_container(host: Host) -> None:
    """At any time, and the container's standard error says why."""
    host.create()
    os.kill(int(node(host, f"{BACKEND}/0/server")), signal.SIGKILL)
    host.await_status("stopped")
    assert "the server of the container's shares has ended: signal 9" in errors(host)
    assert host.xen.domains() == {}


def test_a_server_that_dies_while_the_domain_is_made(host: Host) -> None:
    """The container is not created, or ends at once."""
    host.xen.hold("create")
    process = host.popen("create", "--bundle", str(host.bundle), "c")
    host.xen.await_call("create")
    (supervisor,) = children(process.pid)
    (server,) = [pid for pid in children(supervisor) if os.listdir(f"/proc/{pid}/root") == ["root"]]
    os.kill(server, signal.SIGKILL)
    host.xen.release("create")
    process.communicate(timeout=60)
    host.await_status("stopped")
    assert host.xen.domains() == {}
    assert host.runx("delete", "c").returncode == 0
    host.nothing_left()


def children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def test_a_server_that_cannot_serve(host: Host) -> None:
    """Here, there are no devices of Xen, which are missed when the guest's driver comes."""
    host.create()
    for name, value in (("num-rings", "1"), ("ring-ref0", "8"), ("event-channel-0", "9"), ("state", "3")):
        host.xen.write(f"{FRONTEND}/0/{name}", value)
    host.await_status("stopped")
    assert "cannot open /dev/xen/gntdev" in errors(host)
    assert "modprobe" in errors(host)


def test_a_driver_that_writes_nonsense_loses_its_share(host: Host) -> None:
    host.create()
    for name, value in (("num-rings", "77"), ("state", "3")):
        host.xen.write(f"{FRONTEND}/0/{name}", value)
    until(lambda: node(host, f"{BACKEND}/0/state") == "6")
    assert "the share root is not served: 77 rings are not 1 to 2" in messages(host)
    assert host.state()["status"] == "created"
    host.xen.write(f"{FRONTEND}/0/state", "6")
    host.xen.write(f"{FRONTEND}/0/state", "1")
    until(lambda: node(host, f"{BACKEND}/0/state") == "2")
    for name, value in (("num-rings", "1"), ("ring-ref0", "-1"), ("state", "3")):
        host.xen.write(f"{FRONTEND}/0/{name}", value)
    until(lambda: node(host, f"{BACKEND}/0/state") == "6")
    assert "the guest's driver wrote ring-ref0 = '-1'" in messages(host)


def test_refusals_without_end_are_told_a_few_times(tmp_path: Path) -> None:
    """The log is the engine's, and lies in memory on most hosts."""
    record = Record(str(tmp_path))
    record.domid, record.log = 1, f"{tmp_path}/log"
    written: dict[str, str] = {}
    store: Any = SimpleNamespace(
        write=written.__setitem__, read=lambda path: written.get(path, ""), watch=lambda *_: None, set_permissions=lambda *_: None
    )
    shares = Shares(record, store, "exports", ["root"])
    shares.publish()
    for _ in range(100):
        written |= {f"{FRONTEND}/0/num-rings": "77", f"{FRONTEND}/0/state": "3"}
        assert shares.event("share 0")
        assert written[f"{BACKEND}/0/state"] == "6"
        written[f"{FRONTEND}/0/state"] = "1"
        assert shares.event("share 0")
        assert written[f"{BACKEND}/0/state"] == "2", "it may begin again"
    told = (tmp_path / "log").read_text().splitlines()
    assert len(told) == 8 and "further refusals are not told" in told[-1]


def test_a_guest_that_breaks_a_rule_of_a_share_in_use_ends_its_container(tmp_path: Path) -> None:
    """Requests have no answer any more, and a process that waits for one cannot be killed."""
    record = Record(str(tmp_path))
    record.domid = 1
    written: dict[str, str] = {}
    store: Any = SimpleNamespace(
        write=written.__setitem__, read=lambda path: written.get(path, ""), watch=lambda *_: None, set_permissions=lambda *_: None
    )
    shares = Shares(record, store, "exports", ["root"])
    shares.publish()
    shares.heed("connected 0")
    with pytest.raises(RunxError, match="the share root is not served any more: a message of 0 bytes"):
        shares.heed("closed 0 a message of 0 bytes")


def test_a_closed_share_makes_no_work(host: Host) -> None:
    """A guest that shuts down leaves its share closed until its kernel has ended."""
    supervisor = host.create()
    for name, value in (("num-rings", "77"), ("state", "3")):
        host.xen.write(f"{FRONTEND}/0/{name}", value)
    until(lambda: node(host, f"{BACKEND}/0/state") == "6")
    for state in ("5", "6"):
        host.xen.write(f"{FRONTEND}/0/state", state)
    until(lambda: rests(supervisor))


def rests(pid: int) -> bool:
    """Whether a process has waited for 0.3 s, and done nothing else."""
    before = switches(pid)
    time.sleep(0.3)
    return switches(pid) == before


def switches(pid: int) -> int:
    """How often a process has begun to wait."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def test_the_server_ends_with_the_supervisor(host: Host) -> None:
    supervisor = host.create()
    server = int(node(host, f"{BACKEND}/0/server"))
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{server}").exists())
    assert host.runx("delete", "--force", "c").returncode == 0
    assert not [path for path in host.xen.nodes if "runx_9pfs" in path]


def test_a_single_file(host: Host) -> None:
    with_volume(host)
    host.config["mounts"][0]["source"] = f"{host.bundle}/err"  # type: ignore[index]
    host.write_config()
    (host.bundle / "err").touch()
    host.create()
    (server,) = {node(host, f"{BACKEND}/{number}/server") for number in range(2)}
    assert Path(f"/proc/{server}/root/mounts/0").is_file()
