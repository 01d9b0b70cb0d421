"""The room inroot/: mounts, nodes and masks inside /newroot, whatever the image put there (docs/guest.md, "/runx/setup").

The program `inroot` of tests/support runs one command, so that a shell script can look at what it did.
"""

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import guestbox as gb

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")

Run = Callable[..., str]


@pytest.fixture
def newroot(root: Path) -> Path:
    return root / "newroot"


@pytest.fixture
def run(root: Path) -> Run:
    """Runs a script with the ramdisk's busybox in a mount namespace of its own; returns what it printed."""
    prepare = 'mount --bind "$1" "$1" && mount -t proc proc "$1/proc" && mount -t tmpfs tmpfs "$1/dev" && '
    enter = 'cd "$1" && mknod dev/null c 1 3 && exec chroot . /bin/sh -ec "$2"'

    def begin(script: str, *, fails: bool = False) -> str:
        command = [*gb.unshare(), "sh", "-c", prepare + enter, "-", str(root), "PATH=/bin\n" + script]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if fails:
            assert done.returncode == 1, done
            return done.stderr
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    return begin


def show(path: str) -> str:
    """A script line that prints the mount on PATH as type and options."""
    return f"grep ' {path} ' /proc/mounts | sed -n '$p' | cut -d' ' -f3,4\n"


def test_a_file_system_of_which_there_is_one_is_mounted_twice(run: Run, newroot: Path) -> None:
    """A container has its sysfs at /sys, and a bind mount of the host's, which becomes the guest's own."""
    (newroot / "sys").mkdir()
    script = "inroot mount sysfs sysfs /sys ro,nosuid,relatime; inroot mount sysfs sysfs /sys rw,noexec,relatime\n"
    assert run(script + show("/newroot/sys")) == "sysfs rw,noexec,relatime\n"


# Paths.


def outside(root: Path) -> list[str]:
    """What a symlink that led out of the container's root would have changed."""
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if root / "newroot" not in path.parents and path.name != "newroot" and "proc" not in path.parts
    )


HOSTILE = {
    "absolute": "/escape/x",
    "dots": "../../../../escape/x",
    "through proc": "/proc/1/root/escape/x",
    "dots in the middle": "work/../../escape/x",
    "absolute dots": "/../../escape/x",
}


@pytest.mark.parametrize("target", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("command", ["mkdir", "mount", "bind", "node", "symlink"])
def test_a_symlink_leads_nowhere_but_inside(run: Run, root: Path, newroot: Path, target: str, command: str) -> None:
    (root / "escape").mkdir()
    (root / "shares/mounts/0").mkdir()
    (newroot / "evil").symlink_to(target)
    before = outside(root)
    script = {
        "mkdir": "inroot mkdir /evil/made",
        "mount": "inroot mount tmpfs tmpfs /evil/made -; grep -q ' /newroot/.*/made tmpfs' /proc/mounts",
        "bind": "inroot bind /shares/mounts/0 /evil/made ro; grep -q ' /newroot/.*/made ' /proc/mounts",
        "node": "inroot node c 1 3 666 0 0 /evil/made",
        "symlink": "inroot symlink /x /evil/made",
    }[command]
    run(script)
    assert outside(root) == before
    assert not list((root / "escape").iterdir())
    where = newroot / ("proc/1/root/escape/x" if "proc" in target else "escape/x")
    assert os.path.lexists(where / "made"), "made inside the root, where the symlink points there"


def test_a_dangling_symlink_is_completed(run: Run, newroot: Path) -> None:
    (newroot / "var").mkdir()
    (newroot / "var/run").symlink_to("/run")
    run("inroot mkdir /var/run/lock")
    assert (newroot / "run/lock").is_dir()


def test_the_last_part_may_be_a_dangling_symlink(run: Run, root: Path, newroot: Path) -> None:
    (root / "shares/mounts/0").write_text("file\n")
    (newroot / "etc/resolv.conf").symlink_to("../run/resolv/conf")
    assert run("inroot bind /shares/mounts/0 /etc/resolv.conf -; cat /newroot/run/resolv/conf") == "file\n"
    assert (newroot / "run/resolv/conf").is_file()


def test_a_chain_of_relative_symlinks(run: Run, newroot: Path) -> None:
    (newroot / "a").symlink_to("work/b")
    (newroot / "work/b").symlink_to("../work/./c")
    (newroot / "work/c").symlink_to("/tmp")
    run("inroot mkdir /a/made")
    assert (newroot / "tmp/made").is_dir()


def test_a_loop_of_symlinks(run: Run, newroot: Path) -> None:
    (newroot / "a").symlink_to("b")
    (newroot / "b").symlink_to("a")
    assert run("inroot mkdir /a/x", fails=True).startswith("inroot: mkdir /a/x: ")


def test_more_dots_than_depth(run: Run, root: Path, newroot: Path) -> None:
    run("inroot mkdir /../../x/.././../y/")
    assert (newroot / "y").is_dir() and not (root / "y").exists()


def test_a_file_in_the_way(run: Run, newroot: Path) -> None:
    (newroot / "etc/file").write_text("")
    error = run("inroot mkdir /etc/file/x", fails=True)
    assert error == "inroot: mkdir /etc/file/x: /etc/file/x: not a directory\n"
    assert run("inroot mkdir /etc/file", fails=True) == "inroot: mkdir /etc/file: not a directory\n"


def test_made_directories_have_mode_0755(run: Run, newroot: Path) -> None:
    run("umask 077; inroot mkdir /x/y")
    assert [stat.S_IMODE((newroot / p).stat().st_mode) for p in ("x", "x/y")] == [0o755, 0o755]


MAKERS = {
    "mkdir": "inroot mkdir /made/$n/below",
    "bind": "inroot bind /dev/null /made/$n/file -",
    "node": "inroot node c 1 5 666 0 0 /made/$n/zero",
}


@pytest.mark.parametrize("command", MAKERS.values(), ids=MAKERS)
def test_what_others_make_at_the_same_time_is_no_error(run: Run, command: str) -> None:
    # Two machines with one root by 9p do so.
    together = f"for one in 1 2 3; do {command} || echo failed > /dev/failed & done"
    run(f"n=0; while [ $n -lt 60 ]; do {together}; wait; n=$((n + 1)); done; [ ! -e /dev/failed ]")


def test_a_name_that_is_too_long(run: Run) -> None:
    assert run(f"inroot mkdir /{'x' * 300}", fails=True).rstrip().endswith("ilename too long")


# mount


def test_mount_with_flags_and_data(run: Run) -> None:
    script = "inroot mount tmpfs shm /dev/shm nosuid,noexec,nodev,mode=1777,size=64k\n" + show("/newroot/dev/shm")
    kind, options = run(script).split()
    assert kind == "tmpfs"
    assert {"rw", "nosuid", "nodev", "noexec", "size=64k"} <= set(options.split(","))


@pytest.mark.parametrize(
    ("words", "there", "not_there"),
    [
        ("ro", {"ro"}, {"rw"}),
        ("ro,rw", {"rw"}, {"ro"}),
        ("nosuid,suid,nodev,dev,noexec,exec", {"rw"}, {"nosuid", "nodev", "noexec"}),
        ("noatime", {"noatime"}, {"relatime"}),
        ("noatime,atime", {"relatime"}, {"noatime"}),
        ("nodiratime", {"nodiratime"}, set()),
        ("strictatime", set(), {"relatime", "noatime"}),
        ("sync,dirsync", {"sync", "dirsync"}, set()),
        ("sync,async", set(), {"sync"}),
        ("nosymfollow", {"nosymfollow"}, set()),
        ("lazytime", {"lazytime"}, set()),
        ("-", {"rw", "relatime"}, set()),
    ],
)
def test_flag_words(run: Run, words: str, there: set[str], not_there: set[str]) -> None:
    options = set(run(f"inroot mount tmpfs tmpfs /m {words}\n" + show("/newroot/m")).split()[1].split(","))
    assert there <= options and not not_there & options


def test_unknown_options_go_to_the_file_system(run: Run) -> None:
    assert run("inroot mount tmpfs tmpfs /m colour=red", fails=True) == "inroot: mount /m: invalid argument\n"


def test_an_unknown_file_system(run: Run) -> None:
    assert run("inroot mount nosuchfs x /m -", fails=True) == "inroot: mount /m: no such device\n"


def test_tmpfs_takes_the_mode_of_what_it_covers(run: Run, newroot: Path) -> None:
    (newroot / "work").chmod(0o2750)
    script = "for o in - mode=700; do inroot mount tmpfs tmpfs /work $o; ls -ld /newroot/work | cut -c1-10; done"
    assert run(script).split() == ["drwxr-s---", "drwx------"]
    assert run("inroot mount tmpfs tmpfs /new -; ls -ld /newroot/new | cut -c1-10").strip() == "drwxrwxrwt"


def test_tmpcopyup(run: Run, newroot: Path) -> None:
    work = newroot / "work"
    (work / "sub").mkdir(mode=0o711)
    (work / "sub/file").write_bytes(bytes(range(256)) * 1000)
    os.chown(work / "sub/file", 12, 34)
    (work / "sub/file").chmod(0o4751)
    os.utime(work / "sub/file", (1000, 2000))
    (work / "link").symlink_to("/nowhere")
    os.mkfifo(work / "fifo")
    work.chmod(0o1770)
    script = "inroot mount tmpfs tmpfs /work tmpcopyup,ro\n" + show("/newroot/work")
    script += "cd /newroot/work; ls -lnd . sub sub/file fifo; cat sub/file | wc -c\n"
    script += "touch x 2>/dev/null && echo writable || echo read-only; readlink link"
    out = run(script)
    assert out.startswith("tmpfs ro,")
    assert "drwxrwx--T" in out and "drwx--x--x" in out and "-rwsr-x--x" in out and "prw" in out
    assert " 12 " in out and " 34 " in out
    assert out.endswith("256000\nread-only\n/nowhere\n")


def test_tmpcopyup_leaves_what_it_covers_alone(run: Run, newroot: Path) -> None:
    (newroot / "work/file").write_text("below")
    run("inroot mount tmpfs tmpfs /work tmpcopyup; echo above >/newroot/work/file; touch /newroot/work/more")
    assert (newroot / "work/file").read_text() == "below" and not (newroot / "work/more").exists()


# bind


def test_bind_a_directory(run: Run, root: Path) -> None:
    source = root / "shares/mounts/0"
    source.mkdir()
    (source / "file").write_text("content\n")
    script = "inroot bind /shares/mounts/0 /new/place -; cat /newroot/new/place/file; echo more >>/newroot/new/place/file"
    assert run(script) == "content\n"
    assert (source / "file").read_text() == "content\nmore\n"


def test_bind_a_file_read_only(run: Run, root: Path, newroot: Path) -> None:
    (root / "shares/mounts/0").write_text("name\n")
    script = "inroot bind /shares/mounts/0 /etc/hostname ro,nosuid; cat /newroot/etc/hostname\n"
    script += "(echo x >/newroot/etc/hostname) 2>/dev/null && echo writable || echo read-only"
    assert run(script) == "name\nread-only\n"
    assert (newroot / "etc/hostname").is_file()


def test_bind_brings_the_mounts_below_along(run: Run, root: Path) -> None:
    (root / "shares/mounts/0/sub").mkdir(parents=True)
    script = "mount -t tmpfs tmpfs /shares/mounts/0/sub; touch /shares/mounts/0/sub/there\n"
    assert run(script + "inroot bind /shares/mounts/0 /x -; ls /newroot/x/sub") == "there\n"


def test_bind_of_nothing(run: Run) -> None:
    error = run("inroot bind /nosuch /x -", fails=True)
    assert error == "inroot: bind /x: /nosuch: no such file or directory\n"


def test_bind_of_a_file_over_a_directory(run: Run, root: Path) -> None:
    (root / "shares/mounts/0").write_text("")
    assert run("inroot bind /shares/mounts/0 /etc -", fails=True) == "inroot: bind /etc: not a directory\n"


def test_bind_takes_no_data(run: Run) -> None:
    error = run("inroot bind /tmp /x size=1", fails=True)
    assert error == 'inroot: bind /x: a bind mount takes no option "size=1"\n'


# propagation


@pytest.mark.parametrize(
    ("word", "seen"),
    [("shared", "shared"), ("rshared", "shared"), ("private", ""), ("unbindable", "unbindable"), ("rslave", "master")],
)
def test_propagation(run: Run, word: str, seen: str) -> None:
    # Made shared first, so that the others have something to change.
    script = "inroot mount tmpfs t /m -; inroot propagation /m shared; inroot bind /newroot/m /n -\n"
    script += f"inroot propagation /m {word}; grep ' /newroot/m ' /proc/self/mountinfo"
    fields = run(script).split(" - ")[0].split()[6:]
    assert [field.split(":")[0] for field in fields] == ([seen] if seen else [])


def test_propagation_of_the_root(run: Run) -> None:
    """A root that is no mount of its own becomes one."""
    script = "grep -c ' /newroot ' /proc/self/mountinfo || true; inroot propagation / shared; "
    before, after = run(script + "grep ' /newroot ' /proc/self/mountinfo").splitlines()
    assert before == "0"
    assert after.split(" - ")[0].split()[6].startswith("shared:")


def test_unknown_propagation(run: Run) -> None:
    assert run("inroot propagation / public", fails=True) == 'inroot: propagation /: unknown propagation "public"\n'


# node, symlink


def test_nodes(run: Run, newroot: Path) -> None:
    run(
        "umask 077\ninroot node c 1 3 666 5 6 /dev/null\ninroot node b 7 9 640 0 0 /dev/sub/loop9\n"
        "inroot node p 0 0 600 0 0 /dev/pipe"
    )
    null, loop, pipe = ((newroot / "dev" / name).lstat() for name in ("null", "sub/loop9", "pipe"))
    assert stat.S_ISCHR(null.st_mode) and null.st_rdev == os.makedev(1, 3)
    assert (stat.S_IMODE(null.st_mode), null.st_uid, null.st_gid) == (0o666, 5, 6)
    assert stat.S_ISBLK(loop.st_mode) and loop.st_rdev == os.makedev(7, 9) and stat.S_IMODE(loop.st_mode) == 0o640
    assert stat.S_ISFIFO(pipe.st_mode)


def test_a_node_replaces_what_differs(run: Run, newroot: Path) -> None:
    dev = newroot / "dev"
    dev.mkdir()
    (dev / "file").write_text("x")
    (dev / "link").symlink_to("/etc/target")
    (dev / "empty").mkdir()
    os.mknod(dev / "other", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    os.mknod(dev / "same", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    same = (dev / "same").stat().st_ino
    names = ("file", "link", "empty", "other", "same")
    run("".join(f"inroot node c 1 3 666 0 0 /dev/{name}\n" for name in names))
    for name in names:
        status = (dev / name).lstat()
        assert stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, 3), name
        assert stat.S_IMODE(status.st_mode) == 0o666
    assert (dev / "same").stat().st_ino == same
    assert not (newroot / "etc/target").exists()


def test_a_node_does_not_replace_a_full_directory(run: Run, newroot: Path) -> None:
    (newroot / "etc/file").write_text("")
    error = run("inroot node c 1 3 666 0 0 /etc", fails=True)
    assert error == "inroot: node /etc: replacing the existing file: directory not empty\n"


@pytest.mark.parametrize("dest", ["/", "/x/..", "/."])
def test_a_node_needs_a_name(run: Run, dest: str) -> None:
    error = run(f"inroot node c 1 3 666 0 0 {dest}", fails=True)
    assert error == f"inroot: node {dest}: does not name an entry of a directory\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("x 1 3 666", '"x" is not a type of node'),
        ("c one 3 666", '"one" is not a number'),
        ("c 1 3 689", '"689" is not a number'),
    ],
)
def test_faults_of_nodes(run: Run, arguments: str, reason: str) -> None:
    assert run(f"inroot node {arguments} 0 0 /n", fails=True) == f"inroot: node /n: {reason}\n"


def test_symlinks(run: Run, newroot: Path) -> None:
    (newroot / "there").symlink_to("kept")
    run("inroot symlink /proc/self/fd /dev/fd\ninroot symlink other /there")
    assert os.readlink(newroot / "dev/fd") == "/proc/self/fd"
    assert os.readlink(newroot / "there") == "kept"


# mask, readonly


def test_mask(run: Run, newroot: Path) -> None:
    (newroot / "etc/secret").write_text("secret")
    (newroot / "work/key").write_text("key")
    script = "inroot mask /etc/secret; inroot mask /work; inroot mask /nosuch; inroot mask /etc/secret/x\n"
    script += "cat /newroot/etc/secret; ls -A /newroot/work; (touch /newroot/work/x) 2>/dev/null || echo read-only"
    assert run(script) == "read-only\n"
    assert not (newroot / "nosuch").exists()


def test_readonly(run: Run) -> None:
    script = "inroot readonly /etc; inroot readonly /nosuch; inroot readonly /work\n"
    script += "for d in etc work tmp; do (touch /newroot/$d/x) 2>/dev/null && echo $d rw || echo $d ro; done"
    assert run(script).splitlines() == ["etc ro", "work ro", "tmp rw"]


def test_readonly_keeps_other_flags(run: Run) -> None:
    script = "inroot mount tmpfs t /m nosuid,nodev,noexec,noatime; inroot readonly /m\n" + show("/newroot/m")
    options = set(run(script).split()[1].split(","))
    assert {"ro", "nosuid", "nodev", "noexec", "noatime"} <= options


def test_a_read_only_root_leaves_what_is_mounted_below_alone(run: Run) -> None:
    for prepare in ("", "mount -t tmpfs root /newroot; "):
        script = prepare + "inroot mount tmpfs t /m -; inroot mkdir /x; inroot readonly /\n"
        script += "(touch /newroot/y) 2>/dev/null || echo root read-only; touch /newroot/m/y && echo m writable"
        assert run(script).splitlines() == ["root read-only", "m writable"]


def test_nothing_is_made_below_a_read_only_root(run: Run) -> None:
    error = run("inroot readonly /; inroot mkdir /a/b", fails=True)
    assert error == "inroot: mkdir /a/b: making /a: read-only file system\n"


# like


def test_like_gives_all_that_a_directory_has(run: Run, root: Path, newroot: Path) -> None:
    """security.capability aside, which directories do not have."""
    source = root / "source"
    source.mkdir()
    os.chown(source, 70000, 80000)
    source.chmod(0o3751)
    os.setxattr(source, "trusted.name", b"\0value")
    os.setxattr(source, "trusted.overlay.opaque", b"y")
    acl = bytes.fromhex("02000000 01000700ffffffff 02000500e8030000 04000500ffffffff 10000500ffffffff 20000100ffffffff")
    os.setxattr(source, "system.posix_acl_default", acl)
    os.utime(source, ns=(1_000_000_001, 2_000_000_002))
    (newroot / "target").mkdir()
    run("inroot like /source /target")
    status = (newroot / "target").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777, status.st_mtime_ns) == (70000, 80000, 0o3751, 2_000_000_002)
    attributes = {name: os.getxattr(newroot / "target", name) for name in os.listxattr(newroot / "target")}
    assert attributes == {"trusted.name": b"\0value", "system.posix_acl_default": acl}
    assert run("inroot like /no/such /target", fails=True) == "inroot: like /target: /no/such: no such file or directory\n"
