"""The part that a container has in a pod, from the annotations of the engines that make pods.

containerd's CRI plugin has its own names (pkg/cri/annotations). cri-o and podman share theirs (pkg/annotations).
"""

from collections.abc import Sequence
from typing import Literal, cast

from runx.compiler.diagnostics import Path, Report, path_text, quote
from runx.compiler.model.plan import Pod
from runx.compiler.model.request import Limits

_ANNOTATIONS = (
    ("io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"),
    ("io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"),
)
"""For each family of engines: the annotations with the part, and with the sandbox's id."""
_ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
"""Characters of these engines' ids. No other character of a path is among them."""


_PODMAN = ("io.container.manager", "libpod")
_PODMAN_ID = _ANNOTATIONS[1][1]
"""podman 5 gives a container of a pod the sandbox's id alone, without its part."""
_PODMAN_PAUSES = ["/catatonit", "-P"]
"""podman (4.3 to 5.8) does not mark the sandboxes of its pods, but they run this command, from an image that podman makes for
them. The program only waits, so no user has another reason to run it (catatonit(1), -P)."""


def read_pod(annotations: dict[str, str], args: Sequence[str]) -> Pod | None:
    """The part; None for a container without a pod. args: process.args."""
    for type_name, id_name in _ANNOTATIONS:
        part = annotations.get(type_name)
        if part in ("sandbox", "container"):
            return _pod(cast(Literal["sandbox", "container"], part), annotations.get(id_name, ""), ("annotations", type_name))
    if annotations.get(_PODMAN[0]) == _PODMAN[1]:
        if list(args) == _PODMAN_PAUSES:
            return _pod("sandbox", "", ("process", "args"))
        if _PODMAN_ID in annotations:
            return _pod("container", annotations[_PODMAN_ID], ("annotations", _PODMAN_ID))
    return None


def _pod(part: Literal["sandbox", "container"], sandbox_id: str, origin: Path) -> Pod:
    known = sandbox_id if _ID_CHARACTERS.issuperset(sandbox_id) else ""
    return Pod(part=part, sandbox_id=known, origin=path_text(origin))


_SIZES = "io.kubernetes.cri.sandbox-"
"""Begins what containerd (from 1.6 on) tells a sandbox of the whole pod, as a kubelet does: the sum of its containers' limits."""


def read_pod_limits(annotations: dict[str, str], own: Limits, pod: Pod | None, report: Report) -> Limits:
    """The limits of a pod, of its sandbox's annotations; `own`, those of linux.resources, for what they do not tell, and for
    containers. Zero and negative numbers mean no limit. Faults go to `report`."""
    if not pod or pod.part != "sandbox":
        return own
    found = {name: _size(annotations, _SIZES + name, report) for name in ("memory", "cpu-quota", "cpu-period", "cpu-shares")}
    return own._replace(
        memory_bytes=found["memory"] or own.memory_bytes,
        cpu_quota_us=found["cpu-quota"] or own.cpu_quota_us,
        cpu_period_us=found["cpu-period"] or own.cpu_period_us,
        # The weight of a sandbox in linux.resources is that of a program which only waits.
        cpu_shares=found["cpu-shares"],
    )


def _size(annotations: dict[str, str], name: str, report: Report) -> int | None:
    text = annotations.get(name, "")
    digits = text.removeprefix("-")
    if text and (not digits.isascii() or not digits.isdigit() or len(digits) > 18):
        report.error("RX437", ("annotations", name), f"must be a number, not {quote(text)}", "leave it out for no limit")
        return None
    return int(text) if text and int(text) > 0 else None
