"""The memory and the events of one guest."""

import mmap
import os
import struct

from runx.errors import RunxError
from runx.exec.ninep.ring import Interface, Ring, RingError
from runx.linux import xen

_PORT = struct.Struct("=I")
_PORTS_AT_ONCE = 256


class Hypervisor:
    """What of Xen a server of shares uses, by two descriptors that are opened before it is confined."""

    def __init__(self) -> None:
        self._grants = self.fd = -1
        """fd: to poll for events; -1 without Xen's devices."""
        self._missing = ""
        try:
            self._grants, self.fd = xen.open_grants(), xen.open_channels()
        except OSError as error:  # the container may still be looked at, as without a console
            self._missing = f"cannot open {error.filename}: {error.strerror}: {xen.MODULES_HINT}"
        self._domid = -1
        self._mapped: dict[Ring, list[tuple[int, int]]] = {}
        """Offset and number of pages of what is mapped for a ring."""

    def meet(self, domid: int) -> None:
        """Serve this domain from now on, and none else. Raises OSError."""
        self._domid = domid
        if not self._missing:
            xen.restrict_channels(self.fd, domid)

    def map(self, reference: int) -> Ring:
        """The ring whose interface page has this grant. Raises RingError if it cannot be mapped, RunxError without Xen's
        devices."""
        if self._missing:
            raise RunxError(self._missing)
        page, first = self._map([reference])
        try:
            interface = Interface(page)
            try:
                data, second = self._map(interface.references)
            except RingError:
                interface.words.release()
                raise
        except RingError:
            page.close()
            self._forget(first, 1)
            raise
        ring = Ring(interface, data)
        self._mapped[ring] = [(first, 1), (second, len(interface.references))]
        return ring

    def _map(self, references: list[int]) -> tuple[mmap.mmap, int]:
        try:
            return xen.map_grants(self._grants, self._domid, references)
        except OSError as error:
            raise RingError(f"cannot map {len(references)} pages: {error.strerror}") from None

    def unmap(self, ring: Ring) -> None:
        """Let go of a ring's memory."""
        pages = self._mapped.pop(ring)
        if ring.close():
            for offset, count in pages:
                self._forget(offset, count)

    def _forget(self, offset: int, count: int) -> None:
        try:
            xen.unmap_grants(self._grants, offset, count)
        except OSError:
            pass  # it goes with this process

    def bind(self, port: int) -> int:
        """Bind an event channel of the guest; its port here. Raises RingError."""
        try:
            return xen.bind_channel(self.fd, self._domid, port)
        except OSError as error:
            raise RingError(f"cannot bind event channel {port}: {error.strerror}") from None

    def unbind(self, port: int) -> None:
        xen.unbind_channel(self.fd, port)

    def notify(self, port: int) -> None:
        """Tell the guest to look at a ring."""
        xen.notify(self.fd, port)

    def events(self) -> list[int]:
        """Ports that have events, which are masked now: none of them has another event before `unmask`."""
        try:
            data = os.read(self.fd, _PORTS_AT_ONCE)
        except BlockingIOError:
            return []
        return [port for (port,) in _PORT.iter_unpack(data)]

    def unmask(self, ports: list[int]) -> None:
        os.write(self.fd, b"".join(map(_PORT.pack, ports)))
