"""The addresses that guests have from DHCP servers, where the host checks what a guest sends with (docs/networking.md).

The host listens to the servers' answers at the backend of the guest's interface, and lets the guest send with the address that a
server has given, as long as the lease lasts. The guest itself is not asked.
"""

import os
import socket
import struct
import time

from runx.errors import RunxError, reason
from runx.exec.network import dhcp
from runx.exec.network.anti_spoofing import addresses_program
from runx.linux import libc, netlink, netns

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    import select
    from collections.abc import Callable
    from typing import Protocol

    class Allowance(Protocol):
        """What the guest may make this process do: supervisor.allowance.Allowance."""

        def rests_until(self) -> float:
            """When the guest is served again; 0.0: at once."""

        def was_told(self) -> None:
            """The guest has caused this turn."""


_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
_ETH_P_ALL = 3
_NEW_FILTER = 44  # RTM_NEWTFILTER
_INGRESS = 0xFFFF0000  # parent ffff:
_FIRST = 1 << 16 | 0x0300  # prio 1, protocol all
_KIND, _OPTIONS = 1, 2  # linux/rtnetlink.h, TCA_*
_CLASS, _LENGTH, _PROGRAM = 3, 4, 5  # linux/pkt_cls.h, TCA_BPF_*
_BUFFER = 65536
_READS_AT_ONCE = 16
_FRAME = 2048
_NEVER = float("inf")
_SAID = 8
"""Changes that are told in the container's log: a guest can cause any number."""


class _Vif:
    """One interface of the guest, at the host's end."""

    def __init__(self, name: str, mac: str) -> None:
        """In the host's network namespace. Raises OSError."""
        self.name, self.mac = name, mac
        self.index = socket.if_nametoindex(name)
        self.address = ""
        """What the guest may send with now; "" for none."""
        self.ends_at = _NEVER
        """When it may no more (time.monotonic)."""
        program = dhcp.answers_program(mac).packed()
        header = struct.pack("@HP", len(program) // 8, libc.address(program))
        self.answers = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
        self.answers.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self.answers.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)
        self.answers.bind((name, _ETH_P_ALL))  # it gets frames from here on, those of the program alone


class Leases:
    """As a part of the loop, it learns addresses, and has the kernel forget them when their lease ends."""

    def __init__(
        self, vifs: dict[str, str], host_network: int, allowance: "Allowance", say: "Callable[[str, str], None]"
    ) -> None:
        """Listen. vifs: MAC addresses by the names of backends, whose filters are there (ports.py). host_network: a descriptor of
        the host's network namespace. say: writes to the container's log. Raises RunxError."""
        self._allowance = allowance
        self._say = say
        self._said = 0
        own = netns.descriptor()
        netns.enter(host_network)
        try:
            self._kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
            self._vifs = [_Vif(name, mac) for name, mac in vifs.items()]
        except OSError as error:
            raise RunxError(f"cannot listen to DHCP servers at {', '.join(vifs)}: {reason(error)}") from None
        finally:
            netns.enter(own)
            os.close(own)

    def watch(self, poller: "select.poll") -> float | None:
        if not self._allowance.rests_until():
            for vif in self._vifs:
                poller.register(vif.answers.fileno(), 1)  # POLLIN
        first = min(vif.ends_at for vif in self._vifs)
        return None if first == _NEVER else first

    def handle(self, ready: dict[int, int]) -> None:
        for vif in self._vifs:
            if vif.answers.fileno() in ready:
                self._allowance.was_told()
                self._listen(vif)
            if time.monotonic() >= vif.ends_at:
                self._apply(vif, dhcp.Answer("", 0))

    def _listen(self, vif: _Vif) -> None:
        for _ in range(_READS_AT_ONCE):
            try:
                frame = vif.answers.recv(_FRAME)
            except OSError:
                return  # there is no more, or the backend is down
            answer = dhcp.read(frame)
            if answer:
                self._apply(vif, answer)

    def _apply(self, vif: _Vif, answer: dhcp.Answer) -> None:
        if answer.address != vif.address:
            self._exchange(vif, answer.address)
            vif.address = answer.address
            self._tell(vif, answer)
        lasts = answer.address and answer.lease_s != dhcp.FOR_EVER
        vif.ends_at = time.monotonic() + answer.lease_s if lasts else _NEVER

    def _exchange(self, vif: _Vif, address: str) -> None:
        """Let the guest send with this address alone; "" for none. The kernel exchanges the program in one step.

        Raises RunxError: a guest that keeps an address that it has no more must not go on.
        """
        program = addresses_program(vif.mac, [address] if address else [], by_dhcp=True).packed()
        options = (
            netlink.attribute(_CLASS, struct.pack("=I", 0x00010001))
            + netlink.attribute(_LENGTH, struct.pack("=H", len(program) // 8))
            + netlink.attribute(_PROGRAM, program)
        )
        # struct tcmsg: family, padding, index, handle, parent, priority and protocol
        request = struct.pack("=BxxxiIII", socket.AF_UNSPEC, vif.index, 1, _INGRESS, _FIRST)
        request += netlink.attribute(_KIND, b"bpf\0") + netlink.attribute(_OPTIONS, options)
        try:
            netlink.change(self._kernel, _NEW_FILTER, request)
        except OSError as error:
            if not _is_there(vif):
                return  # the domain has ended
            what = f"may send with {address}" if address else "may not send with an address any more"
            raise RunxError(f"the filter of {vif.name} cannot be changed, so that the guest {what}: {reason(error)}") from None

    def _tell(self, vif: _Vif, answer: dhcp.Answer) -> None:
        self._said += 1
        if self._said > _SAID:
            return
        lease = "for ever" if answer.lease_s == dhcp.FOR_EVER else f"for {answer.lease_s} s"
        what = (
            f"has {answer.address} from a DHCP server, {lease}"
            if answer.address
            else "has no address from a DHCP server any more"
        )
        more = "; further changes are not told" if self._said == _SAID else ""
        self._say("info", f"{vif.name}: the guest {what}{more}")


def _is_there(vif: _Vif) -> bool:
    """Whether the interface still exists: the socket is bound to it."""
    return bool(vif.answers.getsockname()[0])
