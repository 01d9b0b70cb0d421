"""The system calls that a server of shares makes once it serves: Python's, and those on files by descriptors."""

import errno

from runx.linux import confine, xen
from runx.linux.confine import Condition

_ALL = """
name               x86_64 aarch64 arm
brk                12     214     45
cacheflush         -      -       983042
chmod              90     -       15
chown              92     -       182
chown32            -      -       212
clock_gettime      228    113     263
clock_gettime64    -      -       403
clock_nanosleep    230    115     265
clock_nanosleep_time64 -  -       407
close              3      57      6
exit               60     93      1
exit_group         231    94      248
fchmod             91     52      94
fchmodat           268    53      333
fchown             93     55      95
fchown32           -      -       207
fchownat           260    54      325
fdatasync          75     83      148
flock              73     32      143
fstat              5      80      108
fstat64            -      -       197
fstatat64          -      -       327
fstatfs            138    44      100
fstatfs64          -      -       267
fsync              74     82      118
ftruncate          77     46      93
ftruncate64        -      -       194
futex              202    98      240
futex_time64       -      -       422
getdents64         217    61      217
getpid             39     172     20
getrandom          318    278     384
gettid             186    178     224
getxattr           191    8       229
lgetxattr          192    9       230
linkat             265    37      330
listxattr          194    11      232
llistxattr         195    12      233
_llseek            -      -       140
lremovexattr       198    15      236
lseek              8      62      19
lsetxattr          189    6       227
madvise            28     233     220
mkdirat            258    34      323
mknodat            259    33      324
mremap             25     216     163
munmap             11     215     91
nanosleep          35     101     162
newfstatat         262    79      -
openat             257    56      322
poll               7      -       168
ppoll              271    73      336
ppoll_time64       -      -       414
pread64            17     67      180
preadv             295    69      361
preadv2            327    286     392
pwrite64           18     68      181
read               0      63      3
readlinkat         267    78      332
removexattr        197    14      235
renameat           264    38      329
renameat2          316    276     382
restart_syscall    219    128     0
rseq               334    293     398
rt_sigprocmask     14     135     175
rt_sigreturn       15     139     173
sched_yield        24     124     158
set_robust_list    273    99      338
set_tls            -      -       983045
setxattr           188    5       226
sigaltstack        131    132     186
sigreturn          -      -       119
statx              332    291     397
symlinkat          266    36      331
syncfs             306    267     373
truncate           76     45      92
truncate64         -      -       193
unlinkat           263    35      328
utimensat          280    88      348
utimensat_time64   -      -       412
write              1      64      4
"""

_SOME = """
name               x86_64 aarch64 arm
clone              56     220     120
fcntl              72     25      55
fcntl64            -      -       221
ioctl              16     29      54
mmap               9      222     -
mmap2              -      -       192
mprotect           10     226     125
"""
_CLONE_THREAD = 0x10000
_PROT_EXEC = 4
_FCNTL = (1, 2, 3, 36, 37, 1030)
"""F_GETFD, F_SETFD, F_GETFL, F_OFD_GETLK, F_OFD_SETLK; F_DUPFD_CLOEXEC of Python's mmap"""
_CONDITIONS = {
    "clone": Condition(0, some_of=_CLONE_THREAD),
    "fcntl": Condition(1, one_of=_FCNTL),
    "fcntl64": Condition(1, one_of=_FCNTL),
    "ioctl": Condition(1, one_of=xen.IOCTLS),
    "mmap": Condition(2, none_of=_PROT_EXEC),
    "mmap2": Condition(2, none_of=_PROT_EXEC),
    "mprotect": Condition(2, none_of=_PROT_EXEC),
}


def numbers(architecture: str, table: str = _ALL) -> dict[str, int]:
    """Numbers of system calls by name. Raises ValueError for an architecture that is not known."""
    return confine.numbers(architecture, table)


def conditional(architecture: str) -> dict[str, int]:
    """As `numbers`, of those that depend on an argument."""
    return numbers(architecture, _SOME)


def forbid_others() -> None:
    """Bind this process to these system calls. Others fail with ENOSYS, as of an older kernel. Raises OSError."""
    own = confine.architecture()
    conditions = {number: _CONDITIONS[name] for name, number in conditional(own).items()}
    allowed = list(numbers(own).values())
    confine.load_filter(confine.filter_program(confine.ARCHITECTURES[own], allowed, conditions, errno.ENOSYS))
