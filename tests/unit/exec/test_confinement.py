"""What processes in dom0 give up: numbers of system calls, and that the filters do what they say."""

import errno
import os
import re
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from runx.exec import confinement
from runx.exec.ninep import jail
from runx.linux import confine, libc
from runxtools.testing import rights

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="capabilities are given up")


@pytest.mark.parametrize("architecture", sorted(confine.ARCHITECTURES))
def test_numbers_of_system_calls(architecture: str) -> None:
    import ctypes

    try:
        scmp = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("libseccomp knows the numbers, and is not here")
    known = confinement.never_of_mkfs(architecture) | confinement.conditional_of_mkfs(architecture)
    assert len(known) > 65
    for name, number in known.items():
        found = scmp.seccomp_syscall_resolve_name_arch(confine.ARCHITECTURES[architecture], name.encode())
        assert found == number, name
    for name in ("execve", "clone", "openat", "setns", "mount", "pidfd_open", "wait4"):
        assert name not in confinement.never(architecture), f"xl needs {name}"


CONFINED: dict[str, Callable[[], None]] = {
    "supervisor": confinement.supervisor,
    "supervisor that writes back": lambda: confinement.supervisor(mounts=True),
    "supervisor of the host": lambda: confinement.supervisor(sees_host=True),
    "packer": confinement.packer,
    "mkfs": confinement.mkfs,
}


def outcome(confined: str, program: str) -> str:
    """What a child says that gives up rights and then runs this text of Python: its outcome, or the error's name."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            CONFINED[confined]()
            known = {"os": os, "libc": libc, "call": libc.function("syscall", "LLLLL"), "resource": resource}
            said = str(eval(program, known))  # noqa: S307
        except OSError as error:
            said = errno.errorcode[error.errno or 0]
        except BaseException as error:
            said = repr(error)
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8") as pipe:
        said = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0
    return said


def refused(confined: str, name: str, table: dict[str, int], bits: int = 0) -> str:
    return outcome(confined, f"libc.check(call({table[name] | bits}, 0, 0, 0, 0), 'call')")


OWN = confine.architecture()


@needs_root
@pytest.mark.parametrize("confined", CONFINED)
def test_calls_that_are_refused(confined: str) -> None:
    for name in confinement.never(OWN):
        assert refused(confined, name, confinement.never(OWN)) == "EPERM", name
    if OWN == "x86_64":
        assert refused(confined, "ptrace", confinement.never(OWN), bits=0x40000000) == "EPERM", "by the x32 number"


@needs_root
@pytest.mark.parametrize("confined", ["supervisor", "mkfs"])
def test_what_makes_no_mounts_cannot(confined: str) -> None:
    known = confinement.never_of_supervisor(OWN)
    for name in ("mount", "umount2", "pivot_root", "chroot", "unshare", "move_mount"):
        assert refused(confined, name, known) == "EPERM", name


@needs_root
def test_what_xl_and_the_server_of_a_layer_need_is_allowed() -> None:
    known = confinement.never_of_mkfs(OWN)
    for confined in ("supervisor that writes back", "supervisor of the host"):
        assert outcome(confined, f"libc.check(call({known['unshare']}, 0, 0, 0, 0), 'call')") == "0"
    assert refused("supervisor", "setns", known) != "EPERM", "programs of Xen run in the host's network namespace"
    assert outcome("supervisor", "os.spawnv(os.P_WAIT, '/bin/true', ['true'])") == "0"


@needs_root
@pytest.mark.parametrize("confined", CONFINED)
def test_calls_that_nobody_has_looked_at_are_missing(confined: str) -> None:
    """Such as open_tree_attr of Linux 6.15, which makes mounts that can be written to."""
    for number in (467, 468, 5000):
        assert outcome(confined, f"libc.check(call({number}, 0, 0, 0, 0), 'call')") == "ENOSYS"


CLONE = confinement.conditional_of_mkfs(OWN)["clone"]


@needs_root
@pytest.mark.parametrize("confined", ["supervisor", "mkfs"])
@pytest.mark.parametrize("bit", [17, 25, 26, 27, 28, 29, 30])
def test_what_makes_no_mounts_makes_no_namespaces(confined: str, bit: int) -> None:
    """Neither by clone(2), whose flags linux/sched.h has, nor by clone3(2). Processes and threads are made as before."""
    assert outcome(confined, f"libc.check(call({CLONE}, {1 << bit | signal.SIGCHLD}, 0, 0, 0), 'call')") == "EPERM"
    assert outcome(confined, "libc.check(call(435, 0, 0, 0, 0), 'call')") == "ENOSYS"
    assert outcome(confined, "os.waitpid(os.fork() or os._exit(3), 0)[1] >> 8") == "3"
    assert outcome(confined, "[thread := __import__('threading').Thread(), thread.start(), thread.join()] and 1") == "1"


@needs_root
def test_mkfs_reaches_no_other_process() -> None:
    """It is root's, as nearly all processes of dom0 are; the one here is the test's."""
    for act in (
        "os.kill(os.getppid(), 0)",
        "os.pidfd_open(os.getppid())",
        "resource.prlimit(os.getppid(), resource.RLIMIT_CORE)",
        "os.sched_setaffinity(os.getppid(), os.sched_getaffinity(0))",
        "os.setpriority(os.PRIO_PROCESS, os.getppid(), 0)",
    ):
        assert outcome("mkfs", act) == "EPERM", act
    assert outcome("mkfs", "len(resource.prlimit(0, resource.RLIMIT_CORE))") == "2"


@needs_root
def test_what_mkfs_may_do() -> None:
    assert refused("mkfs", "socket", confinement.never_of_mkfs(OWN)) == "EPERM"
    assert outcome("mkfs", "os.open('/etc/hostname', os.O_RDONLY) > 0") == "True"


@needs_root
@pytest.mark.parametrize(("confined", "score"), [("supervisor", confinement.OOM_SUPERVISOR), ("packer", confinement.OOM_PACKER)])
def test_who_dies_first(confined: str, score: int) -> None:
    before = int(Path("/proc/self/oom_score_adj").read_text())
    may_lower = int(re.findall(r"CapEff:\s*(\w+)", Path("/proc/self/status").read_text())[0], 16) >> confine.CAP_SYS_RESOURCE & 1
    expected = score if score >= before or may_lower else before
    assert outcome(confined, "int(open('/proc/self/oom_score_adj').read())") == str(expected)


@needs_root
def test_capabilities_are_those_of_the_list_that_the_process_has() -> None:
    has = int(re.findall(r"CapPrm:\s*(\w+)", Path("/proc/self/status").read_text())[0], 16)
    said = outcome("mkfs", "open('/proc/self/status').read()")
    kept = 1 << confine.CAP_DAC_READ_SEARCH | 1 << confine.CAP_SYS_ADMIN
    for kind, expected in (("CapInh", 0), ("CapPrm", kept), ("CapEff", kept), ("CapBnd", kept), ("CapAmb", 0)):
        assert int(re.findall(rf"{kind}:\s*(\w+)", said)[0], 16) == expected & has
    assert re.findall(r"NoNewPrivs:\s*1\nSeccomp:\s*2\n", said)


# -- the table of docs/security.md -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("process", "kept", "score"),
    [
        ("supervisor", confinement._SUPERVISOR, confinement.OOM_SUPERVISOR),
        ("supervisor that writes back", confinement._SUPERVISOR_WITH_SERVER, confinement.OOM_SUPERVISOR),
        ("supervisor of the host", confinement._SUPERVISOR_OF_HOST, confinement.OOM_SUPERVISOR),
        ("server", jail._CAPABILITIES, confinement.OOM_SERVER),
        ("packer", confinement._PACKER, confinement.OOM_PACKER),
        ("mkfs", confinement._MKFS, confinement.OOM_PACKER),
    ],
)
def test_the_document_has_what_the_code_leaves(process: str, kept: frozenset[int], score: int) -> None:
    right = rights.table()[process]
    assert {getattr(confine, f"CAP_{name.upper()}") for name in right.capabilities} == kept
    assert right.oom_score == score
