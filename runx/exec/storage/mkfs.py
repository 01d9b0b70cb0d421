"""File systems made of a root filesystem: EROFS of its files, ext4 for the changes to them.

The tree is hostile. A process packs it that sees the tree in a mount namespace of its own, read-only and without following
symbolic links (mount(8), nosymfollow), and beside it programs of the host alone. So no file of the host gets into an image,
whatever is exchanged in the tree meanwhile, and whoever takes that process over.
Owners, modes and device nodes are numbers in the image, for the guest alone.
"""

import contextlib
import os
import resource
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from runx import paths
from runx.errors import RunxError
from runx.exec import confinement, host_view, spawn
from runx.exec.storage import ext4
from runx.linux import control_groups, mount, proc
from runx.linux.signals import signal

TIMEOUT_S = 1800
"""Time limit for one image."""
_WRITE_EVERY_S = 0.1
_LOOK_EVERY_S = 1.0
_NO_SPACE = "No space left on device"
_NO_MEMORY = "Cannot allocate memory"
_KILLED_HINT = (
    "the kernel kills it if the container's control group, or one above it, has too little memory: use the carrier 9p, or raise "
    "host.memory_limit of runx.toml, or under Kubernetes the overhead of the RuntimeClass"
)
_READ = mount.MS_RDONLY | mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC | mount.MS_NOSYMFOLLOW


_JOURNAL_FROM = 2**30
JOURNAL_MIB = 16
"""Size of the journal of a layer, which always has its blocks of the host."""
FEATURES = (
    "none", "has_journal", "ext_attr", "dir_index", "filetype", "extent", "64bit", "flex_bg", "sparse_super", "large_file",
    "huge_file", "dir_nlink", "extra_isize", "metadata_csum",
)  # fmt: skip
"""Features of a layer (ext4(5)), whatever the host's mke2fs.conf says. Not among them: resize_inode, as nobody resizes a layer;
and orphan_file, the default of e2fsprogs 1.47, of which Linux reads all blocks one by one when it mounts, and keeps them in
memory: 2 MiB for a layer of 10 GiB."""


class TooLarge(Exception):
    """An image came to its limit."""


class NoSpace(Exception):
    """The file system of an image is full."""


class Tree(NamedTuple):
    """The source of an image: a directory, or layers joined by overlayfs, the topmost first."""

    work: str
    """Directory for mount points; it is made."""
    directory: str
    layers: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    """Options of overlayfs to read the layers."""


def image(tree: Tree, path: str, limit: int, *, to_disk: bool) -> None:
    """Write the EROFS image of a tree into the file at `path`, at most `limit` bytes.

    Raises TooLarge, NoSpace, RunxError, or OSError.

    to_disk: start writing to the disk meanwhile, since the caller will wait for the disk (fsync(2)).
    """
    # Keep the ends of files in blocks of their own. Beside the inodes, a process that lists the files would read them too.
    argv = [_program("mkfs.erofs"), "--quiet", "-Enoinline_data", path, f"{tree.work}/root"]
    for name in ("root", "view", "empty", *map(str, range(len(tree.layers)))):
        os.makedirs(f"{tree.work}/{name}", mode=0o700, exist_ok=True)
    output = os.memfd_create("output", os.MFD_CLOEXEC)
    try:
        caller = os.getpid()
        pid = os.fork()
        if pid == 0:
            _become_mkfs(argv, tree, limit, output, caller)
        try:
            with _written_meanwhile(path) if to_disk else contextlib.nullcontext(), _ended_without_space(pid, output):
                code, text = spawn.finish("mkfs.erofs", pid, output, TIMEOUT_S)
        except RunxError as error:
            if os.path.getsize(path) >= limit - 2**20:
                raise TooLarge from error  # SIGXFSZ
            code, text = 1, spawn.tail(output)
            if _NO_SPACE not in text and _NO_MEMORY not in text:
                raise RunxError(f"root.path: {error.message}", error.hint or _KILLED_HINT) from None
    finally:
        os.close(output)
    if code:
        if os.path.getsize(path) >= limit - 2**20:
            raise TooLarge
        if _NO_SPACE in text:
            raise NoSpace
        if _NO_MEMORY in text:
            raise _too_many_files(tree.directory)
        if name := _long_name(tree):
            raise RunxError(f"root.path: {name} has a name of 255 bytes, which mkfs.erofs cannot take", "use the carrier 9p")
        raise RunxError(
            f"root.path: no image of {tree.directory} could be made: {spawn.one_line(text, 2000) or 'mkfs.erofs failed'}"
        )


def _long_name(tree: Tree) -> str:
    """A file whose name mkfs.erofs 1.5 cuts off, and then says that there is no such file; "" for none."""
    for top in tree.layers or (tree.directory,):
        for directory, names, files in os.walk(top):
            for name in (*names, *files):
                if len(os.fsencode(name)) == 255:
                    return ascii(f"{directory}/{name}")[1:-1]  # a hostile name must not reach a terminal
    return ""


@contextlib.contextmanager
def _written_meanwhile(path: str) -> Iterator[None]:
    """Write the file to the disk while another process writes into it. Else the disk would be idle until that process ends, and
    the caller would wait for the disk after it."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    done = threading.Event()

    def write() -> None:
        with contextlib.suppress(OSError):  # the caller's fsync reports it
            while not done.wait(_WRITE_EVERY_S):
                os.fdatasync(fd)

    try:
        with _meanwhile(write, done):
            yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def _ended_without_space(pid: int, output: int) -> Iterator[None]:
    """End mkfs.erofs a second after it has written to `output` that there is no space or memory left. 1.8 waits for its own
    threads then, and never ends."""
    pidfd = os.pidfd_open(pid)
    done = threading.Event()

    def look() -> None:
        told = False
        while not done.wait(_LOOK_EVERY_S):
            if told:
                with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                return
            said = spawn.tail(output)
            told = _NO_SPACE in said or _NO_MEMORY in said

    try:
        with _meanwhile(look, done):
            yield
    finally:
        os.close(pidfd)


@contextlib.contextmanager
def _meanwhile(work: Callable[[], None], done: threading.Event) -> Iterator[None]:
    """Run `work` in a thread until the context ends, which sets `done`."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def memory_limit() -> int:
    """Bytes of memory that mkfs.erofs may have: half of dom0's, and three quarters of what its control group may have, where the
    kernel would kill it or another process. It keeps 5 KiB for each file of the image, which is hostile."""
    dom0 = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(dom0 // 2, control_groups.allowed_memory() // 4 * 3)


def _too_many_files(directory: str) -> RunxError:
    message = f"root.path: an image of {directory} needs more memory than mkfs.erofs may have, {memory_limit() >> 20} MiB"
    hint = "it has too many files, of which each takes 5 KiB: use the carrier 9p, or raise host.memory_limit of runx.toml"
    return RunxError(message, hint)


def _become_mkfs(argv: list[str], tree: Tree, limit: int, output: int, caller: int) -> None:
    """In the child of the process `caller`. Never returns."""
    try:
        proc.die_with_parent(caller, signal.SIGKILL)  # it would write on into a file that nobody waits for
        spawn.stand_alone(output)
        memory = memory_limit()  # of control groups, which are not there any more then
        _assemble(tree, argv[-2])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        confinement.mkfs()
        os.execve(argv[0], argv, spawn.environment())
    except RunxError as error:
        os.write(output, error.message.encode())
    except OSError as error:
        os.write(output, f"{error.filename or tree.directory}: {error.strerror}".encode("utf-8", "surrogateescape"))
    except BaseException as error:
        os.write(output, repr(error).encode())
    finally:
        os._exit(1)


_NAMESPACES = mount.CLONE_NEWNS | mount.CLONE_NEWNET | mount.CLONE_NEWIPC | mount.CLONE_NEWUTS | mount.CLONE_NEWCGROUP


def _assemble(tree: Tree, image: str) -> None:
    """Mount the tree at work/root, in namespaces of this process's own, and leave nothing else of the host but programs and the
    image. That one alone can be written to."""
    mount.unshare(_NAMESPACES)
    # What is mounted here does not go out; what the host unmounts is unmounted here, too.
    mount.mount("none", "/", mount.MS_REC | mount.MS_SLAVE)
    _mount_tree(tree)
    host_view.enter(f"{tree.work}/view", read=[f"{tree.work}/root"], write=[image], has_proc=False)


def _mount_tree(tree: Tree) -> None:
    top = f"{tree.work}/root"
    if not tree.layers:
        mount.mount(tree.directory, top, mount.MS_BIND)
        mount.mount("none", top, mount.MS_REMOUNT | mount.MS_BIND | _READ)
        return
    # All options together fit into a page, and `:` and `,` separate: so layers get short names. overlayfs wants two layers at
    # least, so there is an empty one.
    os.chdir(tree.work)
    for number, layer in enumerate(tree.layers):
        mount.mount(layer, str(number), mount.MS_BIND)
    lower = ":".join((*map(str, range(len(tree.layers))), "empty"))
    mount.mount("overlay", top, _READ, "overlay", ",".join((f"lowerdir={lower}", *tree.options)))


def layer(work: str, root: str, size: int, target: int) -> None:
    """Write an empty file system of `size` bytes, for an overlay's changes to `root`, into the empty file `target`.

    The file is sparse. The directory `upper` in it has owner, mode and extended attributes of `root`. Raises RunxError, or
    OSError.
    """
    skeleton, made = f"{work}/skeleton", f"{work}/layer"
    for name in ("upper", "work"):
        os.makedirs(f"{skeleton}/{name}")
    status = os.stat(root)
    os.chown(f"{skeleton}/upper", status.st_uid, status.st_gid)
    shutil.copystat(root, f"{skeleton}/upper")
    with open(made, "xb") as file:
        file.truncate(size)
    # mke2fs waits until its file is on the disk, so make it in the container's directory, which is in memory. Tables that a
    # guest's kernel would fill with zeros later are zero in a sparse file. A guest goes on after an error; the journal decides
    # whether it can. Its PID 1 knows the size of inodes (pid1/space.c).
    extended = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    form = ["-m", "0", "-e", "continue", "-I", "256", "-O", ",".join(FEATURES)]
    if size >= _JOURNAL_FROM:
        form += ["-J", f"size={JOURNAL_MIB}"]  # a smaller file system has no larger one by itself
    argv = [_program("mke2fs"), "-q", "-t", "ext4", *form, "-E", extended, "-d", skeleton, made]
    code, text = spawn.run(argv, timeout_s=TIMEOUT_S)
    if code:
        raise RunxError(f"root.path: no layer for its changes could be made: {spawn.one_line(text, 2000) or 'mke2fs failed'}")
    with open(made, "rb") as file:
        _copy_sparse(file.fileno(), target, size)
        # A full disk of the host must not stop the journal: then the guest would lose what it has written.
        for start, length in ext4.metadata(file.fileno()):
            os.posix_fallocate(target, start, length)


def _copy_sparse(source: int, target: int, size: int) -> None:
    end = 0
    os.ftruncate(target, size)
    while True:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError:  # ENXIO: no data after `end`
            return
        end = os.lseek(source, start, os.SEEK_HOLE)
        while start < end:
            data = os.pread(source, min(end - start, 2**20), start)
            start += os.pwrite(target, data, start) if data.count(0) != len(data) else len(data)


def _program(name: str) -> str:
    path = shutil.which(name, path=paths.PROGRAMS)
    if path is None:
        raise RunxError(f"{name}: command not found", "apt-get install erofs-utils e2fsprogs")
    return path
