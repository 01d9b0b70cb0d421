"""A configuration of the sandbox of a pod, which holds namespaces, or the pod's virtual machine, and runs no program."""

from runx.compiler.diagnostics import Report
from runx.compiler.frontends.oci.runx_extensions import POD_MACHINE_ANNOTATION, SYNC_CLOCK_ANNOTATION
from runx.compiler.host.config import ANNOTATIONS
from runx.compiler.host.facts import Facts
from runx.compiler.model.plan import Capabilities, Process
from runx.compiler.model.request import Container, Hardware
from runx.compiler.model.settings import LEFT_BY_SANDBOX
from runx.compiler.passes.own_ramdisk import terminal_alone
from runx.compiler.passes.pods import SHM

_REASON = "the sandbox of a pod has no virtual machine and runs no program"
_REASON_OF_A_POD = "the sandbox of a pod runs no program: its machine is for the pod's containers"
_PAUSE = "pause"
"""What a pod's machine runs in place of the program of that name: it waits, and reaps (docs/guest.md)."""


def as_sandbox(container: Container) -> Container:
    """A sandbox without its settings for a guest. Another container is returned as it is."""
    if not container.is_sandbox:
        return container
    shm = tuple(mount for mount in container.mounts if mount.destination == SHM and mount.type == "bind")
    return container._replace(
        mounts=shm if container.is_pod else (),
        process=_pause(container.process) if container.is_pod else terminal_alone(container.process),
        devices=(),
        masked_paths=(),
        readonly_paths=(),
        root_propagation=None,
        networks=(),
        kernel=None,
        ramdisk=None,
        kernel_parameters=(),
        image=None,
        hardware=Hardware(),
        xlconf=None,
        hooks=tuple(hook for hook in container.hooks if hook.kind != "startContainer"),
    )


def _pause(process: Process) -> Process:
    return terminal_alone(process).model_copy(
        update={
            "args": (_PAUSE,),
            "capabilities": Capabilities(),
            "no_new_privileges": True,
            "pid_namespace": process.pid_namespace,
        }
    )


def check_sandbox(container: Container, facts: Facts, report: Report) -> None:  # noqa: ARG001
    """Report each setting that a sandbox ignores."""
    if not container.is_sandbox:
        return
    reason = _REASON_OF_A_POD if container.is_pod else _REASON
    for path in LEFT_BY_SANDBOX:
        if not container.asks_for(path):
            continue
        if container.is_pod and path == ("linux", "resources"):
            # The size of the machine is theirs.
            for inside in ("pids", "unified"):
                if container.asks_for((*path, inside)):
                    report.ignore("RX023", (*path, inside), reason)
            continue
        report.ignore("RX023", path, reason)
    of_the_machine = (POD_MACHINE_ANNOTATION, *((SYNC_CLOCK_ANNOTATION,) if container.is_pod else ()))
    about = reason if container.is_pod else "it is about a virtual machine, which the sandbox of a pod does not have"
    for name in container.annotations:
        if name in ANNOTATIONS and name not in of_the_machine:
            report.ignore("RX023", ("annotations", name), about)
