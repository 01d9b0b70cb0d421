"""What processes that run for a container in dom0 may not do, whoever takes them over (docs/security.md).

The server of shares has a list of system calls that it makes (ninep/syscalls.py). Those here start programs, such as xl, so they
have a list of what none of these programs needs.
"""

import errno

from runx.errors import RunxError
from runx.linux import confine, mount
from runx.linux.confine import Condition

OOM_SUPERVISOR, OOM_SERVER, OOM_PACKER = -900, 0, 1000
"""oom_score_adj (proc_pid_oom_score_adj(5)): who dies first when dom0, or the container's control group, has no memory left. An
image can be made again. Without its server a container ends; without its supervisor, nothing ends it in order."""

_NEVER = """
name               x86_64 aarch64 arm
acct               163    89      51
add_key            248    217     309
adjtimex           159    171     124
bpf                321    280     386
clock_adjtime      305    266     372
clock_adjtime64    -      -       405
clock_settime      227    112     262
clock_settime64    -      -       404
delete_module      176    106     129
fanotify_init      300    262     367
finit_module       313    273     379
init_module        175    105     128
io_uring_enter     426    426     426
io_uring_register  427    427     427
io_uring_setup     425    425     425
ioperm             173    -       -
iopl               172    -       -
kcmp               312    272     378
kexec_file_load    320    294     401
kexec_load         246    104     347
keyctl             250    219     311
open_by_handle_at  304    265     371
perf_event_open    298    241     364
pidfd_getfd        438    438     438
process_vm_readv   310    270     376
process_vm_writev  311    271     377
ptrace             101    117     26
quotactl           179    60      131
reboot             169    142     88
request_key        249    218     310
settimeofday       164    170     79
swapoff            168    225     115
swapon             167    224     87
syslog             103    116     103
userfaultfd        323    282     388
"""
_NEVER_MOUNT = """
name               x86_64 aarch64 arm
chroot             161    51      61
fsconfig           431    431     431
fsmount            432    432     432
fsopen             430    430     430
fspick             433    433     433
mount              165    40      21
mount_setattr      442    442     442
move_mount         429    429     429
open_tree          428    428     428
pivot_root         155    41      218
umount2            166    39      52
unshare            272    97      337
"""
_NEVER_OF_MKFS = """
name               x86_64 aarch64 arm
connect            42     203     283
ioprio_set         251    30      314
kill               62     129     37
migrate_pages      256    238     400
move_pages         279    239     344
pidfd_open         434    434     434
pidfd_send_signal  424    424     424
process_madvise    440    440     440
process_mrelease   448    448     448
rt_sigqueueinfo    129    138     178
rt_tgsigqueueinfo  297    240     363
sched_setaffinity  203    122     241
sched_setattr      314    274     380
sched_setparam     142    118     154
sched_setscheduler 144    119     156
sendmsg            46     211     296
sendto             44     206     290
setns              308    268     375
setpriority        141    140     97
socket             41     198     281
tgkill             234    131     268
tkill              200    130     238
"""
"""Beside sockets and namespaces, what one process of root does to another."""
_NO_NAMESPACES = """
name               x86_64 aarch64 arm
clone              56     220     120
"""
_ITSELF_ALONE = """
name               x86_64 aarch64 arm
prlimit64          302    261     369
"""
_CONDITIONS = {"clone": Condition(0, none_of=mount.NAMESPACES), "prlimit64": Condition(0, one_of=(0,))}
_CLONE3 = 435
"""It has its flags in memory, where no filter sees them. The C library uses clone where it is missing."""
_NEWEST = 466
"""removexattrat of Linux 6.13. Nobody has looked at what newer calls do: open_tree_attr of 6.15 makes mounts."""


def never(architecture: str) -> dict[str, int]:
    """System calls that nothing in dom0 needs for a container."""
    return confine.numbers(architecture, _NEVER)


def never_of_supervisor(architecture: str) -> dict[str, int]:
    """System calls that a supervisor does not need which forks no server of shares any more."""
    return never(architecture) | confine.numbers(architecture, _NEVER_MOUNT)


def conditional_of_supervisor(architecture: str) -> dict[str, int]:
    """System calls of which such a supervisor needs no form that makes a namespace."""
    return confine.numbers(architecture, _NO_NAMESPACES)


def conditional_of_mkfs(architecture: str) -> dict[str, int]:
    """As `conditional_of_supervisor`, and those that a program needs for itself alone which makes an image of files."""
    return conditional_of_supervisor(architecture) | confine.numbers(architecture, _ITSELF_ALONE)


def never_of_mkfs(architecture: str) -> dict[str, int]:
    """System calls that a program does not need which makes an image of files."""
    return never_of_supervisor(architecture) | confine.numbers(architecture, _NEVER_OF_MKFS)


_FILES = frozenset(
    (
        confine.CAP_CHOWN,
        confine.CAP_DAC_OVERRIDE,
        confine.CAP_DAC_READ_SEARCH,
        confine.CAP_FOWNER,
        confine.CAP_FSETID,
        confine.CAP_MKNOD,
        confine.CAP_SETFCAP,
    )
)
_PACKER = _FILES | {confine.CAP_SYS_ADMIN, confine.CAP_SETPCAP, confine.CAP_SYS_RESOURCE, confine.CAP_KILL}
"""Files, the mounts of mkfs.erofs, and what its own limits and confinement take."""
_SUPERVISOR = frozenset(
    (
        confine.CAP_DAC_OVERRIDE,
        confine.CAP_DAC_READ_SEARCH,
        confine.CAP_IPC_LOCK,
        confine.CAP_KILL,
        confine.CAP_NET_ADMIN,
        confine.CAP_NET_RAW,
        confine.CAP_SETGID,
        confine.CAP_SETPCAP,
        confine.CAP_SETUID,
        confine.CAP_SYS_ADMIN,
        confine.CAP_SYS_CHROOT,
        confine.CAP_SYS_NICE,
        confine.CAP_SYS_RESOURCE,
    )
)
"""What xl and its scripts need to start, pause and destroy a domain and to attach interfaces, and iptables-legacy-save to read
filters (CAP_NET_RAW)."""
_SUPERVISOR_WITH_SERVER = _SUPERVISOR | _FILES
"""The server of a layer is forked when the guest asks for it, and makes files for it."""
_SUPERVISOR_OF_HOST = _SUPERVISOR_WITH_SERVER | {confine.CAP_SYS_PTRACE}
"""Entries of a pod's share come into the mount namespace of a server that is not traceable."""
_MKFS = frozenset((confine.CAP_DAC_READ_SEARCH, confine.CAP_SYS_ADMIN))
"""To read all files, and the attributes trusted.overlay.* of a layer, by which directories hide what is below them."""


def supervisor(*, mounts: bool = False, sees_host: bool = False) -> None:
    """Confine the supervisor once its domain exists. Raises RunxError.

    mounts: whether it forks a server of shares later. sees_host: see Record.sees_host.
    """
    kept = _SUPERVISOR_OF_HOST if sees_host else _SUPERVISOR_WITH_SERVER if mounts else _SUPERVISOR
    if mounts or sees_host:
        _confine("the supervisor", kept, never, oom=OOM_SUPERVISOR)
    else:
        _confine("the supervisor", kept, never_of_supervisor, conditional_of_supervisor, OOM_SUPERVISOR)


def packer() -> None:
    """Confine the process that makes images of a root filesystem. Raises RunxError."""
    _confine("the process that makes images", _PACKER, never, oom=OOM_PACKER)


def mkfs() -> None:
    """Confine this process before it becomes mkfs.erofs, which reads a hostile tree. Raises RunxError."""
    _confine("mkfs.erofs", _MKFS, never_of_mkfs, conditional_of_mkfs)


TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from collections.abc import Callable


def _confine(
    what: str,
    kept: frozenset[int],
    forbidden: "Callable[[str], dict[str, int]]",
    conditional: "Callable[[str], dict[str, int]] | None" = None,
    oom: int | None = None,
) -> None:
    try:
        if oom is not None:
            confine.die_at(oom)
        confine.keep_capabilities(kept)
        confine.no_new_privileges()
        own = confine.architecture()
        denied = list(forbidden(own).values())
        found = conditional(own) if conditional else {}
        conditions = {number: _CONDITIONS[name] for name, number in found.items()}
        missing = [_CLONE3] if conditional else []
        confine.load_filter(confine.denial_program(confine.ARCHITECTURES[own], denied, errno.EPERM, conditions, missing, _NEWEST))
    except OSError as error:
        raise RunxError(f"cannot confine {what}: {error.filename}: {error.strerror}") from None
