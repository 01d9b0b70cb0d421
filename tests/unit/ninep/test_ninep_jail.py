"""The process that serves shares has the exports and next to nothing else."""

import errno
import functools
import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runx.exec.ninep import changes, export_names, exports, jail, layer, process, ring, syscalls
from runx.linux import confine, memory, xen
from runxtools.testing.containers import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")


def plan(root: Path | None = None, *mounts: dict[str, Any]) -> dict[str, Any]:
    full = [
        {
            "carrier": "9p",
            "slot": number,
            "is_file": False,
            "recursive": True,
            "read_only": False,
            "withheld": [],
            "flags": [],
            "data": [],
            "origin": f"mounts[{number}]",
        }
        | mount
        for number, mount in enumerate(mounts)
    ]
    carried = {"carrier": "9p" if root else "disk", "path": str(root), "served_read_only": False, "write_back": ""}
    return {"root": carried, "mounts": full}


def kept(directory: Path, content: dict[str, Any]) -> list[exports.Export]:
    """The shares of a plan, as `create` keeps them and the server reads them: those for its end, if its root is written back."""
    for name in (export_names.SHARES, export_names.LAYER):
        (directory / name).unlink(missing_ok=True)
    exports.keep(str(directory), content)  # type: ignore[arg-type]
    of_the_end = content["root"]["write_back"] == "exit"
    return exports.load(f"{directory}/{export_names.LAYER if of_the_end else export_names.SHARES}")


def written_back(root: Path) -> dict[str, Any]:
    """A plan whose root filesystem takes what the container wrote."""
    return {"root": {"carrier": "disk", "path": str(root), "write_back": "exit"}, "mounts": []}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "shares").mkdir()
    return tmp_path / "shares"


def inside(place: Path, content: dict[str, Any], act: Callable[[], object], *, locked: bool = False) -> Any:
    """What `act` returns in the jail, or the error it raises; as JSON has it."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.umask(0)
            (pipe,) = jail.keep_descriptors([theirs])
            jail.enter(str(place), kept(place.parent, content), 1000)
            if locked:
                jail.lock()
            found = act()
        except OSError as error:
            found = errno.errorcode[error.errno or 0]
        except BaseException as error:
            found = f"{type(error).__name__}: {error}"
        os.write(pipe, json.dumps(found).encode())
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as pipe_:
        data = pipe_.read()
    assert os.waitpid(pid, 0)[1] == 0
    assert str(place) not in Path("/proc/self/mountinfo").read_text(), "the host sees nothing of it"
    assert not list(place.iterdir())
    return json.loads(data)


def code(error: int) -> str:
    return errno.errorcode[error]


def write_file(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))


# -- the tree --------------------------------------------------------------------------------------------------------------


def test_the_root_directory_holds_the_exports_alone(tmp_path: Path, place: Path) -> None:
    root, volume = tmp_path / "root", tmp_path / 'a, "volume"'
    (root / "etc").mkdir(parents=True)
    volume.mkdir()
    (volume / "file").write_text("content")
    content = plan(root, {"source": str(volume)}, {"source": str(volume / "file"), "is_file": True, "slot": 1})

    def look() -> object:
        with open("/mounts/1") as file:
            text = file.read()
        write_file("/mounts/0/new")
        return [os.listdir("/"), os.listdir("/root"), os.listdir("/mounts"), text, os.listdir("/..")]

    found = inside(place, content, look)
    assert sorted(found[0]) == sorted(found[4]) == ["mounts", "root"]
    assert (found[1], sorted(found[2]), found[3]) == (["etc"], ["0", "1"], "content")
    assert (volume / "new").exists()


def test_the_tree_itself_cannot_be_written(tmp_path: Path, place: Path) -> None:
    content = plan(tmp_path, {"source": str(tmp_path)})
    for path in ("/new", "/mounts/new"):
        assert inside(place, content, functools.partial(write_file, path)) == "EROFS"


def test_nothing_of_proc_but_descriptors(tmp_path: Path, place: Path) -> None:
    """The working directory is /proc/self/fd, and there is no way up from it."""

    def look() -> object:
        here, up = os.stat("."), os.stat("..")
        return [os.path.samestat(here, up), os.path.exists("../../uptime"), "3" in os.listdir("..")]

    assert inside(place, plan(tmp_path), look) == [True, False, True]


def test_read_only_is_the_mounts_too(tmp_path: Path, place: Path) -> None:
    volume = tmp_path / "volume"
    (volume / "below me").mkdir(parents=True)
    (volume / "file").touch()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nosuid", "below", str(volume / "below me")], check=True)
    content = plan(
        None,
        {"source": str(volume), "read_only": True},
        {"source": str(volume)},
        {"source": str(volume / "file"), "is_file": True, "read_only": True},
        {"source": str(volume), "recursive": False},
    )

    def attempts() -> object:
        found = []
        for path in ("/mounts/0/x", "/mounts/0/below me/x", "/mounts/1/x", "/mounts/1/below me/x", "/mounts/2"):
            try:
                write_file(path)
                found.append("")
            except OSError as error:
                found.append(errno.errorcode[error.errno or 0])
        kept = bool(os.statvfs("/mounts/0/below me").f_flag & os.ST_NOSUID)
        return [found, kept, os.listdir("/mounts/3/below me")]

    try:
        found = inside(place, content, attempts)
    finally:
        subprocess.run(["umount", str(volume / "below me")], check=True)
    assert found == [["EROFS", "EROFS", "", "", "EROFS"], True, []], "its other flags stay; without rbind, nothing is below"


def test_a_root_that_is_served_read_only(tmp_path: Path, place: Path) -> None:
    content = plan(tmp_path)
    content["root"]["served_read_only"] = True
    assert inside(place, content, lambda: write_file("/root/new")) == "EROFS"
    (export,) = exports.load(f"{tmp_path}/exports")
    assert export.rules.read_only


def escaped(path: Path) -> str:
    """As podman writes a path, and its commas too."""
    return str(path).replace(":", "\\:").replace(",", "\\,")


def test_an_overlay_keeps_what_is_written_in_its_upper_directory(tmp_path: Path, place: Path) -> None:
    lower = tmp_path / "a:b, c"
    upper, work = tmp_path / "upper", tmp_path / "work"
    for directory in (lower, upper, work):
        directory.mkdir()
    (lower / "file").write_text("lower")
    data = [f"lowerdir={escaped(lower)}", f"upperdir={upper}", f"workdir={work}"]

    def change() -> object:
        with open("/mounts/0/file") as file:
            text = file.read()
        with open("/mounts/0/file", "w") as file:
            file.write("upper")
        return text

    assert inside(place, plan(None, {"source": str(lower), "data": data}), change) == "lower"
    assert ((lower / "file").read_text(), (upper / "file").read_text()) == ("lower", "upper")
    one_more = [f"lowerdir={escaped(lower)}:{upper}"]
    found = inside(place, plan(None, {"source": str(lower), "data": one_more}), lambda: write_file("/mounts/0/new"))
    assert found == "EROFS", "without an upper directory"
    found = inside(place, plan(None, {"source": "/no", "data": [f"lowerdir=/no:{lower}"]}), dict)
    assert found == f"RunxError: mounts[0]: cannot mount the overlay lowerdir=/no:{lower}: No such file or directory"
    many = [f"lowerdir={':'.join([escaped(lower)] * 300)}", *data[1:]]
    found = str(inside(place, plan(None, {"source": str(lower), "data": many}), dict))
    assert found.endswith("...: its options are too long for mount(2)")
    assert len(found) < 350


def test_a_bind_that_fails_is_named(tmp_path: Path, place: Path) -> None:
    found = inside(place, plan(None, {"source": "/no/such"}), list)
    assert found == "RunxError: mounts[0]: cannot bind /no/such: No such file or directory"


def test_mounts_of_the_host_stay_on_the_host(tmp_path: Path, place: Path) -> None:
    """What the host mounts later is not seen, and what it unmounts is its own affair."""
    volume = tmp_path / "volume"
    (volume / "below").mkdir(parents=True)
    subprocess.run(["mount", "--make-shared", "-t", "tmpfs", "volume", str(volume)], check=True)
    (volume / "below").mkdir()
    try:
        ready, go = os.pipe(), os.pipe()

        def look() -> object:
            os.write(4, b"r")
            os.read(5, 1)
            return os.listdir("/mounts/0/below")

        pid = os.fork()
        if pid == 0:
            keep = jail.keep_descriptors([ready[0], ready[1], go[0]])
            jail.enter(str(place), kept(tmp_path, plan(None, {"source": str(volume)})), 1000)
            assert keep == [3, 4, 5]
            os._exit(len(look()))  # type: ignore[arg-type]
        os.read(ready[0], 1)
        subprocess.run(["mount", "-t", "tmpfs", "late", str(volume / "below")], check=True)
        (volume / "below/late").touch()
        os.write(go[1], b"g")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        subprocess.run(["umount", str(volume / "below")], check=True)
    finally:
        subprocess.run(["umount", "-l", str(volume)], check=True)


def is_free(device: str) -> bool:
    """Whether a device is mounted nowhere."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_EXCL))
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


@pytest.mark.skipif(not os.path.exists("/dev/loop-control"), reason="needs loop devices")
def test_another_mount_of_the_host_is_not_held(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the host has unmounted it, its device is free."""
    other, image, volume = tmp_path / "other", tmp_path / "image", tmp_path / "volume"
    other.mkdir()
    volume.mkdir()
    subprocess.run(["truncate", "-s", "4M", image], check=True)
    subprocess.run(["mke2fs", "-q", image], check=True)
    device = subprocess.run(["losetup", "-f", "--show", image], check=True, capture_output=True, text=True).stdout.strip()
    try:
        subprocess.run(["mount", device, other], check=True)
        try:
            with server(tmp_path, plan(None, {"source": str(volume)}), monkeypatch) as (_, __, words):
                assert words == "ready"
                subprocess.run(["umount", other], check=True)
                until(lambda: is_free(device))  # others on this machine may have copied its mounts meanwhile, and let go
        finally:
            subprocess.run(["umount", "-q", other])
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


def test_entries_that_allow_no_devices(tmp_path: Path) -> None:
    (export,) = kept(tmp_path, plan(None, {"source": "/x", "flags": ["nodev"]}, {"source": "/y"}))
    assert export.entries is not None
    assert (export.entries[b"0"].no_devices, export.entries[b"1"].no_devices) == (True, False)


def test_the_root_of_the_layer_has_its_own_name(tmp_path: Path) -> None:
    """A path with a carriage return is not that with a newline, which is another directory."""
    root = tmp_path / "a\rb\r\nc"
    (export,) = kept(tmp_path, written_back(root))
    assert export.binds[0].source == str(root) == export_names.root_of_the_layer(str(tmp_path))


@pytest.mark.parametrize("withheld", [[], ["devices"], ["set-id"], ["capabilities"], ["devices", "set-id", "capabilities"]])
def test_entries_that_withhold_rights(tmp_path: Path, withheld: list[str]) -> None:
    (export,) = kept(tmp_path, plan(None, {"source": "/x", "withheld": withheld}))
    assert export.entries is not None
    rules = export.entries[b"0"]
    found = [("devices", rules.no_devices), ("set-id", rules.no_set_id), ("capabilities", rules.no_capabilities)]
    assert [name for name, holds in found if holds] == withheld


# -- what it may do --------------------------------------------------------------------------------------------------------


def test_system_calls_on_files_work(tmp_path: Path, place: Path) -> None:
    def work() -> object:
        directory = os.open("/mounts/0", os.O_PATH | os.O_DIRECTORY)
        fd = os.open("file", os.O_RDWR | os.O_CREAT, dir_fd=directory)
        os.pwrite(fd, b"12345", 0)
        os.ftruncate(fd, 3)
        os.fchmod(fd, 0o640)
        named = b"%d" % os.open("file", os.O_PATH | os.O_NOFOLLOW, dir_fd=directory)
        os.chown(named, 1, 2)
        os.chmod(named, 0o600)
        os.utime(named, ns=(1, 2))
        os.truncate(named, 2)
        os.setxattr(named, "user.x", b"y")
        os.link(named, "linked", dst_dir_fd=directory, follow_symlinks=True)
        os.mknod("fifo", stat.S_IFIFO | 0o600, dir_fd=directory)
        os.mknod("null", stat.S_IFCHR | 0o600, os.makedev(1, 3), dir_fd=directory)
        os.fsync(fd)
        os.rename("linked", "renamed", src_dir_fd=directory, dst_dir_fd=directory)
        os.unlink("renamed", dir_fd=directory)
        ring.Scratch().pages()[0] = 1
        memory.trim()
        import _thread

        done = _thread.allocate_lock()
        done.acquire()
        _thread.start_new_thread(done.release, ())
        return [os.preadv(fd, [bytearray(5)], 0), os.getxattr(named, "user.x").decode(), done.acquire(timeout=30)]

    assert inside(place, plan(None, {"source": str(tmp_path)}), work, locked=True) == [2, "y", True]
    status = (tmp_path / "file").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1, 2, 0o600)


@pytest.mark.parametrize(
    "act",
    [
        lambda: socket.socket(socket.AF_INET),
        lambda: socket.socket(socket.AF_UNIX),
        lambda: os.kill(os.getpid(), 0),
        os.fork,
        lambda: os.execv("/mounts/0/x", ["x"]),
        lambda: os.chroot("/mounts"),
        lambda: os.pipe(),
        lambda: os.memfd_create("x"),
        lambda: os.pidfd_open(1),
        lambda: os.setuid(0),
        lambda: os.setresgid(0, 0, 0),
        lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)),
        lambda: os.open("/proc/self/status", os.O_RDONLY),
    ],
)
def test_everything_else_is_refused(tmp_path: Path, place: Path, act: Callable[[], object]) -> None:
    found = inside(place, plan(None, {"source": str(tmp_path)}), lambda: [act()] and "done", locked=True)
    assert found in ("ENOSYS", "ENOENT")


def test_memory_that_can_be_executed_is_refused(tmp_path: Path, place: Path) -> None:
    import mmap

    executable = mmap.PROT_READ | mmap.PROT_EXEC
    assert inside(place, plan(tmp_path), lambda: mmap.mmap(-1, 4096, prot=executable).close(), locked=True) == "ENOSYS"


def test_ioctls_of_other_devices_are_refused(tmp_path: Path, place: Path) -> None:
    import fcntl
    import termios

    assert inside(place, plan(tmp_path), lambda: fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)), locked=True) == "ENOSYS"
    assert inside(place, plan(tmp_path), lambda: fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid()), locked=True) == "ENOSYS"


def test_what_a_container_wrote_is_taken_in_the_jail(tmp_path: Path, place: Path) -> None:
    """With the few system calls that it has. Links of the root filesystem lead nowhere there; the tree has nothing else."""
    root = tmp_path / "root"
    (root / "old/deep").mkdir(parents=True)
    (root / "old/deep/file").write_text("old")
    os.setxattr(root / "old", "user.gone", b"1")

    def act() -> object:
        top = layer.Root(os.open("/layer/root", os.O_PATH))
        taken = changes.Changes(top)
        taken.allow(1 << 20)
        facts = functools.partial(layer.Facts, uid=1, gid=2, atime_ns=3, mtime_ns=4)

        def make(name: bytes, mode: int, data: bytes = b"", attribute: bytes = b"", **words: Any) -> None:
            top.begin(name, facts(mode), words.get("device", 0), 100, words.get("target", b""), is_opaque=False)
            if data:
                top.data(0, data)
            if attribute:
                top.attribute(attribute, b"value")
            top.place()

        make(b"", stat.S_IFDIR | 0o755)
        make(b"old", stat.S_IFDIR | 0o700, attribute=b"user.new")
        top.remove(b"deep")
        make(b"file", stat.S_IFREG | 0o6755, b"text", b"user.some")
        make(b"link", stat.S_IFLNK | 0o777, target=b"/nowhere")
        make(b"fifo", stat.S_IFIFO | 0o600)
        make(b"null", stat.S_IFCHR | 0o600, device=os.makedev(1, 3))
        make(b"new", stat.S_IFDIR | 0o750)
        top.leave()
        top.leave()
        top.link(b"second", b"old/file")
        top.finish()
        taken._is_complete = True
        return [taken.settled(), os.listdir("/"), sorted(os.listdir("/layer"))]

    assert inside(place, written_back(root), act, locked=True) == ["7 4", ["layer"], ["changes", "root"]]
    status = (root / "old/file").stat()
    assert (status.st_uid, status.st_gid, status.st_mode, status.st_size) == (1, 2, stat.S_IFREG | 0o6755, 100)
    assert (root / "second").samefile(root / "old/file") and os.listxattr(root / "old") == ["user.new"]
    assert sorted(os.listdir(root / "old")) == ["fifo", "file", "link", "new", "null"]
    assert (root / "old").stat().st_mtime_ns == 4 and sorted(os.listdir(root)) == ["old", "second"]


# -- the process -----------------------------------------------------------------------------------------------------------


@contextmanager
def server(
    directory: Path, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *, missing: bool = False
) -> Iterator[tuple[int, socket.socket, str]]:
    """Pid, control socket and first report of a process that serves; devices of Xen are /dev/null."""
    null = lambda: os.open("/dev/xen/none" if missing else "/dev/null", os.O_RDWR | os.O_CLOEXEC)  # noqa: E731
    monkeypatch.setattr(xen, "open_grants", null)
    monkeypatch.setattr(xen, "open_channels", lambda: os.eventfd(0))
    kept(directory, content)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        ours.close()
        process.become(theirs.fileno(), str(directory), "exports", "runx-shares test", 100)
    theirs.close()
    try:
        ours.settimeout(60)
        yield pid, ours, ours.recv(4096).decode()
    finally:
        ours.close()
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ChildProcessError, ProcessLookupError):
            pass  # the test has seen its end


def test_the_process(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    secret = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(secret, True)
    with server(tmp_path, plan(None, {"source": str(volume)}), monkeypatch) as (pid, control, words):
        assert words == "ready"
        assert os.listdir(f"/proc/{pid}/root") == ["mounts"]
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        wanted = sum(1 << number for number in (0, 1, 2, 3, 4, 27, 31))
        for name, value in (("CapEff", wanted), ("CapPrm", wanted), ("CapBnd", wanted), ("CapInh", 0), ("CapAmb", 0)):
            assert int(status[name], 16) == value, name
        fds = {fd: os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        assert not [path for path in fds.values() if path == "/etc/passwd"]
        kinds = sorted(path.split(":")[0] for path in fds.values())
        assert kinds == ["/dev/null"] * 4 + ["/mounts"] + ["anon_inode"] * 2 + ["socket"], kinds
        for name in ("mnt", "net", "ipc", "uts", "cgroup"):
            assert os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"), name
        assert Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0") == b"runx-shares test"
        control.send(b"end")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(secret)


def test_it_ends_when_the_supervisor_is_gone(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(tmp_path, plan(tmp_path), monkeypatch) as (pid, control, words):
        assert words == "ready"
        control.close()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_fault_of_its_own_is_reported(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(tmp_path, plan(tmp_path), monkeypatch) as (pid, control, _):
        control.send(b"close 77")
        assert control.recv(4096).startswith(b"fault IndexError")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def test_an_export_that_is_not_there(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(tmp_path, plan(tmp_path / "none"), monkeypatch) as (_, __, words):
        assert words == f"error root.path: cannot bind {tmp_path}/none: No such file or directory\n"


def test_a_device_that_is_not_there(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is missed when the guest's driver comes, as it is for the console."""
    with server(tmp_path, plan(tmp_path), monkeypatch, missing=True) as (pid, control, words):
        assert words == "ready"
        control.send(b"domain 5")
        control.send(b"connect 0 8 9")
        said = control.recv(4096).decode()
        assert said.startswith("fault cannot open /dev/xen/none: No such file or directory: load it: modprobe")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


# -- numbers ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", sorted(confine.ARCHITECTURES))
def test_numbers_of_system_calls(architecture: str) -> None:
    import ctypes

    try:
        scmp = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("libseccomp knows the numbers, and is not here")
    known = {**syscalls.numbers(architecture), **syscalls.conditional(architecture)}
    assert len(known) > 60
    for name, number in known.items():
        found = scmp.seccomp_syscall_resolve_name_arch(confine.ARCHITECTURES[architecture], name.encode())
        assert found == number, name
    for name in ("execve", "ptrace", "socket", "mount", "kill", "setns", "bpf", "open_by_handle_at", "pidfd_getfd"):
        assert name not in known


# -- the kernel of the host ------------------------------------------------------------------------------------------------


def test_the_hosts_kernel_is_left_out_below_a_bind(tmp_path: Path, place: Path) -> None:
    """As by `-v /:/host`: the mount points are there, and empty."""
    volume, script = tmp_path / "vol ume", "mount -t proc proc p; mount -t sysfs sys below/s; mount -t tmpfs t below/t"
    for path in ("p", "below/s", "below/t"):
        (volume / path).mkdir(parents=True)
    with mounted(volume, script):
        (volume / "below/t/file").write_text("")
        content = plan(None, {"source": str(volume), "recursive": True})
        found = inside(place, content, lambda: {path: os.listdir(f"/mounts/0/{path}") for path in ("p", "below/s", "below/t")})
        assert found == {"p": [], "below/s": [], "below/t": ["file"]}
        assert (volume / "p/self").exists(), "the host keeps it"


@pytest.mark.parametrize("source", ["p", "p/sys", "p/sys/kernel/core_pattern"])
def test_the_hosts_kernel_is_no_share(tmp_path: Path, place: Path, source: str) -> None:
    (tmp_path / "volume/p").mkdir(parents=True)
    with mounted(tmp_path / "volume", "mount -t proc proc p"):
        path = tmp_path / "volume" / source
        for recursive in (False, True):
            content = plan(None, {"source": str(path), "recursive": recursive, "is_file": path.is_file()})
            found = inside(place, content, lambda: None)
            assert found.startswith("RunxError: mounts[0]: ")
            assert f"{path} is on a proc of the host's kernel" in found


@contextmanager
def mounted(directory: Path, script: str) -> Iterator[None]:
    """With mounts of this machine in a directory."""
    subprocess.run(["sh", "-euc", script], cwd=directory, check=True)
    try:
        yield
    finally:
        points = [line.split()[1].replace("\\040", " ") for line in Path("/proc/self/mounts").read_text().splitlines()]
        for point in reversed([point for point in points if point.startswith(f"{directory}/")]):
            subprocess.run(["umount", point], check=True)
