"""A configuration of the sandbox of a pod, which holds namespaces and runs no program."""

from runx.compiler.diagnostics import Report
from runx.compiler.host.config import ANNOTATIONS
from runx.compiler.host.facts import Facts
from runx.compiler.model.request import Container, Hardware
from runx.compiler.model.settings import LEFT_BY_SANDBOX
from runx.compiler.passes.own_ramdisk import terminal_alone

_REASON = "the sandbox of a pod has no virtual machine and runs no program"


def as_sandbox(container: Container) -> Container:
    """A sandbox without its settings for a guest. Another container is returned as it is."""
    if not container.is_sandbox:
        return container
    return container._replace(
        mounts=(),
        process=terminal_alone(container.process),
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


def check_sandbox(container: Container, facts: Facts, report: Report) -> None:  # noqa: ARG001
    """Report each setting that a sandbox ignores."""
    if not container.is_sandbox:
        return
    for path in LEFT_BY_SANDBOX:
        if container.asks_for(path):
            report.ignore("RX023", path, _REASON)
    for name in container.annotations:
        if name in ANNOTATIONS:
            report.ignore(
                "RX023", ("annotations", name), "it is about a virtual machine, which the sandbox of a pod does not have"
            )
