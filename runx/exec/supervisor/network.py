"""The container's network namespace: interfaces that an engine puts there become the virtual machine's at `start`."""

from runx.exec.network import ports, tcfilter
from runx.linux import netns

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from runx.exec.container.record import Record
    from runx.exec.supervisor.allowance import Allowance
    from runx.exec.supervisor.loop import Part
    from runx.exec.xen.xenstore import XenStore


class Network:
    """The interfaces of one virtual machine that an engine has made."""

    def __init__(self, record: "Record", store: "XenStore", host_network: int) -> None:
        """host_network: a descriptor of the host's network namespace. This process is in a new one."""
        self._record = record
        self._store = store
        self._host_network = host_network
        self._first_interfaces = netns.interfaces()
        """Interfaces that the kernel puts into every network namespace."""
        self._first_vifs: set[str] = set()
        """Numbers of the network devices with which the domain was created."""
        self.script = b""
        """Sets the guest's interfaces up; empty without any, and before `take`."""
        self.parts: tuple[Part, ...] = ()
        """Of the loop: what learns the guest's addresses, where the host checks them and a DHCP server gives them."""

    def claim(self) -> None:
        """Claim the network namespace for this virtual machine, if it takes interfaces. Raises RunxError if another has it."""
        self._claim = netns.claim() if self._record.takes_interfaces else None

    def attach_to_bridges(self, allowance: "Allowance") -> None:
        """Attach the interfaces with which the domain was created to their bridges. Raises RunxError.

        This process may not be confined yet. allowance: of the guest, which can cause answers of a DHCP server.
        """
        leased = ports.attach(self._store, self._record.domid, self._record.directory, self._host_network)
        if leased:
            from runx.exec.network.leases import Leases  # for few containers

            self.parts = (Leases(leased, self._host_network, allowance, self._record.say),)

    def take(self) -> None:
        """Give the guest what the engine has put into the container's network namespace. Raises RunxError."""
        record = self._record
        self.script = b""
        found = sorted(netns.interfaces() - self._first_interfaces)
        if not found:
            return
        if not record.takes_interfaces:
            self._warn_of_lost(f", {', '.join(found)}: its networks are those of NETCONF")
            return
        interfaces, not_carried, self.script = tcfilter.inspect(found)
        for what in not_carried:
            self._warn_of_lost(f": {what}")
        self._first_vifs = tcfilter.devices(self._store, record.domid)
        record.taken = [interface.taken for interface in interfaces]
        record.save()  # first, so that they are released whatever happens
        tcfilter.attach(self._store, record.domid, interfaces, self._host_network)

    def _warn_of_lost(self, what: str) -> None:
        self._record.say("warning", f"the virtual machine does not get what is in the container's network namespace{what}")

    def give_back(self) -> None:
        """Undo `take` after a start that failed, for the next one. Raises RunxError if that cannot be done."""
        record = self._record
        if record.taken:
            tcfilter.rollback(self._store, record.domid, self._first_vifs, record.taken)
            record.taken = []
            record.save_if_possible()

    def release(self) -> None:
        """Leave nothing of ours at the interfaces, when the domain has gone."""
        tcfilter.release(self._record.taken)
