"""Make docs/faults.md, which `make docs` writes.

An ID stands at the call that reports a fault, and FAULTS says what it means. The page adds the modules that report it, found
in their sources. Tests see that the table has every ID and no other.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

RUNX = Path(__file__).parents[2] / "runx"
MODULES = sorted([*(RUNX / "compiler").rglob("*.py"), RUNX / "shell.py"])

AREAS = {
    "RX0": "The text of config.json and its form",
    "RX1": "process",
    "RX2": "Root filesystem, image, kernel and ramdisk",
    "RX3": "mounts",
    "RX4": "linux",
    "RX5": "Networks: NETCONF and CNI files",
    "RX6": "runx.toml",
    "RX7": "Policy of the host, annotations and XLCONF",
    "RX8": "hooks",
    "RX9": "The host, the files for xl and the guest, and runx update",
}

FAULTS = {
    "RX001": "The configuration is too large.",
    "RX002": "The configuration is not UTF-8.",
    "RX003": "The configuration is not JSON.",
    "RX004": "The configuration is nested too deeply, or has a number with thousands of digits.",
    "RX006": "An object has the same name twice.",
    "RX007": "A string holds a NUL character or half of a surrogate pair.",
    "RX010": "A required property is missing.",
    "RX011": "A value has the wrong type.",
    "RX012": "A number is out of range.",
    "RX013": "A value is not one of the allowed words.",
    "RX014": "A string does not have the required form.",
    "RX015": "The specification does not have the property.",
    "RX016": "The version of the specification is not supported.",
    "RX020": "A virtual machine has no use for the setting, or provides it anyway (docs/support.md).",
    "RX021": "A virtual machine cannot have the setting (docs/support.md).",
    "RX022": "The container's own ramdisk decides about the setting.",
    "RX023": "The setting is for a virtual machine, which the sandbox of a pod does not have.",
    "RX024": "A path, or a name in it, is longer than Linux takes.",
    "RX101": "process.args names no program.",
    "RX102": "An entry of process.env is not NAME=value.",
    "RX103": "process.cwd is not an absolute path.",
    "RX104": "Linux does not have the resource limit.",
    "RX105": "A resource limit is given twice.",
    "RX106": "A soft resource limit exceeds the hard one.",
    "RX107": "The limit of open files is larger than Linux allows.",
    "RX108": "Linux does not have the capability.",
    "RX109": "The terminal is larger than a terminal can be.",
    "RX110": "The size of a terminal is given, but the process has no terminal.",
    "RX111": "Linux does not give an ambient capability that is not permitted and inheritable.",
    "RX112": "An effective capability is not permitted, or an inheritable one is not in the bounding set.",
    "RX113": "The capability is given, but the guest's kernel has no driver that it is for.",
    "RX114": "A variable of the environment is given again, and the last one counts.",
    "RX115": "The process has more groups than Linux takes.",
    "RX116": "Arguments and environment are larger than Linux takes.",
    "RX117": "The working directory is a file, or lies below one.",
    "RX120": "Linux does not have the scheduling policy.",
    "RX121": "A nice value or priority is out of range for the scheduling policy.",
    "RX122": "A number is given that the scheduling policy does not have.",
    "RX123": "A nice value is given that the scheduling policy does not use.",
    "RX124": "A virtual machine does not set the speed of its CPUs.",
    "RX125": "SCHED_DEADLINE needs a number that is missing.",
    "RX126": "The kernel does not accept the times for SCHED_DEADLINE.",
    "RX130": "The level of the I/O priority is out of range.",
    "RX201": "root.path is not a directory, or does not exist.",
    "RX202": "root.path is not used, since vm.image is the root filesystem.",
    "RX210": "The carrier of the root filesystem is not a known one.",
    "RX211": "The carrier does not fit to vm.image.",
    "RX212": "The carrier does not fit to a ramdisk of the container's own.",
    "RX213": "The root filesystem cannot be carried by disks.",
    "RX214": "The root filesystem cannot be carried in memory.",
    "RX215": "The virtual machine's memory is too small for a root filesystem in memory.",
    "RX216": "The root filesystem cannot be examined.",
    "RX217": "It is not known when to write back.",
    "RX218": "Nothing of the root filesystem is in the guest alone.",
    "RX219": "The size of a container's layer is not a size, or more than the host allows.",
    "RX220": "vm.image names no file.",
    "RX221": "xl cannot attach an image of this format.",
    "RX222": "The path of the image has characters that cannot be printed.",
    "RX223": "An image of this format cannot be attached read-only.",
    "RX224": "The size of a layer is given for a container that writes to none.",
    "RX225": "A root filesystem in memory cannot come to the running machine of a pod.",
    "RX230": "The path of a file of the host is not absolute.",
    "RX231": "A file for the virtual machine does not exist, or is not a file.",
    "RX232": "Another place of the configuration asks for the same and goes before this one.",
    "RX233": "A string is not a parameter of a kernel.",
    "RX234": "The hardware is given twice, as hwConfig and as hwconfig.",
    "RX235": "The virtual machine's memory is too small for any guest.",
    "RX236": "The virtual machine has more CPUs than a guest can have.",
    "RX237": "A device tree node is not a path.",
    "RX240": "It is not known whether the guest's clock is kept.",
    "RX241": "runx keeps no clock without a machine of the container's own, or beside a ramdisk of its own.",
    "RX301": "The destination of a mount is not a path inside the container.",
    "RX302": "A mount would hide the root filesystem.",
    "RX303": "The guest does not have file systems of this type.",
    "RX304": "A mount option is for cgroups version 1; the guest has version 2.",
    "RX305": "A bind mount has no source.",
    "RX306": "The source of a bind mount does not exist or cannot be read.",
    "RX307": "The source of a bind mount is neither a directory nor a file.",
    "RX308": "A bind mount, or the root filesystem, is on a file system of the host's kernel, such as proc.",
    "RX309": "The source of a bind mount has huge pages of the host.",
    "RX310": "A mount option is malformed.",
    "RX311": "A mount option is not supported.",
    "RX312": "A mount option is for programs that read options, not for a kernel.",
    "RX313": "A mount option has a value but takes none.",
    "RX314": "A mount option has no effect in the guest.",
    "RX315": "A mount option is unknown.",
    "RX316": "The guest's own file system is in place of one of the host's kernel.",
    "RX317": "File systems of the host's kernel below a bind mount are left out.",
    "RX318": "An engine's file is read-only, as a kernel or ramdisk comes from the root filesystem.",
    "RX319": "A bind mount is in a user namespace, whose ids a virtual machine does not map.",
    "RX320": "A mount option asks for mounts to propagate between host and guest.",
    "RX321": "A mount option has a value that the file system does not take.",
    "RX322": "The guest's kernel does not have what a mount option asks for.",
    "RX323": "The directories or settings of a mount of type overlay make none.",
    "RX324": "A mount of a container in the machine of its pod is to propagate between host and guest.",
    "RX325": "A mount option needs a value and has none.",
    "RX326": "A directory would be mounted on a file, or a file on a directory.",
    "RX328": "A mount or the working directory would be in proc or the like, where the guest's kernel has no such place.",
    "RX329": "A mount or the working directory would be made in a read-only bind mount.",
    "RX401": "A namespace is given twice.",
    "RX402": "The sandbox of a pod needs no such namespace.",
    "RX403": "The virtual machine has its own namespace instead of the pod's.",
    "RX404": "A virtual machine cannot join the namespace.",
    "RX405": "The virtual machine has its own users.",
    "RX406": "A virtual machine cannot use the network of the host.",
    "RX407": "The virtual machine has its own namespace, although none is asked for.",
    "RX408": "The path of a network namespace leads to none.",
    "RX409": "A network device cannot be moved into the container's network namespace.",
    "RX410": "The path of a device is not absolute.",
    "RX411": "The number of a device is missing or out of range.",
    "RX412": "A device is not made: /dev is a directory of the host, or something stands in its place.",
    "RX413": "A device would stand in the place of a directory.",
    "RX414": "The guest's kernel has no driver for a device, so no node is made.",
    "RX415": "A device would be made where none can be: in a read-only bind mount, in proc or the like, or below a device.",
    "RX420": "A name is not the name of a kernel parameter.",
    "RX421": "The host name is given as a kernel parameter.",
    "RX422": "A masked or read-only path is not absolute.",
    "RX423": "The mount propagation of the root filesystem is unknown.",
    "RX424": "linux.cgroupsPath is not the path of a control group.",
    "RX425": "A host or domain name is too long.",
    "RX426": "The guest's kernel has no such parameter.",
    "RX427": "The guest's kernel does not take the value of a parameter.",
    "RX428": "A kernel parameter is given twice.",
    "RX429": "A kernel parameter, such as one of the kernel's command line, has no effect.",
    "RX430": "A text is not a list of CPUs.",
    "RX431": "More CPUs are asked for than a guest can have.",
    "RX432": "Less CPU time is asked for than a virtual machine needs to start.",
    "RX433": "A file of linux.resources.unified has an impossible name, or a text that is no value of it.",
    "RX434": "A file of linux.resources.unified has the same meaning as the property and goes before it.",
    "RX435": "A virtual machine has no use for a file of linux.resources.unified.",
    "RX436": "Less memory is asked for than a virtual machine needs.",
    "RX437": "What an engine says of the size of a pod is no number.",
    "RX438": "More CPU shares are asked for than a control group can have.",
    "RX440": "A seccomp profile asks for a listener, which cannot exist.",
    "RX441": "A seccomp rule names an empty system call.",
    "RX442": "A seccomp flag is about listeners, which no rule notifies.",
    "RX443": "This host cannot make seccomp filters, and the container runs without one.",
    "RX444": "libseccomp or the kernel does not accept the seccomp profile.",
    "RX445": "This host cannot make seccomp filters, and its policy does not allow to go without.",
    "RX446": "The seccomp profile is empty: no filter is loaded.",
    "RX448": "A container of a pod that is one virtual machine asks for a machine of its own.",
    "RX449": "A container of a pod that is one virtual machine asks for CPUs of the host.",
    "RX501": "NETCONF is malformed.",
    "RX502": "A CNI file cannot be read, or is inside the container's root filesystem.",
    "RX503": "A CNI file is not JSON.",
    "RX504": "A CNI file does not have the form of a network configuration.",
    "RX505": "A CNI file holds another network.",
    "RX506": "The CNI plugin is not supported.",
    "RX507": "A setting of a CNI file is not supported.",
    "RX508": "A setting of a CNI file is about the host, which runx does not change.",
    "RX509": "A chained CNI plugin has no effect: runx calls none, and each has a reason of its own.",
    "RX510": "A CNI file has a malformed address or network.",
    "RX511": "The CNI file does not give the address to a container, or no machine can have it.",
    "RX512": "A route of a CNI file has no usable gateway.",
    "RX513": "A CNI file has several addresses for one interface.",
    "RX514": "A property of a route of a CNI file is not carried.",
    "RX515": "The DHCP server decides about a setting of a CNI file, or the network has no addresses.",
    "RX516": "A route of a CNI file is not made: the kernel makes it, another stands before it, or it is of the other family.",
    "RX520": "The host does not have the bridge.",
    "RX521": "The bridge does not have the gateway's address.",
    "RX601": "runx.toml is not UTF-8 or not TOML, or too large.",
    "RX602": "runx.toml has an unknown section or setting.",
    "RX603": "A setting of runx.toml has a wrong value.",
    "RX605": "Arm does not have this type of virtual machine.",
    "RX606": "runx.toml cannot be read.",
    "RX701": "The host's policy does not allow the annotation.",
    "RX702": "The host's policy does not allow a kernel or ramdisk from the root filesystem.",
    "RX703": "runx does not know the annotation.",
    "RX704": "The CNI file is in no directory that the host's policy names.",
    "RX705": "Another user than root could change the CNI file.",
    "RX706": "A kernel or ramdisk from the root filesystem would write to a bind mount.",
    "RX710": "XLCONF is malformed.",
    "RX711": "No container may set the key of xl.cfg.",
    "RX712": "The host's policy does not allow the key of xl.cfg.",
    "RX713": "xl would misunderstand the value, or run it as root.",
    "RX714": "The configuration itself sets the key of xl.cfg.",
    "RX715": "It is not known whether exec is allowed.",
    "RX716": "The host's policy does not allow exec.",
    "RX717": "Nothing can be started in a sandbox, or beside a ramdisk of the container's own.",
    "RX718": "It is not known whether the pod is one virtual machine.",
    "RX719": "A container of a pod asks for another kind of machine than its sandbox has.",
    "RX720": "An annotation is about pods, and the container is in none.",
    "RX801": "The path of a hook is not absolute.",
    "RX802": "The time limit of a hook is not greater than zero.",
    "RX803": "An entry of a hook's environment is not NAME=value.",
    "RX901": "The bundle or its configuration cannot be read.",
    "RX902": "The path of the state directory cannot be given to xl.",
    "RX903": "The kernel's command line is too long, or has characters that it cannot have.",
    "RX904": "A value cannot be written into the configuration for xl or into a script of the guest.",
    "RX905": "The installation of runx is incomplete.",
    "RX910": "runx update cannot change the limit.",
    "RX911": "runx update asks for more than the virtual machine was created with.",
    "RX912": "The configuration fixes the virtual machine's memory.",
}


class Use(NamedTuple):
    """A place that reports a fault. `kind`: error, or notice for a setting that is ignored."""

    fault_id: str
    module: str
    kind: str


def uses() -> Iterator[Use]:
    """Every ID in the compiler's sources."""
    for path in MODULES:
        tree = ast.parse(path.read_text())
        notices = {
            id(node.args[0])
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "ignore" and node.args
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and is_fault_id(node.value):
                kind = "notice" if id(node) in notices else "error"
                yield Use(str(node.value), name_of(path), kind)


def name_of(path: Path) -> str:
    """A module as the page names it."""
    return path.relative_to(RUNX).as_posix().removeprefix("compiler/")


def is_fault_id(value: object) -> bool:
    """Whether a value looks like an ID."""
    return isinstance(value, str) and len(value) == 5 and value.startswith("RX") and value[2:].isdigit()


def page() -> str:
    """The text of docs/faults.md."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from (
        "<!-- Written by `make docs`. -->",
        "# Faults and notices",
        "",
        "Every fault and notice of the compiler has an ID, for users who search for it. `runx plan` shows it.",
        "An error refuses the configuration. A notice is about a setting that is ignored.",
    )
    found = sorted(set(uses()))
    for area, title in AREAS.items():
        yield from ("", f"## {title}", "", "| ID | | meaning | reported by |", "|---|---|---|---|")
        for fault_id, meaning in FAULTS.items():
            if fault_id.startswith(area):
                here = [use for use in found if use.fault_id == fault_id]
                kinds, modules = dict.fromkeys(use.kind for use in here), dict.fromkeys(f"`{use.module}`" for use in here)
                yield f"| {fault_id} | {', '.join(kinds)} | {meaning} | {', '.join(modules)} |"


if __name__ == "__main__":
    sys.stdout.write(page())
