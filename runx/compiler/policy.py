"""What the host's administrator lets containers ask for (runx.toml, [policy])."""

from runx.compiler.diagnostics import Report
from runx.compiler.frontends.container import Container
from runx.compiler.host_config import ANNOTATIONS, HostConfig

_HINT = "it is the host's administrator who decides, in /etc/runx/runx.toml"


def check_policy(container: Container, host: HostConfig, report: Report) -> None:
    """Report what the policy forbids."""
    for name in container.annotations:
        if name in ANNOTATIONS and name not in host.annotations:
            report.error(("annotations", name), f"not allowed by policy.annotations ({host.where('policy.annotations')})", _HINT)
    if container.kernel and container.kernel.in_root and not host.own_kernels:
        message = f"a kernel from the root filesystem is not allowed by policy.own_kernels ({host.where('policy.own_kernels')})"
        report.error(container.kernel.origin, message, _HINT)
