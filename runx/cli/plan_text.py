"""The plan for people: tables of what will be, then the files as they will be written."""

import json
import shlex
from collections.abc import Iterable
from io import StringIO
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from runx.compiler.backends.records import readable
from runx.compiler.diagnostics import visible
from runx.compiler.model.plan import (
    Capabilities,
    Device,
    Disk,
    Domain,
    Guest,
    Hook,
    Interface,
    Joined,
    Mount,
    Pod,
    Process,
    Root,
    Scheduler,
    Seccomp,
    VmPlan,
    XlSetting,
)
from runx.compiler.pipeline import Artifacts, Compilation

PIPE_WIDTH = 160
"""Columns if the output is not a terminal: wide enough that hardly any line is folded, so that it can be searched."""


def show(result: Compilation, file: TextIO) -> None:
    """Write the plan and the artifacts to `file`, in colour if it is a terminal."""
    if file.isatty():
        _show(result, Console(file=file, highlight=False))
        return
    buffer = StringIO()
    _show(result, Console(file=buffer, highlight=False, width=PIPE_WIDTH))
    # Tables are padded with spaces, which are useless in a file.
    file.writelines(line.rstrip() + "\n" for line in buffer.getvalue().splitlines())


def _show(result: Compilation, console: Console) -> None:
    _plan(console, result.plan)
    _artifacts(console, result.artifacts)


def _plan(console: Console, plan: VmPlan) -> None:
    _section(console, "Container", [("id", plan.id), ("bundle", plan.bundle), ("OCI version", plan.oci_version)])
    if plan.pod:
        _section(console, "Pod", _pod(plan.pod))
    if plan.joined:
        _section(console, "Joins the pod's virtual machine", _joined(plan.joined))
    if plan.domain:
        _section(console, "Domain", _domain(plan.domain))
        _table(console, "Settings of XLCONF", ("key", "value", "from"), map(_xl_setting, plan.domain.xl_settings))
    _section(console, "Root", _root(plan.root))
    _table(console, "Mounts", ("destination", "carrier", "type", "source", "options", "from"), map(_mount, plan.mounts))
    if plan.takes_interfaces or not plan.domain:
        _section(console, "Network", _engine_network(plan))
    for interface in plan.domain.interfaces if plan.domain else ():
        _section(console, f"Network {interface.name}", _interface(interface))
    if plan.console in ("link", "pod"):
        _section(console, "Process", [*_process(plan.process), ("exec", "allowed" if plan.exec else "not allowed")])
        clock = "kept at the host's time" if plan.sync_clock else "its own"
        _section(console, "Guest", [*_guest(plan.guest), ("clock", clock)])
    elif plan.console == "none":
        _section(console, "For the containers of the pod", _guest(plan.guest))
    else:
        _section(console, "Console", [("hvc0", "passed through to the container's streams, as the ramdisk is its own")])
    _table(console, "Devices", ("path", "type", "number", "mode", "owner", "made"), map(_device, plan.guest.devices))
    _section(console, "Annotations", plan.annotations)
    _table(console, "Hooks", ("when", "path", "arguments", "environment", "limit", "failure", "from"), map(_hook, plan.hooks))
    if plan.cgroups_path:
        _section(console, "Host", [("cgroup of the supervisor", plan.cgroups_path)])
    _table(console, "Ignored", ("setting", "why", "ID"), ((entry.path, entry.reason, entry.id) for entry in plan.ignored))


def _artifacts(console: Console, artifacts: Artifacts) -> None:
    if artifacts.domain_cfg:
        _text(console, "domain.cfg", artifacts.domain_cfg)
        _text(console, "cmdline", artifacts.cmdline)
    rows = ((file.path, f"{file.mode:04o}", f"{len(file.content)} bytes") for file in artifacts.overlay)
    to = "added to the ramdisk" if artifacts.domain_cfg else "sent to the pod's machine"
    _table(console, f"overlay ({to})", ("file", "mode", "size"), rows)
    for file in artifacts.overlay:
        if file.path == "runx/seccomp":
            continue  # a program for the kernel; its description is with the process
        _text(console, f"overlay/{file.path}", readable(file.path, file.content))


def _pod(pod: Pod) -> Iterable[tuple[str, str]]:
    yield "part", f"{pod.part}, from {pod.origin}"
    if pod.sandbox_id:
        yield "sandbox", pod.sandbox_id
    if pod.machine:
        yield "virtual machine", "one for the pod" if pod.part == "sandbox" else "that of the pod"
    elif pod.part == "sandbox":
        yield "virtual machine", "none: a process of runx holds the pod's network namespace, and nothing of the image runs"


def _joined(joined: Joined) -> Iterable[tuple[str, str]]:
    yield "of the sandbox", joined.sandbox
    for number, disk in enumerate(joined.disks):
        yield f"disk {number}", _disk(disk)
    yield "PID namespace", {"own": "its own", "pod": "the pod's"}.get(joined.pid_namespace, f"that of {joined.pid_namespace}")
    if joined.own_namespaces:
        yield "its own", ", ".join(joined.own_namespaces)
    yield "devices", "all of the machine" if joined.opens_all_devices else "those of its nodes"
    yield from joined.control_group


def _disk(disk: Disk) -> str:
    of = f", made of {disk.made_of}" if disk.made_of else ""
    return f"{disk.source} ({disk.format}, {'read-only' if disk.read_only else 'written to'}{of})"


def _domain(domain: Domain) -> Iterable[tuple[str, str]]:
    yield "name", domain.name
    yield "type", f"{domain.type}, {domain.machine} ({domain.type_reason})"
    yield "memory", f"{domain.memory_mib} MiB"
    yield "virtual CPUs", str(domain.vcpus)
    if domain.cpus:
        yield "on CPUs", domain.cpus
    if domain.cap_percent:
        yield "CPU time", f"at most {domain.cap_percent} % of one"
    if domain.cpu_weight:
        yield "CPU weight", f"{domain.cpu_weight} (256 is the default)"
    yield "kernel", domain.kernel + (f" (a copy of {domain.own_kernel} of the root filesystem)" if domain.own_kernel else "")
    yield "ramdisk", domain.ramdisk + _ramdisk_from(domain)
    for name, value in (("device tree", domain.device_tree), ("host devices", ", ".join(domain.dtdevs))):
        if value:
            yield name, value
    for memory in domain.iomems:
        yield "I/O memory", f"{memory.pages} pages from {memory.first_mfn:#x}"
    if domain.irqs:
        yield "interrupts", ", ".join(map(str, domain.irqs))
    for disk in domain.disks:
        yield f"disk {disk.vdev}", _disk(disk)
    for share in domain.shares:
        yield f"share {share.tag}", "over 9p"


def _xl_setting(setting: XlSetting) -> tuple[str, ...]:
    value = setting.value
    return setting.name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), setting.origin


def _ramdisk_from(domain: Domain) -> str:
    if domain.base_ramdisk:
        return f" ({domain.base_ramdisk} and the overlay)"
    return f" (a copy of {domain.own_ramdisk} of the root filesystem)" if domain.own_ramdisk else ""


_WRITE_BACK = {
    "exit": "at the end: the root filesystem on the host becomes what the container has written",
    "never": "never: the host does not see what the container writes",
}


def _root(root: Root) -> Iterable[tuple[str, str]]:
    yield "path", root.path
    yield "carrier", f"{root.carrier} ({root.reason})"
    for number, layer in enumerate(root.lower):
        yield "" if number else "layers", layer
    if root.layer_mib is not None:
        yield "changes", f"at most {root.layer_mib} MiB, kept as long as {root.layer_of}"
    if root.write_back:
        yield "write back", _WRITE_BACK[root.write_back]
    for number, image in enumerate(root.images):
        yield f"image {number}", image.source + (f", made of {image.made_of}" if image.made_of else "")
    if root.images:
        yield "memory", f"{root.images_mib} MiB at most for the images; what is written takes more"
    yield "read-only", "yes" if root.read_only else "no"


def _mount(mount: Mount) -> tuple[str, ...]:
    kind = mount.type
    if mount.carrier != "guest":
        kind = ("rbind" if mount.recursive else "bind") + (" of a file" if mount.is_file else "")
    options = ",".join((*mount.flags, *mount.data, *mount.propagation, *(f"no-{what}" for what in mount.withheld)))
    return mount.destination, mount.carrier, kind, mount.source, options, mount.origin


def _engine_network(plan: VmPlan) -> Iterable[tuple[str, str]]:
    if plan.joined:
        yield "interfaces", "those of the pod's machine"
    else:
        yield "interfaces", "those of the namespace when the container starts" if plan.domain else "are for the pod's containers"
    yield "namespace", plan.network_namespace or "a new one, which the engine may fill"
    for device in plan.network_devices:
        yield "device of the host", device.name if device.name == device.new_name else f"{device.name}, as {device.new_name}"


def _interface(interface: Interface) -> Iterable[tuple[str, str]]:
    yield "network", f"{interface.network}, from {interface.origin}"
    yield "bridge", interface.bridge
    yield "MAC", interface.mac
    if interface.mtu:
        yield "MTU", f"{interface.mtu} bytes"
    yield "sends", _sends(interface)
    if interface.isolated:
        yield "isolated", "the bridge passes nothing to other isolated ports"
    yield "address", interface.address or ("none: layer 2 alone" if interface.layer2 else "by DHCP")
    for target, gateway in interface.routes:
        yield "route", f"{target} via {gateway}" if gateway else f"{target} on the link"
    for name, words in (("nameservers", interface.nameservers), ("search", interface.search), ("options", interface.dns_options)):
        if words:
            yield name, " ".join(words)


def _sends(interface: Interface) -> str:
    if not interface.anti_spoofing:
        return "what it likes: nothing is checked"
    if interface.anti_spoofing == "mac":
        return "with its MAC address alone"
    address = "" if interface.layer2 else "the address that a DHCP server gives it, "
    if interface.address:
        address = f"{interface.address.partition('/')[0]}, "
    return f"with its MAC address, {address}and IPv6 addresses made of the MAC address alone; no router or DHCP server"


def _process(process: Process) -> Iterable[tuple[str, str]]:
    for index, argument in enumerate(process.args):
        yield f"args[{index}]", argument
    for entry in process.env:
        yield "env", entry
    yield "cwd", process.cwd
    yield "uid, gid", f"{process.uid}, {process.gid}"
    if process.additional_gids:
        yield "additional gids", ", ".join(map(str, process.additional_gids))
    if process.umask is not None:
        yield "umask", f"{process.umask:04o}"
    for limit in process.rlimits:
        yield f"limit {limit.name}", f"{limit.soft}, at most {limit.hard}"
    yield from _capabilities(process.capabilities)
    if process.seccomp:
        yield "seccomp", _seccomp(process.seccomp)
    yield "no new privileges", "yes" if process.no_new_privileges else "no"
    if process.oom_score_adj is not None:
        yield "oom score", str(process.oom_score_adj)
    if process.scheduler:
        yield "scheduler", _scheduler(process.scheduler)
    if process.io_priority:
        yield "I/O priority", f"{process.io_priority.io_class.removeprefix('IOPRIO_CLASS_').lower()} {process.io_priority.level}"
    if process.pids_limit is not None:
        yield "tasks", f"at most {process.pids_limit}"
    yield "PID namespace", "its own" if process.pid_namespace else "the guest's"


def _capabilities(capabilities: Capabilities | None) -> Iterable[tuple[str, str]]:
    if capabilities is None:
        yield "capabilities", "all"
        return
    # Most configurations name the same ones in several sets.
    sets: dict[tuple[str, ...], list[str]] = {}
    for name in ("bounding", "effective", "inheritable", "permitted", "ambient"):
        sets.setdefault(getattr(capabilities, name), []).append(name)
    for members, names in sets.items():
        shown = " ".join(member.removeprefix("CAP_").lower() for member in members)
        yield "capabilities", f"{', '.join(names)}: {shown or 'none'}"


def _seccomp(seccomp: Seccomp) -> str:
    default = seccomp.default_action.removeprefix("SCMP_ACT_").lower()
    flags = "".join(f", {flag.removeprefix('SECCOMP_FILTER_FLAG_').lower()}" for flag in seccomp.flags)
    counts = f"{seccomp.system_calls} system calls, {seccomp.instructions} instructions"
    return f"{counts}, all else: {default}{flags} (sha256 {seccomp.sha256[:12]})"


def _scheduler(scheduler: Scheduler) -> str:
    text = scheduler.policy.removeprefix("SCHED_").lower()
    if scheduler.policy == "SCHED_DEADLINE":
        text += f", {scheduler.runtime_ns} ns within {scheduler.deadline_ns} ns"
        text += f", every {scheduler.period_ns} ns" if scheduler.period_ns else ""
    elif scheduler.policy in ("SCHED_FIFO", "SCHED_RR"):
        text += f", priority {scheduler.priority}"
    elif scheduler.nice:
        text += f", nice {scheduler.nice}"
    return text + "".join(f", {flag.removeprefix('SCHED_FLAG_').lower()}" for flag in scheduler.flags)


def _guest(guest: Guest) -> Iterable[tuple[str, str]]:
    if guest.hostname:
        yield "hostname", guest.hostname
    if guest.domainname:
        yield "domainname", guest.domainname
    for name, value in guest.sysctl:
        yield f"sysctl {name}", value
    for path in guest.masked_paths:
        yield "masked", path
    for path in guest.readonly_paths:
        yield "read-only", path
    if guest.root_propagation:
        yield "propagation of /", guest.root_propagation


def _hook(hook: Hook) -> tuple[str, ...]:
    env = "inherited" if hook.env is None else shlex.join(hook.env)
    limit = "none" if hook.timeout_s is None else f"{hook.timeout_s} s"
    failure = "ends the container" if hook.failure == "ends" else "is a warning"
    return hook.kind, hook.path, shlex.join(hook.args), env, limit, failure, hook.origin


def _device(device: Device) -> tuple[str, ...]:
    number = "" if device.type == "p" else f"{device.major}:{device.minor}"
    made = "in the ramdisk, bound" if device.bound else "in place"
    return device.path, device.type, number, f"{device.mode:04o}", f"{device.uid}:{device.gid}", made


def _section(console: Console, title: str, rows: Iterable[tuple[str, str]]) -> None:
    rows = list(rows)
    if not rows:
        return
    console.print(Text(title, style="bold"))
    if len(rows) > _MANY:
        _long_table(console, [(f"  {name}", value) for name, value in rows])
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(f"  {visible(name)}"), Text(visible(value)))
    console.print(table)
    console.print()


def _table(console: Console, title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    rows = list(rows)
    if not rows:
        return
    console.print(Text(title, style="bold"))
    if len(rows) > _MANY:
        _long_table(console, [columns, *rows])
        return
    table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    console.print(table)
    console.print()


def _text(console: Console, title: str, text: str) -> None:
    console.print(Rule(title, align="left", style="dim"))
    # Never folded, so that it can be copied.
    console.file.writelines(f"{visible(line)}\n" for line in text.splitlines())
    console.print()


_MANY = 500
"""Rows of a table that is not folded: rich takes a millisecond for each."""


def _long_table(console: Console, rows: list[tuple[str, ...]]) -> None:
    shown = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        console.file.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")
    console.print()
