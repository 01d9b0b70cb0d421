"""`runx delete`: remove a container and all that it had (OCI runtime.md, "Delete")."""

import _signal  # type: ignore[import-not-found]  # as in kill.py
import os

from runx.errors import RunxError
from runx.exec.container import record as records
from runx.exec.container.record import Record
from runx.exec.xen import xl

_END_TIMEOUT_S = 60.0
_KILL_TIMEOUT_S = 10.0
_REMOVAL_S = 2.0
"""How long a supervisor may take to remove what is left of a container that was killed, before it is helped."""

TYPE_CHECKING = False  # as typing's, which takes longer to import than a fast command has
if TYPE_CHECKING:
    from runx.log import Log


def delete(root: str, container_id: str, log: "Log", *, force: bool = False) -> None:
    """Remove a container that is stopped or was never started.

    force: remove it in any state; an unknown id is no error. log: for warnings of poststop hooks, which run after the container
    is removed. Raises RunxError when the container is not stopped, or a part of it cannot be removed.
    """
    try:
        record = records.load(root, container_id)
    except RunxError:
        if not force:
            raise
        records.check_id(container_id)
        record = Record(records.directory_of(root, container_id))
        if not os.path.isdir(record.directory):
            return
    if force:
        _end_creation(record)  # `create` holds the lock
    else:
        _check_removable(record)
    try:
        lock = records.lock(record)
    except RunxError:
        if not force:
            raise
        return  # another `delete` removed it first
    try:
        record = _as_it_is_now(record)
        if not force:
            _check_removable(record)  # another container may have got the id while we waited for the lock
        poststop = []
        if os.path.exists(record.directory + "/hooks"):
            from runx.exec.container import hooks

            poststop = hooks.load(record.directory, "poststop")
        destroy_container(record)
    finally:
        os.close(lock)
    if poststop:
        hooks.run_all(poststop, records.document(record, "stopped", 0), log)


def _check_removable(record: Record) -> None:
    status = record.current_status()
    # As in runc: a container that was only created has done nothing yet.
    if status not in ("stopped", "created"):
        container_id = os.path.basename(record.directory)
        raise RunxError(
            f"cannot delete container {container_id} that is not stopped: {status}",
            f"stop it first, or use: runx delete --force {container_id}",
        )


def _as_it_is_now(record: Record) -> Record:
    """Read the record again. Without a readable record only the directory is known, and removed."""
    try:
        return records.load(*os.path.split(record.directory))
    except RunxError:
        return Record(record.directory)


def destroy_container(record: Record) -> None:
    """End the container's domain and supervisor, and remove its directory. The caller holds its lock."""
    is_being_made = record.status == "creating" or record.has_no_domain_yet
    if record.status in ("running", "paused"):
        from runx.exec.commands.kill import ends_in_order  # most containers have stopped

        if ends_in_order(record):
            _await_supervisor(record, record.kill_end_s + _REMOVAL_S)
            record = _as_it_is_now(record)
    if record.domain and record.domid >= 0:
        xl.destroy(record.domain)  # by its name, which no other domain has. The supervisor sees it and ends.
    if record.supervised() and record.pid != os.getpid():  # our own pid is there while `create` undoes its work
        # Only a supervisor with a domain ends by itself.
        has_domain = not (record.is_sandbox or record.joins)
        _end_supervisor(record, _END_TIMEOUT_S if has_domain and not is_being_made else 0)
        record = _as_it_is_now(record)
    if is_being_made:
        from runx.exec.xen import domain

        domain.await_creation(record.directory, _END_TIMEOUT_S)
    if record.domain and not (record.domid < 0 and record.exit_status is not None):
        _remove_domain(record)  # the supervisor was killed before it could remove the domain
        if record.disks:
            from runx.exec.storage import loop_marks

            loop_marks.release(record.directory)  # for a later container of this name, they would hide the devices of others
    if record.domain:
        _remove_logs(record.domain)
    if record.cgroups:
        from runx.exec.container import cgroup_removal

        cgroup_removal.remove(record.cgroups, record.scope)
    if record.macs:
        from runx.exec.network import macs

        macs.release(record.directory, record.macs)  # first: as long as the directory exists, no other has the same claims
    records.remove(record)


_LOGS = "/var/log/xen"
"""Where Xen's programs keep a log for each domain: QEMU (libxl keeps ten), and xenconsoled, if it is told to."""


def _remove_logs(domain: str) -> None:
    """Remove Xen's logs of a domain, by its name, which no other domain has. What cannot be removed stays."""
    for directory, name in (
        (_LOGS, f"qemu-dm-{domain}.log"),
        (_LOGS, f"xl-{domain}.log"),
        (f"{_LOGS}/console", f"guest-{domain}.log"),
    ):
        try:
            for found in os.listdir(directory):
                rest = found.removeprefix(name)
                if rest != found and (not rest or rest[0] == "."):  # rotated ones have a number
                    os.unlink(f"{directory}/{found}")
        except OSError:
            pass


def _end_creation(record: Record) -> None:
    """End a supervisor that is creating its domain, without waiting: xl may hang."""
    if record.status == "creating" and record.supervised() and record.pid != os.getpid():
        _end_supervisor(record, 0)


def _remove_domain(record: Record) -> None:
    from runx.exec.xen import domain
    from runx.exec.xen.xenstore import XenStore

    try:
        store = XenStore()
    except RunxError:
        return  # without xenstored there are no domains
    try:
        domain.remove(store, record.domain, record.domid)
    finally:
        store.close()
    if record.taken and record.network_namespace:
        from runx.exec.network import tcfilter

        tcfilter.release_at(record.network_namespace, record.taken)


def _end_supervisor(record: Record, timeout_s: float) -> None:
    """Wait until the supervisor ends by itself; kill it after timeout_s. Raises RunxError when that does not end it."""
    if _await_supervisor(record, timeout_s):
        return
    pidfd = record.supervisor()
    try:
        if pidfd >= 0:
            _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)
    except ProcessLookupError:  # another `delete` or `kill` ended it first, and its parent has waited for it
        return
    finally:
        if pidfd >= 0:
            os.close(pidfd)
    if not _await_supervisor(record, _KILL_TIMEOUT_S):
        raise RunxError(f"the supervisor, process {record.pid}, does not end", f"see /proc/{record.pid}/stack")


def _await_supervisor(record: Record, timeout_s: float) -> bool:
    """Wait until the supervisor has ended, so many seconds; whether it has."""
    pidfd = record.supervisor()
    if pidfd < 0:
        return True
    import select

    try:
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        return bool(poller.poll(int(timeout_s * 1000)))
    finally:
        os.close(pidfd)
