"""PID 1 of the guest, run here in namespaces (docs/guest.md, docs/console-link.md): what the process is given."""

import os
import shutil
from pathlib import Path

import pytest

import guestbox as gb
from initbox import PATH, Start, probe

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")


# What the process is given.


def test_arguments_and_environment_byte_for_byte(start: Start) -> None:
    every_byte = bytes(range(1, 256))
    args = ["/bin/probe", "", "two words", "$HOME `id` '\"\n", every_byte]
    env = [PATH, "A=b=c", "=odd", "NOEQUALS", "HOME=/there", b"BYTES=" + every_byte, "A=again"]
    seen = probe(start, *args, env=env)
    assert seen["arg"] == [arg if isinstance(arg, bytes) else arg.encode() for arg in args]
    assert seen["env"] == [entry if isinstance(entry, bytes) else entry.encode() for entry in env]


def test_a_long_argument_vector(start: Start) -> None:
    args = ["/bin/probe", *(f"argument {n}" for n in range(5000))]
    assert len(probe(start, *args)["arg"]) == 5001


def test_defaults(start: Start) -> None:
    seen = probe(start, env=[])
    assert seen["env"] == [b"HOME=/"]
    assert seen["cwd"] == [b"/"]
    assert seen["uid"] == seen["euid"] == seen["gid"] == seen["egid"] == [b"0"]
    assert "group" not in seen
    assert seen["umask"] == [b"18"]
    assert seen["no_new_privs"] == [b"0"]
    assert seen["is_session_leader"] == [b"1"]
    assert seen["cap.effective"] == seen["cap.permitted"] == seen["cap.bounding"]
    assert int(seen["cap.bounding"][0]) & 1 << 21, "root has CAP_SYS_ADMIN"


def test_nothing_of_init_is_inherited(start: Start) -> None:
    seen = probe(start)
    assert not {"blocked", "not default", "open fd"} & seen.keys(), seen


def test_user_groups_umask(start: Start) -> None:
    seen = probe(start, user=[1000, 1001], groups=[7, 8, 4000000000], umask=0o27)
    assert seen["uid"] == seen["euid"] == [b"1000"]
    assert seen["gid"] == seen["egid"] == [b"1001"]
    assert sorted(seen["group"]) == [b"4000000000", b"7", b"8"]
    assert seen["umask"] == [str(0o27).encode()]
    assert seen["cap.permitted"] == seen["cap.effective"] == [b"0"]
    assert seen["keepcaps"] == [b"0"]


def test_limits(start: Start) -> None:
    infinite = 2**64 - 1
    seen = probe(start, rlimit=["nofile", 100, 200, "core", 0, infinite, "nproc", 4321, 4321])
    assert seen["rlimit.nofile"] == [b"100 200"]
    assert seen["rlimit.core"] == [b"0 %d" % infinite]
    assert seen["rlimit.nproc"] == [b"4321 4321"]


def test_a_limit_that_the_kernel_refuses_is_named(start: Start) -> None:
    box = start("/bin/true", rlimit=["core", 0, 0, "nofile", 5, 4])
    assert box.fatal() == (125, "limit nofile of 5, at most 4: invalid argument")


CHOWN, KILL, NET_BIND = 1 << 0, 1 << 5, 1 << 10


def test_capabilities_of_root(start: Start) -> None:
    sets = [CHOWN | KILL, CHOWN | KILL, 0, CHOWN | KILL, 0]
    seen = probe(start, capabilities=sets)
    assert seen["cap.bounding"] == seen["cap.effective"] == seen["cap.permitted"] == [b"%d" % (CHOWN | KILL)]
    assert seen["cap.inheritable"] == seen["cap.ambient"] == [b"0"]


def test_ambient_capabilities_reach_a_user(start: Start) -> None:
    both = CHOWN | NET_BIND
    seen = probe(start, user=[1000, 1000], capabilities=[both | KILL, both, both, both, NET_BIND])
    assert seen["cap.bounding"] == [b"%d" % (both | KILL)]
    assert seen["cap.ambient"] == seen["cap.effective"] == seen["cap.permitted"] == [b"%d" % NET_BIND]
    assert seen["cap.inheritable"] == [b"%d" % both]


def test_a_user_without_ambient_capabilities_has_none(start: Start) -> None:
    seen = probe(start, user=[1000, 1000], capabilities=[CHOWN, CHOWN, 0, CHOWN, 0])
    assert seen["cap.effective"] == seen["cap.permitted"] == [b"0"]
    assert seen["cap.bounding"] == [b"%d" % CHOWN]


def test_no_capabilities_at_all(start: Start) -> None:
    seen = probe(start, capabilities=[0, 0, 0, 0, 0])
    assert seen["cap.bounding"] == seen["cap.effective"] == seen["cap.permitted"] == [b"0"]


def test_capabilities_this_kernel_does_not_know_are_left_out(start: Start) -> None:
    seen = probe(start, capabilities=[1 << 63 | CHOWN, CHOWN, 0, 1 << 63 | CHOWN, 1 << 63])
    assert seen["cap.permitted"] == [b"%d" % CHOWN]


def test_no_new_privs(start: Start) -> None:
    assert probe(start, no_new_privs=1)["no_new_privs"] == [b"1"]


def test_oom_score_adj(start: Start) -> None:
    # Upwards: the machine of the tests need not have CAP_SYS_RESOURCE.
    box = start("/bin/cat", "/proc/self/oom_score_adj", oom_score_adj=123)
    assert box.exit_status() == 0
    assert box.streams[gb.STDOUT] == b"123\n"


FIFO, BATCH, DEADLINE, RESET_ON_FORK = 1, 3, 6, 1


def test_scheduling(start: Start) -> None:
    """Given before capabilities are dropped: the process itself could not."""
    seen = probe(start, scheduler=[FIFO, RESET_ON_FORK, 0, 7, 0, 0, 0], user=[1000, 1000], capabilities=[0, 0, 0, 0, 0])
    assert seen["schedule"] == [b"1 1 0 7 0 0 0"]


@pytest.mark.parametrize("nice", [-20, 0, 19])
def test_a_nice_value(start: Start, nice: int) -> None:
    # The last numbers of this policy are the kernel's own, if it shows any.
    assert probe(start, scheduler=[BATCH, 0, nice, 0, 0, 0, 0])["schedule"][0].startswith(b"3 0 %d 0 " % nice)


def test_a_deadline(start: Start) -> None:
    seen = probe(start, scheduler=[DEADLINE, 0, 0, 0, 10**6, 10**7, 10**8])
    assert seen["schedule"] == [b"6 0 0 0 1000000 10000000 100000000"]


def test_scheduling_the_kernel_refuses(start: Start) -> None:
    assert start("/bin/true", scheduler=[FIFO, 0, 0, 0, 0, 0, 0]).fatal() == (125, "scheduler: invalid argument")


@pytest.mark.parametrize(("kind", "level"), [(1, 0), (2, 7), (3, 0)])
def test_priority_of_input_and_output(start: Start, kind: int, level: int) -> None:
    seen = probe(start, io_priority=[kind, level], user=[1000, 1000], capabilities=[0, 0, 0, 0, 0])
    assert seen["io priority"] == [b"%d" % (kind << 13 | level)]


def test_an_oom_score_adj_the_kernel_refuses(start: Start) -> None:
    assert start("/bin/true", oom_score_adj=1001).fatal() == (125, "oom_score_adj 1001: invalid argument")


def test_home_comes_from_the_roots_passwd(start: Start, root: Path) -> None:
    (root / "newroot/etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/srv/web:/bin/sh\n")
    assert b"HOME=/srv/web" in probe(start, user=[1000, 1000])["env"]


def test_home_does_not_depend_on_limits(start: Start, root: Path) -> None:
    (root / "newroot/etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    box = start("/bin/probe", rlimit=["nofile", 3, 3])
    assert box.exit_status() == 0, box.streams
    assert b"HOME=/root" in gb.pairs(box.streams[gb.STDOUT])["env"]


def test_an_empty_home_is_none(start: Start, root: Path) -> None:
    (root / "newroot/etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    assert probe(start, env=["HOME=", PATH])["env"] == [b"HOME=/root", PATH.encode()]


def test_a_passwd_that_is_a_fifo_holds_nothing_up(start: Start, root: Path) -> None:
    os.mkfifo(root / "newroot/etc/passwd")
    assert b"HOME=/" in probe(start)["env"]


# Where it stands and which file it is.


def test_working_directory(start: Start) -> None:
    assert probe(start, cwd="/work")["cwd"] == [b"/work"]


def test_a_working_directory_made_by_the_set_up(start: Start) -> None:
    assert probe(start, cwd="/made/here", setup="mkdir /made/here")["cwd"] == [b"/made/here"]


def test_a_working_directory_only_root_may_enter(start: Start, root: Path) -> None:
    (root / "newroot/work").chmod(0o700)
    assert probe(start, cwd="/work", user=[1000, 1000])["cwd"] == [b"/work"]


def test_a_missing_working_directory_is_named(start: Start) -> None:
    assert start("/bin/true", cwd="/nowhere").fatal() == (
        125,
        'chdir to cwd ("/nowhere") set in config.json failed: no such file or directory',
    )


def test_a_name_is_looked_up_in_path(start: Start) -> None:
    assert probe(start, "probe", "x", env=["PATH=/nosuch::/etc:/bin"])["arg"] == [b"probe", b"x"]


def test_a_name_is_looked_up_in_the_working_directory_for_an_empty_entry(start: Start) -> None:
    assert probe(start, "probe", env=["PATH=/etc:"], cwd="/bin")["arg"] == [b"probe"]


def test_a_path_relative_to_the_working_directory(start: Start) -> None:
    assert probe(start, "./probe", cwd="/bin")["arg"] == [b"./probe"]


@pytest.mark.parametrize("env", [[PATH], []])
def test_a_name_that_is_not_found(start: Start, env: list[str]) -> None:
    box = start("nosuch", env=env)
    assert box.fatal() == (127, 'exec: "nosuch": executable file not found in $PATH')
    assert gb.STARTED not in box.seen


def test_a_path_that_is_not_there(start: Start) -> None:
    assert start("/no/such").fatal() == (127, 'exec: "/no/such": stat /no/such: no such file or directory')


def test_a_file_that_may_not_be_executed(start: Start, root: Path) -> None:
    (root / "newroot/etc/file").write_text("x")
    assert start("/etc/file").fatal() == (126, 'exec: "/etc/file": permission denied')


def test_a_file_only_another_user_may_execute(start: Start, root: Path) -> None:
    (root / "newroot/bin/probe").chmod(0o700)
    assert start("/bin/probe", user=[1000, 1000]).fatal() == (126, 'exec: "/bin/probe": permission denied')


def test_a_directory(start: Start) -> None:
    """podman makes 126 of these words, and of no others."""
    assert start("/etc").fatal() == (126, 'exec: "/etc": permission denied')


def test_a_file_of_no_known_format(start: Start, root: Path) -> None:
    (root / "newroot/bin/junk").write_text("echo no shebang\n")
    (root / "newroot/bin/junk").chmod(0o755)
    assert start("junk").fatal() == (126, "exec /bin/junk: exec format error")


def test_a_script_whose_interpreter_is_missing(start: Start, root: Path) -> None:
    (root / "newroot/bin/script").write_text("#!/bin/perl\n")
    (root / "newroot/bin/script").chmod(0o755)
    assert start("script").fatal() == (127, "exec /bin/script: no such file or directory")


def test_nothing_of_the_ramdisk_is_in_sight(start: Start) -> None:
    box = start("/bin/ls", "/")
    box.exit_status()
    assert b"init" not in box.streams[gb.STDOUT] and b"runx" not in box.streams[gb.STDOUT]


def test_a_root_that_is_a_mount_of_its_own(start: Start, root: Path) -> None:
    shutil.copy(root / "newroot/bin/probe", root / "tmp/probe")
    setup = "attach tmpfs tmpfs /newroot -\nbind /tmp/probe /only/probe -"
    assert probe(start, "/only/probe", cwd="/only", setup=setup)["cwd"] == [b"/only"]
