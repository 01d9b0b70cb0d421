"""linux.cgroupsPath: the supervisor is in that group, and nothing of it stays."""

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from commandhost import Host
from runx import paths
from runx.errors import RunxError
from runx.exec.container import cgroup
from runx.exec.container.cgroup import Limits, prepare
from runx.linux.control_groups import Hierarchy, allowed_memory, mounted

TREES = mounted()
TOP = f"runx-test-{uuid.uuid4().hex[:8]}"
needs_trees = pytest.mark.skipif(
    not TREES or os.geteuid() != 0 or not all(os.access(tree.mount_point, os.W_OK) for tree in TREES),
    reason="no control groups here, or not ours to make",
)


def set_path(host: Host, path: str) -> None:
    host.config["linux"] |= {"cgroupsPath": path}  # type: ignore[operator]
    host.write_config()


def groups_of(pid: int) -> dict[str, str]:
    """By the controllers of the tree."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {controllers: path for _, controllers, path in (line.split(":", 2) for line in lines)}


def left(name: str) -> list[str]:
    return [f"{tree.mount_point}/{name}" for tree in TREES if os.path.exists(f"{tree.mount_point}/{name}")]


@pytest.fixture
def top() -> Iterator[str]:
    """A group at the top of every tree, for groups below it."""
    yield TOP
    for tree in TREES:
        for path, _, _ in os.walk(f"{tree.mount_point}/{TOP}", topdown=False):
            os.rmdir(path)


@needs_trees
def test_it_is_there_from_create_to_delete(top: str, host: Host) -> None:
    set_path(host, f"/{top}/ctr/c")
    pid = host.create()
    for controllers, path in groups_of(pid).items():
        assert path.endswith(f"/{top}/ctr/c") or not is_mounted(controllers)
    assert len(left(f"{top}/ctr/c")) == len(TREES)
    for command in (["start", "c"], ["kill", "c", "KILL"]):
        assert host.runx(*command).returncode == 0
    host.await_status("stopped")
    assert host.runx("delete", "c").returncode == 0
    assert left(f"{top}/ctr/c") == []
    host.nothing_left()


def is_mounted(controllers: str) -> bool:
    return frozenset(filter(None, controllers.split(","))) in {tree.controllers for tree in TREES}


@needs_trees
def test_all_that_dom0_does_for_a_container_is_there(top: str, host: Host) -> None:
    """The fake xl says from which group it was called; so does the server of the shares."""
    xl = host.xen.directory / "bin" / "xl"
    said = host.bundle / "groups"
    xl.write_text(xl.read_text().replace("create)\n", f"create)\n\tcat /proc/self/cgroup > {said}\n", 1))
    set_path(host, f"/{top}/c")
    pid = host.create()
    assert said.read_text() == Path(f"/proc/{pid}/cgroup").read_text() != Path("/proc/self/cgroup").read_text()
    (server,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert Path(f"/proc/{server}/comm").read_text() and groups_of(int(server)) == groups_of(pid)


def limits_of(name: str) -> dict[str, str]:
    """What the files of a group say that limit memory and processor time."""
    found = {}
    for tree in TREES:
        for file in ("memory.limit_in_bytes", "memory.max", "cpu.cfs_quota_us", "cpu.max"):
            path = Path(tree.mount_point, name, file)
            if path.exists():
                found[file.partition(".")[0]] = path.read_text().split()[0]
    return found


@needs_trees
def test_the_group_has_the_limits_of_the_host(top: str, host: Host) -> None:
    """Not the container's, which are the virtual machine's."""
    host.config["linux"] |= {"resources": {"memory": {"limit": 64 << 20}}}  # type: ignore[operator]
    set_path(host, f"/{top}/c")
    host.create()
    known = {"memory": str(1 << 30), "cpu": "200000"}
    controllers = limits_of(top).keys()
    if not controllers:
        pytest.skip("no controller of memory or processor time here")
    assert limits_of(f"{top}/c") == {name: known[name] for name in controllers}


@needs_trees
def test_a_smaller_limit_stays(top: str) -> None:
    """An engine has made the group, with limits of its own; or the group above has smaller ones."""
    if "memory" not in limits_of(""):
        pytest.skip("no memory controller here")
    trees = [tree for tree in TREES if os.path.exists(f"{tree.mount_point}/{tree.memory_limit_file}") or tree.version == 1]
    for tree in trees:
        os.makedirs(f"{tree.mount_point}/{top}/c", exist_ok=True)
        for file, limit in ((tree.memory_limit_file, 32 << 20), ("cpu.cfs_quota_us", 50_000)):
            if os.path.exists(path := f"{tree.mount_point}/{top}/{file}"):
                Path(path).write_text(str(limit))
                Path(path.replace(f"/{top}/", f"/{top}/c/")).write_text(str(limit))
    group = prepare(f"/{top}/c", systemd=False)
    assert group
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        group.join(process.pid, Limits(1 << 30, 2))
        assert limits_of(f"{top}/c")["memory"] == str(32 << 20)
        process.communicate()


def tree_of_files(directory: Path, **files: str) -> Hierarchy:
    """A tree of version 2 that consists of plain files, with one group `c`."""
    (directory / "c").mkdir(parents=True)
    for name, text in {"cgroup.procs": "", **files}.items():
        (directory / "c" / name.replace("_", ".")).write_text(text)
    return Hierarchy(str(directory), 2, frozenset(), "/")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"memory_max": "max\n", "cpu_max": "max 100000\n"}, {"memory.max": "1073741824", "cpu.max": "300000 100000"}),
        ({"memory_max": "4096\n", "cpu_max": "5000 100000\n"}, {"memory.max": "4096\n", "cpu.max": "5000 100000\n"}),
    ],
)
def test_limits_of_version_2(before: dict[str, str], after: dict[str, str], tmp_path: Path) -> None:
    group = cgroup.Group([(tree_of_files(tmp_path, **before), ["c"])])
    assert group.join(os.getpid(), Limits(1 << 30, 3)) == []
    assert {name: (tmp_path / "c" / name).read_text() for name in after} == after


def test_what_is_not_limited_is_told(tmp_path: Path) -> None:
    """As where a group above has processes of its own, and so gives no controllers to those below."""
    group = cgroup.Group([(tree_of_files(tmp_path, cpu_max="max 100000\n"), ["c"])])
    assert group.join(os.getpid(), Limits(1 << 30, 2)) == ["memory"]


def test_a_group_of_others_gets_no_limits(tmp_path: Path) -> None:
    (tree := tree_of_files(tmp_path, memory_max="max\n", cpu_max="max 100000\n"))
    (tmp_path / "c" / "cgroup.procs").write_text("1\n")
    assert cgroup.Group([(tree, ["c"])]).join(os.getpid(), Limits(1 << 30, 2)) == ["memory", "cpu"]
    assert (tmp_path / "c" / "memory.max").read_text() == "max\n"


def test_memory_that_groups_above_allow(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "memory.max").write_text("4096\n")
    (tmp_path / "a" / "b" / "memory.max").write_text("max\n")
    assert allowed_memory([Hierarchy(str(tmp_path), 2, frozenset(), "/a/b")]) == 4096
    assert allowed_memory([Hierarchy(str(tmp_path), 2, frozenset(), "/")]) > 1 << 60


@needs_trees
def test_hooks_find_it(top: str, host: Host) -> None:
    said = host.bundle / "groups"
    script = f"pid=$(sed 's/.*\"pid\": *//; s/[,}}].*//'); cat /proc/$pid/cgroup > {said}"
    host.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    set_path(host, f"/{top}/c")
    host.create()
    assert said.read_text().count(f"/{top}/c\n") == len(TREES)


@needs_trees
def test_what_a_killed_one_leaves_is_removed(top: str, host: Host) -> None:
    set_path(host, f"/{top}/c")
    os.kill(host.create(), 9)
    host.await_status("stopped")
    assert host.runx("delete", "c").returncode == 0
    assert left(f"{top}/c") == []
    host.nothing_left()


@needs_trees
def test_a_create_that_fails_leaves_no_group(host: Host) -> None:
    set_path(host, f"/{TOP}/a/c")
    host.xen.fault("create", "libxl: error: no")
    assert host.runx("create", "-b", str(host.bundle), "c").returncode == 1
    assert left(TOP) == []
    (host.xen.directory / "faults" / "create").unlink()
    # After the group has been joined:
    result = host.runx("create", "-b", str(host.bundle), "--pid-file", "/no/such/dir/pid", "c")
    assert (result.returncode, "cannot write the pid file" in result.stderr) == (1, True)
    assert left(TOP) == []
    host.nothing_left()


@needs_trees
def test_a_group_that_has_others_in_it_is_left(top: str, host: Host) -> None:
    tree = TREES[0]
    group = Path(tree.mount_point, top)
    group.mkdir()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        if "cpuset" in tree.controllers:
            pytest.skip("the first tree is that of cpusets")
        (group / "cgroup.procs").write_text(str(other.pid))
        set_path(host, f"/{top}")
        host.create()
        assert host.runx("delete", "--force", "c").returncode == 0
        assert (group / "cgroup.procs").read_text() == f"{other.pid}\n"
        assert left(top) == [str(group)]
        other.communicate()


@needs_trees
def test_a_path_relative_to_the_callers(top: str, host: Host) -> None:
    """The caller is in GROUP: with version 1 the container's is below, with version 2 beside it."""
    script = f"""
import os, sys
sys.path[:0] = {sys.path!r}
from runx.exec.container import cgroup
cgroup.prepare("/{top}/caller", systemd=False).join(os.getpid(), cgroup.Limits(1 << 30, 2))
os.execv(sys.argv[1], sys.argv[1:])
"""
    set_path(host, "c")
    argv = [
        sys.executable,
        "-c",
        script,
        *host.argv("create", "-b", str(host.bundle), "--pid-file", str(host.bundle / "pid"), "c"),
    ]
    with (host.bundle / "out").open("wb") as out:
        subprocess.run(argv, env=host.xen.environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=60)
    assert (host.bundle / "out").read_text() == ""
    found = groups_of(int((host.bundle / "pid").read_text()))
    for tree in TREES:
        path = next(p for controllers, p in found.items() if frozenset(filter(None, controllers.split(","))) == tree.controllers)
        assert path.endswith(f"/{top}/c" if tree.version == 2 else f"/{top}/caller/c")


@pytest.mark.parametrize("path", ["/../up", "a/../../b", "/", ".", "a\u0007b"])
def test_paths_that_are_refused(host: Host, path: str) -> None:
    set_path(host, path)
    result = host.runx("create", "-b", str(host.bundle), "c")
    assert (result.returncode, "linux.cgroupsPath: " in result.stderr) == (1, True)
    assert "config.json:" in host.last_error()
    host.nothing_left()


def test_systemds_form(host: Host) -> None:
    for path, words in (
        ("/a/b", "not of the form SLICE:PREFIX:NAME"),
        ("system.slice:runx:", "not of the form"),
        ("system.slice:runx:x.slice", "names a slice"),
    ):
        set_path(host, path)
        argv = host.argv("create", "-b", str(host.bundle), "c")
        result = subprocess.run(
            [*argv[:5], "--systemd-cgroup", *argv[5:]], env=host.xen.environment(), capture_output=True, text=True
        )
        assert (result.returncode, words in result.stderr) == (1, True), result.stderr
        host.nothing_left()
    if not os.path.isdir("/run/systemd/system"):
        with pytest.raises(RunxError, match="systemd does not run"):
            prepare("system.slice:runx:c", systemd=True)


def test_what_systemd_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busctl that moves the process, as systemd does."""
    tree, log = tmp_path / "tree", tmp_path / "log"
    tree.mkdir()
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    (tmp_path / "busctl").write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    (tmp_path / "busctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) + ":" + os.environ["PATH"])
    monkeypatch.setattr(os.path, "isdir", lambda path, isdir=os.path.isdir: path == "/run/systemd/system" or isdir(path))
    monkeypatch.setattr(cgroup, "mounted", lambda: [Hierarchy(str(tree), 2, frozenset(), "/")])
    placed = "0::/machine.slice/machine-a.slice/libpod-c.scope\n"
    lines = cgroup.lines
    monkeypatch.setattr(
        cgroup, "lines", lambda path: placed.splitlines() if path == f"/proc/{process.pid}/cgroup" else lines(path)
    )
    group = prepare("machine-a.slice:libpod:c", systemd=True)
    assert group
    assert (group.scope, group.directories) == ("libpod-c.scope", [f"{tree}/machine.slice/machine-a.slice/libpod-c.scope"])
    group.join(process.pid, Limits(64 << 20, 2))
    (call,) = log.read_text().splitlines()
    assert call.startswith(
        "--system --quiet call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager "
        "StartTransientUnit ssa(sv)a(sa(sv)) libpod-c.scope fail 10 Description s "
    )
    assert f"Slice s machine-a.slice PIDs au 1 {process.pid} Delegate b true" in call
    assert f"MemoryMax t {64 << 20} CPUQuotaPerSecUSec t 2000000 0" in call
    from runx.exec.container.cgroup_removal import remove

    remove(group.directories, group.scope)
    assert len(log.read_text().splitlines()) == 1, "it has gone by itself"
    os.makedirs(group.directories[0])
    remove(group.directories, group.scope)
    assert [line.split()[6:] for line in log.read_text().splitlines()[1:]] == [
        ["StopUnit", "ss", "libpod-c.scope", "replace"],
        ["ResetFailedUnit", "s", "libpod-c.scope"],
    ]
    process.communicate()


HYBRID = """\
20 1 0:18 / /sys/fs/cgroup rw - tmpfs tmpfs rw
21 20 0:19 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:3 - cgroup cgroup rw,cpu,cpuacct
22 20 0:20 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
23 20 0:21 / /sys/fs/cgroup/with\\040space rw - cgroup2 cgroup2 rw
24 20 0:22 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
25 20 0:20 /docker/x /mnt/again rw - cgroup cgroup rw,memory
26 20 0:23 / /proc rw - proc proc rw
"""


def test_trees_are_found(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text(HYBRID)
    (tmp_path / "cgroup").write_text("4:memory:/docker/x/y\n3:cpu,cpuacct:/a\n1:name=systemd:/\n0::/b/c\n2:pids:/unmounted\n")
    assert mounted(str(tmp_path / "mountinfo"), str(tmp_path / "cgroup")) == [
        Hierarchy("/sys/fs/cgroup/cpu,cpuacct", 1, frozenset({"cpu", "cpuacct"}), "/a"),
        Hierarchy("/sys/fs/cgroup/memory", 1, frozenset({"memory"}), "/y"),
        Hierarchy("/sys/fs/cgroup/with space", 2, frozenset(), "/b/c"),
        Hierarchy("/sys/fs/cgroup/systemd", 1, frozenset({"name=systemd"}), "/"),
    ]
    (tmp_path / "mountinfo").write_text("26 20 0:23 / /proc rw - proc proc rw\n")
    assert mounted(str(tmp_path / "mountinfo"), str(tmp_path / "cgroup")) == []


def test_no_groups_at_all_is_a_warning(host: Host) -> None:
    """In a mount namespace in which nothing of the kind is mounted."""
    set_path(host, "/a/b")
    script = 'umount -R -l /sys/fs/cgroup && exec "$@"'
    argv = ["unshare", "--mount", "sh", "-c", script, "sh", *host.argv("create", "-b", str(host.bundle), "c")]
    with (host.bundle / "out").open("wb") as out:
        done = subprocess.run(argv, env=host.xen.environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=60)
    if b"umount:" in (host.bundle / "out").read_bytes() or b"unshare:" in (host.bundle / "out").read_bytes():
        pytest.skip("no mounts of our own here")
    assert done.returncode == 0
    assert '"level":"warning","msg":"linux.cgroupsPath: /a/b: no control groups are mounted on this host"' in host.log.read_text()
    assert host.state()["status"] == "created"


def test_a_fast_delete_stays_light(host: Host) -> None:
    from exec.test_commands import HEAVY

    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from runx.exec.container import cgroup_removal; print(*sys.modules)"
    )
    argv = [sys.executable, "-I", "-S", "-c", script, str(Path(cgroup.__file__).parents[3])]
    loaded = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    assert not {*HEAVY, "contextlib", "collections"} & set(loaded)


@needs_trees
def test_no_group_is_made_where_groups_are_disabled(top: str, host: Host) -> None:
    """As crun's: podman says so for --cgroups=disabled."""
    set_path(host, f"/{top}/c")
    host.program = host.program.replace("program()", "sys.argv[1:1] = ['--cgroup-manager', 'disabled']; program()")
    pid = host.create()
    assert groups_of(pid) == groups_of(os.getpid())
    assert left(f"{top}/c") == []
    assert f"linux.cgroupsPath: /{top}/c: not used, as --cgroup-manager is disabled" in host.log.read_text()


@needs_trees
def test_an_image_of_too_many_files_is_an_error_that_names_the_limit(top: str, tmp_path: Path) -> None:
    """Whether mkfs.erofs sees its limit first, or the kernel has to kill it: nothing else of dom0 is hurt."""
    if "memory" not in limits_of("") or not shutil.which("mkfs.erofs", path=paths.PROGRAMS):
        pytest.skip("no memory controller here, or no mkfs.erofs")
    script = f"""
import os, sys
sys.path[:0] = {sys.path!r}
from runx.exec.container import cgroup
from runx.exec.storage import mkfs
cgroup.prepare("/{top}", systemd=False).join(os.getpid(), cgroup.Limits(32 << 20, 2))
for number in range(10000):
    os.close(os.open(f"{tmp_path}/tree/" + "x" * 150 + str(number), os.O_CREAT))
try:
    mkfs.image(mkfs.Tree("{tmp_path}/work", "{tmp_path}/tree"), "{tmp_path}/image", 1 << 30, to_disk=False)
except mkfs.RunxError as error:
    print(error.message, error.hint)
"""
    (tmp_path / "tree").mkdir()
    (tmp_path / "image").touch()
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert said.stdout.startswith("root.path: ") and "host.memory_limit" in said.stdout, said
