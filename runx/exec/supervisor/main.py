"""The supervisor's program: one small process for each container. It ends with the container's status.

`create` starts it (launch.py) in a network namespace of its own, with four arguments: the container's directory, and the
numbers of three descriptors: a pipe for the report, a pipe that brings orders, and the host's network namespace. Engines wait
for this process (its pid is the container's) and read its exit status. It imports only the standard library's smallest modules,
so that it takes about 12 MiB.
"""

import os
import sys

from runx.errors import RunxError, of_full_disk
from runx.exec.container.hooks import HOOKS_NOW, ORDER_WITH_HOOKS
from runx.exec.container.record import Record
from runx.exec.container.record import load as load_record
from runx.exec.supervisor import guest_link
from runx.exec.supervisor.allowance import Allowance
from runx.exec.supervisor.network import Network
from runx.exec.supervisor.session import Session
from runx.exec.supervisor.supervisor import Supervisor
from runx.exec.supervisor.vm import VirtualMachine
from runx.exec.xen import xl
from runx.exec.xen.xenstore import XenStore
from runx.linux import descriptors

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from runx.exec.supervisor.supervisor import Machine
    from runx.exec.supervisor.vm import Guest


def _connect() -> XenStore:
    try:
        return XenStore()
    except RunxError:
        xl.check_host()  # its words say more: no xl, no Xen, or xenstored alone is missing
        raise


def _machine(record: Record, session: Session, host_network: int) -> "Machine":
    """What the container is made of."""
    if record.is_sandbox:
        from runx.exec.supervisor.sandbox import Sandbox

        return Sandbox(record, session)
    if record.joins:
        from runx.exec.supervisor.joined import Joined

        return Joined(record, session)
    store = _connect()
    network = Network(record, store, host_network)
    allowance = Allowance(record.cpu_percent)

    def meet() -> "Guest":
        if record.console != "passthrough":
            return guest_link.meet(record, store, session, network, allowance)
        from runx.exec.supervisor.passthrough import Passthrough  # few containers bring a ramdisk of their own

        return Passthrough(record, store, session)

    return VirtualMachine(record, store, session, network, host_network, allowance, meet)


def main() -> int:
    """Entry point; returns the exit status of the process."""
    directory, fds = sys.argv[1], tuple(map(int, sys.argv[2:5]))
    # What the engine left open for its runtime is not ours: of containerd's shim, that is the socket at which it listens.
    descriptors.close_all_but(fds)
    for fd in fds:
        os.set_inheritable(fd, False)  # the domain's QEMU would keep them open, and `create` waits for an end
    report, orders, host_network = fds
    order = os.read(orders, 1)
    if not order:
        return 0  # `create` found something wrong
    root, _, container_id = directory.rpartition("/")
    try:
        record = load_record(root, container_id)
        session = Session(0, record.say)
        machine = _machine(record, session, host_network)
        supervisor = Supervisor(record, machine, session, host_network)

        def run_hooks() -> None:
            os.write(report, HOOKS_NOW.encode())
            machine.await_hooks(orders)
            if not os.read(orders, 1):
                raise RunxError("a hook failed, or `create` was ended")

        supervisor.create(orders, run_hooks if order == ORDER_WITH_HOOKS else None)
    except Exception as error:
        # Whatever it is: nobody may read our standard error, and Python's own end would change the status.
        told = error if isinstance(error, RunxError) else of_full_disk(error, root)
        told = told or RunxError(f"internal error: {type(error).__name__}: {error}")
        try:
            os.write(report, f"error {told.message}\nhint {told.hint}\n".encode("utf-8", "replace"))
        except BrokenPipeError:
            pass  # `create` was ended, which may be the error
        return 1
    os.write(report, b"created\n")
    os.close(report)
    os.close(orders)
    return supervisor.supervise()
