"""What a container brings in its root filesystem to boot from: a kernel (the annotation org.runx.kernel, or RUNX_KERNEL in its
environment) and a ramdisk (org.runx.ramdisk, RUNX_RAMDISK)."""

from collections.abc import Mapping, Sequence
from typing import Literal

from runx.compiler.diagnostics import Report, did_you_mean
from runx.compiler.frontends.container import BootFile

PREFIX = "org.runx."
XLCONF_ANNOTATION = PREFIX + "xlconf"
KINDS: tuple[Literal["kernel", "ramdisk"], ...] = ("kernel", "ramdisk")


def read_own_file(
    kind: Literal["kernel", "ramdisk"], env: Sequence[str], annotations: Mapping[str, str], report: Report
) -> BootFile | None:
    """The file asked for, if any. An annotation is the engine's word and goes before the variable, which may be the image's.

    An empty value asks for nothing, so that a user can take back what an image says.
    """
    variable, annotation = f"RUNX_{kind.upper()}", PREFIX + kind
    requests = [
        BootFile(entry.partition("=")[2], True, ("process", "env", index))
        for index, entry in enumerate(env)
        if entry.partition("=")[0] == variable
    ]
    if annotation in annotations:
        for request in requests:
            report.ignore(request.origin, f"the annotation {annotation} goes before it")
        requests.append(BootFile(annotations[annotation], True, ("annotations", annotation)))
    # Of a variable given twice the last counts, as it does for the process.
    if not requests or not requests[-1].path:
        return None
    return requests[-1]._replace(path="/" + requests[-1].path.lstrip("/"))


def check_annotations(annotations: Mapping[str, str], report: Report) -> None:
    """Report those that would speak to runx, but say nothing it knows."""
    known = (*(PREFIX + kind for kind in KINDS), XLCONF_ANNOTATION)
    for name in annotations:
        if name.startswith(PREFIX) and name not in known:
            report.ignore(("annotations", name), f"means nothing to runx{did_you_mean(name, known)}")
