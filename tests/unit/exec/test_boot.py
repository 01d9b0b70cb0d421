"""A guest whose kernel waits for a device: what is missing, and when that is said."""

import select
from typing import Any

import pytest

from runx.exec.container.record import Record
from runx.exec.supervisor.boot import LIMIT_S, STATUS_SET_UP_FAILED, Boot, Devices
from runx.exec.supervisor.loop import Ended
from runx.exec.supervisor.session import Session
from runx.exec.supervisor.to_guest import ToGuest
from runxtools.testing.hostile import Ring

GUEST, HOST = "/local/domain/7/device", "/local/domain/0/backend"


class Store(dict[str, str]):
    """xenstore: values by path."""

    def read(self, path: str) -> str | None:
        return self.get(path)

    def directory(self, path: str) -> list[str]:
        return sorted({key[len(path) + 1 :].split("/")[0] for key in self if key.startswith(path + "/")})

    def device(self, kind: str, number: int, guests: str | None, ours: str | None, **nodes: str) -> "Store":
        front, back = f"{GUEST}/{kind}/{number}", f"{HOST}/{kind}/7/{number}"
        values = {"backend": back, **nodes, **({"state": guests} if guests else {})}
        self.update({f"{front}/{name}": value for name, value in values.items()})
        if ours:
            self[f"{back}/state"] = ours
        return self


class Guest:
    def __init__(self, store: Store) -> None:
        self.now = 0.0
        self.has_console = True
        self.said: list[str] = []
        self.record = Record("/nowhere")
        self.record.domid, self.record.status = 7, "running"
        self.session = Session(0, lambda _, text: self.said.append(text), patience_s=0)
        self.session.outputs.clear()
        self.session.say = self.said.append  # type: ignore[method-assign]
        self.to_guest = ToGuest(Ring(), self.session)
        anything: Any = store
        devices = Devices(self.record, anything, lambda: self.has_console, lambda: "last words")
        self.boot = Boot(self.record, self.session, devices, lambda: self.now)

    def after(self, seconds: float) -> int | None:
        """The container's status, None if it goes on."""
        self.boot.watch(select.poll())
        self.now += seconds
        self.boot.watch(select.poll())
        try:
            self.boot.handle({})
        except Ended as end:
            return end.status
        return None


STUCK = Store().device("9pfs", 0, "4", "4", tag="root").device("9pfs", 1, "1", "2", tag="mounts")


def test_a_missing_device_ends_the_container() -> None:
    guest = Guest(STUCK)
    assert guest.after(LIMIT_S - 1) is None
    assert guest.after(2) == STATUS_SET_UP_FAILED
    assert guest.said[0].startswith("the share mounts of the virtual machine has not come up within 30 s;")
    assert guest.said[0].endswith("its console said last:\nlast words")


@pytest.mark.parametrize(
    ("store", "words"),
    [
        (STUCK, "the share mounts of the virtual machine has not come up within 30 s; the guest's driver has not answered"),
        (Store().device("vbd", 51712, "3", "2"), "the disk 51712 of the"),
        (Store().device("vbd", 51712, "1", None), "dom0's side has not connected (state none, the guest's 1)"),
        (Store().device("vif", 0, "3", "1", mac="00:16:3e:00:00:01"), "the interface 00:16:3e:00:00:01 of the"),
        (Store().device("vif", 0, "x" * 5000, "2"), "(state 2, the guest's none)"),
        (Store().device("vif", 0, None, "2"), "(state 2, the guest's none)"),
    ],
)
def test_what_is_missing_and_what_to_do(store: Store, words: str) -> None:
    guest = Guest(store)
    assert guest.after(LIMIT_S + 1) == STATUS_SET_UP_FAILED
    assert words in guest.said[0] and len(guest.said[0]) < 500


def test_a_slow_guest_is_not_ended() -> None:
    """All its devices are there, or its kernel has not looked at them yet, or it is paused, or the process runs."""
    assert Guest(Store().device("9pfs", 0, "4", "4", tag="root")).after(100) is None
    guest = Guest(STUCK)
    guest.has_console = False
    assert guest.after(1000) is None
    guest.has_console, guest.record.status = True, "paused"
    assert guest.after(1000) is None
    guest.record.status = "running"
    assert guest.after(LIMIT_S - 1) is None, "the time begins anew"
    guest.to_guest.greeted = True
    assert guest.after(0.5) is None, "PID 1 may wait for a device, too"
    guest.session.process_started()
    assert guest.after(1000) is None
