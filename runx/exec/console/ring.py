"""A PV console whose backend is this process (Xen's io/console.h and docs/misc/console.txt).

The console is published in xenstore before the domain is unpaused. The guest's hvc driver grants a page with two rings, and an
event channel. This process maps the page through /dev/xen/gntdev and binds the channel through /dev/xen/evtchn.
"""

import os

from runx.errors import RunxError
from runx.exec.xen import console_nodes
from runx.exec.xen.xenstore import XenStore
from runx.linux import xen

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    import mmap

# struct xencons_interface: char in[1024]; char out[2048]; XENCONS_RING_IDX in_cons, in_prod, out_cons, out_prod.
# "in" and "out" are the guest's.
_IN_SIZE, _OUT_SIZE = 1024, 2048
_OUT_AT = _IN_SIZE
_IN_CONS, _IN_PROD, _OUT_CONS, _OUT_PROD = 768, 769, 770, 771  # as indices of 32-bit words

_INITIALISED, _CONNECTED = "3", "4"  # enum xenbus_state


class RingError(RunxError):
    """The guest wrote impossible indices."""


class PvConsole:
    """The backend of `device/console/1` of a domain: hvc1 in the guest."""

    def __init__(self, store: XenStore, domid: int) -> None:
        self._store = store
        self._domid = domid
        self.frontend = console_nodes.frontend(domid)
        self.fd = -1
        """Descriptor of the event channel, to poll; -1 until connected."""
        self._page: mmap.mmap | None = None
        self._index: memoryview | None = None
        self._port = 0

    def try_connect(self) -> bool:
        """Connect if the guest's driver is ready; whether it is connected. Raises RunxError if the ring cannot be mapped."""
        if self._page is not None:
            return True
        if self._store.read(self.frontend + "/state") not in (_INITIALISED, _CONNECTED):
            return False
        reference, port = self._number("ring-ref"), self._number("port")
        self._page = self._map(reference)
        self._index = memoryview(self._page).cast("I")  # single aligned 32-bit accesses: the guest must never see a torn index
        self.fd = xen.open_channels()
        self._port = xen.bind_channel(self.fd, self._domid, port)
        return True

    def acknowledge(self) -> None:
        """Take the events that made the descriptor readable, and unmask the channel. Call it before `read`: none is lost."""
        try:
            os.write(self.fd, os.read(self.fd, 64))
        except BlockingIOError:
            pass

    def read(self) -> bytes:
        """The bytes that the guest has written, at most 2048. Raises RingError for indices that no driver makes."""
        page, index = self._page, self._index
        if page is None or index is None:
            return b""
        consumed, produced = index[_OUT_CONS], index[_OUT_PROD]
        xen.barrier()  # the bytes are not older than the index that announces them
        size = (produced - consumed) & 0xFFFFFFFF
        if not size:
            return b""
        if size > _OUT_SIZE:
            raise RingError(f"the console's ring holds {size} bytes of {_OUT_SIZE}")
        start = consumed & (_OUT_SIZE - 1)
        first = min(size, _OUT_SIZE - start)
        data = page[_OUT_AT + start : _OUT_AT + start + first] + page[_OUT_AT : _OUT_AT + size - first]
        xen.barrier()  # the bytes are read before the guest may write there again
        index[_OUT_CONS] = produced
        self._notify()
        return data

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write what the guest's ring has room for; how many bytes that was. Raises RingError as `read` does."""
        page, index = self._page, self._index
        if page is None or index is None:
            return 0
        consumed, produced = index[_IN_CONS], index[_IN_PROD]
        xen.barrier()  # the guest has read the bytes that are overwritten
        used = (produced - consumed) & 0xFFFFFFFF
        if used > _IN_SIZE:
            raise RingError(f"the console's ring holds {used} bytes of {_IN_SIZE}")
        size = min(len(data), _IN_SIZE - used)
        if size:
            start = produced & (_IN_SIZE - 1)
            first = min(size, _IN_SIZE - start)
            page[start : start + first] = bytes(data[:first])
            page[: size - first] = bytes(data[first:size])
            xen.barrier()  # the bytes are written before the index announces them
            index[_IN_PROD] = (produced + size) & 0xFFFFFFFF
            self._notify()
        return size

    def close(self) -> None:
        """Release the ring and remove the backend's nodes: the guest's tty hangs up. Raises RunxError."""
        if self._page is not None and self._index is not None:
            self._index.release()
            self._page.close()
            self._page = self._index = None
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        console_nodes.withdraw(self._store, self._domid)

    def _notify(self) -> None:
        xen.notify(self.fd, self._port)

    def _number(self, name: str) -> int:
        """A number of 32 bits that the guest wrote in xenstore. Raises RingError for anything else."""
        value = self._store.read(f"{self.frontend}/{name}") or ""
        if not value.isascii() or not value.isdigit() or len(value) > 10 or int(value) > 0xFFFFFFFF:
            raise RingError(f"the guest's console driver wrote {name} = {value[:40]!r}")
        return int(value)

    def _map(self, reference: int) -> "mmap.mmap":
        try:
            fd = xen.open_grants()
        except OSError as error:
            raise RunxError(f"cannot open /dev/xen/gntdev: {error.strerror}", xen.MODULES_HINT) from None
        try:
            return xen.map_grants(fd, self._domid, [reference])[0]  # the mapping alone keeps it mapped
        except OSError as error:
            raise RunxError(f"cannot map the guest's console ring: {error.strerror}") from None
        finally:
            os.close(fd)
