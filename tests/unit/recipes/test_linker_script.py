"""The kernel's linker script, without padding in what stays in memory."""

import sys

from guestbox import CHECKOUT

sys.path[:0] = [str(CHECKOUT / "guest-assets"), str(CHECKOUT / "tools")]

from recipes import linker_script  # noqa: E402

# The lines of arch/x86/kernel/vmlinux.lds that matter, as the preprocessor leaves them in Linux 6.12.
SCRIPT = """\
SECTIONS
{
 .text : AT(ADDR(.text) - 0xffffffff80000000) {
  _text = .;
  . = ALIGN(16); *(.text .text.fixup)
  . = ALIGN((1 << 21));
  . = ALIGN(16); __entry_text_start = .; *(.entry.text) __entry_text_end = .;
  . = ALIGN((1 << 21));
 } :text = 0xcccccccc
 _etext = .;
 . = ALIGN((1 << 21));
 . = ALIGN(((1 << 12))); .rodata : AT(ADDR(.rodata) - 0xffffffff80000000) { __start_rodata = .; *(.rodata) }
 . = ALIGN((1 << 21)); __end_rodata_hpage_align = .;
 .bss : AT(ADDR(.bss) - 0xffffffff80000000) {
  *(.bss)
  . = ALIGN((1 << 21)); __start_bss_decrypted = .; *(.bss..decrypted); . = ALIGN((1 << 21)); __end_bss_decrypted = .;
  __bss_stop = .;
 }
}
"""


def test_only_borders_inside_code_and_data_go() -> None:
    """Those between sections stay: Linux frees the space there, and protects what is between them."""
    made = linker_script.compact(SCRIPT)
    assert made is not None
    changed = [(old.strip(), new.strip()) for old, new in zip(SCRIPT.splitlines(), made.splitlines(), strict=True) if old != new]
    border, page = ". = ALIGN((1 << 21));", ". = ALIGN((1 << 12));"
    assert changed[:2] == [(border, page), (border, page)]
    assert len(changed) == 3 and changed[2][1] == changed[2][0].replace(border, page)
    assert [line.strip() for line in made.splitlines() if border in line] == [
        border,
        f"{border} __end_rodata_hpage_align = .;",
    ]


def test_a_script_without_the_borders_of_data() -> None:
    """Linux 7.2 has them for encrypted memory alone."""
    start = SCRIPT.index("  . = ALIGN((1 << 21)); __start_bss")
    script = SCRIPT[:start] + SCRIPT[SCRIPT.index("  __bss_stop") :]
    made = linker_script.compact(script)
    assert made is not None and made.count("(1 << 21)") == 2


def test_an_unknown_form_is_left_alone() -> None:
    assert linker_script.compact(SCRIPT.replace("_etext", "_end_of_text")) is None
    assert linker_script.compact(SCRIPT.replace("(1 << 21)", "(2 << 20)")) is None
