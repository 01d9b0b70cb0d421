"""From the text of a config.json to a Container (OCI runtime-spec, config.md)."""

import posixpath
from collections.abc import Callable, Sequence

from runx.compiler.diagnostics import Report, path_text, quote
from runx.compiler.frontends.json_shape import checked
from runx.compiler.frontends.oci.hooks import read_hooks
from runx.compiler.frontends.oci.linux import (
    read_devices,
    read_limits,
    read_network_devices,
    read_paths,
    read_pids_limit,
    read_root_propagation,
    read_sysctl,
)
from runx.compiler.frontends.oci.mounts import read_mounts
from runx.compiler.frontends.oci.pods import read_pod, read_pod_limits
from runx.compiler.frontends.oci.process import read_process
from runx.compiler.frontends.oci.runx_extensions import XLCONF_ANNOTATION, asked, check_annotations, read_own_file
from runx.compiler.frontends.oci.schema import CONFIG
from runx.compiler.frontends.oci.seccomp import read_seccomp
from runx.compiler.frontends.oci.unified import check_names, with_unified
from runx.compiler.frontends.oci.vm import read_hardware, read_image, read_vm_boot
from runx.compiler.model.request import BootFile, Container, NetworkRequest, XlRequest
from runx.compiler.source import Source


def read_container(source: Source, bundle: str, read_netconf: Callable[[str, str], bytes], report: Report) -> Container:
    """The container that `source` describes. Faults and notices go to `report`.

    read_netconf: returns the bytes of a CNI file of the host, which must not be below the given directory; raises RunxError.
    If `report` has errors afterwards, the parts with errors are empty or defaults, which are good only for further checks.
    """
    document = checked(source.document, CONFIG, (), report)
    linux = document.get("linux", {})
    root = document.get("root", {})
    namespaces = frozenset(entry.get("type", "") for entry in linux.get("namespaces", ()))
    root_path = posixpath.normpath(posixpath.join(bundle, root.get("path", "")))
    resources = with_unified(linux.get("resources", {}), report)
    check_names(linux.get("resources", {}).get("unified", {}), report)
    pids_limit = read_pids_limit(resources, document.get("ociVersion", ""))
    own_pid_namespace = any(entry.get("type") == "pid" and not entry.get("path") for entry in linux.get("namespaces", ()))
    process = read_process(document.get("process", {}), own_pid_namespace, pids_limit, report)
    read_seccomp(linux.get("seccomp", {}), report)
    annotations = document.get("annotations", {})
    vm = document.get("vm", {})
    vm_kernel, vm_ramdisk, kernel_parameters = read_vm_boot(vm, report)
    env = document.get("process", {}).get("env", ())
    check_annotations(annotations, report)
    pod = read_pod(annotations, document.get("process", {}).get("args", ()))
    return Container(
        document=document,
        bundle=bundle,
        oci_version=_version(document.get("ociVersion", ""), report),
        annotations=annotations,
        root_path=root_path,
        root_read_only=root.get("readonly", False),
        mounts=read_mounts(document.get("mounts", []), bundle, report),
        process=process,
        hostname=document.get("hostname") or None,
        domainname=document.get("domainname") or None,
        devices=read_devices(linux.get("devices", []), report),
        masked_paths=read_paths(linux, "maskedPaths", report),
        readonly_paths=read_paths(linux, "readonlyPaths", report),
        sysctl=read_sysctl(linux.get("sysctl", {}), report),
        root_propagation=read_root_propagation(linux.get("rootfsPropagation", ""), report),
        cgroups_path=linux.get("cgroupsPath") or None,
        namespaces=namespaces,
        limits=read_pod_limits(annotations, read_limits(resources, report), pod, report),
        kernel=_first(vm_kernel, read_own_file("kernel", env, annotations, report), report),
        ramdisk=_first(vm_ramdisk, read_own_file("ramdisk", env, annotations, report), report),
        kernel_parameters=kernel_parameters,
        image=read_image(vm, report),
        hardware=read_hardware(vm, report),
        network_devices=read_network_devices(linux.get("netDevices", {}), report),
        network_namespace=_network_namespace(linux.get("namespaces", ())),
        networks=_networks(env, lambda path: read_netconf(path, root_path), report),
        xlconf=_xlconf(env, annotations, report),
        hooks=read_hooks(document.get("hooks", {}), document.get("ociVersion", ""), report),
        pod=pod,
    )


def _first(vm: BootFile | None, own: BootFile | None, report: Report) -> BootFile | None:
    if vm and own:
        report.ignore("RX232", own.origin, f"{path_text(vm.origin)} goes before it")
    return vm or own


def _network_namespace(namespaces: list[dict[str, str]]) -> str | None:
    """The path of the network namespace that the container joins."""
    return next((entry.get("path") for entry in namespaces if entry.get("type") == "network"), None) or None


def _networks(env: Sequence[str], read: Callable[[str], bytes], report: Report) -> tuple[NetworkRequest, ...]:
    if not any(entry.startswith("NETCONF=") for entry in env):
        return ()
    # Few containers have one, and its grammar and the module ipaddress take time to load.
    from runx.compiler.frontends.netconf import read_networks

    return read_networks(env, read, report)


def _xlconf(env: Sequence[str], annotations: dict[str, str], report: Report) -> XlRequest | None:
    """The settings for xl. An empty value asks for none."""
    request = asked("XLCONF", XLCONF_ANNOTATION, env, annotations, report)
    if not request:
        return None
    # Few containers have one, and its grammar takes time to load.
    from runx.compiler.frontends.xlconf import read_xlconf

    text, origin = request
    return read_xlconf(text, origin, len("XLCONF=") if origin[0] == "process" else 0, report)


def _version(version: str, report: Report) -> str:
    """A version of SemVer 2.0.0. runx follows 1.x.y: a newer minor version only adds settings that may be ignored."""
    parts = version.partition("-")[0].partition("+")[0].split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        report.error("RX016", ("ociVersion",), f"not a version such as 1.2.0: {quote(version)}", "write 1.3.0")
    elif parts[0] != "1":
        report.error(
            "RX016",
            ("ociVersion",),
            f"version {version} of the specification is not supported",
            "runx follows versions 1.0 to 1.3",
        )
    return version
