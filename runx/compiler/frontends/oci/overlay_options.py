"""The options of a mount of type overlay: podman's `:O` volumes and volumes of images (Linux, filesystems/overlayfs.rst).

The host mounts it, in the mount namespace of the server of shares, and the guest binds what is shared. So it is a bind mount to
the rest of runx, whose `data` are the options of the overlay.
"""

import posixpath
import re
from collections import Counter

from runx.compiler.diagnostics import Path, Report, quote
from runx.linux.overlay import DIRECTORIES, paths, split_options

_OTHERS = {"index": "(on|off)", "metacopy": "(on|off)", "redirect_dir": "(on|off|follow|nofollow)", "xino": "(on|off|auto)"}
_WORDS = ("volatile", "userxattr")


def read_overlay(elements: list[str], path: Path, report: Report) -> tuple[list[str], tuple[str, ...]]:
    """The options without those of the overlay, at the same places, and the overlay's own. Faults go to `report`.

    A comma or a colon in a path has a backslash before it.
    """
    left: list[str] = []
    found: dict[str, str] = {}
    for index, element in enumerate(elements):
        others = []
        for text in split_options(element):
            word, equals, value = text.partition("=")
            if word in DIRECTORIES and not all(part.startswith("/") for part in paths(word, value)):
                report.error("RX323", (*path, index), f"{word} must be absolute paths, not {quote(value)}")
            elif word in _OTHERS and not re.fullmatch(_OTHERS[word], value):
                report.error("RX323", (*path, index), f"{quote(text)}: no value of {word}")
            elif (word in DIRECTORIES or word in _OTHERS) or (word in _WORDS and not equals):
                found[word] = text
            else:
                others.append(text)
        left.append(",".join(others))
    lower, upper, work = (paths(word, found.get(word, "").partition("=")[2]) for word in DIRECTORIES)
    if report.has_errors_below(path):
        pass  # what is missing may be what is wrong
    elif ("upperdir" in found) != ("workdir" in found):
        report.error("RX323", path, "an overlay has upperdir and workdir, or none of them")
    elif not lower or ("upperdir" not in found and len(lower) < 2):
        report.error("RX323", path, "an overlay needs lowerdir, of two directories without upperdir", "lowerdir=/one:/two")
    elif len(lower) > LAYERS_MAX:
        report.error("RX323", path, f"{len(lower)} lower directories are more than one mount takes ({LAYERS_MAX})")
    elif fault := _contradiction([*lower, *upper], work, found):
        report.error("RX323", path, *fault)
    return left, tuple(found.values())


LAYERS_MAX = 200
"""Lower directories of an overlay. The kernel takes 500 (Linux, fs/overlayfs, OVL_MAX_STACK), and their names together must fit
into a page."""


def _contradiction(layers: list[str], work: list[str], options: dict[str, str]) -> tuple[str, str] | None:
    """What the kernel refuses about directories and settings that each are right, and a hint; None if nothing is known."""
    plain = [posixpath.normpath(layer) for layer in layers]
    if twice := next((layer for layer, count in Counter(plain).items() if count > 1), ""):
        return f"{quote(twice)} is in an overlay twice", "name each directory once"
    if work:
        one, other = f"{plain[-1]}/", f"{posixpath.normpath(work[0])}/"  # the last layer is upperdir
        if one.startswith(other) or other.startswith(one):
            return "one of upperdir and workdir is in the other", "use two directories beside each other, on one file system"
    redirect = options.get("redirect_dir", "redirect_dir=on")
    if options.get("metacopy") == "metacopy=on" and redirect != "redirect_dir=on":
        return f"metacopy=on contradicts {redirect}", "leave one of them out"
    if "userxattr" in options and (options.get("metacopy") == "metacopy=on" or options.get("redirect_dir") == "redirect_dir=on"):
        return "userxattr contradicts metacopy=on and redirect_dir=on", "leave one of them out"
    return None


def directories_of(data: tuple[str, ...]) -> list[str]:
    """All directories that the options of an overlay name, the lower ones first."""
    named = dict(text.partition("=")[::2] for text in data)
    return [path for word in DIRECTORIES for path in paths(word, named.get(word, ""))]
