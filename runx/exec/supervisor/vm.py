"""The virtual machine of a container: its domain, from nothing to nothing."""

import os
import select
import time

from runx.errors import RunxError
from runx.exec import confinement
from runx.exec.ninep import export_names
from runx.exec.supervisor import loop, view
from runx.exec.supervisor.lifecycle import IGNORED_BY_DEFAULT, refuse, takes_none_in
from runx.exec.supervisor.loop import Ended
from runx.exec.supervisor.packing import BEING_MADE, Packing
from runx.exec.supervisor.session import STATUS_BROKEN
from runx.exec.supervisor.shares import Shares
from runx.exec.xen import domain, xl
from runx.exec.xen.xenstore import XenStoreError
from runx.linux.signals import signal

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from runx.exec.container.record import Record
    from runx.exec.supervisor.allowance import Allowance
    from runx.exec.supervisor.forwarding import Forwarding
    from runx.exec.supervisor.loop import Part
    from runx.exec.supervisor.members import Members
    from runx.exec.supervisor.network import Network
    from runx.exec.supervisor.session import Session
    from runx.exec.supervisor.sessions import Sessions
    from runx.exec.xen.xenstore import XenStore

    class Guest(Protocol):
        """How the supervisor meets what runs in the domain: guest_link.GuestLink, passthrough.Passthrough."""

        first_parts: tuple[Part, ...]
        """Parts of the loop that have their turn before requests are served."""
        last_parts: tuple[Part, ...]
        """Parts of the loop that have their turn after everything else."""

        @property
        def deliver(self) -> Callable[[int], None]:
            """Deliver a signal. Raises RunxError if it is not taken, or Ended."""

        @property
        def execute(self) -> Callable[[int, list[int]], None]:
            """Start a further process. Raises RunxError, with the descriptors closed."""

        @property
        def sessions(self) -> Sessions | None:
            """Processes beside the container's own; None if there can be none."""

        def prepare(self) -> None:
            """Collect what the guest will need, before the domain runs. Raises RunxError."""

        def machine_started(self) -> None:
            """The domain runs."""

        def machine_resumed(self) -> None:
            """The domain runs again, after a pause."""

        def event(self, token: str) -> None:
            """Something changed in xenstore that the guest's consoles watch with this token."""

        def domain_ended(self, how: str) -> None:
            """The domain ended; `how` as xl.ended says it. Raises Ended unless there is something left to do."""

        def finished(self) -> int | None:
            """The container's exit status once there is nothing left to do."""

        def close(self) -> None:
            """Let go of the consoles. Raises RunxError."""

        def domain_removed(self) -> None:
            """Nothing of the domain is left."""


LOOK_AGAIN_S = 1.0
"""How long to wait before asking xl whether the domain that ended, as xenstored says, is ours. One look answers for all domains
that end in that time."""


LOOKS = 6
"""How often xl is asked in a row if it fails, each time after twice the time and with a warning. Then it is asked at the last
interval, of half a minute: an xl that fails is no reason to end a container."""


class VirtualMachine:
    """A domain and what belongs to it. As a part of the loop it serves xenstored's events and sees the domain's end."""

    def __init__(
        self,
        record: "Record",
        store: "XenStore",
        session: "Session",
        network: "Network",
        host_network: int,
        allowance: "Allowance",
        meet: "Callable[[], Guest]",
    ) -> None:
        """host_network: a descriptor of the host's network namespace. meet: makes the guest's end, once the domain exists."""
        self._allowance = allowance
        self._record = record
        self._store = store
        self._session = session
        self._network = network
        self._host_network = host_network
        self._meet = meet
        self._shares = Shares(record, store, export_names.SHARES, record.shares)
        self._guest: Guest | None = None
        self._packing = Packing(record, session, "the virtual machine follows")
        self._members: Members | None = None
        """The containers of a pod whose machine it is."""
        self._forwarding: Forwarding | None = None
        """Ports of the guest, for who is in its network namespace in dom0."""
        self._logs: tuple[Part, ...] = ()
        """What looks after the log of QEMU, if there is one."""
        self._loops: list[int] = []
        """Loop devices of the disks."""
        self._look_at: float | None = None
        """When to ask xl whether the domain still lives."""
        self._failed_looks = 0
        """How often xl has failed to answer that, in a row."""

    # -- before the container exists -----------------------------------------------------------------------------------

    def make(self, caller: int) -> None:
        """Create the domain, paused, with its consoles. Raises RunxError; `remove` then removes what was made.

        If images of the root filesystem take longer to make than engines wait for `create`, the domain is left to `complete`.
        """
        _check_devices()
        self._shares.start()
        self._network.claim()
        if self._packing.begin(caller):
            self._make_domain()

    def _make_domain(self) -> None:
        record = self._record
        self._packing.check()
        devices, of_qemu = self._attach_disks()
        self._packing.end()  # the disks are locked, or the images are in the ramdisk
        if of_qemu:
            from runx.exec.supervisor import qemu_log  # for few containers

            self._logs = (qemu_log.QemuLog(qemu_log.path_of(record.domain)),)
        record.domid = domain.create(self._store, record.directory, record.domain, self._host_network, devices, of_qemu)
        self._forget_images()
        self._network.attach_to_bridges(self._allowance)
        self._shares.publish()
        self._guest = self._meet()
        if record.is_pod and self._guest.sessions:
            from runx.exec.supervisor.members import Members  # for few containers

            self._members = Members(record, self._shares, self._guest.sessions, record.say)
        if record.exec and record.takes_interfaces and self._guest.sessions:
            from runx.exec.supervisor import forwarding  # for few containers

            self._forwarding = forwarding.begin(self._guest.sessions, record.say)
        self._store.watch("@releaseDomain", "release")

    def confine(self) -> None:
        """Give up what only making the domain takes; once there is one, and before the guest runs. Raises RunxError."""
        if self._guest:
            view.enter(self._record)
            confinement.supervisor(mounts=self._record.writes_back, sees_host=self._record.sees_host)

    def _complete(self) -> None:
        self._make_domain()
        self.confine()

    def _forget_images(self) -> None:
        """Remove names and copies of images that this container alone uses: the domain has them, or will never be."""
        if self._record.disks:
            from runx.exec.storage import disk_lock

            disk_lock.forget(self._record.disks)
        # On most hosts the copies are in memory: an image's own take up to 640 MiB of dom0's.
        is_large = self._record.packs == "ramdisk" or self._record.console == "passthrough"
        for name in ("kernel", *(("initrd",) if is_large else ())):
            try:
                os.unlink(f"{self._record.directory}/{name}")
            except FileNotFoundError:
                pass

    def complete(self, serving: "Sequence[Part]") -> int | None:
        """Create the domain once the images of the root filesystem are there, and start it if `start` came before.

        serving: parts of the loop that are served meanwhile. The container's exit status if it ended before it was complete.
        """
        return self._packing.complete((self._shares,), serving, self._complete, self._start)

    def _attach_disks(self) -> tuple[list[str], list[int]]:
        """Lock the files of the disks, and make loop devices of those that the kernel serves. The device of each disk, "" for
        others; and descriptors that QEMU is to hold."""
        devices: list[str] = []
        of_qemu: list[int] = []
        if self._record.disks:
            from runx.exec.storage import disk_lock, loop_marks

            for disk in self._record.disks:
                fd = disk_lock.lock(disk)
                if disk_lock.by_qemu(disk):
                    of_qemu.append(fd)
                    devices.append("")
                    continue
                device, path = loop_marks.attach(self._record.directory, fd, disk.startswith("ro "))
                os.close(fd)
                self._loops.append(device)
                devices.append(path)
        return devices, of_qemu

    def await_hooks(self, order: int) -> None:
        """Wait until the descriptor `order` is readable. Raises RunxError if the domain ends before."""
        hooks = _Readable(order)
        if not self._guest:
            return  # no domain that could end; reading the order waits for the hooks
        try:
            while not hooks.is_ready:
                loop.turn((self, self._shares, hooks))
        except Ended:
            raise _destroyed_by_a_hook() from None
        # xenstored may be slower to tell of its end than the hook that caused it was to end.
        if self._has_gone():
            raise _destroyed_by_a_hook()

    # -- what the guest is for the supervisor --------------------------------------------------------------------------

    @property
    def first_parts(self) -> "tuple[Part, ...]":
        return self._the_guest().first_parts

    @property
    def last_parts(self) -> "tuple[Part, ...]":
        few = tuple(part for part in (self._members, self._forwarding) if part)
        of_machine = (self._shares, *self._network.parts, *self._logs, *few)
        return (self, *of_machine, *self._the_guest().last_parts, self._allowance)

    @property
    def deliver(self) -> "Callable[[int], None]":
        if self._members:
            return self._deliver_to_pod
        return self._guest.deliver if self._guest else _end_before_it_runs

    def _deliver_to_pod(self, number: int) -> None:
        deliver, members = self._the_guest().deliver, self._members
        if number not in _ENDING_A_POD or not members or not members.hold(lambda: deliver(number)):
            deliver(number)

    @property
    def execute(self) -> "Callable[[int, list[int]], None]":
        return self._guest.execute if self._guest else refuse

    @property
    def join(self) -> "Callable[[int, str], None]":
        return self._members.join if self._members else takes_none_in

    @property
    def finished(self) -> "Callable[[], int | None]":
        return self._the_guest().finished

    def _the_guest(self) -> "Guest":
        assert self._guest is not None, "make() comes first"
        return self._guest

    # -- requests ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Let the domain run, with the engine's interfaces; as soon as there is one. Raises RunxError; another start is possible
        then."""
        if self._packing.delays_start():
            return
        self._start()

    def _start(self) -> None:
        guest = self._the_guest()
        try:
            self._network.take()
            guest.prepare()
            self._call(xl.unpause)
        except RunxError as error:
            self._undo_start(error)
            raise
        guest.machine_started()

    def _undo_start(self, reason: RunxError) -> None:
        """Make the machine as it was before a start that failed for this reason. Raises RunxError if that cannot be done; the
        container ends then."""
        if self._has_gone():
            return  # its end, which is about to be seen, undoes the start
        try:
            self._network.give_back()
        except RunxError as error:
            self._session.status = STATUS_BROKEN
            message = f"{reason.message}; the container is ended, as what was done cannot be undone: {error.message}"
            raise RunxError(message, reason.hint) from None

    def pause(self) -> None:
        """Stop the domain's processors. Raises RunxError."""
        self._call(xl.pause)

    def resume(self) -> None:
        """Let them run again. Raises RunxError."""
        self._call(xl.unpause)
        self._the_guest().machine_resumed()

    def _call(self, call: "Callable[[int], None]") -> None:
        if not self._guest:
            raise RunxError(f"the virtual machine does not run yet: {BEING_MADE}")
        try:
            call(self._record.domid)
        except RunxError:
            if self._has_gone():
                raise RunxError("container not running") from None  # it was killed just now
            raise

    def _has_gone(self) -> bool:
        return self._store.read(f"/local/domain/{self._record.domid}/vm") is None

    # -- xenstored's events --------------------------------------------------------------------------------------------

    def watch(self, poller: select.poll) -> float | None:
        if rests_until := self._allowance.rests_until():
            return rests_until if self._look_at is None else min(rests_until, self._look_at)
        poller.register(self._store.fileno(), select.POLLIN)
        # Events that came with the answer to a request are shown by no descriptor.
        return loop.NOW if self._store.has_events else self._look_at

    def handle(self, ready: dict[int, int]) -> None:
        if self._store.fileno() in ready or (self._store.has_events and not self._allowance.rests_until()):
            self._serve_events()
        if self._look_at is not None and time.monotonic() >= self._look_at:
            self._look_whether_alive()

    def _serve_events(self) -> None:
        guest = self._the_guest()
        for _, token in self._store.events():
            if token != "release":
                self._allowance.was_told()
                if not self._shares.event(token):
                    guest.event(token)
            elif self._seems_gone():
                guest.domain_ended("destroyed")
            elif self._look_at is None and self._record.status != "created":  # a paused domain cannot end by itself
                self._look_at = time.monotonic() + LOOK_AGAIN_S

    def _seems_gone(self) -> bool:
        """As `_has_gone`; False if xenstored does not say, since xl is asked too."""
        try:
            return self._has_gone()
        except XenStoreError:
            return False

    def _look_whether_alive(self) -> None:
        self._look_at = None
        try:
            how = xl.ended(self._record.domid)
        except RunxError as error:
            self._failed_looks += 1
            delay_s = LOOK_AGAIN_S * 2 ** (min(self._failed_looks, LOOKS) - 1)
            if self._failed_looks <= LOOKS:
                more = ", and at that interval from then on" if self._failed_looks == LOOKS else ""
                self._record.say("warning", f"whether the domain lives is asked again in {delay_s:g} s{more}: {error.message}")
            self._look_at = time.monotonic() + delay_s
            return
        self._failed_looks = 0
        if how:
            self._the_guest().domain_ended(how)

    # -- the end -------------------------------------------------------------------------------------------------------

    def remove(self) -> None:
        """Leave nothing of the machine, however far `make` has come. Raises RunxError."""
        try:
            if self._members:
                self._members.close()
            if self._forwarding:
                self._forwarding.close()
            if self._guest:
                self._guest.close()
            self._packing.end()
            if self._record.packs:
                self._forget_images()
        finally:
            self._shares.close()
            self._remove_domain()
            if self._members:
                self._members.machine_removed()
            if self._guest:
                self._guest.domain_removed()

    def _remove_domain(self) -> None:
        record = self._record
        domain.remove(self._store, record.domain, record.domid, self._host_network)
        record.domid = -1
        for device in self._loops:
            os.close(device)
        if self._loops:
            from runx.exec.storage import loop_marks

            loop_marks.release(record.directory)
        self._network.release()


_ENDING_A_POD = (signal.SIGTERM, signal.SIGINT)
"""Signals that end the process of a pod's machine, as in sandbox.py."""


def _end_before_it_runs(number: int) -> None:
    """Deliver a signal to a container that was started, but whose domain does not exist yet: as before its start."""
    if number not in IGNORED_BY_DEFAULT:
        raise Ended(128 + number)


class _Readable:
    """A part of the loop that waits for a descriptor, and leaves it unread."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.is_ready = False

    def watch(self, poller: select.poll) -> None:
        poller.register(self._fd, select.POLLIN)

    def handle(self, ready: dict[int, int]) -> None:
        self.is_ready = self._fd in ready


def _destroyed_by_a_hook() -> RunxError:
    return RunxError("the container was destroyed while its hooks ran")


def _check_devices() -> None:
    """Raise RunxError if our control group allows no device to be opened: no program of Xen would work."""
    try:
        os.close(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))
    except PermissionError:
        message = "the control group of linux.cgroupsPath, or one above it, allows no devices, which Xen's programs need"
        hint = "of podman's pods with cgroupfs: podman pod create --share-parent=false"
        raise RunxError(message, hint) from None
