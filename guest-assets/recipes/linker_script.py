"""The kernel's linker script for x86_64, without padding that a small guest would pay for.

Linux puts the code of its entries between two borders of 2 MiB, for page table isolation, and the end of its data at such a
border, for encrypted memory (arch/x86/kernel/vmlinux.lds.S, whatever the configuration). Our kernel has neither of the two. The
padding is within sections that stay in memory: 2 to 5 MiB of a machine of 64 MiB.
"""

import re

SCRIPT = "arch/x86/kernel/vmlinux.lds"
"""The script below the directory of objects: a target of the kernel's make, which runs the preprocessor."""
COMPACT = "runx.lds"
"""Our copy, which make takes for `KBUILD_LDS=`."""

_SECTIONS = (
    re.compile(r"^ *\.text : .*?^ *_etext = \.;", re.M | re.S),
    re.compile(r"^ *\.bss : .*?^ *__bss_stop = \.;", re.M | re.S),
)
_BORDER = ". = ALIGN((1 << 21));"
_PAGE = ". = ALIGN((1 << 12));"


def compact(script: str) -> str | None:
    """The script with borders of pages in place of those of 2 MiB in code and data; None for a script of an unknown form."""
    made = script
    for section in _SECTIONS:
        found = section.search(made)
        if not found:
            return None
        made = made[: found.start()] + found[0].replace(_BORDER, _PAGE) + made[found.end() :]
    return made if made != script else None
