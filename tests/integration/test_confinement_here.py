"""What the processes of a container that runs may do in dom0: nothing that docs/security.md does not name."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from runxtools.double.host import Double
from runxtools.testing.bundles import LIMIT_S, Bundle
from runxtools.testing.rights import Rights, names, table, too_many


def supervisor_of(bundle: Bundle) -> int:
    return int(json.loads(bundle.runx("state", "c", check=True).stdout)["pid"])


def processes(double: Double, bundle: Bundle) -> tuple[int, int]:
    """The supervisor and its server of shares, by their pids in the double."""
    pid = supervisor_of(bundle)
    (server,) = double.run(["cat", f"/proc/{pid}/task/{pid}/children"], check=True).stdout.split()
    return pid, int(server)


def as_here(rights: Rights) -> Rights:
    """On the double a grant is a file, where Xen has a mapping of /dev/xen/gntdev."""
    has_grants = "/dev/xen/gntdev" in rights.descriptors
    return rights._replace(descriptors=(*rights.descriptors, *(["*/domains", "*/domains/*/grant-*"] if has_grants else [])))


def points(double: Double, pid: int) -> dict[str, str]:
    """The mount points that a process sees below its root directory, and the options of each."""
    lines = double.run(["cat", f"/proc/{pid}/mountinfo"], check=True).stdout.decode().splitlines()
    return {line.split()[4]: line.split()[5] for line in lines}


def namespace(double: Double, pid: int | str, kind: str) -> bytes:
    return double.run(["readlink", f"/proc/{pid}/ns/{kind}"], check=True).stdout


@pytest.mark.parametrize(("carrier", "row"), [("9p", "supervisor"), ("disk", "supervisor that writes back")])
def test_no_process_has_more_than_the_document_says(
    double: Double, bundle: Bundle, tmp_path: Path, carrier: str, row: str
) -> None:
    (tmp_path / "data").mkdir()
    bundle.config["annotations"] = {"org.runx.root.carrier": carrier}
    bundle.config["mounts"].append(
        {"destination": "/data", "source": str(tmp_path / "data"), "type": "bind", "options": ["rbind", "rw"]}
    )
    running = bundle.popen("echo ready; cat")
    try:
        supervisor, server = processes(double, bundle)
        allowed = {name: as_here(rights) for name, rights in table().items()}
        assert too_many(double, supervisor, allowed[row]) == []
        assert too_many(double, server, allowed["server"]) == []
        # The server has a root of its own, in which there is nothing but the exports.
        mounts = points(double, server)
        assert "ro" in mounts.pop("/").split(",")
        assert all(point.startswith(("/root", "/mounts/")) for point in mounts), mounts
        for kind in ("mnt", "net", "ipc", "uts", "cgroup"):
            ours = namespace(double, "self", kind)
            assert namespace(double, server, kind) != ours
            assert (namespace(double, supervisor, kind) == ours) == (kind not in ("mnt", "net"))
    finally:
        running.communicate()


@pytest.fixture
def tenant(double: Double) -> Iterator[str]:
    """The mount point of a file system that has nothing to do with the container."""
    path = double.run(["mktemp", "-d", "/tmp/tenant.XXXXXX"], check=True).stdout.decode().strip()
    double.run(["mount", "-t", "tmpfs", "tenant", path], check=True)
    double.run(["sh", "-c", f"echo secret > {path}/secret"], check=True)
    yield path
    double.run(["sh", "-c", f"umount -q {path}; rmdir {path}"], check=True)


WRITTEN = ("/dev/", "/run/xen", "/var/lib/xen", "/var/log/xen", "/run/runx-loops")
"""Where a supervisor may write, beside the directories of its container. The double has its xenstored elsewhere."""


@pytest.mark.parametrize("carrier", ["9p", "disk", "ram"])
def test_a_supervisor_sees_what_its_container_needs(
    double: Double, bundle: Bundle, tenant: str, tmp_path_factory: pytest.TempPathFactory, carrier: str
) -> None:
    """Its root directory is its own: no file of dom0 or of another container is there, and no mount of another tenant."""
    other = Bundle(double, tmp_path_factory.mktemp("other"))
    other.write("true")
    silent = ["sh", "-c", 'exec "$@" < /dev/null > /dev/null 2>&1', "sh"]  # the supervisor has the streams of `create`
    double.run([*silent, *other.argv("create", "other")], check=True, timeout=LIMIT_S)
    bundle.config["annotations"] = {"org.runx.root.carrier": carrier}
    running = bundle.popen("echo ready; cat; echo changed > /changed")
    try:
        pid = supervisor_of(bundle)

        def has(path: str) -> bool:
            return double.run(["test", "-e", f"/proc/{pid}/root{path}"]).returncode == 0

        assert has("/usr/bin/env") and has(f"{bundle.state}/c/record"), "the test looks at the right place"
        for path in (
            "/etc/passwd",
            "/etc/shadow",
            "/var/lib/apt",
            "/home",
            "/boot",
            "/var/lib/dpkg",
            "/sys/fs/cgroup/cgroup.procs",
        ):
            assert not has(path), path
        assert not has(f"{other.state}/other") and not has(str(other.directory / "rootfs")) and not has(f"{tenant}/secret")
        assert has(str(bundle.directory / "rootfs/bin")) == (carrier != "9p"), "it writes back"
        own = (str(bundle.directory), str(double.directory))
        writable = [point for point, options in points(double, pid).items() if "rw" in options.split(",")]
        assert [point for point in writable if not point.startswith((*own, *WRITTEN, "/proc"))] == []
        # Neither it nor its server keeps the other file system. (What stands for Xen on the double does.)
        children = double.run(["cat", f"/proc/{pid}/task/{pid}/children"], check=True).stdout.decode().split()
        for process in (pid, *map(int, children)):
            assert not [point for point in points(double, process) if tenant in point]
    finally:
        running.communicate()
        other.runx("delete", "--force", "other")
    assert running.returncode == 0
    if carrier != "9p":
        assert (bundle.directory / "rootfs/changed").read_text() == "changed\n"


def test_the_reader_of_rights_finds_some(double: Double) -> None:
    """A shell has rights that no process of a container may have."""
    found = too_many(double, 1, table()["server"])
    assert "CapEff sys_admin" in found and "NoNewPrivs is\t0" in found and "Seccomp is\t0" in found
    assert names(1 << 21 | 1 << 63) == {"sys_admin", "number 63"}
