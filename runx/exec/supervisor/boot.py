"""A guest that waits for a device that does not come up.

PID 1, or a kernel that is not runx's, waits for devices before the container's process is started. It says nothing meanwhile, and
nobody else would. This part of the loop looks at the devices itself.
"""

import time

from runx.exec.supervisor.loop import Ended
from runx.exec.xen import share_nodes as state

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    import select
    from collections.abc import Callable

    from runx.exec.container.record import Record
    from runx.exec.supervisor.session import Session
    from runx.exec.xen.xenstore import XenStore

LIMIT_S = 30.0
"""How long the guest may take from its kernel's console to the process, before somebody looks whether a device is the reason."""
STATUS_SET_UP_FAILED = 125
_KINDS = {
    "9pfs": ("share", "CONFIG_NET_9P_XEN", "the log of the container, and whether its process runx-shares is stopped"),
    "vbd": ("disk", "CONFIG_XEN_BLKDEV_FRONTEND", "that dom0 has xen-blkback (modprobe xen-blkback), and dom0's dmesg"),
    "vif": ("interface", "CONFIG_XEN_NETDEV_FRONTEND", "that dom0 has xen-netback (modprobe xen-netback), and dom0's dmesg"),
}
"""What a device is called, the option that a guest's kernel needs for it, and what to look at on the host."""


class Devices:
    """The frontends of a domain, and what its kernel says."""

    def __init__(
        self, record: "Record", store: "XenStore", has_console: "Callable[[], bool]", last_words: "Callable[[], str]"
    ) -> None:
        """has_console: whether the guest's driver has connected hvc1, so that its kernel looks at its devices by now."""
        self._record = record
        self._store = store
        self.has_console = has_console
        self.last_words = last_words

    def missing(self) -> str:
        """What has not come up, and what to do first; "" if nothing is missing."""
        for kind, (what, option, on_the_host) in _KINDS.items():
            above = f"/local/domain/{self._record.domid}/device/{kind}"
            for number in self._store.directory(above):
                frontend = f"{above}/{number}"
                guests = self._state(frontend)
                ours = self._state(self._store.read(f"{frontend}/backend") or "")
                if guests == state.CONNECTED:
                    continue
                name = self._store.read(f"{frontend}/tag") or self._store.read(f"{frontend}/mac") or number
                if guests == state.INITIALISING and ours in (state.INIT_WAIT, state.INITIALISED, state.CONNECTED):
                    side = f"the guest's driver has not answered: a kernel of its own needs {option}"
                else:
                    side = f"dom0's side has not connected (state {ours}, the guest's {guests}): look at {on_the_host}"
                return f"the {what} {name} of the virtual machine has not come up within {LIMIT_S:.0f} s; {side}"
        return ""

    def _state(self, directory: str) -> str:
        """The state in a directory, one digit (enum xenbus_state), or "none". A guest may write anything to its own."""
        value = (self._store.read(f"{directory}/state") if directory else None) or ""
        return value if value.isascii() and value.isdigit() and len(value) == 1 else "none"


class Boot:
    """The part of the loop that waits for the process, and ends a container whose guest waits for a device."""

    def __init__(
        self,
        record: "Record",
        session: "Session",
        devices: Devices,
        clock: "Callable[[], float]" = time.monotonic,
    ) -> None:
        self._record = record
        self._session = session
        self._devices = devices
        self._clock = clock
        self._look_at: float | None = None
        """None: the kernel does not look at its devices yet."""

    def watch(self, _poller: "select.poll") -> float | None:
        if self._session.started or self._session.status is not None:
            return None
        if self._record.status != "running" or not self._devices.has_console():
            self._look_at = None
        elif self._look_at is None:
            self._look_at = self._clock() + LIMIT_S
        return self._look_at

    def handle(self, _ready: dict[int, int]) -> None:
        """Raises Ended if a device is missing."""
        if self._look_at is None or self._session.started or self._clock() < self._look_at:
            return
        self._look_at = self._clock() + LIMIT_S
        if missing := self._devices.missing():
            words = self._devices.last_words()
            self._session.say(f"{missing}; its console said last:\n{words}" if words else missing)
            raise Ended(STATUS_SET_UP_FAILED)
