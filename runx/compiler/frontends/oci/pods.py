"""The part that a container has in a pod, from the annotations of the engines that make pods.

containerd's CRI plugin has its own names (pkg/cri/annotations). cri-o and podman share theirs (pkg/annotations).
"""

from collections.abc import Sequence
from typing import Literal, cast

from runx.compiler.diagnostics import Path, path_text
from runx.compiler.model.plan import Pod

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
