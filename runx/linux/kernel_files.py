"""File systems that are windows into the kernel: what is written there steers the host, and what is read there tells about it."""

import os

TYPES = {
    "binder": 0x6C6F6F70,
    "binfmt_misc": 0x42494E4D,
    "bpf": 0xCAFE4A11,
    "cgroup": 0x27E0EB,
    "cgroup2": 0x63677270,
    "configfs": 0x62656570,
    "debugfs": 0x64626720,
    "devpts": 0x1CD1,
    "efivarfs": 0xDE5E81E4,
    "fusectl": 0x65735543,
    "mqueue": 0x19800202,
    "nfsd": 0x6E667364,
    "nsfs": 0x6E736673,
    "proc": 0x9FA0,
    "pstore": 0x6165676C,
    "resctrl": 0x7655821,
    "rpc_pipefs": 0x67596969,
    "securityfs": 0x73636673,
    "selinuxfs": 0xF97CFF8C,
    "smackfs": 0x43415D53,
    "sysfs": 0x62656572,
    "tracefs": 0x74726163,
    "xenfs": 0xABBA1974,
}
"""Their names in mountinfo, and their numbers (statfs(2), linux/magic.h)."""


class Mounted:
    """A mount of such a file system in this mount namespace (proc_pid_mountinfo(5))."""

    __slots__ = ("is_whole", "number", "point", "type")

    def __init__(self, line: bytes) -> None:
        before, _, after = line.partition(b" - ")
        number, _, _, root, point, *_ = before.split(b" ")
        self.number = number
        self.point = os.fsdecode(point.decode("unicode_escape").encode("latin-1"))
        self.type = after.partition(b" ")[0].decode()
        self.is_whole = root == b"/"
        """Whether all of the file system is mounted, and not a directory of it."""


class Mounts:
    """The mounts of this mount namespace, as they are now. Raises OSError."""

    def __init__(self) -> None:
        self.kernels: list[Mounted] = []
        """Those of file systems in TYPES, in the kernel's order: a mount below another one stands after it."""
        self._numbers = set()
        with open("/proc/self/mountinfo", "rb") as file:
            for line in file:
                self._numbers.add(line.partition(b" ")[0])
                if line.partition(b" - ")[2].partition(b" ")[0].decode("latin-1") in TYPES:
                    self.kernels.append(Mounted(line))

    def type_at(self, path: str) -> tuple[str, bool]:
        """The type of the file system at `path`, "" if it is none of these; and whether `path` is all of it. Raises OSError."""
        found = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            with open(f"/proc/self/fdinfo/{found}", "rb") as file:
                number = next((line.split()[1] for line in file if line.startswith(b"mnt_id:")), b"")
            if number not in self._numbers:
                # In a chroot, and for a path through /proc/PID/root, the mount is not in the list.
                return type_of(found), False
            real = os.readlink(f"/proc/self/fd/{found}")
        finally:
            os.close(found)
        mount = next((mount for mount in self.kernels if mount.number == number), None)
        return (mount.type, mount.point == real and mount.is_whole) if mount else ("", False)


def type_of(descriptor: int) -> str:
    """The type of the file system that an open file is on; "" if it is none of these. Raises OSError."""
    import ctypes  # takes longer to load than all else here

    buffer = (ctypes.c_long * 32)()  # struct statfs, whose first member is the type
    if ctypes.CDLL(None, use_errno=True).fstatfs(descriptor, buffer):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    number = buffer[0] & 0xFFFFFFFF
    return next((name for name, magic in TYPES.items() if magic == number), "")
