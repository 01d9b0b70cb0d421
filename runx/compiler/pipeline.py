"""The compiler: from an OCI bundle to the plan of a virtual machine, and from the plan to the files of the container.

compile() is the whole pipeline. Each line is a module: the frontends read, the checks refuse, resolve.py decides, the
backends write.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from runx.compiler.backends.cmdline import command_line
from runx.compiler.backends.overlay import overlay
from runx.compiler.backends.xl_config import xl_config
from runx.compiler.diagnostics import CompileError, Report
from runx.compiler.frontends.oci.config import read_container
from runx.compiler.host.config import HostConfig, read_host_config
from runx.compiler.host.facts import Facts
from runx.compiler.model.plan import VmPlan, copy_of
from runx.compiler.passes import kernel_places
from runx.compiler.passes.checks import check
from runx.compiler.passes.guest_kernel import as_guest_has
from runx.compiler.passes.kernel_files import without_kernel_files
from runx.compiler.passes.layer_size import choose_layer_size
from runx.compiler.passes.mount_carrier import unshared_mounts
from runx.compiler.passes.places_in_mounts import check_places_in_mounts
from runx.compiler.passes.pods import with_pod_machine
from runx.compiler.passes.policy import allows_exec, check_policy, with_host_network
from runx.compiler.passes.resolve import Carried, Grants, Place, resolve
from runx.compiler.passes.root_carrier import choose_root
from runx.compiler.passes.sandbox import as_sandbox
from runx.compiler.passes.seccomp import with_filter
from runx.compiler.passes.shares import check_shares, with_engines_files_guarded
from runx.compiler.passes.sizing import sizing_of
from runx.compiler.passes.sync_clock import syncs_clock
from runx.compiler.passes.update import kept_limits, kept_of_joined
from runx.compiler.passes.write_back import choose_write_back
from runx.compiler.source import Source
from runx.cpio import OverlayFile, archive
from runx.errors import RunxError


class Inputs(NamedTuple):
    """Everything that a compilation depends on."""

    bundle: str
    """The absolute path of the bundle."""
    container_id: str
    state_root: str
    """The container's directory will be `state_root`/`container_id`."""
    assets: str
    """The directory of the guest's kernel and initrd, which need not exist yet."""
    facts: Facts
    name: str = "config.json"
    """The configuration's name in messages."""
    root_carrier: str = ""
    """The root's carrier that the command line asks for; "" for none."""
    pod_machine: str = ""
    """What the command line wants to be a virtual machine of a pod; "" for what runx.toml says."""


class Artifacts(NamedTuple):
    """The files of a container, as text and bytes. A sandbox without a machine has the plan alone, a container that joins its
    pod's machine the plan and the overlay."""

    plan_json: str
    domain_cfg: str
    cmdline: str
    overlay: tuple[OverlayFile, ...]
    overlay_cpio: bytes
    """To be appended to a copy of the base initrd; for a container that joins its pod's machine, sent over the link."""


class Compilation(NamedTuple):
    plan: VmPlan
    artifacts: Artifacts
    kept_limits: str
    """For `runx update`, as text (passes/update.py); empty for a sandbox without a virtual machine."""
    host: HostConfig
    """The settings that the host has for the executor itself."""


def compile(inputs: Inputs) -> Compilation:  # noqa: A001  # as re.compile; builtins.compile has no use here
    """Compile a bundle. Change nothing, and look at nothing but `inputs.facts`.

    Raises RunxError if there is no configuration, CompileError (a RunxError) with all its faults at once.
    """
    _check_paths(inputs)
    bundle, facts = inputs.bundle, inputs.facts
    try:
        host = read_host_config(facts.host_config())
    except CompileError as error:
        raise _with_faults_of_the_bundle(error, inputs) from None
    report = Report()
    source = Source(facts.config(bundle), inputs.name)
    container = read_container(source, bundle, _netconf_of(inputs, host), report)
    container = as_sandbox(with_pod_machine(container, inputs.state_root, inputs.pod_machine or host.pod_machine, facts, report))
    container = with_host_network(container, host)
    container = as_guest_has(container, host, inputs.assets, facts, report)
    container = with_engines_files_guarded(without_kernel_files(container, facts, report), host, report)
    check(container, facts, report)
    kernel_places.check(container, host, inputs.assets, facts, report)
    check_places_in_mounts(container, facts, report)
    check_policy(container, host, report)
    root = choose_root(container, host, inputs.root_carrier, facts, report)
    write_back = choose_write_back(container, root, host, report)
    layer_mib = choose_layer_size(container, root, host, report)
    grants = Grants(allows_exec(container, host, report), syncs_clock(container, host, report))
    container, program = with_filter(container, host, facts, report)
    unshared = unshared_mounts(container, host, facts)
    check_shares(container, host, unshared, report)
    report.raise_errors(source.locate, source.name, source.text)
    place = Place(inputs.container_id, bundle, inputs.state_root, inputs.assets)
    plan = resolve(container, place, host, facts, Carried(root, write_back, layer_mib, unshared), grants, report)
    copies = tuple(
        OverlayFile(copy_of(slot)[1:], file.mode, file.content, file.uid, file.gid)
        for slot, file in enumerate(unshared.files.values())
    )
    domain, kept = plan.domain, ""
    if domain:
        sizing = sizing_of(container, len(domain.shares), len(domain.disks), plan.root.images_mib, host)
        kept = kept_limits(container.document.get("linux", {}).get("resources", {}), sizing, domain)
    elif plan.joined:
        kept = kept_of_joined(container.document.get("linux", {}).get("resources", {}))
    return Compilation(plan, artifacts(plan, program, copies), kept, host)


def _netconf_of(inputs: Inputs, host: HostConfig) -> Callable[[str, str], bytes]:
    return lambda path, root: inputs.facts.netconf(path, root, host.networks)


def _with_faults_of_the_bundle(error: CompileError, inputs: Inputs) -> CompileError:
    """The error of a runx.toml, with the faults of the configuration that do not rest on its settings."""
    report = Report()
    try:
        source = Source(inputs.facts.config(inputs.bundle), inputs.name)
        check(read_container(source, inputs.bundle, _netconf_of(inputs, HostConfig()), report), inputs.facts, report)
        report.forget("RX406")  # network.host may name a bridge in place of the host's network
        report.forget("RX704")  # policy.networks may name the directory
        report.raise_errors(source.locate, source.name, source.text)
    except CompileError as other:
        return error.followed_by(other)
    except RunxError:
        pass  # no configuration; runx.toml has to be mended anyway
    return error


_UTF8_HINT = "plan.json and the files for xl are UTF-8: rename it, or give it another name with a bind mount"


def _check_paths(inputs: Inputs) -> None:
    """Raise RunxError for a path of the command line that is not UTF-8. Strings of the configuration are."""
    for what, path, fault_id in (("bundle", inputs.bundle, "RX901"), ("the state directory", inputs.state_root, "RX902")):
        if _bytes_shown(path) != path:
            raise RunxError(f"{what} {_bytes_shown(path)}: the path is not UTF-8", _UTF8_HINT, fault_id)


def _plan_json(plan: VmPlan) -> str:
    """plan.json. Raises RunxError if the host gave a path that is not UTF-8, such as the target of a symbolic link."""
    try:
        return plan.model_dump_json(indent=2) + "\n"
    except ValueError:  # PydanticSerializationError, whose words are Python's
        path = next((text for text in _strings(plan.model_dump()) if _bytes_shown(text) != text), None)
        if path is None:
            raise
        raise RunxError(f"{_bytes_shown(path)}: the path is not UTF-8", _UTF8_HINT, "RX904") from None


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def _bytes_shown(path: str) -> str:
    """A path for people: bytes that are not UTF-8 as a backslash, an x and their hexadecimal digits."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def artifacts(plan: VmPlan, seccomp_program: bytes = b"", copies: tuple[OverlayFile, ...] = ()) -> Artifacts:
    """The files made from a plan. Raises RunxError for a value that a file cannot hold."""
    plan_json = _plan_json(plan)
    files = overlay(plan, seccomp_program, copies)
    if plan.domain is None:
        return Artifacts(plan_json, "", "", files, archive(files) if files else b"")
    cmdline = command_line(plan.domain)
    return Artifacts(
        plan_json=plan_json,
        domain_cfg=xl_config(plan.domain, cmdline),
        cmdline=cmdline + "\n",
        overlay=files,
        overlay_cpio=archive(files),
    )
