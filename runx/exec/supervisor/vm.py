"""The life of a container that is a virtual machine: its domain, its disks, the interfaces that it takes over.

The two kinds of it are guest_link.py and passthrough.py, which differ in how they meet the guest.
"""

import os
import select
import time
from collections.abc import Callable

from runx.errors import RunxError
from runx.exec.container.record import Record
from runx.exec.network import tcfilter
from runx.exec.supervisor.supervisor import STATUS_BROKEN, Ended, Supervision
from runx.exec.xen import domain, xl
from runx.exec.xen.xenstore import XenStore
from runx.linux import netns

_LOOK_AGAIN_S = 1.0
"""After xenstored says that some domain ended: how long to wait before asking xl whether it is ours. One look answers for
all that end in that time."""


class Machine(Supervision):
    """Supervises a domain. Kinds of it say how they meet its guest: `_publish`, `_event`, `_domain_ended`."""

    def __init__(self, record: Record, store: XenStore, host_network: int) -> None:
        super().__init__(record, host_network)
        self.store = store
        self.first_interfaces = netns.interfaces()
        """What the kernel puts into every network namespace."""
        self.network_script = b""
        """What sets the guest's interfaces up; empty without any, and before `start`."""
        self.first_vifs: set[str] = set()
        """Numbers of the network devices that the domain has been created with."""
        self.loops: list[int] = []
        """Loop devices of its disks."""
        self.look_at: float | None = None
        """When to ask xl whether the domain still lives."""

    # -- what kinds of guests differ in ------------------------------------------------------------------------------------

    def _publish(self) -> None:
        """Make the consoles ready for the guest, while its domain is paused."""
        raise NotImplementedError

    def _event(self, token: str) -> None:
        """Something changed in xenstore that `_publish` asked to be told of."""
        raise NotImplementedError

    def _domain_ended(self, how: str) -> None:
        """The domain ended; `how` as xl.ended says it. Raises Ended unless there is something left to do."""
        raise NotImplementedError

    # -- before the container exists -----------------------------------------------------------------------------------

    def _make(self) -> None:
        """Create the domain, paused, with our console in it."""
        record = self.record
        self.claim = netns.claim() if record.takes_interfaces else None
        devices, of_qemu = self._attach_disks()
        record.domid = domain.create(self.store, record.directory, record.domain, self.host_network, devices, of_qemu)
        if record.disks:
            from runx.exec.storage import disk_lock

            disk_lock.forget(record.disks)
        self._publish()
        self.store.watch("@releaseDomain", "release")

    def _attach_disks(self) -> tuple[list[str], list[int]]:
        """Lock the files of the disks, and make loop devices of those that the kernel serves: for each disk its device, "" for
        another, and descriptors for QEMU to hold."""
        devices: list[str] = []
        of_qemu: list[int] = []
        if self.record.disks:
            from runx.exec.storage import disk_lock
            from runx.linux import loop

            for disk in self.record.disks:
                fd = disk_lock.lock(disk)
                if disk_lock.by_qemu(disk):
                    of_qemu.append(fd)
                    devices.append("")
                    continue
                device, path = loop.attach(fd, disk.startswith("ro "))
                os.close(fd)
                self.loops.append(device)
                devices.append(path)
        return devices, of_qemu

    def await_word(self, word: int) -> None:
        """Wait for a word. Raises RunxError when it does not come, or the domain ends before."""
        destroyed = "the container was destroyed while its hooks ran"
        poller = select.poll()
        for fd in (word, self.store.fileno()):
            poller.register(fd, select.POLLIN)
        while True:
            if self.store.has_events or self.store.fileno() in (ready := dict(poller.poll())):
                try:
                    self._xenstore_events()
                except Ended:
                    raise RunxError(destroyed) from None
            elif word in ready:
                super().await_word(word)
                # xenstored may be slower to tell of its end than the hook that caused it was to end.
                if self.store.read(f"/local/domain/{self.record.domid}/vm") is None:
                    raise RunxError(destroyed)
                return

    # -- requests and events -------------------------------------------------------------------------------------------

    def _attend(self, ready: dict[int, int], signals: int) -> None:
        super()._attend(ready, signals)
        if self.store.fileno() in ready or self.store.has_events:
            self._xenstore_events()
        if self.look_at is not None and time.monotonic() >= self.look_at:
            self._look_whether_alive()

    def _timeout_ms(self) -> int | None:
        if self.store.has_events:  # they came with the answer to a request, so that no descriptor tells of them
            return 0
        at = min(self._deadlines(), default=None)
        return None if at is None else max(0, int((at - time.monotonic()) * 1000)) + 1

    def _deadlines(self) -> list[float]:
        """Times at which there is something to do even if nothing happens."""
        return [] if self.look_at is None else [self.look_at]

    def _start(self) -> None:
        _check_devices()
        try:
            self._take_interfaces()
            self._call(xl.unpause)
        except RunxError as error:
            self._give_interfaces_back(error)
            raise

    def _pause(self) -> None:
        self._call(xl.pause)

    def _resume(self) -> None:
        self._call(xl.unpause)

    def _call(self, call: Callable[[int], None]) -> None:
        try:
            call(self.record.domid)
        except RunxError:
            if self.store.read(f"/local/domain/{self.record.domid}/vm") is None:
                raise RunxError("container not running") from None  # it was killed just now
            raise

    def _take_interfaces(self) -> None:
        """Give the guest what the engine has put into the container's network namespace. Raises RunxError."""
        record = self.record
        found = sorted(netns.interfaces() - self.first_interfaces)
        if not found:
            return
        if not record.takes_interfaces:
            self._warn_of_lost(f", {', '.join(found)}: its networks are those of NETCONF")
            return
        interfaces, not_carried, self.network_script = tcfilter.inspect(found)
        for what in not_carried:
            self._warn_of_lost(f": {what}")
        self.first_vifs = tcfilter.devices(self.store, record.domid)
        record.taken = [interface.taken for interface in interfaces]
        record.save()  # first: what is taken is to be let go, whatever happens
        tcfilter.attach(self.store, record.domid, interfaces, self.host_network)

    def _warn_of_lost(self, what: str) -> None:
        self.record.say("warning", f"the virtual machine does not get what is in the container's network namespace{what}")

    def _give_interfaces_back(self, reason: RunxError) -> None:
        """After a start that failed for this reason: make it as before, for another. Raises RunxError when that cannot be done;
        the container ends then."""
        record = self.record
        self.network_script = b""
        if not record.taken or self.store.read(f"/local/domain/{record.domid}/vm") is None:
            return  # nothing was done, or its end, which is about to be seen, undoes it
        try:
            tcfilter.rollback(self.store, record.domid, self.first_vifs, record.taken)
        except RunxError as error:
            self.status = STATUS_BROKEN
            message = f"{reason.message}; the container is ended, as what was done cannot be undone: {error.message}"
            raise RunxError(message, reason.hint) from None
        record.taken = []
        record.save()

    def _xenstore_events(self) -> None:
        for _, token in self.store.events():
            if token != "release":
                self._event(token)
            elif self.store.read(f"/local/domain/{self.record.domid}/vm") is None:
                self._domain_ended("destroyed")
            elif self.look_at is None and self.record.status != "created":  # a paused domain cannot end by itself
                self.look_at = time.monotonic() + _LOOK_AGAIN_S

    def _look_whether_alive(self) -> None:
        self.look_at = None
        how = xl.ended(self.record.domid)
        if how:
            self._domain_ended(how)

    # -- the end -------------------------------------------------------------------------------------------------------

    def _remove(self) -> None:
        record = self.record
        domain.remove(self.store, record.domain, record.domid, self.host_network)
        record.domid = -1
        for device in self.loops:
            os.close(device)
        tcfilter.release(record.taken)


def _check_devices() -> None:
    """Raise RunxError when our control group lets no device be opened, and with that no program of Xen work."""
    try:
        os.close(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))
    except PermissionError:
        message = "the control group of linux.cgroupsPath, or one above it, allows no devices, which Xen's programs need"
        hint = "of podman's pods with cgroupfs: podman pod create --share-parent=false"
        raise RunxError(message, hint) from None
