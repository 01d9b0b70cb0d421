"""The container's seccomp filter: its description in the plan, and the program that the guest loads."""

import hashlib

from runx.compiler.diagnostics import Report
from runx.compiler.host.config import HostConfig
from runx.compiler.host.facts import Facts, FilterError, NoFilters
from runx.compiler.model.plan import SECCOMP_FLAGS, Seccomp
from runx.compiler.model.request import Container
from runx.paths import HOST_CONFIG

_HINT = "change or leave out the rule"
_HINT_OF_ALL = "name fewer system calls, or fewer conditions on their arguments"


def with_filter(container: Container, host: HostConfig, facts: Facts, report: Report) -> tuple[Container, bytes]:
    """The container with the description of its filter, and the program, which is empty if there is none."""
    path = ("linux", "seccomp")
    profile = container.document.get("linux", {}).get("seccomp")
    if profile is None or container.ramdisk or container.is_sandbox or report.has_errors_below(path):
        return container, b""
    if not profile.get("defaultAction"):
        report.ignore("RX446", path, "no filter is loaded: it has neither a default action nor rules, as in runc")
        return container, b""
    try:
        program = facts.filter(profile)
    except NoFilters as error:
        if host.seccomp_optional or error.is_elsewhere:
            report.ignore("RX443", path, f"no filter is loaded: {error}")
        else:
            hint = f"install libseccomp (Debian: libseccomp2), or allow none: seccomp_optional in [policy] of {HOST_CONFIG}"
            report.error("RX445", path, f"no filter can be made: {error}", hint)
        return container, b""
    except FilterError as error:
        hint = _HINT if error.place else _HINT_OF_ALL
        report.error("RX444", (*path, *error.place), f"not a profile that the kernel can follow: {error}", hint)
        return container, b""
    seccomp = Seccomp(
        default_action=profile["defaultAction"],
        system_calls=len({name for rule in profile.get("syscalls", ()) for name in rule["names"]}),
        instructions=len(program) // 8,
        sha256=hashlib.sha256(program).hexdigest(),
        flags=tuple(sorted(SECCOMP_FLAGS.keys() & set(profile.get("flags", ())))),
    )
    return container._replace(process=container.process.model_copy(update={"seccomp": seccomp})), program
