"""The compiler: from an OCI bundle to the plan of a virtual machine and everything that is made from the plan.

compile() is the whole of it. Each line is a module: the frontends read, the checks refuse, resolve.py decides, the
backends write.
"""

from typing import NamedTuple

from runx.compiler.backends.cmdline import command_line
from runx.compiler.backends.overlay import overlay
from runx.compiler.backends.xl_config import xl_config
from runx.compiler.checks import check
from runx.compiler.diagnostics import Report
from runx.compiler.facts import Facts, HostFacts
from runx.compiler.filters import with_filter
from runx.compiler.frontends.oci import read_container
from runx.compiler.host_config import read_host_config
from runx.compiler.limits import kept_limits
from runx.compiler.mount_carrier import unshared_mounts
from runx.compiler.plan import VmPlan, copy_of
from runx.compiler.policy import check_policy, with_host_network
from runx.compiler.resolve import Place, resolve
from runx.compiler.root_carrier import choose_root
from runx.compiler.sandbox import as_sandbox
from runx.compiler.sizing import sizing_of
from runx.compiler.source import Source
from runx.cpio import OverlayFile, archive


class Artifacts(NamedTuple):
    """What is written for a container, as text and bytes; of a sandbox the plan alone."""

    plan_json: str
    domain_cfg: str
    cmdline: str
    overlay: tuple[OverlayFile, ...]
    overlay_cpio: bytes
    """To be appended to a copy of the base initrd."""


class Compilation(NamedTuple):
    plan: VmPlan
    artifacts: Artifacts
    kept_limits: str
    """For `runx update`, as text (limits.py); empty when there is no machine."""


def compile(  # noqa: A001  # as re.compile; builtins.compile has no use here
    bundle: str,
    *,
    container_id: str,
    state_root: str,
    assets: str,
    facts: Facts | None = None,
    name: str = "config.json",
    root_carrier: str = "",
) -> Compilation:
    """Compile the bundle at the absolute path `bundle`. Changes nothing and, but for `facts`, looks at nothing.

    The container's directory will be `state_root`/`container_id`; `assets` holds the guest's kernel and initrd, which need
    not exist yet; `name` is what messages call the configuration; `root_carrier` is what the command line says of the root's
    carrier. Raises RunxError when there is no configuration,
    CompileError (a RunxError) with all faults of it at once.
    """
    facts = facts or HostFacts()
    host = read_host_config(facts.host_config())
    report = Report()
    source = Source(facts.config(bundle), name)
    container = with_host_network(as_sandbox(read_container(source, bundle, facts.netconf, report)), host)
    check(container, facts, report)
    check_policy(container, host, report)
    root = choose_root(container, host, root_carrier, facts, report)
    container, program = with_filter(container, facts, report)
    report.raise_errors(source.locate, source.name, source.text)
    unshared = unshared_mounts(container, host, facts)
    plan = resolve(container, Place(container_id, bundle, state_root, assets), host, facts, root, unshared, report)
    copies = tuple(
        OverlayFile(copy_of(slot)[1:], file.mode, file.content, file.uid, file.gid)
        for slot, file in enumerate(unshared.files.values())
    )
    domain, kept = plan.domain, ""
    if domain:
        sizing = sizing_of(container, len(domain.shares), len(domain.disks), plan.root.images_mib, host)
        kept = kept_limits(source, sizing, domain)
    return Compilation(plan, artifacts(plan, program, copies), kept)


def artifacts(plan: VmPlan, seccomp_program: bytes = b"", copies: tuple[OverlayFile, ...] = ()) -> Artifacts:
    """Everything that is made of a plan. Raises RunxError for a value that cannot be written where it has to be."""
    if plan.domain is None:
        return Artifacts(plan.model_dump_json(indent=2) + "\n", "", "", (), b"")
    cmdline = command_line(plan.domain)
    files = overlay(plan, seccomp_program, copies)
    return Artifacts(
        plan_json=plan.model_dump_json(indent=2) + "\n",
        domain_cfg=xl_config(plan.domain, cmdline),
        cmdline=cmdline + "\n",
        overlay=files,
        overlay_cpio=archive(files),
    )
