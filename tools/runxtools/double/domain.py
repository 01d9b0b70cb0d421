"""One domain: a process from `xl create` to `xl destroy`, in the mount namespace of the caller of xl.

It holds the guest's ramdisk and copies of the trees that runx shares with it, the two consoles (hvc0 like xenconsoled; hvc1's
frontend), and the program `guest` while the guest runs (`tools/double-assets/guest.c`). xl sends it orders over a socket. It ends
with the domain.
"""

import errno
import json
import os
import selectors
import shutil
import socket
import stat
import subprocess
import time
import traceback
import tty
import uuid
from typing import Any

from runx.exec.ninep import export_names
from runx.linux import loop
from runxtools.double import layer_share, linux, place, ramdisk, vif

RING_REFERENCE, PORT = 8, 1
"""Grant and event channel of hvc1, as a guest's kernel numbers them: the first eight grants are Xen's."""
_INITIALISING, _INIT_WAIT, _INITIALISED, _CONNECTED, _CLOSING = "1", "2", "3", "4", "5"  # enum xenbus_state
_HVC0_LIMIT = 1024 * 1024
"""Unread bytes of hvc0 that xenconsoled keeps; it drops more."""
_NODES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}
_LOOPS = 512
_VBDS = "/local/domain/0/backend/vbd"
_GROUPS = "/sys/fs/cgroup/domains"


class Domain:
    """See the module. `config` has name, memory (MiB), vcpus, ramdisk (a path), disks, weight, cap."""

    def __init__(self, state: str, domid: int, config: dict[str, Any]) -> None:
        self.state_directory = state
        self.domid = domid
        self.directory = place.domain_directory(state, domid)
        self.path = f"/local/domain/{domid}"
        self.vm = f"/vm/{uuid.uuid4()}"
        self.config = config
        self.record: dict[str, Any] = {**config, "state": "paused", "pid": os.getpid(), "created": time.time()}
        """Facts for xl. The state is paused, running, poweroff, reboot or crash."""
        self.guest: subprocess.Popen[bytes] | None = None
        self.gone = False
        self.group = f"{_GROUPS}/{domid}"
        self.selector = selectors.DefaultSelector()
        self.undelivered = bytearray()
        self.disks: dict[str, int] = {}
        self.trees: list[str] = []

    # -- create --------------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Make the domain, paused. Raises OSError, RamdiskError or RunxError."""
        self.store = place.Store(self.state_directory)
        linux.private_mounts()
        root = f"{self.directory}/root"
        os.mkdir(root)
        linux.mount("ramdisk", root, "tmpfs", data=f"mode=755,size={self.config['memory']}m")
        with open(self.config["ramdisk"], "rb") as file:
            ramdisk.unpack(file.read(), root)
        os.makedirs(self.group)
        self.hvc0, self.hvc0_guest = os.openpty()
        self.pty, self.pty_user = os.openpty()
        tty.setraw(self.pty_user)
        self.hvc1, self.hvc1_guest = os.openpty()
        for fd in (self.hvc0, self.pty):
            os.set_blocking(fd, False)
        self.ring = os.open(f"{self.directory}/grant-{RING_REFERENCE}", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.truncate(self.ring, 4096)
        self.port = self._listen(f"port-{PORT}")
        self.control = self._listen("control")
        self.selector.register(self.control, selectors.EVENT_READ, self._serve)
        self._publish()
        self.vifs = vif.Vifs(self.store, self.domid)
        for spec in self.config["vif"]:
            self.vifs.attach(spec)
        for disk in self.config["disks"]:
            self._attach(disk)
        self._save()

    vifs: vif.Vifs | None = None

    def _attach(self, disk: dict[str, str]) -> None:
        """Attach a disk by its script, as libxl and blkback do (Xen, docs/misc/block-scripts.txt)."""
        backend = f"{_VBDS}/{self.domid}/{_device_number(disk['vdev'])}"
        self.store.write(f"{backend}/params", disk["target"])
        self.store.write(f"{backend}/script", disk["script"])
        subprocess.run([disk["script"], "add"], env={**os.environ, "XENBUS_PATH": backend}, check=False)
        if self.store.read(f"{backend}/hotplug-status") != "connected":
            raise OSError(f"{disk['script']} add: {self.store.read(f'{backend}/hotplug-error')}")
        read_only = disk["access"] == "ro"
        fd = os.open(disk["target"], (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
        # The supervisor keeps others from mounting the device. The guest mounts another device, of the same content.
        self.disks[disk["vdev"]], _ = loop.attach(fd, read_only, exclusive=False)
        number = os.fstat(fd).st_rdev
        os.close(fd)
        if self.store.read(f"{backend}/physical-device") != f"{os.major(number):x}:{os.minor(number):x}":
            raise OSError(f"{disk['script']} add: another device than {disk['target']}")

    def _plug(self, disk: dict[str, str]) -> str:
        """Attach a disk while the guest may run: what is wrong with it, or an empty string."""
        name = disk["vdev"]
        if name in self.disks:
            return f"device already exists in xenstore: {name}"
        try:
            self._attach(disk)
        except OSError as error:
            return str(error)
        if self.guest is not None:
            self._make_disk_node(name)
        return ""

    def _unplug(self, name: str) -> str:
        """Take a disk away, which the guest must have let go of: what is wrong, or an empty string."""
        fd = self.disks.get(name)
        if fd is None:
            return f"Device {name} not connected"
        number = os.fstat(fd).st_rdev
        if self.guest is not None and self.guest.poll() is None and self._is_mounted(number):
            return "unable to remove device: the guest has it in use"  # libxl waits for that, and gives up
        backend = f"{_VBDS}/{self.domid}/{_device_number(name)}"
        script = self.store.read(f"{backend}/script")
        subprocess.run([str(script), "remove"], env={**os.environ, "XENBUS_PATH": backend}, check=False)
        os.close(self.disks.pop(name))
        self.store.remove(backend)
        if self.guest is not None:
            os.unlink(f"{self.directory}/dev/{name}")
        return ""

    def _is_mounted(self, device: int) -> bool:
        """Whether a process of the guest has a file system of a device mounted."""
        mark = f" {os.major(device)}:{os.minor(device)} "
        for group, _, _ in os.walk(self.group):
            with open(f"{group}/cgroup.procs", encoding="ascii") as file:
                pids = file.read().split()
            for pid in pids:
                try:
                    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
                        if mark in file.read():
                            return True
                except OSError:
                    pass  # it has ended
        return False

    def _make_disk_node(self, name: str) -> None:
        os.mknod(f"{self.directory}/dev/{name}", stat.S_IFBLK | 0o600, os.fstat(self.disks[name]).st_rdev)

    def _listen(self, name: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{self.directory}/{name}")
        listener.listen(8)
        return listener

    def _publish(self) -> None:
        """Write the nodes of libxl and xenconsoled that runx and tests read."""
        backend = "/local/domain/0/backend"
        memory_kib = self.config["memory"] * 1024
        nodes = {
            f"{self.vm}/name": self.config["name"],
            f"{self.vm}/uuid": self.vm.removeprefix("/vm/"),
            f"{self.path}/vm": self.vm,
            f"{self.path}/name": self.config["name"],
            f"{self.path}/domid": str(self.domid),
            f"{self.path}/memory/static-max": str(memory_kib),
            f"{self.path}/memory/target": str(memory_kib),
            f"{self.path}/control/shutdown": "",
            f"{self.path}/console/type": "xenconsoled",
            f"{self.path}/console/output": "pty",
            f"{self.path}/console/limit": str(_HVC0_LIMIT),
            f"{self.path}/console/backend": f"{backend}/console/{self.domid}/0",
            f"{backend}/console/{self.domid}/0/frontend": f"{self.path}/console",
            f"{backend}/console/{self.domid}/0/frontend-id": str(self.domid),
            f"{backend}/console/{self.domid}/0/state": "1",
        }
        self.store.write(self.path, "")
        self.store.set_permissions(self.path, "n0", f"r{self.domid}")
        for path, value in nodes.items():
            self.store.write(path, value)
        self.store.introduce(self.domid)
        self.store.write(f"{self.path}/console/tty", os.ttyname(self.pty_user))

    def _save(self) -> None:
        temporary = f"{self.directory}/record.tmp"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(self.record, file)
        os.rename(temporary, f"{self.directory}/record")

    # -- the loop ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until the domain is destroyed, and then remove all of it, whatever happens."""
        try:
            for fd in (self.hvc0, self.pty):
                self.selector.register(fd, selectors.EVENT_READ, self._move_hvc0)
            self.store.watch(f"{self.path}/device/console/1/backend", "console")
            self.store.watch(f"{self.path}/device/9pfs", "shares")
            self.selector.register(self.store.fileno(), selectors.EVENT_READ, self._look_at_backend)
            self._move_hvc0()
            while not self.gone:
                # Events that came with an answer make no descriptor readable.
                for key, _ in self.selector.select(0 if self.store.has_events else None):
                    key.data()
                if self.store.has_events:
                    self._look_at_backend()
        finally:
            self.destroy()

    def _serve(self) -> None:
        connection, _ = self.control.accept()
        with connection:
            words = connection.recv(4096).decode().split()
            try:
                answer = self._do(words)
            except OSError as error:
                answer = str(error)
                traceback.print_exc()
            if words != ["destroy"]:
                connection.sendall(answer.encode() or b"ok")
            else:
                self.destroy()
                connection.sendall(b"ok")

    def _do(self, words: list[str]) -> str:
        """Carry out an order of xl: what is wrong with it, or an empty string."""
        match words:
            case ["destroy"]:
                self.gone = True
            case ["unpause"]:
                if self.record["state"] == "paused":
                    self._set_state("running")
                    if self.guest is None:
                        self._boot()
                    else:
                        self._freeze(False)
            case ["pause"]:
                if self.record["state"] == "running":
                    self._freeze(True)
                    self._set_state("paused")
            case ["shutdown"]:
                self.store.write(f"{self.path}/control/shutdown", "poweroff")
                self._order(b"s")
            case ["network-attach", spec] if self.vifs:
                if "mac=" + (place.fault(self.state_directory, "network-attach-fails") or "?") in spec.split(","):
                    return "unable to add device"
                self.vifs.attach(spec)
            case ["network-detach", number] if self.vifs:
                self.vifs.detach(number)
            case ["block-attach", spec]:
                return self._plug(json.loads(spec))
            case ["block-detach", name]:
                return self._unplug(name)
            case ["xenconsoled", "ends"]:
                self._end_xenconsoled()
            case ["xenconsoled", "begins"]:
                self._begin_xenconsoled()
            case ["set", name, value]:
                self.record[name] = value if name == "cpus" else int(value)
                self._save()
            case _:
                return f"what is {words}?"
        return ""

    def _set_state(self, state: str) -> None:
        self.record["state"] = state
        self._save()

    # -- boot and end --------------------------------------------------------------------------------------------------

    def _boot(self) -> None:
        if place.fault(self.state_directory, "dies-at-boot") is not None:
            self._shut_down("crash")
            return
        has_console = self._connect_console()
        if place.fault(self.state_directory, "devices-hang") is not None:
            os.write(self.hvc0_guest, b"XENBUS: Timeout connecting to devices\r\n")
            return
        self._make_dev(has_console)
        ours, theirs = socket.socketpair()
        fds = [self.hvc0_guest, self.hvc1, self.hvc1_guest, self.ring, self.port.fileno(), theirs.fileno()]
        argv = [f"{self.state_directory}/lib/guest", f"{self.directory}/root", f"{self.directory}/dev"]
        argv += [f"{self.group}/cgroup.procs", str(self.config["vcpus"]), *map(str, fds)]
        argv += self._shares()
        self.guest = subprocess.Popen(argv, stdin=subprocess.DEVNULL, pass_fds=fds)
        theirs.close()
        self.orders = ours
        if self.vifs:
            self.vifs.boot(self.guest.pid)
        pidfd = os.pidfd_open(self.guest.pid)
        self.selector.register(pidfd, selectors.EVENT_READ, lambda: self._guest_ended(pidfd))
        for fd in (self.hvc1, self.hvc1_guest):  # the program `guest` has them, and decides when they hang up
            os.close(fd)

    def _shares(self) -> list[str]:
        """Tags of the shares that runx offers in xenstore, each with a path of this mount namespace: the tree that its server has
        in a namespace of its own."""
        found = []
        devices = f"{self.path}/device/9pfs"
        for number in self.store.directory(devices):
            place = f"{self.directory}/share-{number}"
            if os.path.exists(place):
                continue
            tag, backend = self.store.read(f"{devices}/{number}/tag"), self.store.read(f"{devices}/{number}/backend")
            # A guest's kernel begins when its own state says so, which is written last.
            if self.store.read(f"{devices}/{number}/state") != _INITIALISING or not tag or not backend:
                continue
            if self.store.read(f"{backend}/state") != _INIT_WAIT:
                continue
            os.mkdir(place)
            if tag == export_names.LAYER_TAG:
                self.layer = layer_share.LayerShare(self.store, self.directory, f"{devices}/{number}", place)
                self.store.watch(self.layer.watched, "layer")
                continue
            linux.move_tree(linux.tree_of(int(self.store.read(f"{backend}/server") or 0), f"/{tag}"), place)
            self.trees.append(place)
            if tag == export_names.POD_TAG:
                self.layer = layer_share.LayerShare(self.store, self.directory, f"{devices}/{number}", place, is_pod=True)
                self.store.watch(self.layer.watched, "layer")
            os.symlink(place, f"{self.directory}/tag-{tag}")  # when all is there: the program `guest` looks for it
            found += [tag, place]
        return found

    def _connect_console(self) -> bool:
        """Offer the ring of hvc1, like the guest's driver, if there is a backend for it."""
        frontend = f"{self.path}/device/console/1"
        backend = self.store.read(f"{frontend}/backend")
        if backend is None or place.fault(self.state_directory, "no-console") is not None:
            return False
        if self.store.read(f"{backend}/state") not in (_INIT_WAIT, _CONNECTED):
            return False
        self.backend_state = f"{backend}/state"
        self.store.write(f"{frontend}/ring-ref", str(RING_REFERENCE))
        self.store.write(f"{frontend}/port", str(PORT))
        self.store.write(f"{frontend}/state", _INITIALISED)
        self.store.watch(self.backend_state, "backend")
        return True

    backend_state = ""
    layer: layer_share.LayerShare | None = None

    def _look_at_backend(self) -> None:
        for _, token in self.store.events():
            if token == "shares" and self.guest is not None and place.fault(self.state_directory, "no-late-shares") is None:
                self._shares()  # one that was added
            if token == "layer" and self.layer:
                self.layer.look()
            if token != "backend":
                continue
            state = self.store.read(self.backend_state)
            if state == _CONNECTED:
                self.store.write(f"{self.path}/device/console/1/state", _CONNECTED)
            elif state is None or state >= _CLOSING:
                self._order(b"h")

    def _make_dev(self, has_console: bool) -> None:
        dev = f"{self.directory}/dev"
        os.mkdir(dev)
        linux.mount("devtmpfs", dev, "tmpfs", data="mode=755,size=64k")
        os.umask(0)
        for name, minor in _NODES.items():
            os.mknod(f"{dev}/{name}", stat.S_IFCHR | 0o666, os.makedev(1, minor))
        os.mknod(f"{dev}/tty", stat.S_IFCHR | 0o666, os.makedev(5, 0))
        os.mknod(f"{dev}/fuse", stat.S_IFCHR | 0o666, os.makedev(10, 229))
        os.mknod(f"{dev}/loop-control", stat.S_IFCHR | 0o600, os.makedev(10, 237))
        for number in range(_LOOPS):  # devtmpfs makes these if this machine's kernel has them
            os.mknod(f"{dev}/loop{number}", stat.S_IFBLK | 0o600, os.makedev(7, number))
        os.umask(0o022)
        for name in self.disks:
            self._make_disk_node(name)
        consoles = {"console": self.hvc0_guest, "hvc0": self.hvc0_guest, **({"hvc1": self.hvc1_guest} if has_console else {})}
        for name, fd in consoles.items():
            os.close(os.open(f"{dev}/{name}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            linux.mount(os.ttyname(fd), f"{dev}/{name}", flags=linux.MS_BIND)

    def _guest_ended(self, pidfd: int) -> None:
        self.selector.unregister(pidfd)
        os.close(pidfd)
        assert self.guest is not None
        status = self.guest.wait()
        self._move_hvc0()
        self._shut_down({0: "poweroff", 1: "reboot"}.get(status, "crash"))

    def _shut_down(self, how: str) -> None:
        """Record the domain's end. The domain stays until it is destroyed; without `xl create -e`, xl's daemon does that."""
        self._set_state(how)
        self.store.domain_changed()
        if self.config["watched"]:
            self.gone = True

    def _order(self, letter: bytes) -> None:
        if self.guest is not None and self.guest.returncode is None:
            try:
                self.orders.send(letter)
            except OSError as error:
                if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                    raise

    def _freeze(self, frozen: bool) -> None:
        """Stop or continue all processes of the guest (cgroup-v2, cgroup.freeze)."""
        with open(f"{self.group}/cgroup.freeze", "w") as file:
            file.write("1" if frozen else "0")

    _destroyed = False

    def destroy(self) -> None:
        """Remove all of the domain. The answer to xl comes after this."""
        if self._destroyed:
            return
        self._destroyed = self.gone = True
        if self.layer:
            self.layer.end()
        if self.guest is not None and self.guest.returncode is None:
            self._freeze(False)
            self.orders.close()  # this kills PID 1
            self.guest.wait()
        if self.vifs:
            self.vifs.remove()
        self._remove_groups()
        for path in (
            f"/local/domain/0/backend/console/{self.domid}/0",
            f"{_VBDS}/{self.domid}",
            self.vm,
            self.path,
        ):
            self.store.remove(path)
        console = f"/local/domain/0/backend/console/{self.domid}"
        if not self.store.directory(console):
            self.store.remove(console)
        for directory in ("root", "dev"):
            if os.path.ismount(f"{self.directory}/{directory}"):
                linux.unmount(f"{self.directory}/{directory}")
        for tree in self.trees:
            linux.unmount(tree)
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            if f" {self.directory}/" in file.read():
                raise OSError(errno.EBUSY, "a tree of the host is mounted there", self.directory)  # which must not be removed
        for fd in self.disks.values():
            os.close(fd)
        shutil.rmtree(self.directory)
        self.store.release(self.domid)

    def _remove_groups(self) -> None:
        for directory, _, _ in os.walk(self.group, topdown=False):
            for _ in range(500):
                try:
                    os.rmdir(directory)
                    break
                except OSError as error:  # killed processes have not ended yet
                    if error.errno != errno.EBUSY:
                        raise
                    time.sleep(0.01)

    # -- hvc0 ----------------------------------------------------------------------------------------------------------

    def _begin_xenconsoled(self) -> None:
        """Publish a new pty, as an xenconsoled that was started again."""
        self.pty, self.pty_user = os.openpty()
        tty.setraw(self.pty_user)
        os.set_blocking(self.pty, False)
        for fd in (self.hvc0, self.pty):
            self.selector.register(fd, selectors.EVENT_READ, self._move_hvc0)
        self.store.write(f"{self.path}/console/tty", os.ttyname(self.pty_user))

    def _end_xenconsoled(self) -> None:
        """Leave hvc0 to itself, as when xenconsoled is killed. The node of the pty stays."""
        for fd in (self.hvc0, self.pty):
            self.selector.unregister(fd)
        for fd in (self.pty, self.pty_user):
            os.close(fd)
        self.pty = -1

    def _move_hvc0(self) -> None:
        """Relay hvc0 between the guest's end and the published pty, like xenconsoled."""
        if self.pty < 0:
            return
        while data := _read(self.hvc0):
            self.undelivered += data[: _HVC0_LIMIT - len(self.undelivered)]
        while data := _read(self.pty):
            _write(self.hvc0, data)
        if self.undelivered:
            del self.undelivered[: _write(self.pty, self.undelivered)]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.undelivered else 0)
        self.selector.modify(self.pty, events, self._move_hvc0)


def _device_number(name: str) -> int:
    """The number of a disk, xvda and so on, in xenstore (Xen, docs/man/xen-vbd-interface.7)."""
    index = 0
    for letter in name.removeprefix("xvd"):
        index = 26 * index + ord(letter) - ord("a") + 1
    return 202 << 8 | (index - 1) << 4 if index <= 16 else 1 << 28 | (index - 1) << 8


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 4096)
    except OSError:  # EAGAIN; EIO when no process has the pty open
        return b""


def _write(fd: int, data: bytes | bytearray) -> int:
    try:
        return os.write(fd, data)
    except OSError:
        return 0


def start(state: str, domid: int, config: dict[str, Any]) -> str:
    """Start the process of a domain: what went wrong, or an empty string. It inherits nothing from its caller."""
    ready, report = os.pipe()
    log = os.open(f"{state}/log/domain-{domid}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        null = os.open("/dev/null", os.O_RDWR)
        for number, fd in ((0, null), (1, log), (2, log)):
            os.dup2(fd, number)
        os.closerange(3, report)
        os.closerange(report + 1, 1024)
        _live(Domain(state, domid, config), report)
    os.wait()
    os.close(report)
    os.close(log)
    with open(ready, "rb") as pipe:
        answer = pipe.read().decode(errors="replace")
    return answer.removeprefix("ok") if answer else "the domain's process died"


def _live(domain: Domain, report: int) -> None:
    try:
        try:
            domain.build()
        except BaseException:
            domain.destroy()
            raise
        os.write(report, b"ok")
        os.close(report)
        report = -1
        domain.run()
    except BaseException as error:
        traceback.print_exc()
        if report >= 0:
            os.write(report, str(error).encode())
    finally:
        os._exit(0)
