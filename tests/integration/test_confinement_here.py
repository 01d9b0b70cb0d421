"""What the processes of a container that runs may do in dom0: nothing that docs/security.md does not name."""

import json
from pathlib import Path

from runxtools.double.host import Double
from runxtools.testing.bundles import Bundle
from runxtools.testing.rights import Rights, names, table, too_many


def processes(double: Double, bundle: Bundle) -> tuple[int, int]:
    """The supervisor and its server of shares, by their pids in the double."""
    pid = int(json.loads(bundle.runx("state", "c", check=True).stdout)["pid"])
    (server,) = double.run(["cat", f"/proc/{pid}/task/{pid}/children"], check=True).stdout.split()
    return pid, int(server)


def as_here(rights: Rights) -> Rights:
    """On the double a grant is a file, where Xen has a mapping of /dev/xen/gntdev."""
    has_grants = "/dev/xen/gntdev" in rights.descriptors
    return rights._replace(descriptors=(*rights.descriptors, *(["*/domains", "*/domains/*/grant-*"] if has_grants else [])))


def test_no_process_has_more_than_the_document_says(double: Double, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    bundle.config["mounts"].append(
        {"destination": "/data", "source": str(tmp_path / "data"), "type": "bind", "options": ["rbind", "rw"]}
    )
    running = bundle.popen("echo ready; cat")
    try:
        supervisor, server = processes(double, bundle)
        allowed = {name: as_here(rights) for name, rights in table().items()}
        assert too_many(double, supervisor, allowed["supervisor"]) == []
        assert too_many(double, server, allowed["server"]) == []
        # The server has a root of its own, in which there is nothing but the exports; the supervisor has its caller's.
        mounts = double.run(["cat", f"/proc/{server}/mountinfo"], check=True).stdout.decode().splitlines()
        points = [line.split()[4] for line in mounts]
        assert points[0] == "/" and "ro" in mounts[0].split()[5].split(",")
        assert all(point.startswith(("/root", "/mounts/")) for point in points[1:]), points
        for kind in ("mnt", "net", "ipc", "uts", "cgroup"):
            ours = double.run(["readlink", "/proc/self/ns/" + kind], check=True).stdout
            assert double.run(["readlink", f"/proc/{server}/ns/{kind}"], check=True).stdout != ours
            its = double.run(["readlink", f"/proc/{supervisor}/ns/{kind}"], check=True).stdout
            assert (its == ours) == (kind != "net")
    finally:
        running.communicate()


def test_the_reader_of_rights_finds_some(double: Double) -> None:
    """A shell has rights that no process of a container may have."""
    found = too_many(double, 1, table()["server"])
    assert "CapEff sys_admin" in found and "NoNewPrivs is\t0" in found and "Seccomp is\t0" in found
    assert names(1 << 21 | 1 << 63) == {"sys_admin", "number 63"}
