"""The part that a container has in a pod, as the engines that make pods write it into annotations.

containerd's CRI plugin has names of its own (pkg/cri/annotations); cri-o and podman share theirs (pkg/annotations).
"""

from collections.abc import Sequence
from typing import Literal, cast

from runx.compiler.diagnostics import path_text
from runx.compiler.model.plan import Pod

_ANNOTATIONS = (
    ("io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"),
    ("io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"),
)
"""Of each family: the part, and the sandbox's id."""
_ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
"""Of the ids that these engines give; nothing that a path could be made of."""


_PODMAN = ("io.container.manager", "libpod")
_PODMAN_PAUSES = ["/catatonit", "-P"]
"""podman (4.3) does not mark the sandboxes of its pods, but this is what they run, of an image that podman makes for them. The
program does nothing but wait, so there is nothing else that could be asked for by it (catatonit(1), -P)."""


def read_pod(annotations: dict[str, str], args: Sequence[str]) -> Pod | None:
    """The part; None for a container of no pod. args: process.args."""
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
