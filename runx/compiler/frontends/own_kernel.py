"""A kernel that a container brings in its root filesystem: the annotation org.runx.kernel, or RUNX_KERNEL in its environment."""

from collections.abc import Mapping, Sequence

from runx.compiler.diagnostics import Report, did_you_mean
from runx.compiler.frontends.container import KernelRequest

ANNOTATION = "org.runx.kernel"
XLCONF_ANNOTATION = "org.runx.xlconf"
VARIABLE = "RUNX_KERNEL"
PREFIX = "org.runx."
_NOT_YET = {"org.runx.ramdisk": "ramdisks from the container's root filesystem are not supported yet"}


def read_own_kernel(env: Sequence[str], annotations: Mapping[str, str], report: Report) -> KernelRequest | None:
    """The kernel asked for, if any. An annotation is the engine's word and goes before the variable, which may be the image's.

    An empty value asks for nothing, so that a user can take back what an image says.
    """
    _other_annotations(annotations, report)
    requests = [
        KernelRequest(entry.partition("=")[2], True, ("process", "env", index))
        for index, entry in enumerate(env)
        if entry.partition("=")[0] == VARIABLE
    ]
    if ANNOTATION in annotations:
        for request in requests:
            report.ignore(request.origin, f"the annotation {ANNOTATION} goes before it")
        requests.append(KernelRequest(annotations[ANNOTATION], True, ("annotations", ANNOTATION)))
    # Of a variable given twice the last counts, as it does for the process.
    if not requests or not requests[-1].path:
        return None
    return requests[-1]._replace(path="/" + requests[-1].path.lstrip("/"))


def _other_annotations(annotations: Mapping[str, str], report: Report) -> None:
    for name in annotations:
        if name in _NOT_YET:
            report.error(("annotations", name), _NOT_YET[name], "leave the annotation out")
        elif name.startswith(PREFIX) and name not in (ANNOTATION, XLCONF_ANNOTATION):
            report.ignore(("annotations", name), f"means nothing to runx{did_you_mean(name, (ANNOTATION, XLCONF_ANNOTATION))}")
