"""The compiler: from an OCI bundle to the plan of a virtual machine and everything that is made from the plan.

compile() is the whole of it. Each line is a module: the frontends read, the checks refuse, resolve.py decides, the
backends write.
"""

from typing import NamedTuple

from runx.compiler.backends.cmdline import command_line
from runx.compiler.backends.overlay import overlay
from runx.compiler.backends.xl_config import xl_config
from runx.compiler.diagnostics import Report
from runx.compiler.frontends.oci.config import read_container
from runx.compiler.host.config import read_host_config
from runx.compiler.host.facts import Facts
from runx.compiler.model.plan import VmPlan, copy_of
from runx.compiler.passes.checks import check
from runx.compiler.passes.mount_carrier import unshared_mounts
from runx.compiler.passes.policy import check_policy, with_host_network
from runx.compiler.passes.resolve import Place, resolve
from runx.compiler.passes.root_carrier import choose_root
from runx.compiler.passes.sandbox import as_sandbox
from runx.compiler.passes.seccomp import with_filter
from runx.compiler.passes.sizing import sizing_of
from runx.compiler.passes.update import kept_limits
from runx.compiler.source import Source
from runx.cpio import OverlayFile, archive


class Inputs(NamedTuple):
    """What a compilation depends on."""

    bundle: str
    """The absolute path of the bundle."""
    container_id: str
    state_root: str
    """The container's directory will be `state_root`/`container_id`."""
    assets: str
    """The directory of the guest's kernel and initrd, which need not exist yet."""
    facts: Facts
    name: str = "config.json"
    """What messages call the configuration."""
    root_carrier: str = ""
    """What the command line says of the root's carrier; "" for nothing."""


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


def compile(inputs: Inputs) -> Compilation:  # noqa: A001  # as re.compile; builtins.compile has no use here
    """Compile a bundle. Changes nothing, and looks at nothing but `inputs.facts`.

    Raises RunxError if there is no configuration, CompileError (a RunxError) with all its faults at once.
    """
    bundle, facts = inputs.bundle, inputs.facts
    host = read_host_config(facts.host_config())
    report = Report()
    source = Source(facts.config(bundle), inputs.name)
    container = with_host_network(as_sandbox(read_container(source, bundle, facts.netconf, report)), host)
    check(container, facts, report)
    check_policy(container, host, report)
    root = choose_root(container, host, inputs.root_carrier, facts, report)
    container, program = with_filter(container, facts, report)
    report.raise_errors(source.locate, source.name, source.text)
    unshared = unshared_mounts(container, host, facts)
    plan = resolve(
        container, Place(inputs.container_id, bundle, inputs.state_root, inputs.assets), host, facts, root, unshared, report
    )
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
