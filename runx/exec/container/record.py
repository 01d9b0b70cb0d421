"""The record of a container: the state that the commands of runx keep between two calls.

A container has a directory STATE_ROOT/ID, mode 0700. Making the directory claims the id. The file `record` in it is replaced
atomically. It has `name=value` lines instead of JSON, since the json module costs a fast command more than all its other work.
The part of OCI's state that never changes is JSON text, which `create` makes once.
"""

import os

from runx import SPEC_VERSION
from runx.errors import RunxError, of_full_disk, reason
from runx.linux import proc

_ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-")
_NAME_MAX = 255
"""Bytes of a file's name, at most (limits.h(0p))."""
_MAGIC = "runx-record 1"
_RESERVE = "reserve"
"""A file in the container's directory, whose blocks become the record's when there are no others."""
_MORE = 4096
"""Bytes by which a record may become longer than it is when room for it is reserved."""
LIVE = ("created", "running", "paused")
"""The states in which a container has a supervisor, and a domain unless it is a sandbox or its root filesystem is being made."""

TYPE_CHECKING = False  # as typing's, which takes longer to import than a fast command has
if TYPE_CHECKING:
    from collections.abc import Callable


def check_id(container_id: str) -> None:
    """Raise RunxError unless the id is 1 to 255 characters of `[A-Za-z0-9_+.-]` and not `.` or `..` (as runc; it allows 1024,
    which no directory's name may have)."""
    is_name = 0 < len(container_id) <= _NAME_MAX and container_id not in (".", "..")
    if not is_name or not _ID_CHARACTERS.issuperset(container_id):
        raise RunxError(f"invalid container id {container_id!r}", f"an id is 1 to {_NAME_MAX} characters of A-Z a-z 0-9 _ + . -")


def _is_one(text: str) -> bool:
    return text == "1"


def _number_or_none(text: str) -> int | None:
    return int(text) if text else None


def _rows_and_columns(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    rows, columns = text.split(" ")
    return int(rows), int(columns)


def _between(separator: str) -> "Callable[[str], list[str]]":
    return lambda text: text.split(separator) if text else []


class Record:
    """The record of one container. Attributes are the lines of the file; `text` writes them, `load` reads them."""

    LINES = (
        "cgroups", "console", "console_socket", "cpu_percent", "disks", "domain", "domid", "exec", "exit_status",
        "keep_free_mib", "kill_answer_s", "kill_end_s", "log", "log_json", "macs", "network_devices", "network_namespace",
        "oci", "packs", "pid", "pid_namespace", "pid_start", "pod", "scope", "sees_host", "shares", "status", "sync_clock",
        "taken", "takes_interfaces", "terminal", "writes_back",
    )  # fmt: skip
    __slots__ = ("directory", "lock", "roots_made", *LINES)

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.lock = -1
        """The descriptor that holds the container's lock, from `claim` on; -1: this process does not hold the lock."""
        self.roots_made: list[str] = []
        """The state root and the directories above it that this process has made, the lowest first."""
        self.status = "creating"
        """creating, created, running, paused or stopped, as last written; `current_status` checks whether it is still true."""
        self.pid = 0
        """Process id of the supervisor; before there is one, that of `create`."""
        self.pid_namespace = ""
        """Of a container that joins its pod's machine: `own`, `pod`, or a path, as in the plan."""
        self.pid_start = ""
        """Start time of that process, as `proc.start_time` gives it: another process with the same number has another one."""
        self.domain = ""
        """Name of the domain in Xen."""
        self.domid = -1
        """-1: not created yet, or certainly destroyed."""
        self.exec = False
        """Whether more processes may be started in the container."""
        self.exit_status: int | None = None
        """Exit status of the container, None while it is not known."""
        self.kill_answer_s = 0
        """Seconds after KILL until the guest has to answer."""
        self.kill_end_s = 0
        """Seconds after KILL until the guest has to have ended. 0: the domain is destroyed at once, as by older versions, which
        wrote the record of a container that still runs."""
        self.log = ""
        """Path of the --log that `create` was given, for errors of the supervisor."""
        self.log_json = True
        """Whether lines of that log are JSON."""
        self.console = ""
        """How the supervisor meets the guest: "link", "passthrough" for a guest of the container's own, "pod" through that of the
        pod's machine, "none" without one."""
        self.disks: list[str] = []
        """For each disk `ro` or `rw`, the kind of disk and the path of its file, separated by spaces (storage/disk_lock.py)."""
        self.cpu_percent = 100
        """Processor time that the container may use, of one processor."""
        self.keep_free_mib = 0
        """What the layer leaves free on its file system (supervisor/space.py)."""
        self.shares: list[str] = []
        """Tags of the domain's 9p shares."""
        self.pod = ""
        """"machine": the container is the sandbox of a pod that is one machine. For a container that joins such a machine, the id
        of the sandbox."""
        self.packs = ""
        """What the images of the root filesystem, which the supervisor has made, become: "disks" or "ramdisk"; "" without any."""
        self.console_socket = ""
        """Path of the --console-socket that `create` was given."""
        self.macs: list[str] = []
        """MAC addresses that the container has claimed (network/macs.py)."""
        self.network_namespace = ""
        """Path of the network namespace that the container joins; "" if it has one of its own."""
        self.network_devices: list[str] = []
        """Devices of the host that move into the container's network namespace, as `host_devices.take` takes them."""
        self.sync_clock = False
        """Whether the guest's clock is kept at the host's time. Not of a guest that an older version has made."""
        self.takes_interfaces = False
        """Whether the guest gets the interfaces in the container's network namespace."""
        self.taken: list[str] = []
        """The interfaces that the guest got, as `tcfilter.release` takes them."""
        self.sees_host = False
        """Whether the supervisor keeps the host's root directory. Containers of a pod's machine come later, with any path of the
        host; and xl and its scripts may need any file for devices that XLCONF or `vm` name."""
        self.terminal: tuple[int, int] | None = None
        """Rows and columns of the container's terminal; None if it has none."""
        self.writes_back = False
        """Whether what the container has written comes into its root filesystem when it ends."""
        self.cgroups: list[str] = []
        """Directories of the supervisor's control group, which `delete` removes."""
        self.scope = ""
        """Unit of systemd that is this group; "" for none."""
        self.oci = "{}"
        """JSON object: the parts of OCI's state (runtime.md, "State") that do not change."""

    @property
    def is_sandbox(self) -> bool:
        """Whether the container is the sandbox of a pod, which consists of its supervisor alone."""
        return self.console == "none"

    @property
    def is_pod(self) -> bool:
        """Whether the container is the sandbox of a pod that is one virtual machine."""
        return self.pod == "machine"

    @property
    def joins(self) -> bool:
        """Whether the container joins the virtual machine of its pod."""
        return self.console == "pod"

    @property
    def has_no_domain_yet(self) -> bool:
        """Whether the container has been created, but its domain only appears when images of its root filesystem are there."""
        return self.status in LIVE and self.domid < 0 and self.domain != ""

    def say(self, level: str, message: str) -> None:
        """Append a line to the log that the container was created with, if there is one (Log.append)."""
        from runx.log import Log  # most fast commands say nothing

        Log(self.log, self.log_json).append(level, message)

    def text(self) -> str:
        """The text of the file. Raises RunxError for a value with a newline, which would be a line of its own."""
        lines = [_MAGIC]
        for name in self.LINES:
            value = _WRITERS.get(name, str)(getattr(self, name))
            if "\n" in value:
                raise RunxError(f"cannot keep {name} with a newline in it: {value!r}")
            lines.append(f"{name}={value}")
        return "\n".join(lines) + "\n"

    def save(self) -> None:
        """Write the record atomically: a reader sees the old record or the new one. Raises RunxError (as `text`, or if it
        cannot be written)."""
        from runx.linux.files import write_atomically  # commands that only read do without it

        text = self.text().encode("utf-8", "surrogateescape")
        try:
            write_atomically(self.directory + "/record", text)
        except OSError as error:
            if not _saved_in_reserve(self.directory, text):
                # The directory of a container that cannot be made goes again.
                full = of_full_disk(error, os.path.dirname(self.directory))
                raise full or RunxError(f"cannot write {self.directory}/record: {reason(error)}") from None

    def save_if_possible(self) -> None:
        """As `save`, for what goes on whether it is kept or not: the container is more than its record."""
        try:
            self.save()
        except RunxError as error:
            self.say("warning", f"{error.message}; `state` may show an earlier state")

    def reserve(self) -> None:
        """Reserve room for the record to come, if it is not yet: a file system that is full later is no reason to lose a state.
        Raises RunxError."""
        path = f"{self.directory}/{_RESERVE}"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return
        except OSError as error:
            raise RunxError(f"cannot make {path}: {reason(error)}") from None
        try:
            os.write(fd, bytes(len(self.text()) + _MORE))  # written, so that it has its blocks
        except OSError as error:
            os.unlink(path)
            raise RunxError(f"no room for the container's state: {path}: {reason(error)}") from None
        finally:
            os.close(fd)

    def supervised(self) -> bool:
        """Whether the supervisor of this record is alive."""
        return self.pid > 0 and self.pid_start != "" and proc.start_time(self.pid) == self.pid_start

    def supervisor(self) -> int:
        """A descriptor that polls as readable when the supervisor has ended (pidfd_open(2)); -1 if it has ended already."""
        return proc.pidfd(self.pid, self.pid_start)

    def current_status(self) -> str:
        """The present status (OCI runtime.md, "State"): a container whose `create` or supervisor has gone is stopped."""
        if self.status != "stopped" and not self.supervised():
            return "stopped"
        return self.status


def _saved_in_reserve(directory: str, text: bytes) -> bool:
    """Make the reserve the record, with this text; whether that was possible. The old record's blocks become the next reserve."""
    path = f"{directory}/{_RESERVE}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            size = os.fstat(fd).st_size
            if size < len(text):
                return False
            if os.write(fd, text) < len(text):
                return False
            os.ftruncate(fd, len(text))
        finally:
            os.close(fd)
        os.rename(path, f"{directory}/record")
    except OSError:
        return False
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if os.write(fd, bytes(size)) < size:
                os.unlink(path)
        finally:
            os.close(fd)
    except OSError:
        try:
            os.unlink(path)  # half a reserve is none
        except OSError:
            pass
    return True


_READERS: "dict[str, Callable[[str], object]]" = {
    "cgroups": _between("\t"),
    "cpu_percent": int,
    "disks": _between("\0"),
    "domid": int,
    "exec": bool,
    "exit_status": _number_or_none,
    "keep_free_mib": int,
    "kill_answer_s": int,
    "kill_end_s": int,
    "log_json": _is_one,
    "macs": _between(" "),
    "pid": int,
    "network_devices": _between(" "),
    "sees_host": bool,
    "shares": _between(" "),
    "sync_clock": bool,
    "taken": _between(" "),
    "takes_interfaces": bool,
    "terminal": _rows_and_columns,
    "writes_back": bool,
}
"""How to read the text of a line that is no string."""
_WRITERS: "dict[str, Callable[..., str]]" = {
    "cgroups": "\t".join,
    "disks": "\0".join,
    "exec": lambda allowed: "1" if allowed else "",
    "exit_status": lambda status: "" if status is None else str(status),
    "log_json": lambda is_json: "1" if is_json else "0",
    "macs": " ".join,
    "network_devices": " ".join,
    "sees_host": lambda sees: "1" if sees else "",
    "shares": " ".join,
    "sync_clock": lambda is_kept: "1" if is_kept else "",
    "taken": " ".join,
    "takes_interfaces": lambda takes: "1" if takes else "",
    "terminal": lambda size: f"{size[0]} {size[1]}" if size else "",
    "writes_back": lambda writes: "1" if writes else "",
}
"""The reverse, for lines that str() does not write."""


def directory_of(root: str, container_id: str) -> str:
    return f"{root}/{container_id}"


def check_machine(record: Record) -> None:
    """Raise RunxError if the container joins its pod's machine and that is paused: nothing in it answers until it goes on."""
    if not record.joins:
        return
    try:
        sandbox = load(os.path.dirname(record.directory), record.pod)
    except RunxError:  # it is being deleted, and the container ends
        return
    if sandbox.current_status() == "paused":
        raise RunxError("the virtual machine of the pod is paused", f"runx resume {record.pod} lets all its containers go on")


def load(root: str, container_id: str) -> Record:
    """Read a container's record. Raises RunxError ("container does not exist") if there is none; callers match this text."""
    check_id(container_id)
    record = Record(directory_of(root, container_id))
    try:
        fd = os.open(record.directory + "/record", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise RunxError(f'container "{container_id}" does not exist') from None
    except OSError as error:
        raise RunxError(f'container "{container_id}": cannot read {record.directory}/record: {reason(error)}') from None
    with open(fd, encoding="utf-8", errors="surrogateescape", newline="\n") as file:  # "\r" ends no line
        if os.fstat(fd).st_uid not in (0, os.geteuid()):  # it names processes and domains to act on
            hint = "a state directory belongs to root"
            raise RunxError(f'container "{container_id}": {record.directory}/record belongs to another user', hint)
        lines = file.read().split("\n")
    if lines[0] != _MAGIC:
        raise RunxError(f'container "{container_id}": {record.directory}/record is not a record of this version of runx')
    for line in lines[1:]:
        name, _, value = line.partition("=")
        if name in Record.LINES:
            setattr(record, name, _READERS.get(name, str)(value))
    return record


def document(record: Record, status: str, pid: int) -> str:
    """The state of a container as JSON (OCI runtime.md, "State"), for `state` and for hooks."""
    return f'{{"status": "{status}", "pid": {pid}, {record.oci[1:]}\n'


def claim(root: str, container_id: str, bundle: str) -> Record:
    """Make the container's directory and its first record, and take its lock. Raises RunxError if the id is in use.

    A directory without a record, whose lock nobody holds, was left by a `create` that was killed here. It is used.
    """
    from runx.log import json_string

    check_id(container_id)
    record = Record(directory_of(root, container_id))
    taken = RunxError(
        f'container with id "{container_id}" already exists',
        f"choose another id, or remove it with: runx delete {container_id}",
    )
    try:
        record.roots_made = _make_root(root)
    except OSError as error:
        raise RunxError(f"cannot make {root}: {reason(error)}") from None
    try:
        if not os.path.isdir(record.directory):
            os.mkdir(record.directory, 0o700)
        _check_closed(record.directory, root)  # it may be of an earlier `create`
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
    # `state` shows this until the bundle has been compiled.
    record.oci = f'{{"ociVersion": "{SPEC_VERSION}", "id": {json_string(container_id)}, "bundle": {json_string(bundle)}}}'
    record.save()
    return record


def _make_root(root: str) -> list[str]:
    """Make the state root and the directories above it that are missing, if nobody else can exchange one; those that this
    process has made, the lowest first. Raises RunxError."""
    missing = []
    above = root
    while not os.path.lexists(above):
        missing.append(above)
        above = os.path.dirname(above)
    _check_closed(above, root)
    made: list[str] = []
    for directory in reversed(missing):
        try:
            os.mkdir(directory, 0o700)
            made.insert(0, directory)
        except FileExistsError:
            pass  # another `create` has made it
    return made


def _check_closed(directory: str, root: str) -> None:
    """Raise RunxError if a user other than root could exchange what is in a directory of the state root, or above it."""
    from runx.linux import closed_path

    try:
        os.close(closed_path.find(directory, os.path.realpath(root)))
    except closed_path.OpenToOthers as error:
        hint = "name a directory by --root, or by paths.state of runx.toml, that root alone can write to, with all above it"
        raise RunxError(f"the state directory {root} is not root's alone: {error}", hint) from None


def lock(record: Record) -> int:
    """Wait for the container's lock and take it; the descriptor that holds it until closed.

    `create` and `delete` hold it while they work. Raises RunxError ("does not exist") if the container was removed meanwhile.
    """
    try:
        return _locked(record.directory, wait=True)
    except FileNotFoundError:
        raise RunxError(f'container "{os.path.basename(record.directory)}" does not exist') from None


def _locked(directory: str, *, wait: bool) -> int:
    """Lock the directory itself: no other can take its place meanwhile, and no file is made in one that is being removed.

    Raises FileNotFoundError if it does not exist, BlockingIOError if it is locked and wait is false.
    """
    import fcntl

    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if not os.path.samestat(os.fstat(fd), os.stat(directory)):
            raise FileNotFoundError(directory)  # the locked directory was removed, and its name used again
    except BaseException:
        os.close(fd)
        raise
    return fd


def remove(record: Record) -> None:
    """Remove the container's directory and its contents, without following symbolic links or entering mounts.

    The record goes last, so that the container is still known if this process ends early.
    """
    _remove_tree(record.directory, last="record")
    os.rmdir(record.directory)


def _remove_tree(path: str, last: str = "") -> None:
    """Remove the contents of a directory, the entry `last` after the others."""
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name == last):
            if entry.is_dir(follow_symlinks=False):
                if os.path.ismount(entry.path):
                    raise RunxError(f"{entry.path} is still a mount point", f"unmount it with: umount {entry.path}")
                _remove_tree(entry.path)
                os.rmdir(entry.path)
            else:
                os.unlink(entry.path)
