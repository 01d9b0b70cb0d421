"""Flags for the compiler of the kernel: what a small guest wants, and Linux's configuration does not offer.

They are variables of the kernel's make (Documentation/kbuild/kbuild.rst), so the source stays as it is.
"""

from pathlib import Path

from recipes.settings import ASSETS

INCLUDED = (ASSETS / "kernel" / "xenbus_probe_frontend.h", ASSETS / "kernel" / "trans_xen.h")
"""Each is included before the source of its name."""
_SPARSEMEM = "arch/x86/include/asm/sparsemem.h"
_GUARD = "_ASM_X86_SPARSEMEM_H"
_SECTION = "# define SECTION_SIZE_BITS\t27 "


def for_all() -> list[str]:
    """Variables for every architecture."""
    return [f"CFLAGS_{header.stem}.o=-include {header}" for header in INCLUDED]


def for_x86_64(tree: Path) -> list[str] | None:
    """Further variables for x86_64; None for a source of an unknown form."""
    header = tree / _SPARSEMEM
    text = header.read_text(errors="replace") if header.exists() else ""
    if f"#ifndef {_GUARD}\n" not in text or _SECTION not in text:
        return None
    # Linux describes the frames of whole sections of memory. With 64 MiB in place of 128, the smallest PV guest has half as many
    # descriptions, which are 1 MiB. In place of the header: its values for 64 bits and four levels of page tables.
    sections = f"-D{_GUARD} -DSECTION_SIZE_BITS=26 -DMAX_PHYSMEM_BITS=46"
    # Linux for x86 aligns functions to 16 bytes, even if it is optimised for size.
    return [f"KCPPFLAGS={sections}", "KCFLAGS=-falign-functions=1"]
