"""The containers of a pod that is one virtual machine, as the supervisor of that machine has them (docs/executor.md).

Each has a supervisor of its own (joined.py), which engines know, and which asks this one over its control socket. The connection
stays. It says, a line each:

    start            the process may run: with its archive and its standard streams
    signal NUMBER    deliver a signal
    size ROWS COLUMNS
    exec             start a further process: with its carrier's connection, its record and its streams

and hears: `joined`, `error MESSAGE`, `started`, `failed STATUS MESSAGE`, `exit STATUS`. After the last three of these, but for
`started`, nothing of the container is left in the machine. When the connection ends, the container does.
"""

import os
import select

from runx.errors import RunxError
from runx.exec.container import record as records
from runx.exec.supervisor import control
from runx.exec.supervisor.attachment import Attachment, Names
from runx.exec.supervisor.pod_write_back import PodWriteBack
from runx.exec.supervisor.session import STATUS_INCOMPLETE, STATUS_KILLED
from runx.linux.files import write_all
from runx.linux.signals import signal

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from collections.abc import Callable

    from runx.exec.container.record import Record
    from runx.exec.supervisor.jobs import Job
    from runx.exec.supervisor.sessions import Sessions
    from runx.exec.supervisor.shares import Shares

_START_FDS, _EXEC_FDS = 4, 5
_ATTACH, _TAKE_CHANGES, _DETACH = "attach", "take changes", "detach"


class _Member:
    """One container."""

    def __init__(self, record: "Record", connection: int, attachment: Attachment) -> None:
        self.record = record
        self.connection = connection
        """-1: its supervisor has gone."""
        self.attachment = attachment
        self.job: Job | None = None
        self.doing = ""
        """What the job does, of the words below."""
        self.is_attached = False
        self.has_ended = False
        """The guest has said so. It leaves when the host has what it has written."""
        self.is_leaving = False
        self.number = 0
        """Of its session; 0 before it has one, and after its end."""
        self.kept_number = 0
        """The same, until it has left."""
        self.write_back: PodWriteBack | None = None
        """Takes what it has written; None before its start, or if the host is not to have it."""
        self.last_words = ""
        """What to tell at the end."""
        self.said = b""
        self.polled: tuple[int, Job | None] = (-1, None)
        """The connection and the job that this turn of the loop asked about. Others may have got numbers of descriptors that were
        ready, and were closed since: who reads there would wait."""

    @property
    def name(self) -> str:
        return os.path.basename(self.record.directory)

    def tell(self, line: str) -> None:
        if self.connection >= 0:
            try:
                os.write(self.connection, (" ".join(line.split()) + "\n").encode("utf-8", "replace")[-control.LINE_LIMIT :])
            except OSError:
                pass  # it has gone, which its connection will say

    @property
    def is_written_back(self) -> bool:
        """The guest writes back what it has written, or has done so."""
        return self.write_back is not None and self.write_back.outcome.was_asked

    def close(self) -> None:
        if self.connection >= 0:
            os.close(self.connection)
        self.connection = -1


class Members:
    """The part of the loop that has to do with the containers of the pod."""

    def __init__(self, pod: "Record", shares: "Shares", sessions: "Sessions", log: "Callable[[str, str], None]") -> None:
        """log: takes the level and text of a message."""
        self._pod = pod
        self._shares = shares
        self._sessions = sessions
        self._log = log
        self._names = Names(shares)
        shares.on_synced = self._changes_are_settled
        self._members: list[_Member] = []
        self._queue: list[tuple[_Member, str]] = []
        """Jobs that are to be done. One at a time: the next may have what the last one has made, or removes."""
        self._is_over = False
        self._held: Callable[[], None] | None = None
        """Ends the machine; called when the last container has left."""

    def hold(self, end: "Callable[[], None]") -> bool:
        """Whether a signal that ends the machine in order has to wait until its containers have ended: engines may send it to
        all at once, and each container has its time. Then `end` is called."""
        if self._members:
            if not self._held:
                self._log("info", f"the pod's machine ends when its containers have, of which there are {len(self._members)}")
            self._held = end
        return bool(self._members)

    def join(self, connection: int, container_id: str) -> None:
        """Begin to take a container into the machine. Raises RunxError; else the connection belongs to the container."""
        if self._is_over:
            raise RunxError("the pod's machine is ending")
        record = records.load(os.path.dirname(self._pod.directory), container_id)
        if record.pod != os.path.basename(self._pod.directory):
            raise RunxError(f"container {container_id} is in another pod")
        if any(member.name == container_id for member in self._members):
            raise RunxError(f"container {container_id} is in the pod's machine already, or leaves it just now")
        member = _Member(record, connection, Attachment(self._pod, record, self._names, self._shares.server))
        self._members.append(member)
        self._queue.append((member, _ATTACH))
        self._advance()

    def _advance(self) -> None:
        """Begin the next job, unless one is under way. When the machine ends, nothing is detached from it any more."""
        while self._queue and not self._is_over and not any(member.job for member in self._members):
            member, what = self._queue.pop(0)
            member.doing = what
            if what == _DETACH:
                member.job = member.attachment.undo(member.write_back.withdraw() if member.write_back else [])
            elif what == _TAKE_CHANGES and member.write_back:
                member.job = member.write_back.begin(self._shares.server, f"{self._pod.directory}/shares")
            elif member.connection < 0:
                self._forget(member)
            else:
                try:
                    member.job = member.attachment.begin()
                except RunxError as error:
                    self._leave(member, f"error {error.with_hint}")

    # -- as a part of the loop -----------------------------------------------------------------------------------------

    def watch(self, poller: select.poll) -> float | None:
        due = None
        for member in self._members:
            member.polled = member.connection, member.job
            if member.connection >= 0:
                poller.register(member.connection, select.POLLIN)
            if member.job:
                poller.register(member.job.fd, select.POLLIN)
            outcome = member.write_back.outcome if member.write_back else None
            if outcome and outcome.is_pending and outcome.sync_until is not None:
                due = min(due or outcome.sync_until, outcome.sync_until)
        return due

    def handle(self, ready: dict[int, int]) -> None:
        for member in tuple(self._members):
            connection, job = member.polled
            member.polled = -1, None
            if job and job is member.job and job.fd in ready:
                self._job_has_ended(member)
            if connection >= 0 and connection == member.connection and connection in ready:
                self._hear(member)
            if member.write_back:
                member.write_back.outcome.expire()
            self._leave_if_settled(member)

    def _job_has_ended(self, member: _Member) -> None:
        assert member.job
        fds, error = member.job.end()
        member.job = None
        if member.doing == _DETACH:
            if error:
                self._log("warning", f"container {member.name}: {error.message}; it stays until the pod's end")
            member.attachment.undone(error)
            if member.write_back and not error:
                member.write_back.outcome.drop_layer()
            self._forget(member)
            self._advance()
            return
        if member.doing == _TAKE_CHANGES and member.write_back:
            member.write_back.begun(error)
            self._advance()
            return
        member.attachment.done(fds)
        if error:
            self._leave(member, f"error {error.with_hint}")
        elif member.connection < 0:
            self._leave(member, "")
        else:
            member.is_attached = True
            member.tell("joined")
        self._advance()

    def _leave(self, member: _Member, last_words: str) -> None:
        """Detach what the container has in the machine, and then tell its supervisor the last words."""
        member.last_words = last_words
        member.is_leaving = True
        member.number = 0
        self._queue.append((member, _DETACH))
        self._advance()

    def _leave_if_settled(self, member: _Member) -> None:
        """Leave, if the container has ended and its root filesystem has what it has written, or does not get it."""
        outcome = member.write_back.outcome if member.write_back else None
        if not member.has_ended or member.is_leaving or (outcome and outcome.is_pending):
            return
        not_written = outcome and outcome.has_failed and member.last_words == "exit 0"
        self._leave(member, f"exit {STATUS_INCOMPLETE}" if not_written else member.last_words)

    def _changes_are_settled(self, name: str, words: str) -> None:
        for member in tuple(self._members):
            if member.write_back and member.write_back.name == name and not member.is_leaving:
                member.write_back.outcome.settle(words)
                self._leave_if_settled(member)

    def _forget(self, member: _Member) -> None:
        self._members.remove(member)
        self._sessions.free(member.kept_number)
        if member.last_words:
            member.tell(member.last_words)
        member.close()
        if self._held and not self._members and not self._is_over:
            self._held()
            self._held = None

    # -- what its supervisor says --------------------------------------------------------------------------------------

    def _hear(self, member: _Member) -> None:
        data, fds = control.receive_some(member.connection, _EXEC_FDS)
        if not data:
            member.close()
            if member.number:
                self._sessions.kill(member.number)
            elif member.is_attached and not member.is_leaving and not member.has_ended:
                self._leave(member, "")
            return
        *lines, member.said = (member.said + data).split(b"\n")
        for at, line in enumerate(lines):
            last = at == len(lines) - 1
            self._obey(member, line.decode("ascii", "replace").split(), fds if last else [])

    def _obey(self, member: _Member, words: list[str], fds: list[int]) -> None:
        match words:
            case ["start"] if len(fds) == _START_FDS and member.is_attached and not member.number:
                self._start(member, fds)
                return
            case ["exec"] if len(fds) == _EXEC_FDS:
                self._execute(member, fds)
                return
            case ["signal", number] if number.isdigit() and 0 < int(number) <= 64 and member.number:
                if int(number) == signal.SIGKILL:
                    if not member.is_written_back:  # there is no process any more, and the writing would end
                        self._sessions.kill(member.number)
                else:
                    self._sessions.signal(member.number, int(number))
            case ["size", rows, columns] if rows.isdigit() and columns.isdigit() and member.number:
                self._sessions.resize(member.number, int(rows), int(columns))
        for fd in fds:
            os.close(fd)

    def _start(self, member: _Member, fds: list[int]) -> None:
        archive, *streams = fds
        record = os.memfd_create("archive", os.MFD_CLOEXEC)
        try:
            write_all(record, member.attachment.links())
            while data := os.read(archive, 1 << 16):
                write_all(record, data)
            os.lseek(record, 0, os.SEEK_SET)
            place = self._place_of(member)
        except (OSError, RunxError) as error:
            for fd in (record, *streams):
                os.close(fd)
            words = error.message if isinstance(error, RunxError) else str(error)
            self._leave(member, f"failed {STATUS_INCOMPLETE} {words}")
            return
        finally:
            os.close(archive)

        def listener(line: str) -> None:
            if line == "started":
                member.tell(line)
            else:
                member.last_words, member.has_ended, member.number = line, True, 0
                self._leave_if_settled(member)

        def take_changes(kind: int, payload: bytes) -> None:
            assert member.write_back
            if not member.write_back.hear(kind, payload):
                return
            if member.connection < 0:
                member.write_back.outcome.fail("the container's supervisor has gone")
            else:
                self._queue.append((member, _TAKE_CHANGES))
                self._advance()

        writes_back = member.record.writes_back
        try:
            begin = self._sessions.begin_container
            number = begin(listener, [record, *streams], place, take_changes if writes_back else None)
        except RunxError as error:
            self._leave(member, f"failed {STATUS_INCOMPLETE} {error.message}")
            return
        member.number = member.kept_number = number
        if writes_back:
            member.write_back = PodWriteBack(member.record, number, self._shares, lambda: self._sessions.kill(number))

    def _place_of(self, member: _Member) -> int:
        """The session whose PID namespace the container joins; -1 for one of its own. Raises RunxError."""
        asked = member.record.pid_namespace
        if asked in ("own", "pod"):
            return -1 if asked == "own" else 0
        pid = asked.removeprefix("/proc/").partition("/")[0]
        if pid == str(os.getpid()):
            return 0
        for other in self._members:
            if str(other.record.pid) == pid and other.number:
                return other.number
        raise RunxError(f"linux.namespaces: {asked} is not of the pod's sandbox, nor of a container of the pod that runs")

    def _execute(self, member: _Member, fds: list[int]) -> None:
        connection, *rest = fds
        try:
            if not member.number:
                for fd in rest:
                    os.close(fd)
                raise RunxError("container not running")
            self._sessions.begin(connection, rest, member.number)
        except RunxError as error:
            control.answer(connection, error.message)

    # -- the end -------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """The machine ends: take no more in."""
        self._is_over = True

    def machine_removed(self) -> None:
        """Nothing of the machine is left."""
        for member in tuple(self._members):
            if member.job:
                fds, _ = member.job.end()
                if member.doing == _ATTACH:
                    member.attachment.done(fds)
            member.attachment.close()
            if member.write_back:
                member.write_back.outcome.end()
                member.write_back.outcome.drop_layer()
            member.last_words = member.last_words or f"exit {STATUS_KILLED}"
            self._forget(member)
