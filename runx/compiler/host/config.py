"""runx.toml: the settings of the host's administrator for all containers (docs/man/runx.toml.5.md).

One table drives the reading, the checks and `runx config`. tomllib is loaded only if there is a file.
"""

import posixpath
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from runx.compiler.diagnostics import CompileError, Diagnostic, Elsewhere, Location, Path, did_you_mean, quote
from runx.compiler.model import xl_keys
from runx.compiler.source import DEPTH_LIMIT, SIZE_LIMIT, location
from runx.paths import DEFAULT_IMAGES, DEFAULT_STATE_ROOT

MIN_MEMORY_MIB = 64
MAX_VCPUS = 64
"""CONFIG_NR_CPUS of the guest's kernel."""

MAX_SIZE_MIB = 16 << 20
"""16 TiB: the most memory that Xen supports on x86, and the largest ext4 of a layer."""

MAX_SECONDS = 3600

ANTI_SPOOFING = ("mac", "addresses")
"""What is checked of frames that guests send to a bridge (plan.Interface.anti_spoofing)."""

MAX_RAMDISK_MIB = 512
"""xl takes ramdisks of up to 1 GiB."""

CARRIERS = ("auto", "disk", "9p", "ram")
"""Carriers of a root filesystem."""
WRITE_BACK = ("exit", "never")
"""When what a container has written comes into its root filesystem on the host."""
POD_MACHINES = ("container", "pod")
"""What is a virtual machine: each container of a pod, or the pod."""
ANNOTATIONS = (
    "org.runx.exec", "org.runx.kernel", "org.runx.pods.machine", "org.runx.ramdisk", "org.runx.root.carrier",
    "org.runx.root.layer_size", "org.runx.root.write_back", "org.runx.sync_clock", "org.runx.xlconf",
)  # fmt: skip
"""The annotations of a container that runx knows."""

NETWORKS = ("/etc/cni/net.d", "/etc/runx/networks")
"""Directories of CNI files. /etc/cni/net.d is CNI's own (podman's and containerd's default)."""

BY_VALUE = (
    *(f"/etc/{name} */containers/[0-9a-f]*/{name}" for name in ("hosts", "hostname", "resolv.conf")),  # docker
    *(f"/etc/{name} */userdata/{name}" for name in ("hosts", "hostname", "resolv.conf")),  # podman, cri-o
    "/run/.containerenv */userdata/.containerenv",
    *(f"/etc/{name} */sandboxes/[0-9a-f]*/{name}" for name in ("hosts", "hostname", "resolv.conf")),  # containerd's CRI
    "/etc/hosts /var/lib/kubelet/pods/*/etc-hosts",
    *(f"/etc/{name} /var/lib/nerdctl/*/{name}" for name in ("hosts", "hostname", "resolv.conf")),
)
IN_MEMORY = tuple(
    f"/dev/shm {source}" for source in ("*/userdata/shm", "*/containers/[0-9a-f]*/mounts/shm", "*/sandboxes/[0-9a-f]*/shm")
)


class HostConfig(NamedTuple):
    """The settings in effect, with their types and defaults. `lines`: the line of each setting that the file has."""

    memory_mib: int = 256
    vcpus: int = 1
    domain_type: Literal["auto", "pv", "pvh"] = "auto"
    kernel_parameters: tuple[str, ...] = ()
    sync_clock: bool = True
    network_host: str = ""
    """A bridge; "" for none."""
    anti_spoofing: Literal["mac", "addresses", ""] = "mac"
    root_carrier: str = "auto"
    write_back: str = "exit"
    layer_mib: int = 10240
    cache_mib: int = 10240
    keep_free_mib: int = 1024
    ram_limit_mib: int = 64
    by_value: tuple[str, ...] = BY_VALUE
    in_memory: tuple[str, ...] = IN_MEMORY
    pod_machine: str = "container"
    pod_memory_mib: int = 512
    pod_vcpus: int = 2
    kill_answer_s: int = 1
    kill_end_s: int = 8
    host_memory_mib: int = 1024
    host_cpus: int = 2
    exec: bool = False
    own_kernels: bool = True
    own_ramdisks: bool = True
    annotations: tuple[str, ...] = ANNOTATIONS
    xlconf_keys: tuple[str, ...] = ()
    networks: tuple[str, ...] = NETWORKS
    own_boot_writable_binds: bool = False
    seccomp_optional: bool = False
    kernel: str = ""
    """"" for the installed kernel; `initrd` likewise."""
    initrd: str = ""
    images: str = DEFAULT_IMAGES
    state: str = DEFAULT_STATE_ROOT
    lines: Mapping[str, int] = MappingProxyType({})
    file: str = ""

    def where(self, key: str) -> str:
        """`runx.toml:3`, or `default`."""
        return f"{self.file}:{self.lines[key]}" if key in self.lines else "default"

    def origin(self, key: str) -> Path:
        """The place of a setting that the file sets, for messages."""
        return (Elsewhere(self.file, self.lines[key]), *key.split("."))


class Setting(NamedTuple):
    """How a setting is written in runx.toml. `kind` is the form of its value: size, part, count, seconds, type, words, path,
    flag, bridge, spoofing, names, keys, state, carrier, moment, machine, directories or rules. `field`: of HostConfig."""

    section: str
    name: str
    kind: str
    field: str
    about: str

    @property
    def key(self) -> str:
        return f"{self.section}.{self.name}"


SETTINGS = (
    Setting("defaults", "memory", "size", "memory_mib", "memory of a virtual machine whose container has no limit"),
    Setting(
        "defaults", "vcpus", "count", "vcpus",
        "virtual CPUs of a virtual machine whose container has neither a quota nor a cpuset",
    ),
    Setting("defaults", "type", "type", "domain_type", "kind of virtual machine: pv, pvh, or auto: pvh where the hardware can"),
    Setting("defaults", "kernel_parameters", "words", "kernel_parameters", "added to the command line of every guest's kernel"),
    Setting("defaults", "sync_clock", "flag", "sync_clock", "clocks of guests are kept at the host's time"),
    Setting(
        "network", "host", "bridge", "network_host",
        "bridge in place of the host's network, with DHCP; without it, the host's network is refused",
    ),
    Setting(
        "network", "anti_spoofing", "spoofing", "anti_spoofing",
        "what is checked of frames that guests send to a bridge: mac, addresses, or false",
    ),
    Setting("root", "carrier", "carrier", "root_carrier", "how root filesystems travel: disk, 9p, ram, or auto, which chooses"),
    Setting(
        "root", "write_back", "moment", "write_back",
        "when what a container wrote to a root on disks or in memory comes into the root filesystem: exit or never",
    ),
    Setting(
        "root", "layer_size", "size", "layer_mib", "size of the layer that a container with a root filesystem on disks writes to"
    ),
    Setting(
        "root", "cache_size", "size", "cache_mib",
        "size of all kept images of root filesystems together, and the most for one of them",
    ),
    Setting(
        "root", "keep_free", "size", "keep_free_mib",
        "what images and layers leave free on their file system; at most a tenth of it",
    ),
    Setting("root", "ram_limit", "part", "ram_limit_mib", "size of the images of a root filesystem in the ramdisk"),
    Setting(
        "mounts", "by_value", "rules", "by_value",
        "bind mounts of small files that are copied into the guest: DESTINATION SOURCE",
    ),
    Setting("mounts", "in_memory", "rules", "in_memory", "bind mounts of directories that become a tmpfs of the guest"),
    Setting(
        "pods", "machine", "machine", "pod_machine",
        "what is a virtual machine: container, each container of a pod, or pod, all of them together",
    ),
    Setting("pods", "memory", "size", "pod_memory_mib", "memory of a pod's machine whose pod has no limit"),
    Setting("pods", "vcpus", "count", "pod_vcpus", "virtual CPUs of a pod's machine whose pod has no quota"),
    Setting("kill", "answer_timeout", "seconds", "kill_answer_s", "seconds after KILL until a guest has to answer"),
    Setting("kill", "end_timeout", "seconds", "kill_end_s", "seconds after KILL until a guest has to have ended"),
    Setting("host", "memory_limit", "size", "host_memory_mib", "memory that dom0 may use for one container"),
    Setting("host", "cpus", "count", "host_cpus", "processors whose time dom0 may use for one container"),
    Setting("policy", "exec", "flag", "exec", "more processes may be started in containers that are created from now on"),
    Setting("policy", "own_kernels", "flag", "own_kernels", "containers may bring a kernel in their root filesystem"),
    Setting("policy", "own_ramdisks", "flag", "own_ramdisks", "containers may bring a ramdisk in their root filesystem"),
    Setting(
        "policy", "own_boot_writable_binds", "flag", "own_boot_writable_binds",
        "containers with a kernel or ramdisk in their root filesystem may have writable bind mounts",
    ),
    Setting("policy", "annotations", "names", "annotations", "annotations for runx that containers may have"),
    Setting("policy", "xlconf_keys", "keys", "xlconf_keys", "keys of xl.cfg(5) that containers may set by XLCONF"),
    Setting("policy", "networks", "directories", "networks", "directories whose CNI files containers may name by NETCONF"),
    Setting(
        "policy", "seccomp_optional", "flag", "seccomp_optional",
        "containers run without their seccomp profile where this host cannot make filters",
    ),
    Setting("paths", "kernel", "path", "kernel", "the guest's kernel instead of the installed one"),
    Setting("paths", "initrd", "path", "initrd", "the guest's initial ramdisk instead of the installed one"),
    Setting("paths", "images", "state", "images", "where images of root filesystems are kept"),
    Setting("paths", "state", "state", "state", "where the state of containers is kept, without --root"),
)  # fmt: skip
_BY_KEY = {setting.key: setting for setting in SETTINGS}
_SECTIONS = tuple(dict.fromkeys(setting.section for setting in SETTINGS))


def read_host_config(file: tuple[str, bytes] | None) -> HostConfig:
    """The settings of a file, given as its path and its bytes; None for all defaults. Raises CompileError with all its faults."""
    if file is None:
        return HostConfig()
    name, raw = file
    if len(raw) > SIZE_LIMIT:
        raise CompileError([(None, Diagnostic("RX601", (), f"larger than {SIZE_LIMIT >> 20} MiB"))], name)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode()
        at = location(before, len(before))
        message = f"not UTF-8: byte 0x{raw[error.start]:02x}"
        raise CompileError([(at, Diagnostic("RX601", (), message))], name, raw.decode(errors="replace")) from None
    document = _parse(text, name)
    lines = _lines(text)
    faults: list[tuple[Location | None, Diagnostic]] = []
    values: dict[str, Any] = {}
    set_lines: dict[str, int] = {}

    def fault(fault_id: str, path: Path, message: str, hint: str = "") -> None:
        key = ".".join(map(str, path[:2]))
        line = lines.get(key) or lines.get(str(path[0]))
        faults.append((Location(line, 1) if line else None, Diagnostic(fault_id, path, message, hint)))

    for section, members in document.items():
        if section not in _SECTIONS:
            fault("RX602", (section,), f"unknown section{did_you_mean(section, _SECTIONS)}", f"there are {', '.join(_SECTIONS)}")
        elif not isinstance(members, dict):
            fault("RX603", (section,), f"must be a section, [{section}]")
        else:
            for member, value in members.items():
                setting = _BY_KEY.get(f"{section}.{member}")
                if setting is None:
                    known = [setting.name for setting in SETTINGS if setting.section == section]
                    fault(
                        "RX602",
                        (section, member),
                        f"unknown setting{did_you_mean(member, known)}",
                        f"there are {', '.join(known)}",
                    )
                    continue
                try:
                    values[setting.field] = _READERS[setting.kind](value)
                    set_lines[setting.key] = lines.get(setting.key) or lines.get(section, 1)
                except _EntryError as error:
                    fault("RX603", (section, member, error.index), f"must be {error}, not {_shown(value[error.index])}")
                except ValueError as error:
                    fault("RX603", (section, member), f"must be {error}, not {_shown(value)}")
    if faults:
        raise CompileError(faults, name, text)
    return HostConfig(**values, lines=set_lines, file=name)


def _parse(text: str, name: str) -> dict[str, Any]:
    import ast
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r" \(at line (\d+), column (\d+)\)$", str(error))
        message = str(error)[: place.start()] if place else str(error).removesuffix(" (at end of document)")
        at = Location(int(place[1]), int(place[2])) if place else Location(text.rstrip("\n").count("\n") + 1, 1)
        # It writes a key as a tuple: ('defaults', 'memory').
        message = re.sub(r"\((('[^']*'|\"[^\"]*\"),? ?)+\)", lambda key: ".".join(ast.literal_eval(key[0])), message)
        raise CompileError([(at, Diagnostic("RX601", (), f"not TOML: {message[:1].lower()}{message[1:]}"))], name, text) from None
    except RecursionError:
        raise CompileError([(_deepest(text), Diagnostic("RX601", (), "nested too deeply"))], name, text) from None
    except ValueError:  # sys.set_int_max_str_digits
        number = re.search(r"\d[\d_]{4299,}", text)
        at = location(text, number.start() if number else 0)
        raise CompileError([(at, Diagnostic("RX601", (), "a number has thousands of digits"))], name, text) from None


def _deepest(text: str) -> Location | None:
    """The place of the first bracket that is nested too deeply. Brackets in strings count too, which does no harm here."""
    depth = 0
    for bracket in re.finditer(r"[\[\]{}]", text):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > DEPTH_LIMIT:
            return location(text, bracket.start())
    return None


def _lines(text: str) -> dict[str, int]:
    """The line of each section and of each `section.name`. tomllib keeps no places, but each setting has a line of its own."""
    found: dict[str, int] = {}
    section = ""
    for number, line in enumerate(text.split("\n"), 1):
        header = re.match(r"\s*\[\[?\s*([\w.\"'-]+)\s*\]", line)
        setting = re.match(r"\s*([\w.\"' -]+?)\s*=", line)
        if header:
            section = _bare(header[1])
            found.setdefault(section, number)
        elif setting:
            name = _bare(setting[1])
            found.setdefault(f"{section}.{name}" if section else name, number)
    return found


def _bare(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))


def _mib(value: Any) -> int:
    """The size in MiB; 0 if the value is not a size."""
    units = {"MiB": 1, "GiB": 1024}
    written = re.fullmatch(r"([1-9]\d{0,30}) ?(MiB|GiB)", value) if isinstance(value, str) else None
    return int(written[1]) * units[written[2]] if written else 0


def mib_of(value: Any) -> int:
    """A size such as "2GiB" in MiB. Raises ValueError with the form that it must have."""
    if not MIN_MEMORY_MIB <= _mib(value) <= MAX_SIZE_MIB:
        raise ValueError(f'a size from {MIN_MEMORY_MIB} MiB to {MAX_SIZE_MIB >> 10} GiB such as "256MiB" or "2GiB"')
    return _mib(value)


def _part(value: Any) -> int:
    if not 1 <= _mib(value) <= MAX_RAMDISK_MIB:
        raise ValueError(f'a size from 1 to {MAX_RAMDISK_MIB} MiB such as "32MiB"')
    return _mib(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_VCPUS:
        raise ValueError(f"a number from 1 to {MAX_VCPUS}")
    return value


def _seconds(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SECONDS:
        raise ValueError(f"a number of seconds from 1 to {MAX_SECONDS}")
    return value


def _type(value: Any) -> str:
    if value not in ("auto", "pv", "pvh"):
        raise ValueError("auto, pv or pvh")
    return str(value)


def _carrier(value: Any) -> str:
    if value not in CARRIERS:
        raise ValueError(f"{', '.join(CARRIERS[:-1])} or {CARRIERS[-1]}")
    return str(value)


def _moment(value: Any) -> str:
    if value not in WRITE_BACK:
        raise ValueError(" or ".join(WRITE_BACK))
    return str(value)


def _machine(value: Any) -> str:
    if value not in POD_MACHINES:
        raise ValueError(" or ".join(POD_MACHINES))
    return str(value)


class _EntryError(ValueError):
    """An entry of a list is not what it must be."""

    def __init__(self, index: int, expected: str) -> None:
        super().__init__(expected)
        self.index = index


def _entries(value: Any, of: str, expected: str, is_one: Callable[[str], bool]) -> tuple[str, ...]:
    """The strings of a list. of: what it is a list of. expected: what each must be."""
    if not isinstance(value, list):
        raise ValueError(f"a list of {of}")
    for index, entry in enumerate(value):
        if not isinstance(entry, str) or not is_one(entry):
            raise _EntryError(index, expected)
    return tuple(value)


def _rules(value: Any) -> tuple[str, ...]:
    def is_rule(rule: str) -> bool:
        return all(pattern[:1] in ("/", "*") for pattern in rule.split(" ", 1)) and " " in rule

    pair = 'such as "/etc/hosts */userdata/hosts"'
    return _entries(value, f"pairs of patterns {pair}", f"a pair of patterns {pair}", is_rule)


def _words(value: Any) -> tuple[str, ...]:
    expected = "one parameter, without spaces and double quotes; each parameter is an entry of its own"
    return _entries(value, "parameters", expected, lambda word: bool(re.fullmatch(r"[!#-~]+", word)))


def _names(value: Any) -> tuple[str, ...]:
    return _entries(value, "annotations", f"one of {', '.join(ANNOTATIONS)}", lambda name: name in ANNOTATIONS)


def _keys(value: Any) -> tuple[str, ...]:
    keys = _entries(value, "keys of xl.cfg(5)", "a key of xl.cfg(5)", lambda key: bool(xl_keys.KEY.fullmatch(key)))
    for index, key in enumerate(keys):
        if why := xl_keys.reserved(key):
            raise _EntryError(index, f"a key that a container may set ({why})")
        if key not in xl_keys.known():
            raise _EntryError(index, f"a key of xl.cfg(5){did_you_mean(key, xl_keys.known())}")
    return keys


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError("an absolute path")
    return value


def _directories(value: Any) -> tuple[str, ...]:
    def is_directory(path: str) -> bool:
        return path.startswith("/") and path.isprintable() and posixpath.normpath(path) != "/"

    expected = 'the absolute path of a directory below the root, such as "/etc/cni/net.d"'
    paths = _entries(value, 'absolute paths such as "/etc/cni/net.d"', expected, is_directory)
    return tuple(posixpath.normpath(path) for path in paths)


def _state(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or not value.isprintable() or set(value) & set("\"'\\,"):
        raise ValueError("an absolute path without commas, quotes, backslashes and control characters")
    return value


def _bridge(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,14})?", value):
        raise ValueError('the name of a bridge, or "" for none')
    return value


def _spoofing(value: Any) -> str:
    if value is not False and value not in ANTI_SPOOFING:
        raise ValueError('"mac", "addresses" or false')
    return value or ""


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


_READERS = {
    "size": mib_of,
    "part": _part,
    "count": _count,
    "seconds": _seconds,
    "type": _type,
    "carrier": _carrier,
    "moment": _moment,
    "machine": _machine,
    "rules": _rules,
    "words": _words,
    "names": _names,
    "keys": _keys,
    "path": _path,
    "flag": _flag,
    "bridge": _bridge,
    "spoofing": _spoofing,
    "state": _state,
    "directories": _directories,
}


def _shown(value: Any) -> str:
    """The value as TOML writes it, cut when long."""
    if isinstance(value, str):
        return quote(value)
    text = _toml(value)
    return text if len(text) <= 120 else text[:117] + "..."


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > 1024:
        return "a number of many digits"  # Python refuses to write thousands of them
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{quote(name)} = {_toml(member)}' for name, member in value.items())}}}"
    return quote(value) if isinstance(value, str) else str(value)
