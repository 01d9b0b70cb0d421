"""Flags for the kernel's compiler, in place of what Linux's configuration does not offer."""

import re
import sys
from pathlib import Path

import pytest

from guestbox import CHECKOUT

sys.path[:0] = [str(CHECKOUT / "guest-assets"), str(CHECKOUT / "tools")]

from recipes import kernel_flags  # noqa: E402

# The lines of arch/x86/include/asm/sparsemem.h that matter, in Linux 6.12.
HEADER = """\
#ifndef _ASM_X86_SPARSEMEM_H
#define _ASM_X86_SPARSEMEM_H
# define SECTION_SIZE_BITS\t27 /* matt - 128 is convenient right now */
# define MAX_PHYSMEM_BITS\t(pgtable_l5_enabled() ? 52 : 46)
#endif
"""


def tree(directory: Path, header: str) -> Path:
    path = directory / "arch/x86/include/asm/sparsemem.h"
    path.parent.mkdir(parents=True)
    path.write_text(header)
    return directory


def test_the_flags_replace_every_value_of_the_header(tmp_path: Path) -> None:
    flags = kernel_flags.for_x86_64(tree(tmp_path, HEADER))
    assert flags is not None
    defined = set(re.findall(r"-D(\w+)", " ".join(flags)))
    assert defined == set(re.findall(r"define (\w+)", HEADER))


@pytest.mark.parametrize("change", [("27", "28"), ("_ASM_X86_SPARSEMEM_H", "_ASM_SPARSEMEM_H")])
def test_a_header_of_another_form_is_left_alone(change: tuple[str, str], tmp_path: Path) -> None:
    assert kernel_flags.for_x86_64(tree(tmp_path, HEADER.replace(*change))) is None


def test_a_source_without_the_header_is_left_alone(tmp_path: Path) -> None:
    assert kernel_flags.for_x86_64(tmp_path) is None


def test_headers_are_included_before_the_sources_of_their_names() -> None:
    flags = kernel_flags.for_all()
    assert [flag.partition("=")[0] for flag in flags] == ["CFLAGS_xenbus_probe_frontend.o", "CFLAGS_trans_xen.o"]
    for flag in flags:
        header = Path(flag.rpartition(" ")[2])
        assert header.read_text().startswith("/* Included before Linux's ") and f"/{header.stem}.c." in header.read_text()
