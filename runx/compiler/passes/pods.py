"""A pod that is one virtual machine, for those who choose that (runx.toml, pods.machine): its sandbox has the machine, and its
containers join it (docs/executor.md, "A pod that is one machine")."""

from collections.abc import Iterator
from typing import Literal

from runx.compiler.diagnostics import Path, Report, quote
from runx.compiler.frontends.oci.runx_extensions import POD_MACHINE_ANNOTATION
from runx.compiler.host.config import POD_MACHINES
from runx.compiler.host.facts import Facts, SandboxFacts
from runx.compiler.model.plan import Disk, Joined
from runx.compiler.model.request import Container, Hardware, Limits

_ANNOTATION: Path = ("annotations", POD_MACHINE_ANNOTATION)
_PODS = "it is about a virtual machine of the container's own, but the pod is one, which its sandbox has made"
_PODS_HINT = "leave it out, or give each container of the pod a machine of its own: pods.machine of runx.toml"
SHM = "/dev/shm"  # a path in the guest


def with_pod_machine(container: Container, state_root: str, default: str, facts: Facts, report: Report) -> Container:
    """The container, with the decision whether its pod is one machine. A sandbox decides it, by its annotation or the default;
    the pod's containers follow. Faults go to `report`.

    default: what is a machine, as the command line says (--pod-machine), or else runx.toml.
    """
    asked = container.annotations.get(POD_MACHINE_ANNOTATION)
    if asked not in (None, *POD_MACHINES):
        report.error("RX718", _ANNOTATION, f"{quote(str(asked))} is none of {', '.join(POD_MACHINES)}", "use one of them")
        return container
    if not container.pod:
        if asked:
            report.ignore("RX720", _ANNOTATION, "the container is in no pod")
        return container
    if container.is_sandbox:
        is_machine = (asked or default) == "pod"
    else:
        is_machine = _of(container, state_root, facts).is_machine
        if asked and (asked == "pod") != is_machine:
            what = "is one virtual machine" if is_machine else "is none, or there is no such sandbox here"
            hint = "give the same annotation to the sandbox, or leave it out: the containers of a pod follow their sandbox"
            report.error("RX719", _ANNOTATION, f"the pod's machine was decided with its sandbox: the pod {what}", hint)
    return container._replace(pod=container.pod.model_copy(update={"machine": is_machine}))


def _of(container: Container, state_root: str, facts: Facts) -> SandboxFacts:
    sandbox_id = container.pod.sandbox_id if container.pod else ""
    return (facts.sandbox(f"{state_root}/{sandbox_id}") if sandbox_id else None) or SandboxFacts()


def check_joined(container: Container, facts: Facts, report: Report) -> None:  # noqa: ARG001
    """Report what a container cannot have since the machine is its pod's."""
    if not container.joins:
        return
    for path in _of_a_machine(container):
        report.error("RX448", path, _PODS, _PODS_HINT)
    for mount in container.mounts:
        words = [word for word in mount.options.propagation if word.removeprefix("r") in ("shared", "slave")]
        if mount.type == "bind" and words:
            message = f"{words[-1]}: a mount of the host does not reach a virtual machine, nor one of the machine the host"
            hint = "mountPropagation None, or a machine of the container's own, where the plan lists it as ignored"
            report.error("RX324", (*mount.path, "options"), message, hint)
    if _OOM_GROUP[-1] in dict(_oom_group(container)):
        report.honour(_OOM_GROUP)
    if container.limits.cpus:
        path = ("linux", "resources", "cpu", "cpus")
        report.ignore("RX449", path, "the host's CPUs are those of the pod's machine: give a cpuset to its sandbox")


def _of_a_machine(container: Container) -> Iterator[Path]:
    """The places of settings for a machine of the container's own."""
    for file in (container.kernel, container.ramdisk):
        if file:
            yield file.origin
    if container.kernel_parameters:
        yield "vm", "kernel", "parameters"
    if container.image:
        yield container.image.origin
    if container.hardware != Hardware():
        yield container.hardware.origin
    if container.xlconf:
        yield container.xlconf.origin
    for network in container.networks:
        yield network.path
    if container.network_devices:
        yield "linux", "netDevices"


def join(container: Container, state_root: str, disks: tuple[Disk, ...]) -> Joined | None:
    """What a container adds to the machine of its pod; None for one that joins none."""
    if not container.joins or not container.pod:
        return None
    own = tuple(kind for kind in _OWN if kind in container.namespaces and not _path_of(container, kind))
    return Joined(
        sandbox=f"{state_root}/{container.pod.sandbox_id}",
        disks=disks,
        pid_namespace=_path_of(container, "pid") or ("own" if "pid" in container.namespaces else "pod"),
        own_namespaces=own,
        control_group=(*control_group(container.limits, container.process.pids_limit), *_oom_group(container)),
        opens_all_devices=opens_all_devices(container),
    )


_OOM_GROUP = ("linux", "resources", "unified", "memory.oom.group")


def _oom_group(container: Container) -> tuple[tuple[str, str], ...]:
    """With 1, the kernel ends all processes of the container when memory has run out, not one. A kubelet (from 1.28 on, with
    version 2 of cgroups) asks for it."""
    text = container.document.get("linux", {}).get("resources", {}).get("unified", {}).get(_OOM_GROUP[-1], "")
    return ((_OOM_GROUP[-1], "1"),) if text.strip() == "1" else ()


def why_devices(container: Container) -> str:
    """What becomes of the rules for devices, of a container that joins the machine of its pod."""
    if opens_all_devices(container):
        return "the container has all devices of the pod's machine, and none of the host"
    return "in the machine of a pod, a container opens the devices of its own nodes in /dev, and no others"


def opens_all_devices(container: Container) -> bool:
    """Whether the rules of linux.resources.devices allow all devices. The last rule about all of them counts; without one, none
    is allowed, as under runc. Rules about some devices do not count: the nodes of the configuration are what a container has."""
    allowed = False
    for rule in container.document.get("linux", {}).get("resources", {}).get("devices", ()):
        of_all = rule.get("type", "a") in ("a", "") and rule.get("major", -1) < 0 and rule.get("minor", -1) < 0
        if of_all and {"r", "w"} <= set(rule.get("access") or "rwm"):
            allowed = rule.get("allow") is True
    return allowed


_OWN: tuple[Literal["ipc", "uts"], ...] = ("ipc", "uts")


def _path_of(container: Container, kind: str) -> str:
    entries = container.document.get("linux", {}).get("namespaces", ())
    return next((entry.get("path", "") for entry in entries if entry.get("type") == kind), "")


def shares_ipc(container: Container) -> bool:
    """Whether a container has the IPC objects of its pod's machine, /dev/shm among them."""
    return container.joins and not ("ipc" in container.namespaces and not _path_of(container, "ipc"))


def has_own_names(container: Container) -> bool:
    """Whether a container has a host name of its own, and not its pod's."""
    return "uts" in container.namespaces and not _path_of(container, "uts")


def control_group(limits: Limits, pids_limit: int | None) -> tuple[tuple[str, str], ...]:
    """Files of a control group in the guest, and their content (Linux, admin-guide/cgroup-v2.rst), for these limits."""
    found = [("memory.max", "max" if limits.memory_bytes is None else str(limits.memory_bytes))]
    quota = "max" if limits.cpu_quota_us is None else str(limits.cpu_quota_us)
    found.append(("cpu.max", f"{quota} {limits.cpu_period_us}"))
    if limits.cpu_shares is not None:
        found.append(("cpu.weight", str(1 + (min(max(limits.cpu_shares, 2), 262144) - 2) * 9999 // 262142)))  # as runc
    found.append(("pids.max", "max" if pids_limit is None else str(pids_limit)))
    return tuple((name, value) for name, value in found if not value.startswith("max"))
