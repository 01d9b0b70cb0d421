"""The `mounts` array (OCI config.md, "Mounts")."""

import posixpath
import re
from typing import Any

from runx.compiler.diagnostics import Path, Report, did_you_mean, quote
from runx.compiler.frontends.oci import paths
from runx.compiler.frontends.oci.mount_flags import BIND
from runx.compiler.frontends.oci.mount_options import DataWords, parse_options, sort_options
from runx.compiler.model.request import MountOptions, MountRequest

# The file systems that the guest's kernel makes, and their own options (the kernel's fs_parameter_spec tables).
GUEST_TYPES = {
    "tmpfs": DataWords(
        ("inode32", "inode64", "noswap", "quota", "usrquota", "grpquota"),
        (
            "size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "huge", "mpol",
            *(f"{whose}quota_{what}_hardlimit" for whose in ("usr", "grp") for what in ("block", "inode")),
        ),
        any_setting=True,
    ),
    "ramfs": DataWords((), ("mode",)),
    "proc": DataWords((), ("hidepid", "gid", "subset")),
    "sysfs": DataWords(),
    "devpts": DataWords(("newinstance",), ("ptmxmode", "mode", "uid", "gid", "max")),
    "mqueue": DataWords(),
    "cgroup": DataWords(),
    "cgroup2": DataWords(
        (
            "nsdelegate", "favordynmods", "memory_localevents", "memory_recursiveprot", "memory_hugetlb_accounting",
            "pids_localevents",
        ),
    ),
}  # fmt: skip

# Options of engines for version 1 of cgroups. The guest has version 2 alone.
_CGROUP1_WORDS = (
    "all", "blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "net_cls", "net_prio", "perf_event",
    "pids", "rdma", "xattr", "noprefix", "clone_children", "none",
)  # fmt: skip


def read_mounts(mounts: list[dict[str, Any]], bundle: str, report: Report) -> tuple[MountRequest, ...]:
    """The mounts of a checked document. Faults of types, options and paths go to `report`."""
    return tuple(_mount(entry, ("mounts", index), bundle, report) for index, entry in enumerate(mounts))


def _mount(entry: dict[str, Any], path: Path, bundle: str, report: Report) -> MountRequest:
    destination = entry.get("destination", "")
    if not destination:
        report.error("RX301", (*path, "destination"), "must be a path inside the container", "write a path such as /data")
    # config.md: a relative destination is deprecated, and relative to "/".
    destination = paths.absolute(destination)
    if destination == "/":
        report.error("RX302", (*path, "destination"), "would hide the root filesystem", "set root.path to what should be there")

    kind = entry.get("type", "")
    if kind == "overlay":
        return _overlay(entry, destination, path, report)
    words = {word for element in entry.get("options", ()) for word in re.split("[,:]", element)}
    is_bind = kind == "bind" or bool(words & BIND.keys())
    if not is_bind and kind not in GUEST_TYPES:
        what = f"file systems of type {quote(kind)} are not supported" if kind else "missing, and the options have no bind"
        hint = f"supported are bind, overlay, {', '.join(GUEST_TYPES)}"
        report.error("RX303", (*path, "type"), f"{what}{did_you_mean(kind, (*GUEST_TYPES, 'bind'))}", hint)
        # What its options mean is not known.
        return MountRequest(destination, kind, "", MountOptions((), (), (), False, False), path)
    options = parse_options(entry.get("options", []), (*path, "options"), report)
    if is_bind:
        sorted_options = sort_options(options, "bind", DataWords(), report)
        return MountRequest(destination, "bind", _bind_source(entry, path, bundle, report), sorted_options, path)

    if kind == "cgroup":
        kind = "cgroup2"
        for option in [option for option in options if option.word in _CGROUP1_WORDS or option.word == "name"]:
            report.ignore("RX304", option.path, f"{quote(option.word)} is of cgroups version 1; the guest has version 2")
            options.remove(option)
    source = entry.get("source") or kind
    return MountRequest(destination, kind, source, sort_options(options, kind, GUEST_TYPES[kind], report), path)


def _overlay(entry: dict[str, Any], destination: str, path: Path, report: Report) -> MountRequest:
    """A mount of type overlay, as the bind mount of what the host mounts. Its source is the topmost lower directory."""
    # Few containers have one.
    from runx.compiler.frontends.oci.overlay_options import directories_of, read_overlay

    place = (*path, "options")
    others, data = read_overlay(entry.get("options", []), place, report)
    options = sort_options(parse_options(others, place, report), "overlay", DataWords(), report)
    source = next(iter(directories_of(data)), "")
    return MountRequest(destination, "bind", source, options._replace(data=data, recursive=False), path)


def _bind_source(entry: dict[str, Any], path: Path, bundle: str, report: Report) -> str:
    source: str = entry.get("source", "")
    if not source:
        report.error(
            "RX305", (*path, "source"), "missing: a bind mount needs a source", "name a path of the host; a tmpfs needs none"
        )
    return source if source.startswith("/") else posixpath.join(bundle, source)
