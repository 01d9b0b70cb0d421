"""`runx kill`: send a signal to the container's process (OCI runtime.md, "Kill")."""

import _signal  # type: ignore[import-not-found]  # the signal module costs a fast command 4 ms
import os

from runx.errors import RunxError
from runx.exec.commands import orphan
from runx.exec.container import record as records
from runx.exec.container.record import Record
from runx.exec.supervisor import control

_TAKEN_LIMIT_S = 3
"""How long a supervisor may take to answer SIGKILL. Engines wait 10 s for the end of the container (docker 26)."""


def number_of(signal: str) -> int:
    """The number of a signal. It may be a number, or a name with or without SIG in upper or lower case. 0 is no signal (kill(2)).
    Raises RunxError."""
    first: int = _signal.SIGRTMIN
    last: int = _signal.SIGRTMAX
    if signal.isascii() and signal.isdigit() and len(signal) < 10 and int(signal) <= last:
        return int(signal)
    name = signal.upper().removeprefix("SIG")
    base, sign, offset = name.partition("+") if "+" in name else name.partition("-")
    if base in ("RTMIN", "RTMAX") and (not sign or (offset.isascii() and offset.isdigit() and len(offset) < 10)):
        number = (first if base == "RTMIN" else last) + int(sign + offset if sign else "0")
        if first <= number <= last:
            return number
    elif name.isalnum() and (known := getattr(_signal, f"SIG{name}", 0)):  # other names there have a "_", such as SIG_DFL
        return int(known)
    raise RunxError(f"unknown signal {signal!r}", "a signal is a name (TERM, SIGTERM, RTMIN+3) or a number from 0 to 64")


def kill(root: str, container_id: str, signal: str, *, all_processes: bool = False) -> None:
    """Send a signal to the container's process.

    SIGKILL ends every container. The supervisor has the guest of a container that was started end it in order, and destroys the
    domain if that takes too long (supervisor/killing.py); this function does not wait for that. It destroys the domain itself if
    the supervisor does not answer, and if there is nothing to lose. A sandbox has no domain: its supervisor is killed, and so is
    that of a container in its pod's machine if it does not answer. There is
    no domain either as long as the root filesystem is being made: the supervisor ends that.

    all_processes: a stopped container is no error; callers of `kill --all` expect that. Else it raises RunxError "container not
    running", which callers match.
    """
    number = number_of(signal)
    record = records.load(root, container_id)
    status = orphan.status(record)
    if status not in records.LIVE:
        if record.status != status and record.domid >= 0 and number == _signal.SIGKILL:
            return  # the supervisor was killed, and its domain with it just now
        if all_processes:
            return
        raise RunxError("container not running")
    if not number:
        return  # the caller asks whether the container runs
    if number == _signal.SIGKILL and (record.is_sandbox or record.joins):
        if not record.joins or not _asks_for_the_end(record):
            _end(record)
    elif number == _signal.SIGKILL and not record.has_no_domain_yet:
        if not ends_in_order(record):
            _destroy(record.domain)
    else:
        control.request(record.directory, f"signal {number}")


def ends_in_order(record: Record) -> bool:
    """Have the supervisor end a container in order, if its guest can do that; whether the supervisor has taken that on."""
    if record.status not in ("running", "paused") or record.console not in ("link", "pod") or not record.kill_end_s:
        return False
    return _asks_for_the_end(record)


def _asks_for_the_end(record: Record) -> bool:
    try:
        control.request(record.directory, f"signal {_signal.SIGKILL}", _TAKEN_LIMIT_S)
    except RunxError:
        return False  # it has ended, hangs, or waits for xl
    return True


def _destroy(domain: str) -> None:
    from runx.exec.xen import xl  # not needed for other signals

    xl.destroy(domain)


def _end(record: Record) -> None:
    supervisor = record.supervisor()
    if supervisor < 0:
        raise RunxError("container not running")
    try:
        _signal.pidfd_send_signal(supervisor, _signal.SIGKILL)
    except ProcessLookupError:
        raise RunxError("container not running") from None
    finally:
        os.close(supervisor)
