"""The policy of the host's administrator for containers (runx.toml, [policy])."""

import json
import re

from runx.compiler.diagnostics import Report, did_you_mean
from runx.compiler.frontends.oci.runx_extensions import EXEC_ANNOTATION, asked_flag
from runx.compiler.host.config import ANNOTATIONS, HostConfig
from runx.compiler.model import xl_keys
from runx.compiler.model.plan import XlValue
from runx.compiler.model.request import Container, NetworkRequest, XlRequest, XlStatement

_HINT = "the host's administrator decides in /etc/runx/runx.toml"


def check_policy(container: Container, host: HostConfig, report: Report) -> None:
    """Report settings that the policy forbids."""
    for name in container.annotations:
        if name in ANNOTATIONS and name not in host.annotations:
            report.error(
                "RX701", ("annotations", name), f"not allowed by policy.annotations ({host.where('policy.annotations')})", _HINT
            )
    for kind, file, allowed in (
        ("kernel", container.kernel, host.own_kernels),
        ("ramdisk", container.ramdisk, host.own_ramdisks),
    ):
        if file and file.in_root and not allowed:
            key = f"policy.own_{kind}s"
            message = f"a {kind} from the root filesystem is not allowed by {key} ({host.where(key)})"
            report.error("RX702", file.origin, message, _HINT)
    if container.xlconf:
        _check_xlconf(container.xlconf, host, report)


def allows_exec(container: Container, host: HostConfig, report: Report) -> bool:
    """Whether more processes may be started in the container, or in a pod's machine its ports be reached from dom0: policy.exec,
    which an annotation may narrow and not widen. A fault goes to `report`."""
    path = ("annotations", EXEC_ANNOTATION)
    asked = asked_flag(EXEC_ANNOTATION, container.annotations, "RX715", report)
    if why := container.why_not_with_runx or ("a pod's sandbox runs no program" if container.is_pod else ""):
        if asked:
            report.ignore("RX717", path, f"nothing can be started in it: {why}")
        return container.is_pod and host.exec and asked is not False
    if asked and not host.exec:
        report.error("RX716", path, f"not allowed by policy.exec ({host.where('policy.exec')})", _HINT)
    return host.exec and asked is not False


def with_host_network(container: Container, host: HostConfig) -> Container:
    """The container with a network on the bridge in place of the host's network (runx.toml, network.host), if it asks for
    that."""
    if "network" in container.namespaces or container.networks or not host.network_host:
        return container
    bridge = host.network_host
    if container.joins:
        return container._replace(host_bridge=bridge)  # its pod's machine is there
    asked, named = ("linux", "namespaces"), host.origin("network.host")
    request = NetworkRequest("host", bridge, None, None, (), (), (), (), (), path=asked, bridge_origin=named)
    return container._replace(networks=(request,), host_bridge=bridge)


def _check_xlconf(request: XlRequest, host: HostConfig, report: Report) -> None:
    """Report the most serious fault: first keys that nobody may set, then keys that this host does not allow, then values."""
    from runx.compiler.frontends.xlconf import label  # loaded already if there is such a request, and else not needed

    name = label(request.origin)
    for statement in request.statements:
        if why := xl_keys.reserved(statement.key):
            message = f"{name}{statement.key} cannot be set: {why}"
            report.error("RX711", request.origin, message, "leave it out", statement.at)
    refused = [statement for statement in request.statements if statement.key not in host.xlconf_keys]
    if refused:
        keys = [statement.key for statement in refused]
        guess = did_you_mean(keys[0], host.xlconf_keys) if len(keys) == 1 else ""
        message = f"{name}not allowed by policy.xlconf_keys ({host.where('policy.xlconf_keys')}): {', '.join(keys)}{guess}"
        line = f"xlconf_keys = {json.dumps([*host.xlconf_keys, *keys])}"
        hint = f"{line} in [policy] of /etc/runx/runx.toml would allow it to every container and image of this host"
        report.error("RX712", request.origin, message, hint, refused[0].at)
    for statement in request.statements:
        if fault := _fault(statement):
            report.error("RX713", request.origin, f"{name}{fault}", "", statement.at)


def _fault(statement: XlStatement) -> str:
    """The fault of a value that xl would silently misunderstand, or run. "" for none."""
    key, value = statement.key, statement.value
    if key in xl_keys.APPENDED:
        if not statement.adds:
            return f"{key} is a list that runx writes too: add to it with {key} += […]"
        if isinstance(value, str) or not all(isinstance(item, str) for item in value):
            return f"{key} is a list of strings"
    if key in xl_keys.LISTS and isinstance(value, str):
        return f"{key} is a list"
    if key in xl_keys.NUMBERS and not (isinstance(value, str) and xl_keys.is_number(value)):
        return f"{key} is a number"
    if key in xl_keys.PROGRAMS and any(re.search(r"script\s*=", text, re.IGNORECASE) for text in _strings(value)):
        return f"{key} names a script, which the host would run as root"
    return ""


def _strings(value: XlValue) -> list[str]:
    return [value] if isinstance(value, str) else [text for item in value for text in _strings(item)]
