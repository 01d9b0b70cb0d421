"""The guest kernel's command line."""

import json

from runx.compiler.model.plan import ARM, Domain
from runx.errors import RunxError

LIMITS = {"pv": 1023, "pvh": 2047}
"""Bytes. A longer line is silently cut off: for a PV guest by Xen's start_info (MAX_GUEST_CMDLINE in xen/include/public/xen.h),
for a PVH guest by Linux (COMMAND_LINE_SIZE on x86 and aarch64)."""
ARM_LIMIT = 1023
"""COMMAND_LINE_SIZE on 32-bit Arm."""


def command_line(domain: Domain) -> str:
    """The parameters, separated by spaces. Raises RunxError for one that the kernel could not separate, and for too many."""
    for parameter in domain.cmdline:
        # The kernel separates at spaces; double quotes protect them but cannot be protected themselves.
        if not parameter or not parameter.isascii() or not parameter.isprintable() or " " in parameter or '"' in parameter:
            message = f"kernel parameter {json.dumps(parameter)}: spaces, quotes and characters other than ASCII are not possible"
            raise RunxError(message, "change vm.kernel.parameters, or defaults.kernel_parameters of runx.toml", "RX903")
    line = " ".join(domain.cmdline)
    limit = ARM_LIMIT if domain.machine == "arm" else LIMITS[domain.type]
    if len(line) > limit:
        longest = max(domain.cmdline, key=len)
        shown = longest if len(longest) <= 40 else longest[:37] + "..."
        message = (
            f"the kernel command line has {len(line)} bytes; a {domain.type} guest takes {limit}. "
            f"The longest of its {len(domain.cmdline)} parameters is {shown}, with {len(longest)} bytes"
        )
        hint = "shorten vm.kernel.parameters, or defaults.kernel_parameters of runx.toml"
        if len(line) <= LIMITS["pvh"] and domain.machine not in ARM:
            hint += f'; defaults.type = "pvh" of runx.toml takes {LIMITS["pvh"]}'
        raise RunxError(message, hint, "RX903")
    return line
