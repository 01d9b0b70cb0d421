"""Annotations org.runx.* and variables of process.env that are for runx, such as a kernel and a ramdisk in the container's root
filesystem (org.runx.kernel or RUNX_KERNEL, org.runx.ramdisk or RUNX_RAMDISK)."""

from collections.abc import Mapping, Sequence
from typing import Literal

from runx.compiler.diagnostics import Path, Report, did_you_mean, quote
from runx.compiler.model.request import BootFile

PREFIX = "org.runx."
EXEC_ANNOTATION = PREFIX + "exec"
XLCONF_ANNOTATION = PREFIX + "xlconf"
POD_MACHINE_ANNOTATION = PREFIX + "pods.machine"
ROOT_CARRIER_ANNOTATION = PREFIX + "root.carrier"
ROOT_LAYER_SIZE_ANNOTATION = PREFIX + "root.layer_size"
ROOT_WRITE_BACK_ANNOTATION = PREFIX + "root.write_back"
SYNC_CLOCK_ANNOTATION = PREFIX + "sync_clock"
KINDS: tuple[Literal["kernel", "ramdisk"], ...] = ("kernel", "ramdisk")


def asked(
    variable: str, annotation: str, env: Sequence[str], annotations: Mapping[str, str], report: Report
) -> tuple[str, Path] | None:
    """The value of a setting for runx, and its place; None if there is none. The annotation is from the engine, and goes before
    the variable, which may be from the image. If a variable is given twice, the last one counts, as in the process."""
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


def asked_flag(name: str, annotations: Mapping[str, str], fault_id: str, report: Report) -> bool | None:
    """The value of an annotation that is true or false; None if there is none, or another word, which is a fault."""
    value = annotations.get(name)
    if value not in (None, "true", "false"):
        report.error(
            fault_id, ("annotations", name), f"{quote(value)} is neither true nor false", "use one of them, or leave it out"
        )
        return None
    return None if value is None else value == "true"


def read_own_file(
    kind: Literal["kernel", "ramdisk"], env: Sequence[str], annotations: Mapping[str, str], report: Report
) -> BootFile | None:
    """The file that the container asks for, if any. An empty value asks for none: so a user can undo the image's variable."""
    path, origin = asked(f"RUNX_{kind.upper()}", PREFIX + kind, env, annotations, report) or ("", ())
    return BootFile("/" + path.lstrip("/"), True, origin) if path else None


def check_annotations(annotations: Mapping[str, str], report: Report) -> None:
    """Report annotations for runx that runx does not know."""
    of_kinds = (PREFIX + kind for kind in KINDS)
    of_root = (ROOT_CARRIER_ANNOTATION, ROOT_LAYER_SIZE_ANNOTATION, ROOT_WRITE_BACK_ANNOTATION)
    known = (*of_kinds, EXEC_ANNOTATION, XLCONF_ANNOTATION, POD_MACHINE_ANNOTATION, *of_root, SYNC_CLOCK_ANNOTATION)
    for name in annotations:
        if name.startswith(PREFIX) and name not in known:
            report.ignore("RX703", ("annotations", name), f"means nothing to runx{did_you_mean(name, known)}")
