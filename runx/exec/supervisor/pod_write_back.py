"""The end of one container in the machine of its pod: what it has written goes to an entry of the pod's share (write_back.py)."""

from runx.errors import RunxError
from runx.exec.console import frames as link
from runx.exec.ninep import export_names
from runx.exec.supervisor.jobs import Job
from runx.exec.supervisor.write_back import Outcome

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from collections.abc import Callable

    from runx.exec.container.record import Record
    from runx.exec.supervisor.shares import Shares


class PodWriteBack:
    """See the module."""

    def __init__(self, member: "Record", session: int, shares: "Shares", give_up: "Callable[[], None]") -> None:
        """member: the container's record. session: its number. give_up: tells the guest to end without it."""
        self._member = member
        self._root = export_names.root_of(session)
        self._shares = shares
        self._has_root = False
        self.name = export_names.changes_of(session)
        """Of the entry."""
        self.outcome = Outcome(member, lambda: shares.sync(self.name), give_up)

    def hear(self, kind: int, payload: bytes) -> bool:
        """Take a LAYER or WRITTEN_BACK of the guest; whether `begin` is due. Raises LinkError out of turn."""
        if kind == link.LAYER:
            self.outcome.ask()
            return True
        self.outcome.written(payload)
        return False

    def begin(self, server: int, place: str) -> Job:
        """Start to give the server the root filesystem. server: its pid. place: an empty directory of the host."""
        file, name = f"{self._member.directory}/{export_names.LAYER}", self._root
        self._has_root = True

        def work(_: "Callable[[int], None]") -> None:
            from runx.exec.ninep import exports, late_entries

            # What is mounted below the root filesystem is none of it: such a bind is not recursive.
            binds = [bind.at(export_names.POD_TAG, name) for export in exports.load(file) for bind in export.binds]
            late_entries.add(server, place, binds)

        return Job("the root filesystem cannot be given to the server of shares", work)

    def begun(self, error: RunxError | None) -> None:
        """The job has ended: the guest may write."""
        try:
            if error:
                raise error
            if not self.outcome.is_over:
                self._shares.take_changes(self.name, self._root, self.outcome.room(lambda: None))
        except RunxError as problem:
            self.outcome.fail(problem.with_hint)

    def withdraw(self) -> list[str]:
        """Have the guest write nothing more; names of the share's entries that are to be removed."""
        if not self._has_root:
            return []
        self._shares.withdraw(self.name)
        return [self._root]
