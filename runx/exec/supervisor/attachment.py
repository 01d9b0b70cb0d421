"""What a container has in the machine of its pod beside processes: disks that are attached while the machine runs, and entries of
the pod's share."""

import os
from string import ascii_lowercase

from runx import cpio
from runx.errors import RunxError
from runx.exec.ninep import export_names, exports
from runx.exec.supervisor.jobs import Job

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from collections.abc import Callable

    from runx.exec.container.record import Record
    from runx.exec.ninep.exports import Bind
    from runx.exec.supervisor.shares import Shares

_VDEVS_MOST = 200
"""Names of disks that a machine has for its containers' disks, from xvdb on."""


def vdev(number: int) -> str:
    """The name of a disk by its number from 0: xvda, and xvdaa after xvdz (Linux, xlvbd_alloc_gendisk)."""
    letters = ""
    number += 1
    while number:
        number, letter = divmod(number - 1, 26)
        letters = ascii_lowercase[letter] + letters
    return f"xvd{letters}"


class Names:
    """What the containers of a pod share out: names of disks, and places in the pod's share."""

    def __init__(self, shares: "Shares") -> None:
        self._shares = shares
        self._vdevs: set[int] = set()
        self._next_vdev = 1
        self._entries: dict[tuple[object, ...], _Entry] = {}

    def take_vdev(self) -> int:
        """The number of a disk that is free. Not the one that was free last: the guest may still forget it. Raises RunxError."""
        for step in range(_VDEVS_MOST):
            number = 1 + (self._next_vdev - 1 + step) % _VDEVS_MOST
            if number not in self._vdevs:
                self._vdevs.add(number)
                self._next_vdev = number + 1
                return number
        raise RunxError(f"the pod's machine has {_VDEVS_MOST} disks already, as many as there may be")

    def give_vdev(self, number: int) -> None:
        self._vdevs.discard(number)

    def take_entry(self, bind: "Bind") -> "tuple[_Entry, bool]":
        """The entry of the share for a bind, and whether it has to be added to the server's tree. Containers that have the same
        file or directory of the host have one entry: they meet there, in sockets. Raises RunxError."""
        try:
            status = os.stat(bind.source)
        except OSError as error:
            raise RunxError(f"{bind.origin}: {bind.source}: {error.strerror}") from None
        key = (status.st_dev, status.st_ino, bind.recursive, bind.overlay, bind.is_file)
        entry = self._entries.get(key)
        if entry:
            return entry, False
        taken = {other.name for other in self._entries.values()}
        names = (export_names.slot(number, is_file=bind.is_file) for number in range(export_names.SLOTS))
        name = next((name for name in names if name not in taken), "")
        if not name:
            raise RunxError(f"the pod's share has {export_names.SLOTS} entries already, as many as there may be")
        entry = self._entries[key] = _Entry(name)
        return entry, True

    def offer(self, entry: "_Entry") -> None:
        """Have the entry exist for the guest, with what its users may do together."""
        self._shares.offer(entry.name, entry.words)

    def leave(self, entry: "_Entry", user: object) -> bool:
        """Note that a container does not use an entry any more; whether it has to be removed from the server's tree."""
        entry.users.pop(user, None)
        if entry.users:
            self.offer(entry)
            return False
        self._shares.withdraw(entry.name)
        return True

    def forget(self, entry: "_Entry") -> None:
        """Free the place of an entry that has been removed."""
        self._entries = {key: other for key, other in self._entries.items() if other is not entry}


class _Entry:
    """An entry of the pod's share, and the containers that use it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.users: dict[object, set[str]] = {}
        """By the user, the rules for it (exports.Bind)."""

    @property
    def words(self) -> list[str]:
        """The rules that all users have: a pod may do what one of its containers may. In the guest, each has its own."""
        return sorted(set.intersection(*self.users.values())) if self.users else []


_RULES = ("read-only", "no-devices", "no-set-id", "no-capabilities")


class Attachment:
    """See the module. It is made by a job and removed by another."""

    def __init__(self, pod: "Record", member: "Record", names: Names, server: int) -> None:
        """pod, member: the sandbox's record and the container's. server: the pid of the server of shares."""
        self._pod = pod
        self._member = member
        self._names = names
        self._server = server
        self._disks: list[tuple[int, int]] = []
        """For each disk that is attached, the number of its name, and its loop device."""
        self._vdevs: list[int] = []
        self._entries: list[tuple[str, _Entry]] = []
        """Names of the container's own plan, with the entries that they mean."""
        self._added: list[_Entry] = []

    def begin(self) -> Job:
        """Start to attach. Raises RunxError; `undo` is needed then, too."""
        member, binds = self._member, []
        for bind in exports.load_joined(member.directory):
            entry, is_new = self._names.take_entry(bind)
            entry.users[self] = {word for word in _RULES if word in bind.words}
            self._entries.append((bind.name, entry))
            if is_new:
                self._added.append(entry)
                binds.append(bind.at(export_names.POD_TAG, entry.name))
        self._vdevs = [self._names.take_vdev() for _ in member.disks]
        named = [vdev(number) for number in self._vdevs]
        domid, server, directory, place = self._pod.domid, self._server, member.directory, f"{self._pod.directory}/shares"

        def work(give: "Callable[[int], None]") -> None:
            if named:
                _attach_disks(domid, directory, member.disks, named, give)
            if binds:
                from runx.exec.ninep import late_entries

                late_entries.add(server, place, binds)

        return Job("what the container brings to its pod's machine cannot be attached", work)

    def done(self, fds: list[int]) -> None:
        """The job has ended, and has made these loop devices."""
        self._disks = list(zip(self._vdevs, fds, strict=False))
        for number in self._vdevs[len(fds) :]:
            self._names.give_vdev(number)
        for _, entry in self._entries:
            self._names.offer(entry)

    def links(self) -> bytes:
        """An archive by which the guest finds the disks and entries (docs/guest.md)."""
        found = [(f"runx/disks/{at}", f"/dev/{vdev(number)}") for at, (number, _) in enumerate(self._disks)]
        found += [(f"runx/shares/{name}", f"/shares/{export_names.POD_TAG}/{entry.name}") for name, entry in self._entries]
        return cpio.links(found)

    def undo(self, also: "list[str]") -> Job:
        """Start to detach all. No process of the container is left. also: names of further entries to remove."""
        self._gone = [entry for _, entry in self._entries if self in entry.users and self._names.leave(entry, self)]
        names = [*(entry.name for entry in self._gone), *also]
        named = [vdev(number) for number, _ in self._disks]
        domid, server = self._pod.domid, self._server

        def work(_: "Callable[[int], None]") -> None:
            from runx.exec.ninep import late_entries
            from runx.exec.xen import xl

            errors = _at_once("a disk cannot be detached", xl.block_detach, domid, named)
            if names:
                late_entries.remove(server, names)
            for error in errors:
                if error:
                    raise error

        return Job("what the container brought to its pod's machine cannot be detached", work)

    def undone(self, error: RunxError | None) -> None:
        """The job has ended. After an error the names stay taken: the machine may still have what they mean."""
        if not error:
            for number, _ in self._disks:
                self._names.give_vdev(number)
            for entry in self._gone:
                self._names.forget(entry)
        self.close()

    def close(self) -> None:
        """Let go of the loop devices; the machine has let go of them, or has gone."""
        for _, device in self._disks:
            os.close(device)
        if self._disks:
            from runx.exec.storage import loop_marks

            loop_marks.release(self._member.directory)
        self._disks = []


def _attach_disks(domid: int, directory: str, disks: list[str], named: list[str], give: "Callable[[int], None]") -> None:
    """In the child: make loop devices of the disks, and have the machine see them by these names."""
    import json

    from runx.exec.storage import disk_lock, loop_marks
    from runx.exec.xen import xl

    with open(f"{directory}/plan.json", encoding="utf-8") as file:
        planned = json.load(file)["joined"]["disks"]
    devices, words = [], []
    for disk, plan, name in zip(disks, planned, named, strict=True):
        fd = disk_lock.lock(disk)
        access = disk[:2]
        device, path = loop_marks.attach(directory, fd, access == "ro")
        os.close(fd)
        devices.append(device)
        words.append(f"format=raw,vdev={name},access={access},script={plan['script']},target={path}")
    errors = _at_once("a disk cannot be attached", xl.block_attach, domid, words)
    for device, name, error in zip(devices, named, errors, strict=True):
        if not any(errors):
            give(device)
        elif not error:
            xl.block_detach(domid, name)
    for error in errors:
        if error:
            raise error


def _at_once(what: str, call: "Callable[[int, str], None]", domid: int, words: list[str]) -> list[RunxError | None]:
    """Make a call for each of some words, in a child each: programs of Xen's wait for scripts most of their time. The error of
    each, None after a success.

    what: for messages, as of Job.
    """

    def job(word: str) -> Job:
        return Job(what, lambda _: call(domid, word))

    jobs = [job(word) for word in words]
    return [job.end()[1] for job in jobs]
