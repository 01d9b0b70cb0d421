"""The supervisor's program: one small process a container. It ends with the container's status.

`create` starts it (launch.py) in a network namespace of its own, with four arguments: the container's directory, and the
numbers of three descriptors: a pipe to report on, a pipe that brings orders, and the host's network namespace. Engines wait for
this process (its pid is the container's) and read its exit status, so it keeps to the standard library's smallest modules:
about 12 MiB.
"""

import os
import sys

from runx.errors import RunxError
from runx.exec.container.hooks import HOOKS_NOW, ORDER_WITH_HOOKS
from runx.exec.container.record import Record
from runx.exec.container.record import load as load_record
from runx.exec.supervisor.guest_link import Supervisor
from runx.exec.supervisor.supervisor import Supervision
from runx.exec.xen import xl
from runx.exec.xen.xenstore import XenStore


def _connect() -> XenStore:
    try:
        return XenStore()
    except RunxError:
        xl.check_host()  # its words say more: no xl, no Xen, or xenstored alone is missing
        raise


def _supervision(record: Record, host_network: int) -> Supervision:
    if record.is_sandbox:
        from runx.exec.supervisor.sandbox import Sandbox

        return Sandbox(record, host_network)
    store = _connect()
    if record.console != "passthrough":
        return Supervisor(record, store, host_network)
    from runx.exec.supervisor.passthrough import Passthrough  # few containers bring a ramdisk of their own

    return Passthrough(record, store, host_network)


def main() -> int:
    """Entry point; returns the exit status of the process."""
    directory, fds = sys.argv[1], tuple(map(int, sys.argv[2:5]))
    for fd in fds:
        os.set_inheritable(fd, False)  # the domain's QEMU would keep them open, and `create` waits for an end
    report, go, host_network = fds
    order = os.read(go, 1)
    if not order:
        return 0  # `create` found something wrong
    root, _, container_id = directory.rpartition("/")
    try:
        supervisor = _supervision(load_record(root, container_id), host_network)

        def run_hooks() -> None:
            os.write(report, HOOKS_NOW.encode())
            supervisor.await_word(go)

        supervisor.create(run_hooks if order == ORDER_WITH_HOOKS else None)
    except RunxError as error:
        os.write(report, f"error {error.message}\nhint {error.hint}\n".encode())
        return 1
    os.write(report, b"created\n")
    os.close(report)
    os.close(go)
    return supervisor.supervise()
