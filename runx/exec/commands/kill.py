"""`runx kill`: a signal for the container's process (OCI runtime.md, "Kill")."""

import os

from runx.errors import RunxError
from runx.exec.container import record as records
from runx.exec.container.record import Record
from runx.exec.supervisor import control

SIGKILL = 9
SIGTERM = 15

# Linux's numbers (signal(7)); x86 and Arm agree. The signal module costs a fast verb 4 ms.
_NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ "
    "VTALRM PROF WINCH IO PWR SYS"
).split()
_LAST = 64


def number_of(signal: str) -> int:
    """The number of a signal given as a number or a name, with or without SIG, in any case. Raises RunxError for another word."""
    if signal.isascii() and signal.isdigit() and 1 <= int(signal) <= _LAST:
        return int(signal)
    name = signal.upper().removeprefix("SIG")
    if name in _NAMES:
        return _NAMES.index(name) + 1
    base, sign, offset = name.partition("+") if "+" in name else name.partition("-")
    if base in ("RTMIN", "RTMAX") and (not sign or offset.isdigit()):
        number = (34 if base == "RTMIN" else _LAST) + int(sign + offset if sign else "0")
        if 34 <= number <= _LAST:
            return number
    raise RunxError(f"unknown signal {signal!r}", "a signal is a name (TERM, SIGTERM, RTMIN+3) or a number from 1 to 64")


def kill(root: str, container_id: str, signal: str, *, all_processes: bool = False) -> None:
    """Send a signal to the container's process.

    SIGKILL destroys the domain at once and needs neither the guest nor the supervisor; a sandbox's supervisor ends by it.

    all_processes: a stopped container is no error, as callers of `kill --all` expect. Raises RunxError ("container not
    running": callers match the text) otherwise.
    """
    number = number_of(signal)
    record = records.load(root, container_id)
    status = record.current_status()
    if status not in records.LIVE:
        if record.domid >= 0 and number == SIGKILL:
            _destroy(record.domain)  # the supervisor was killed and left its domain
            return
        if all_processes:
            return
        raise RunxError("container not running")
    if number == SIGKILL and record.is_sandbox:
        _end(record)
    elif number == SIGKILL:
        _destroy(record.domain)
    else:
        control.request(record.directory, f"signal {number}")


def _destroy(domain: str) -> None:
    from runx.exec.xen import xl  # other signals do without it

    xl.destroy(domain)


def _end(record: Record) -> None:
    supervisor = record.supervisor()
    if supervisor < 0:
        raise RunxError("container not running")
    import signal  # costs other signals 4 ms

    try:
        signal.pidfd_send_signal(supervisor, SIGKILL)
    except ProcessLookupError:
        raise RunxError("container not running") from None
    finally:
        os.close(supervisor)
