"""The part that a container has in a pod, from the annotations of the engines that make pods.

containerd's CRI plugin has its own names (pkg/cri/annotations). cri-o and podman share theirs (pkg/annotations).
"""

from collections.abc import Sequence
from typing import Literal, cast

from runx.compiler.diagnostics import path_text
from runx.compiler.model.plan import Pod

_ANNOTATIONS = (
    ("io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"),
    ("io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"),
)
"""For each family of engines: the annotations with the part, and with the sandbox's id."""
_ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
"""Characters of these engines' ids. No other character of a path is among them."""


_PODMAN = ("io.container.manager", "libpod")
_PODMAN_PAUSES = ["/catatonit", "-P"]
"""podman (4.3) does not mark the sandboxes of its pods, but they run this command, from an image that podman makes for them. The
program only waits, so no user has another reason to run it (catatonit(1), -P)."""


def read_pod(annotations: dict[str, str], args: Sequence[str]) -> Pod | None:
    """The part; None for a container without a pod. args: process.args."""
    for type_name, id_name in _ANNOTATIONS:
        part = annotations.get(type_name)
        if part in ("sandbox", "container"):
            sandbox_id = annotations.get(id_name, "")
            return Pod(
                part=cast(Literal["sandbox", "container"], part),
                sandbox_id=sandbox_id if _ID_CHARACTERS.issuperset(sandbox_id) else "",
                origin=path_text(("annotations", type_name)),
            )
    if annotations.get(_PODMAN[0]) == _PODMAN[1] and list(args) == _PODMAN_PAUSES:
        return Pod(part="sandbox", sandbox_id="", origin=path_text(("process", "args")))
    return None
