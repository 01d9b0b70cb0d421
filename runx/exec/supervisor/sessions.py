"""Further processes of the container, and connections to its servers (docs/console-link.md, "Sessions"), for containers that
allow them.

Each has a small process on the host, the carrier (commands/carrier.py). It gives its descriptors to this process, says over its
connection what happens to it, and ends with the status of the session. Its end ends the session. A connection (forwarding.py) has
none.
"""

import os
import select

from runx.errors import RunxError
from runx.exec.console import frames as link
from runx.exec.container import process_record
from runx.exec.supervisor import control, loop
from runx.exec.supervisor.session import STATUS_KILLED, Session, Streams
from runx.linux.signals import signal

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from collections.abc import Callable

    from runx.exec.console import streams
    from runx.exec.supervisor.connection import Connection
    from runx.exec.supervisor.to_guest import ToGuest

STOPPED = "cannot exec in a stopped container"
_QUESTIONS = (b"", process_record.LIMITS)
"""How a record begins that starts no process."""
_LINE_LIMIT = 64
"""Bytes of a line from a carrier."""


class _Running:
    """A session, its carrier, and the record that the guest has not got yet."""

    def __init__(self, session: Session, connection: int, record: int, to_guest: "ToGuest") -> None:
        self.kind = link.EXEC
        self.place = -1
        """The container of a pod that the process is in, or whose PID namespace a container joins; -1 for none."""
        self.listener: Callable[[str], None] | None = None
        """Hears what happens to a container of a pod, in place of a carrier."""
        self.on_changes: Callable[[int, bytes], None] | None = None
        """Takes LAYER and WRITTEN_BACK of such a container; None if the host is not to have what it has written."""
        self.session = session
        self.connection = connection
        """-1: the carrier has gone."""
        self.record = record
        """The file that describes the process; -1: the guest has it all."""
        self.port = 0
        """Of a connection: the server's, until the guest has it."""
        self.is_question = False
        """PID 1 of the guest answers, and starts no process."""
        self.is_known = False
        """The guest has a part of the record, at least."""
        self.is_abandoned = False
        """The carrier has gone, and the guest gets KILL when it has the record."""
        self.told_ending = False
        """The carrier knows that the process has ended, while others use its output."""
        self.has_left = False
        """The carrier goes, and whoever reads the output stays."""
        self.said = b""
        """The beginning of a line from the carrier."""
        self._to_guest = to_guest
        self.moves = Streams(session, self)

    @property
    def has_begun(self) -> bool:
        """The guest has the whole record, or the port: frames of the session may be sent and may come."""
        return self.record < 0 and not self.port

    @property
    def takes_input(self) -> bool:
        has_where_to = self.session.started or self.kind != link.DIAL
        return self.has_begun and has_where_to and self._to_guest.takes_input

    def take_input(self, source: "streams.Input") -> None:
        if self._to_guest.has_room_for_others:
            self._to_guest.take_input(source)

    def tell(self, line: str) -> None:
        """Tell the carrier."""
        if self.listener:
            self.listener(" ".join(line.split()))
        if self.connection >= 0:
            try:
                os.write(self.connection, (" ".join(line.split()) + "\n").encode("utf-8", "replace")[: control.LINE_LIMIT])
            except OSError:
                pass  # it has gone, which its connection will say

    @property
    def is_remainder(self) -> bool:
        """The process has ended, and others use its output."""
        return self.session.ending is not None

    def close_record(self) -> None:
        if self.record >= 0:
            os.close(self.record)
        self.record = -1

    def close(self) -> None:
        self.session.close()
        self.close_record()
        if self.connection >= 0:
            os.close(self.connection)


class Sessions:
    """The part of the loop that has to do with sessions other than 0."""

    def __init__(self, container: Session, to_guest: "ToGuest", log: "Callable[[str, str], None]") -> None:
        """container: session 0. log: takes the level and text of a message."""
        self._container = container
        self._to_guest = to_guest
        self._log = log
        self._running: dict[int, _Running] = {}
        self._kept: set[int] = set()
        """Numbers of containers whose sessions may have ended, and which have not left the machine yet."""
        self._is_over = False
        self._had_room = False
        self._turns = 0

    def begin(self, connection: int, fds: list[int], place: int = -1) -> None:
        """Start a process as soon as the container's process runs. Raises RunxError if it cannot be.

        connection: to the carrier, which belongs to the session after a success. fds: a file with the record of the process, and
        its standard streams, which belong to it, or are closed after an error. place: the session of the container of a pod that
        it is in.
        """
        self._begin(connection, fds).place = place

    def begin_container(
        self,
        listener: "Callable[[str], None]",
        fds: list[int],
        place: int,
        on_changes: "Callable[[int, bytes], None] | None",
    ) -> int:
        """As `begin`, for a container of a pod, whose record is its archive; the number of its session, which is its own until
        `free`.

        listener: hears what a carrier would. place: the session whose PID namespace it joins, 0 for the pod's; -1: its own.
        on_changes: takes the type and payload of frames about what the container has written; None if there are to be none.
        """
        running = self._begin(-1, fds)
        running.kind, running.place, running.listener = link.CONTAINER, place, listener
        running.on_changes = on_changes
        self._kept.add(running.session.number)
        return running.session.number

    def free(self, number: int) -> None:
        """Let another session have the number of a container that has left the machine."""
        self._kept.discard(number)

    @property
    def takes_connections(self) -> bool:
        """Whether `begin_connection` would not have one too many."""
        count = sum(running.kind == link.DIAL for running in self._running.values())
        return count < link.CONNECTIONS_MOST and self._free_number() > 0

    def begin_connection(self, make: "Callable[[int], Connection]", port: int) -> None:
        """Carry a connection to a port of the guest. Raises RunxError if it cannot be.

        make: makes the session, with this number.
        """
        self._check_begins()
        number = self._take_number()
        running = self._running[number] = _Running(make(number), -1, -1, self._to_guest)
        running.kind, running.port = link.DIAL, port
        self._log("info", f"session {number} begins: a connection to port {port}")

    def _check_room(self, *, for_question: bool) -> None:
        """Raise RunxError if there is one too many. Questions keep out no process, nor the reverse: what nobody can be told, and
        no limit that can be changed, is worst when there are many."""
        others = [running for running in self._running.values() if running.kind != link.DIAL and not running.is_remainder]
        count = sum(running.is_question == for_question for running in others)
        if for_question and count >= link.QUESTIONS_MOST:
            raise RunxError(f"the guest has not answered {count} questions")
        if not for_question and count >= link.PROCESSES_MOST:
            containers = "containers and " if any(running.kind == link.CONTAINER for running in others) else ""
            raise RunxError(f"{link.PROCESSES_MOST} {containers}processes run by exec already, as many as there may be")

    def _check_begins(self) -> None:
        if self._is_over or self._container.ending is not None or self._container.status is not None:
            raise RunxError(STOPPED)

    def _free_number(self) -> int:
        """A number for a session; 0: none is free."""
        numbers = range(1, link.SESSIONS_MOST + 1)
        return next((number for number in numbers if number not in self._running and number not in self._kept), 0)

    def _take_number(self) -> int:
        found = self._free_number()
        if not found:
            raise RunxError(f"{link.SESSIONS_MOST} processes and connections there are already, as many as there may be")
        return found

    def signal(self, number: int, signal_number: int) -> None:
        """Deliver a signal to the process of a session."""
        if running := self._running.get(number):
            self._obey(running, ["signal", str(signal_number)])

    def kill(self, number: int) -> None:
        """End the process of a session, in front of signals that wait."""
        if running := self._running.get(number):
            running.is_abandoned = True
            if running.has_begun:
                self._to_guest.put(link.signal(signal.SIGKILL, number))

    def resize(self, number: int, rows: int, columns: int) -> None:
        """Tell the process of a session the size of its terminal."""
        if running := self._running.get(number):
            self._obey(running, ["size", str(rows), str(columns)])

    def _begin(self, connection: int, fds: list[int]) -> _Running:
        try:
            self._check_begins()
            if len(fds) != 1 + 3:
                raise RunxError("no such request: exec needs four descriptors")
            is_question = os.pread(fds[0], len(process_record.LIMITS), 0) in _QUESTIONS
            self._check_room(for_question=is_question)
            number = self._take_number()
        except RunxError:
            for fd in fds:
                os.close(fd)
            raise
        record, stdin, stdout, stderr = fds
        session = Session(number, self._log, (stdin, stdout, stderr))
        session.signals.machine_started()
        running = self._running[number] = _Running(session, connection, record, self._to_guest)
        running.is_question = is_question
        self._log("info", f"session {number} begins")
        return running

    # -- as a part of the loop -----------------------------------------------------------------------------------------

    def watch(self, poller: select.poll) -> float | None:
        due = False
        self._had_room = self._to_guest.has_room
        for running in self._running.values():
            if running.connection >= 0:
                poller.register(running.connection, select.POLLIN)
            if running.has_begun:
                running.moves.watch(poller)
            due = due or (not running.has_begun and self._container.started and self._had_room)
        return loop.NOW if due else None

    def handle(self, ready: dict[int, int]) -> None:
        self._turns += 1
        all_of_them = tuple(self._running.values())
        first = self._turns % len(all_of_them) if all_of_them else 0  # none is always in front
        for running in (*all_of_them[first:], *all_of_them[:first]):
            if running.connection in ready:
                self._hear_carrier(running)
            if running.session.number not in self._running:
                continue
            if running.has_begun:
                running.moves.handle(ready)
            elif self._container.started and self._had_room:
                self._send_record(running)
            self._end_if_over(running)

    def _send_record(self, running: _Running) -> None:
        number = running.session.number
        if running.port:
            running.is_known = True
            self._to_guest.put(link.dial(running.port, number))
            running.port = 0
            self._to_guest.sessions.append(running.session)
            return
        if running.place >= 0 and not running.is_known:
            self._to_guest.put(link.frame(link.PLACE, bytes((running.place,)), number))
        while not running.has_begun and self._to_guest.has_room_for_others:
            running.is_known = True
            part = os.read(running.record, link.PAYLOAD_LIMIT)
            self._to_guest.put(link.frame(running.kind, part, number))
            if not part:
                running.close_record()
                self._to_guest.sessions.append(running.session)
                if running.is_abandoned:
                    self._to_guest.put(link.signal(signal.SIGKILL, number))

    def _end_if_over(self, running: _Running) -> None:
        session = running.session
        if running.is_remainder and not running.told_ending:
            running.told_ending = all(out.rest_is_written for out in session.outputs.values())
            if running.told_ending:
                running.tell(f"ending {session.ending}")
        if session.status is not None and session.drained:
            running.tell(f"exit {session.status}")
            self._log("info", f"session {session.number} ends with status {session.status}")
            self._forget(running)

    def _forget(self, running: _Running) -> None:
        del self._running[running.session.number]
        if running.has_begun:
            self._to_guest.sessions.remove(running.session)
        running.close()

    # -- what the carrier says -----------------------------------------------------------------------------------------

    def _hear_carrier(self, running: _Running) -> None:
        try:
            data = os.read(running.connection, 4096)
        except OSError:
            data = b""
        if not data:
            self._lose_carrier(running)
            return
        *lines, running.said = (running.said + data).split(b"\n")
        running.said = running.said[:_LINE_LIMIT]
        for line in lines:
            self._obey(running, line.decode("ascii", "replace").split())

    def _obey(self, running: _Running, words: list[str]) -> None:
        session = running.session
        match words:
            case ["signal", number] if number.isdigit() and 0 < int(number) <= 64:
                try:
                    session.signals.put(int(number))
                except RunxError as error:
                    self._log("warning", f"session {session.number}: signal {number} is dropped: {error.message}")
            case ["size", rows, columns] if rows.isdigit() and columns.isdigit():
                session.told_size = int(rows) & 0xFFFF, int(columns) & 0xFFFF
                session.size_changed = True
            case ["leave"] if running.is_remainder:
                running.has_left = True

    def _lose_carrier(self, running: _Running) -> None:
        """End a session whose carrier was killed: nobody waits for it, and nobody reads it."""
        session = running.session
        os.close(running.connection)
        running.connection = -1
        if running.has_left:
            return
        if not running.is_known:
            self._log("info", f"session {session.number} ends before it has started")
            self._forget(running)
            return
        for out in session.outputs.values():
            out.hang_up()
        session.input.close()
        running.is_abandoned = True
        if running.has_begun:
            self._to_guest.put(link.signal(signal.SIGKILL, session.number))

    # -- what the guest says -------------------------------------------------------------------------------------------

    def hear(self, number: int, kind: int, payload: bytes) -> None:
        """Take a frame of the guest. Raises LinkError if the guest broke a rule of the link."""
        running = self._running.get(number)
        if running is None or not running.has_begun or running.session.status is not None:
            raise link.LinkError(f"a frame of type {kind:#04x} of session {number}, which does not run")
        session = running.session
        if session.started == (kind in (link.STARTED, link.FATAL)):
            raise link.LinkError(f"a frame of type {kind:#04x} of session {number} out of order")
        if kind in session.outputs:
            session.outputs[kind].receive(payload)
        elif kind == link.CREDIT_IN:
            stream, size = link.parse_credit(payload)
            if stream != 0:
                raise link.LinkError(f"credit for stream {stream}")
            session.input.credit(size)
        elif kind == link.STDIN_CLOSED:
            session.input.close()
        elif kind == link.STARTED:
            session.process_started()
            running.tell("started")
        elif kind == link.FATAL:
            text = payload[1:].decode("utf-8", "replace")
            running.tell(f"failed {payload[0]} {text}")
            self._log("info", f"session {number} does not start: {text}")
            self._forget(running)
        elif kind == link.ENDING:
            self._end_process(running, payload[0])
        elif kind in (link.LAYER, link.WRITTEN_BACK):
            if not running.on_changes:
                raise link.LinkError("a layer that is not written back")
            running.on_changes(kind, payload)
        else:
            if session.ending not in (None, payload[0]):
                raise link.LinkError(f"EXIT of session {number} with status {payload[0]} after ENDING with {session.ending}")
            session.status = payload[0]
            session.write_ready()
            self._end_if_over(running)

    def _end_process(self, running: _Running, status: int) -> None:
        """The process has ended, and others use its output. Its reader may go on reading, but there is a bound to how many do."""
        session = running.session
        if running.is_remainder or running.kind != link.EXEC:
            raise link.LinkError(f"ENDING of session {session.number} out of order")
        session.ending = status
        session.input.close()
        session.write_ready()
        for out in session.outputs.values():
            out.begin_rest()
        self._log("info", f"session {session.number}: its process has ended with status {status}, and others use its output")
        self._end_if_over(running)
        remainders = [other for other in self._running.values() if other.is_remainder]
        for other in remainders[: -link.REMAINDERS_MOST]:
            if any(out.open for out in other.session.outputs.values()):
                self._log(
                    "warning", f"session {other.session.number}: its output is closed, as {len(remainders)} have no process"
                )
            for out in other.session.outputs.values():
                out.hang_up()

    # -- the end -------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End all sessions, whose processes have gone with the container."""
        self._is_over = True
        for running in tuple(self._running.values()):
            running.session.write_ready()
            unstarted = f"failed {STATUS_KILLED} {STOPPED}" if running.listener else f"error {STOPPED}"
            running.tell(f"exit {running.session.status_if_destroyed}" if running.session.started else unstarted)
            self._log("info", f"session {running.session.number} ends with the container")
            self._forget(running)
