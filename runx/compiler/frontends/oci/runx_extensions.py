"""What a container brings in its root filesystem to boot from: a kernel (the annotation org.runx.kernel, or RUNX_KERNEL in its
environment) and a ramdisk (org.runx.ramdisk, RUNX_RAMDISK)."""

from collections.abc import Mapping, Sequence
from typing import Literal

from runx.compiler.diagnostics import Path, Report, did_you_mean
from runx.compiler.model.request import BootFile

PREFIX = "org.runx."
XLCONF_ANNOTATION = PREFIX + "xlconf"
ROOT_CARRIER_ANNOTATION = PREFIX + "root.carrier"
KINDS: tuple[Literal["kernel", "ramdisk"], ...] = ("kernel", "ramdisk")


def asked(
    variable: str, annotation: str, env: Sequence[str], annotations: Mapping[str, str], report: Report
) -> tuple[str, Path] | None:
    """What a container asks of runx, and where it says so. An annotation is the engine's word and goes before the variable, which
    may be the image's. Of a variable given twice the last counts, as it does for the process."""
    found: list[tuple[str, Path]] = [
        (entry.partition("=")[2], ("process", "env", index))
        for index, entry in enumerate(env)
        if entry.partition("=")[0] == variable
    ]
    if annotation not in annotations:
        return found[-1] if found else None
    for _, origin in found:
        report.ignore("RX232", origin, f"the annotation {annotation} goes before it")
    return annotations[annotation], ("annotations", annotation)


def read_own_file(
    kind: Literal["kernel", "ramdisk"], env: Sequence[str], annotations: Mapping[str, str], report: Report
) -> BootFile | None:
    """The file asked for, if any. An empty value asks for nothing, so that a user can take back what an image says."""
    path, origin = asked(f"RUNX_{kind.upper()}", PREFIX + kind, env, annotations, report) or ("", ())
    return BootFile("/" + path.lstrip("/"), True, origin) if path else None


def check_annotations(annotations: Mapping[str, str], report: Report) -> None:
    """Report those that would speak to runx, but say nothing it knows."""
    known = (*(PREFIX + kind for kind in KINDS), XLCONF_ANNOTATION, ROOT_CARRIER_ANNOTATION)
    for name in annotations:
        if name.startswith(PREFIX) and name not in known:
            report.ignore("RX703", ("annotations", name), f"means nothing to runx{did_you_mean(name, known)}")
