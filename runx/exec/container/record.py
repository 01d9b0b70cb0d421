"""The record of a container: what the verbs of runx know of it between two calls.

A container has a directory STATE_ROOT/ID, mode 0700. Making it claims the id; the file `record` in it is replaced
atomically. Its text is `name=value` lines rather than JSON because json costs a fast verb more than all its other work;
the part of OCI's state that never changes is kept as JSON text made once by `create`.
"""

import os

from runx import SPEC_VERSION
from runx.errors import RunxError, reason
from runx.linux import proc

_ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-")
_MAGIC = "runx-record 1"
LIVE = ("created", "running", "paused")
"""The states in which a container has a supervisor, and a domain unless it is a sandbox."""


def check_id(container_id: str) -> None:
    """Raise RunxError unless the id is 1 to 1024 characters of `[A-Za-z0-9_+.-]` and not `.` or `..` (as runc)."""
    if not container_id or len(container_id) > 1024 or container_id in (".", "..") or not _ID_CHARACTERS.issuperset(container_id):
        raise RunxError(f"invalid container id {container_id!r}", "an id is 1 to 1024 characters of A-Z a-z 0-9 _ + . -")


class Record:
    """The record of one container. Attributes are the file's lines; all are strings but pid and domid."""

    LINES = (
        "cgroups", "console", "console_socket", "disks", "domain", "domid", "exit_status", "log", "log_json", "network_namespace",
        "oci", "pid", "pid_start", "scope", "status", "taken", "takes_interfaces", "terminal",
    )  # fmt: skip
    __slots__ = ("directory", "lock", *LINES)

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.lock = -1
        """The descriptor that holds the container's lock, from `claim` on; -1: we do not hold it."""
        self.status = "creating"
        """creating, created, running, paused or stopped, as last written; `current_status` looks whether that is still so."""
        self.pid = 0
        """The supervisor's process id; before there is one, that of `create`."""
        self.pid_start = ""
        """Its start time: another process with the same number is not it."""
        self.domain = ""
        """Name of the domain in Xen."""
        self.domid = -1
        """-1: not created yet, or certainly destroyed."""
        self.exit_status = ""
        """The container's exit status once it is known."""
        self.log = ""
        """Path of --log given to create, for the supervisor's own errors."""
        self.log_json = "1"
        self.console = ""
        """How the supervisor meets the guest: "link", "passthrough" when the guest is the container's own, "none" without one."""
        self.disks = ""
        """For each disk `ro` or `rw`, what it is and the path of its file (image.py), separated by NUL."""
        self.console_socket = ""
        """Path of --console-socket given to create."""
        self.network_namespace = ""
        """Path of the network namespace that the container joins; "" when it has one of its own."""
        self.takes_interfaces = ""
        """"1" when the guest gets the interfaces in it."""
        self.taken = ""
        """Those it has got, separated by spaces, as `takeover.let_go` is told of them."""
        self.terminal = ""
        """Rows and columns of the container's terminal, separated by a space; "" when it has none."""
        self.cgroups = ""
        """The directories of the supervisor's control group, separated by tabs: `delete` removes them."""
        self.scope = ""
        """The unit of systemd that this group is; "" for none."""
        self.oci = "{}"
        """JSON object: the parts of OCI's state (runtime.md, "State") that do not change."""

    @property
    def is_sandbox(self) -> bool:
        """Whether it is the sandbox of a pod: its supervisor is all there is."""
        return self.console == "none"

    def say(self, level: str, message: str) -> None:
        """Append a line to the log that the container was created with, if it has one (Log.append)."""
        from runx.log import Log  # most fast commands say nothing

        Log(self.log, self.log_json == "1").append(level, message)

    def text(self) -> str:
        lines = [_MAGIC]
        for name in self.LINES:
            value = str(getattr(self, name))
            if "\n" in value:
                raise RunxError(f"cannot keep {name} with a newline in it: {value!r}")
            lines.append(f"{name}={value}")
        return "\n".join(lines) + "\n"

    def save(self) -> None:
        """Write the record atomically: a reader sees the old one or the new one."""
        from runx.linux.files import write_atomically  # commands that only read do without it

        write_atomically(self.directory + "/record", self.text().encode("utf-8", "surrogateescape"))

    def supervised(self) -> bool:
        """Is the supervisor of this record alive?"""
        return self.pid > 0 and self.pid_start != "" and proc.start_time(self.pid) == self.pid_start

    def supervisor(self) -> int:
        """A descriptor of the supervisor, which polls as readable when it has ended (pidfd_open(2)); -1 when it has already."""
        return proc.pidfd(self.pid, self.pid_start)

    def current_status(self) -> str:
        """The status now (OCI runtime.md, "State"): a container whose `create` or supervisor has gone is stopped."""
        if self.status != "stopped" and not self.supervised():
            return "stopped"
        return self.status


def directory_of(root: str, container_id: str) -> str:
    return f"{root}/{container_id}"


def load(root: str, container_id: str) -> Record:
    """Read a container's record. Raises RunxError ("container does not exist") when there is none; callers match that text."""
    check_id(container_id)
    record = Record(directory_of(root, container_id))
    try:
        fd = os.open(record.directory + "/record", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise RunxError(f'container "{container_id}" does not exist') from None
    except OSError as error:
        raise RunxError(f'container "{container_id}": cannot read {record.directory}/record: {reason(error)}') from None
    with open(fd, encoding="utf-8", errors="surrogateescape") as file:
        lines = file.read().split("\n")
    if lines[0] != _MAGIC:
        raise RunxError(f'container "{container_id}": {record.directory}/record is not a record of this version of runx')
    for line in lines[1:]:
        name, _, value = line.partition("=")
        if name in ("pid", "domid"):
            setattr(record, name, int(value))
        elif name in Record.LINES:
            setattr(record, name, value)
    return record


def document(record: Record, status: str, pid: int) -> str:
    """The state of a container as JSON (OCI runtime.md, "State"), as `state` prints it and hooks are given it."""
    return f'{{"status": "{status}", "pid": {pid}, {record.oci[1:]}\n'


def claim(root: str, container_id: str, bundle: str) -> Record:
    """Make the container's directory and first record, and take its lock. Raises RunxError when the id is taken.

    A directory without a record, whose lock nobody holds, is what a `create` left that was killed right here; it is taken.
    """
    from runx.log import json_string

    check_id(container_id)
    record = Record(directory_of(root, container_id))
    taken = RunxError(
        f'container with id "{container_id}" already exists',
        f"choose another id, or remove it with: runx delete {container_id}",
    )
    try:
        os.makedirs(root, mode=0o700, exist_ok=True)
        if not os.path.isdir(record.directory):
            os.mkdir(record.directory, 0o700)
        record.lock = _locked(record.directory, wait=False)
    except (FileExistsError, BlockingIOError, FileNotFoundError):  # another `create` or a `delete` is at it
        raise taken from None
    except OSError as error:
        raise RunxError(f"cannot make {record.directory}: {reason(error)}") from None
    if os.path.exists(record.directory + "/record"):
        os.close(record.lock)
        raise taken
    record.pid = os.getpid()
    record.pid_start = proc.start_time(record.pid)
    # What `state` shows until the bundle has been compiled.
    record.oci = f'{{"ociVersion": "{SPEC_VERSION}", "id": {json_string(container_id)}, "bundle": {json_string(bundle)}}}'
    record.save()
    return record


def lock(record: Record) -> int:
    """Take the container's lock, waiting for it; returns the descriptor that holds it until closed.

    `create` and `delete` hold it while they work. Raises RunxError ("does not exist") when the container was removed meanwhile.
    """
    try:
        return _locked(record.directory, wait=True)
    except FileNotFoundError:
        raise RunxError(f'container "{os.path.basename(record.directory)}" does not exist') from None


def _locked(directory: str, *, wait: bool) -> int:
    """Lock a directory itself: nothing can take its place while it is locked, and no file is made in one that is being removed.

    Raises FileNotFoundError when it is not there, BlockingIOError when it is locked and wait is false.
    """
    import fcntl

    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if not os.path.samestat(os.fstat(fd), os.stat(directory)):
            raise FileNotFoundError(directory)  # what we locked was removed, and the name used once more
    except BaseException:
        os.close(fd)
        raise
    return fd


def remove(record: Record) -> None:
    """Remove the container's directory and all in it. Never follows a symbolic link or crosses into a mount.

    The record goes last: whatever ends us before, the container is still known.
    """
    _remove_tree(record.directory, last="record")
    os.rmdir(record.directory)


def _remove_tree(path: str, last: str = "") -> None:
    """All in a directory, the entry `last` after the others."""
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name == last):
            if entry.is_dir(follow_symlinks=False):
                if os.path.ismount(entry.path):
                    raise RunxError(f"{entry.path} is still a mount point", f"unmount it with: umount {entry.path}")
                _remove_tree(entry.path)
                os.rmdir(entry.path)
            else:
                os.unlink(entry.path)
