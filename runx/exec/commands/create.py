"""`runx create`: compile the bundle, start the supervisor, and wait until it has created the domain.

Of all commands only this one and `update` import the compiler.
"""

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from runx import collector, cpio, paths
from runx.errors import RunxError, of_full_disk, reason
from runx.exec.container import hooks, process_record
from runx.exec.container import record as records
from runx.exec.container.hooks import Hook
from runx.exec.container.record import Record
from runx.exec.network import macs, ports
from runx.exec.ninep import export_names, exports
from runx.exec.storage import small_files
from runx.exec.storage.disk_mounts import prepare
from runx.exec.supervisor.launch import SupervisorProcess
from runx.exec.xen import xl
from runx.linux import descriptors, netns
from runx.linux.files import write_atomically
from runx.linux.proc import start_time
from runx.log import Log

if TYPE_CHECKING:
    from runx.compiler.host.config import HostConfig
    from runx.compiler.model.plan import Disk, Domain, Joined, Process
    from runx.compiler.pipeline import Compilation
    from runx.exec.commands.program import Program
    from runx.exec.container.cgroup import Group, Limits
    from runx.exec.plan_json import VmPlan

_KERNEL_LIMIT = 128 * 1024 * 1024
"""Bytes. Limit of a container's own kernel, which is copied to the state directory: on most hosts that is memory of dom0."""
_RAMDISK_LIMIT = 512 * 1024 * 1024
"""Bytes. Limit of a container's own ramdisk."""
_ARCHIVES = (b"\x1f\x8b", b"070701")
"""How a ramdisk begins, packed by gzip or not."""


class CreateOptions(NamedTuple):
    """What to create a container from, and how."""

    bundle: str
    """The bundle's directory."""
    log: Log
    """Of --log; the supervisor writes its errors to it later on."""
    config: str = "config.json"
    """Path of the configuration, from the bundle."""
    root_carrier: str = ""
    """How the root filesystem travels; "": as the configuration and the host say."""
    pod_machine: str = ""
    """What is a virtual machine of a pod; "": as the host says."""
    pid_file: str = ""
    """Where to write the supervisor's pid, without a newline; "": nowhere."""
    console_socket: str = ""
    """The unix socket that takes the master of the container's terminal, if it has one."""
    pidfd_socket: str = ""
    """The unix socket that takes a pidfd of the supervisor (pidfd_open(2)); "": none."""
    cgroup_manager: str = "cgroupfs"
    """Who makes the control group of linux.cgroupsPath: cgroupfs or systemd; or disabled, for none."""


def create(root: str, container_id: str, options: CreateOptions) -> int:
    """Make a container, up to the state "created" (OCI runtime.md, "Create"); its supervisor's pid.

    root: the state root. Raises RunxError (or CompileError); nothing is left behind then.
    """
    records.check_id(container_id)
    if os.geteuid():
        raise RunxError("runx must run as root to create a container")
    options = options._replace(bundle=os.path.abspath(options.bundle))
    root = os.path.abspath(root)
    record = records.claim(root, container_id, options.bundle)
    supervisor = group = None
    try:
        record.log = os.path.abspath(options.log.path) if options.log.path else ""
        record.log_json = options.log.as_json
        record.console_socket = os.path.abspath(options.console_socket) if options.console_socket else ""
        _warn_of_sockets(record)
        supervisor = SupervisorProcess(record)
        record.pid, record.pid_start = supervisor.pid, start_time(supervisor.pid)
        record.save()  # so that `delete` can end the supervisor if this process is killed
        with collector.paused():
            group, limits, program = _compile_into(record, root, options)
        of_create = hooks.load(record.directory, *_BEFORE_CREATED)
        if program and not of_create:
            program.check()
        if group:
            _join(record, group, limits)

        def run_hooks(pid: int) -> None:
            _run_hooks(of_create, record, pid, options.log)
            if program:
                program.check()

        supervisor.go(run_hooks if of_create else None)
        if options.pidfd_socket:
            _send_pidfd(options.pidfd_socket, record)
        if options.pid_file:
            _write_pid_file(options.pid_file, supervisor.pid)
        return supervisor.pid
    except BaseException:
        poststop = []
        if supervisor:
            supervisor.call_off()
            poststop = hooks.load(record.directory, "poststop") if supervisor.made_the_domain else []
        _undo(record)
        if group:
            group.undo()
        if record.disks:
            from runx.exec.storage import disk_lock

            disk_lock.forget(record.disks)
        hooks.run_all(poststop, records.document(record, "stopped", 0), options.log)
        raise
    finally:
        os.close(record.lock)


_BEFORE_CREATED = ("prestart", "createRuntime", "createContainer")


def _join(record: Record, group: "Group", limits: "Limits") -> None:
    """Move the supervisor into the container's control group, before it starts anything. Raises RunxError."""
    for controller in group.join(record.pid, limits):
        what = f"the host's limit of {controller} (runx.toml, [host]) does not hold for the container's control group"
        record.say("warning", f"{what}: the controller is not enabled there")


def _run_hooks(of_create: list[Hook], record: Record, pid: int, log: Log) -> None:
    """Run the hooks of `create`, in the plan's order."""
    network = netns.descriptor(pid)
    try:
        state = records.document(record, "creating", pid)
        for hook in of_create:
            where = network if hook.kind == "createContainer" else -1
            hooks.run_all([hook], state, log, where)
    finally:
        os.close(network)


def _compile_into(record: Record, root: str, options: CreateOptions) -> "tuple[Group | None, Limits, Program | None]":
    """Write the plan and the artifacts into the container's directory; the control group to join, if any, and its limits; and
    the program to look for before the container is created, None if only the guest can."""
    import json

    from runx.compiler.host.host_facts import HostFacts
    from runx.compiler.pipeline import Inputs, compile
    from runx.exec.container.cgroup import Limits

    container_id = os.path.basename(record.directory)
    facts = HostFacts(config_name=options.config)
    facts.filter_cache, facts.keeps_filters = paths.FILTER_CACHE, True
    facts.xl_info, facts.keeps_virt_caps = xl.info, True
    inputs = Inputs(
        options.bundle, container_id, root, paths.assets_dir(), facts,
        root_carrier=options.root_carrier, pod_machine=options.pod_machine,
    )  # fmt: skip
    result = compile(inputs)
    plan = result.plan
    process = plan.process
    if process.terminal and not record.console_socket:
        raise RunxError("process.terminal is true, but there is no --console-socket", "run the container without a terminal (-t)")
    if record.console_socket and not process.terminal:
        raise RunxError("--console-socket was given, but process.terminal is false", "leave it out, or ask for a terminal")
    record.terminal = (process.rows, process.columns) if process.terminal else None
    directory = record.directory
    record.console = plan.console
    record.network_namespace = plan.network_namespace or ""
    record.network_devices = [f"{device.name}:{device.new_name}" for device in plan.network_devices]
    record.takes_interfaces = plan.takes_interfaces
    record.exec, record.sync_clock = plan.exec, plan.sync_clock
    record.kill_answer_s, record.kill_end_s = result.host.kill_answer_s, result.host.kill_end_s
    if plan.root.cache_mib is not None:
        record.packs = "ramdisk" if plan.root.images else "disks"
    _write(f"{directory}/plan.json", result.artifacts.plan_json.encode())
    as_read: VmPlan = json.loads(result.artifacts.plan_json)
    if plan.joined:
        _write_joined(record, result, plan.joined)
        exports.keep(directory, as_read, export_names.JOINED)
    if plan.domain:
        record.say("info", f"the virtual machine is of type {plan.domain.type} ({plan.domain.type_reason})")
        _write_machine(record, result, plan.domain)
        prepare(directory, as_read)
        if plan.is_pod:
            exports.keep_pod(directory)
        else:
            exports.keep(directory, as_read)
        assert as_read["domain"], "the plan has one"
        interfaces = as_read["domain"]["interfaces"]
        if interfaces:
            record.macs = [interface["mac"] for interface in interfaces]
            macs.claim(directory, record.macs)
            ports.keep(directory, interfaces)
    hooks.keep(directory, as_read)
    record.oci = json.dumps(
        {"ociVersion": plan.oci_version, "id": plan.id, "bundle": plan.bundle, "annotations": dict(plan.annotations)}
    )
    group = _group(record, plan.cgroups_path, options.cgroup_manager)
    record.save()
    record.reserve()
    program = None if plan.is_pod else _program(as_read, plan.process)
    return group, Limits(result.host.host_memory_mib << 20, result.host.host_cpus), program


def _program(plan: "VmPlan", process: "Process") -> "Program | None":
    """The program, if its file is in the root filesystem on the host, and no hook of the guest can bring it."""
    machine = plan["domain"] or plan["joined"]
    if not machine or not process.args or any(disk["holds"] == "image" for disk in machine["disks"]):
        return None
    if any(hook["kind"] == "startContainer" for hook in plan["hooks"]):
        return None
    from runx.exec.commands.program import Program

    return Program(plan["root"]["path"], [mount["destination"] for mount in plan["mounts"]], process.args, process.env)


def _write_machine(record: Record, result: "Compilation", domain: "Domain") -> None:
    """Write the files that `xl create` needs: configuration, ramdisk, copies of the container's own kernel and ramdisk."""
    directory, root_path = record.directory, result.plan.root.path
    record.domain = domain.name
    record.pod = "machine" if result.plan.is_pod else ""
    record.shares = [share.tag for share in domain.shares]
    record.writes_back = result.plan.root.write_back == "exit"
    record.disks = _lines_of(domain.disks)
    has_hardware = domain.xl_settings or domain.device_tree or domain.dtdevs or domain.iomems or domain.irqs
    record.sees_host = result.plan.is_pod or bool(has_hardware)
    record.cpu_percent = domain.cap_percent or 100 * domain.vcpus
    record.keep_free_mib = result.plan.root.keep_free_mib or 0
    if domain.own_kernel or domain.own_ramdisk:
        from runx.linux import in_root

        if domain.own_kernel:
            in_root.copy(root_path, domain.own_kernel, domain.kernel, _KERNEL_LIMIT)
        if domain.own_ramdisk:
            in_root.copy(root_path, domain.own_ramdisk, domain.ramdisk, _RAMDISK_LIMIT)
    _write(f"{directory}/limits.json", result.kept_limits.encode())
    _write(f"{directory}/domain.cfg", result.artifacts.domain_cfg.encode("utf-8", "surrogateescape"))
    scripts = dict.fromkeys(disk.script for disk in domain.disks if disk.script)
    for path in (domain.kernel, domain.base_ramdisk or domain.ramdisk, *scripts):
        if not os.path.isfile(path):
            key = _key_of(path, result.host)
            what = "not a file" if os.path.lexists(path) else "no such file"
            raise RunxError(f"{result.host.where(key)}: {key}: {path}: {what}" if key else f"{path}: {what}", _hint_of(key))
    if domain.base_ramdisk:
        with open(domain.base_ramdisk, "rb") as file:
            base = file.read()
        if not base.startswith(_ARCHIVES) and result.host.initrd:
            where = result.host.where("paths.initrd")
            raise RunxError(f"{where}: paths.initrd: {domain.base_ramdisk} is no ramdisk that ./build has made")
        # The kernel unpacks one archive after the other; each must begin at a multiple of four bytes.
        _write(domain.ramdisk, base + b"\0" * (-len(base) % 4) + result.artifacts.overlay_cpio + _null_streams())
    _keep_for_later(record, result)


def _lines_of(disks: "tuple[Disk, ...]") -> list[str]:
    """Disks as Record.disks has them."""
    return [
        f"{'ro' if disk.read_only else 'rw'} {disk.format if disk.holds == 'image' else disk.holds} {disk.source}"
        for disk in disks
    ]


def _write_joined(record: Record, result: "Compilation", joined: "Joined") -> None:
    """Write what a container brings to the machine of its pod."""
    directory = record.directory
    record.pod, record.pid_namespace = os.path.basename(joined.sandbox), joined.pid_namespace
    record.disks = _lines_of(joined.disks)
    record.writes_back = result.plan.root.write_back == "exit"
    _write(f"{directory}/limits.json", result.kept_limits.encode())
    _write(f"{directory}/overlay", result.artifacts.overlay_cpio + _null_streams())
    _keep_for_later(record, result)


def _keep_for_later(record: Record, result: "Compilation") -> None:
    """Keep what further processes inherit, and of which files there are copies in the guest."""
    contents = {file.path: file.content for file in result.artifacts.overlay}
    if record.exec or record.console == "pod":
        process_record.keep(record.directory, contents["runx/process"])
    copies = [(mount.comes_to, mount.source) for mount in result.plan.mounts if mount.carrier == "value"]
    if copies:
        small_files.keep(record.directory, [(inside, source, contents[inside[1:]]) for inside, source in copies])


def _key_of(path: str, host: "HostConfig") -> str:
    """The setting of runx.toml that names a file of the guest; "" for none."""
    return next((key for key, named in (("paths.kernel", host.kernel), ("paths.initrd", host.initrd)) if named == path), "")


def _hint_of(key: str) -> str:
    if key:
        return f"name another file, or leave {key} out: then the installed one counts"
    return "the Python package has no files of the guest: make them with `./build` in the sources, then `./build install`"


def _null_streams() -> bytes:
    """An archive for the ramdisk that says which of our standard streams, which are the container's, are the null device.

    The process gets its own null device for them (docs/guest.md). Engines give it for the input without `-i`.
    """
    nulls = descriptors.null_streams()
    return cpio.archive([cpio.OverlayFile("runx/null", 0o600, nulls.encode())]) if nulls else b""


def _group(record: Record, path: str | None, manager: str) -> "Group | None":
    if path is None:
        return None
    if manager == "disabled":
        record.say("warning", f"linux.cgroupsPath: {path}: not used, as --cgroup-manager is disabled")
        return None
    from runx.exec.container import cgroup

    group = cgroup.prepare(path, systemd=manager == "systemd")
    if group:
        record.cgroups, record.scope = group.directories, group.scope
    else:
        record.say("warning", f"linux.cgroupsPath: {path}: no control groups are mounted on this host")
    return group


def _warn_of_sockets(record: Record) -> None:
    """Warn of sockets that systemd passes to this process (sd_listen_fds(3)): the container's process does not get them."""
    count, meant = os.environ.get("LISTEN_FDS", ""), os.environ.get("LISTEN_PID", "")
    if count not in ("", "0") and meant in ("", str(os.getpid())):
        message = f"LISTEN_FDS={count}: a virtual machine cannot be given file descriptors of the host, the process gets none"
        record.say("warning", message)


def _write(path: str, data: bytes) -> None:
    """Write a new file into the container's directory. Raises RunxError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(data)
    except OSError as error:
        error.filename = path
        above = os.path.dirname(os.path.dirname(path))  # the container's directory goes again
        raise of_full_disk(error, above) or RunxError(f"cannot write {path}: {reason(error)}") from None


def _write_pid_file(path: str, pid: int) -> None:
    """Write the pid without a newline. Engines read the file as soon as it exists, so it must be whole then."""
    try:
        write_atomically(path, str(pid).encode())
    except OSError as error:
        raise RunxError(f"cannot write the pid file {path}: {reason(error)}") from None


def _send_pidfd(path: str, record: Record) -> None:
    """Send a pidfd of the supervisor. The text of the message is runc's for a container's first process."""
    pidfd = record.supervisor()
    try:
        descriptors.send(path, pidfd, b"standard")
    except OSError as error:
        raise RunxError(f"--pidfd-socket {path}: {reason(error)}", "does its caller still listen?") from None
    finally:
        if pidfd >= 0:
            os.close(pidfd)


def _undo(record: Record) -> None:
    """Remove all of a container whose creation failed."""
    from runx.exec.commands.delete import destroy_container

    with contextlib.suppress(RunxError, OSError):
        destroy_container(records.load(*os.path.split(record.directory)))
    with contextlib.suppress(OSError):  # another container may be there by now
        for directory in record.roots_made:
            os.rmdir(directory)
