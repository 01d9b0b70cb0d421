"""The options of a mount of type overlay: podman's `:O` volumes and volumes of images (Linux, filesystems/overlayfs.rst).

The host mounts it, in the mount namespace of the server of shares, and the guest binds what is shared. So it is a bind mount to
the rest of runx, whose `data` are the options of the overlay.
"""

import re

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
    lower = paths("lowerdir", found.get("lowerdir", "=").partition("=")[2])
    if report.has_errors_below(path):
        pass  # what is missing may be what is wrong
    elif ("upperdir" in found) != ("workdir" in found):
        report.error("RX323", path, "an overlay has upperdir and workdir, or none of them")
    elif not lower or ("upperdir" not in found and len(lower) < 2):
        report.error("RX323", path, "an overlay needs lowerdir, of two directories without upperdir", "lowerdir=/one:/two")
    return left, tuple(found.values())


def directories_of(data: tuple[str, ...]) -> list[str]:
    """All directories that the options of an overlay name, the lower ones first."""
    named = dict(text.partition("=")[::2] for text in data)
    return [path for word in DIRECTORIES for path in paths(word, named.get(word, ""))]
