"""The shape of config.json: OCI runtime-spec 1.3, config.md and config-linux.md, on the Linux platform.

It has every property of the specification, also those that the compiler ignores: a value of the wrong type is a mistake in
either case. Sections for other platforms are not checked. model/settings.py says what becomes of each property.
"""

from typing import Any

from runx.compiler.frontends.json_shape import Int, Map, Matching, OneOf
from runx.compiler.frontends.oci.seccomp import FLAGS
from runx.compiler.model.plan import HOOK_KINDS
from runx.linux.process_words import IO_CLASSES, SCHEDULER_FLAGS, SCHEDULER_POLICIES

INT32 = Int(-(2**31), 2**31 - 1)
INT64 = Int(-(2**63), 2**63 - 1)
UINT16 = Int(0, 2**16 - 1)
UINT32 = Int(0, 2**32 - 1)
UINT64 = Int(0, 2**64 - 1)
# The kernel reserves the last id to mean "none".
ID = Int(0, 2**32 - 2)
STRINGS: Any = [str]
UNREAD = Map(object)

_HOOK = {"path!": str, "args": STRINGS, "env": STRINGS, "timeout": INT64}
_ID_MAPPING = {"containerID!": UINT32, "hostID!": UINT32, "size!": UINT32}
_TIME_OFFSET = {"secs": INT64, "nanosecs": UINT32}
_BLOCK_DEVICE = {"major!": INT64, "minor!": INT64}
_THROTTLE = {**_BLOCK_DEVICE, "rate": UINT64}
_SECCOMP_ACTION = OneOf(
    tuple(
        f"SCMP_ACT_{name}" for name in ("KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG", "NOTIFY")
    )
)
_DEFAULT_ACTION = OneOf(_SECCOMP_ACTION.words, or_empty=True)
_SECCOMP_OPERATOR = OneOf(tuple(f"SCMP_CMP_{name}" for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")))

_CPU_LIST = Matching(r"[0-9, -]*", "a list of CPUs such as 0-3,7")

PROCESS: dict[str, Any] = {
    "terminal": bool,
    "consoleSize": {"height!": UINT64, "width!": UINT64},
    "user": {"uid": ID, "gid": ID, "umask": Int(0, 0o777), "additionalGids": [ID], "username": str},
    "args": STRINGS,
    "commandLine": str,
    "env": STRINGS,
    "cwd!": str,
    "capabilities": dict.fromkeys(("bounding", "effective", "inheritable", "permitted", "ambient"), STRINGS),
    "rlimits": [{"type!": str, "soft!": UINT64, "hard!": UINT64}],
    "noNewPrivileges": bool,
    "apparmorProfile": str,
    "oomScoreAdj": Int(-1000, 1000),
    "selinuxLabel": str,
    "scheduler": {
        "policy!": OneOf(tuple(SCHEDULER_POLICIES)), "nice": INT32, "priority": INT32,
        "flags": [OneOf(tuple(SCHEDULER_FLAGS))],
        "runtime": UINT64, "deadline": UINT64, "period": UINT64,
    },
    "ioPriority": {"class!": OneOf(tuple(IO_CLASSES)), "priority": INT32},
    "execCPUAffinity": {"initial": _CPU_LIST, "final": _CPU_LIST},
}  # fmt: skip

RESOURCES: dict[str, Any] = {
    "unified": Map(str),
    "devices": [{"allow!": bool, "type": str, "major": INT64, "minor": INT64, "access": str}],
    "pids": {"limit": INT64},
    "blockIO": {
        "weight": UINT16,
        "leafWeight": UINT16,
        "weightDevice": [{**_BLOCK_DEVICE, "weight": UINT16, "leafWeight": UINT16}],
        "throttleReadBpsDevice": [_THROTTLE],
        "throttleWriteBpsDevice": [_THROTTLE],
        "throttleReadIOPSDevice": [_THROTTLE],
        "throttleWriteIOPSDevice": [_THROTTLE],
    },
    "cpu": {
        "cpus": str, "mems": str, "period": UINT64, "quota": INT64, "burst": UINT64,
        "realtimePeriod": UINT64, "realtimeRuntime": INT64, "shares": UINT64, "idle": INT64,
    },
    "hugepageLimits": [
        {"pageSize!": Matching(r"[1-9][0-9]*[KMG]B", "a size such as 2MB or 1GB"), "limit!": UINT64}
    ],
    "memory": {
        "limit": INT64, "reservation": INT64, "swap": INT64, "kernel": INT64, "kernelTCP": INT64, "swappiness": UINT64,
        "disableOOMKiller": bool, "useHierarchy": bool, "checkBeforeUpdate": bool,
    },
    "network": {"classID": UINT32, "priorities": [{"name!": str, "priority!": UINT32}]},
    "rdma": Map({"hcaHandles": UINT32, "hcaObjects": UINT32}),
}  # fmt: skip

SECCOMP: dict[str, Any] = {
    "defaultAction": _DEFAULT_ACTION,  # required, but for a profile that asks for nothing, where Go writes ""
    "defaultErrnoRet": UINT32,
    "flags": [OneOf(FLAGS)],
    "listenerPath": str,
    "listenerMetadata": str,
    "architectures": [
        OneOf(
            tuple(
                f"SCMP_ARCH_{name}"
                for name in (
                    "X86", "X86_64", "X32", "ARM", "AARCH64", "LOONGARCH64", "M68K", "MIPS", "MIPS64", "MIPS64N32", "MIPSEL",
                    "MIPSEL64", "MIPSEL64N32", "PPC", "PPC64", "PPC64LE", "S390", "S390X", "SH", "SHEB", "PARISC", "PARISC64",
                    "RISCV64",
                )
            )
        )
    ],
    "syscalls": [
        {
            "names!": STRINGS,
            "action!": _SECCOMP_ACTION,
            "errnoRet": UINT32,
            "args": [{"index!": Int(0, 5), "value!": UINT64, "valueTwo": UINT64, "op!": _SECCOMP_OPERATOR}],
        }
    ],
}  # fmt: skip

LINUX: dict[str, Any] = {
    "namespaces": [
        {"type!": OneOf(("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")), "path": str}
    ],
    "uidMappings": [_ID_MAPPING],
    "gidMappings": [_ID_MAPPING],
    "timeOffsets": {"boottime": _TIME_OFFSET, "monotonic": _TIME_OFFSET},
    "devices": [
        {
            "path!": str, "type!": OneOf(("c", "b", "u", "p")), "major": INT64, "minor": INT64,
            "fileMode": UINT32, "uid": ID, "gid": ID,
        }
    ],
    "netDevices": Map({"name": str}),
    "cgroupsPath": str,
    "resources": RESOURCES,
    "rootfsPropagation": str,
    "seccomp": SECCOMP,
    "sysctl": Map(str),
    "maskedPaths": STRINGS,
    "readonlyPaths": STRINGS,
    "mountLabel": str,
    "intelRdt": UNREAD,
    "personality": {"domain": str, "flags": STRINGS},
    "memoryPolicy": {"mode": str, "nodes": str, "flags": STRINGS},
}  # fmt: skip

_HARDWARE = {
    "deviceTree": str, "vcpus": UINT32, "memory": UINT64, "dtdevs": STRINGS,
    "iomems": [{"firstGFN": UINT64, "firstMFN!": UINT64, "nrMFNs!": UINT64}],
    "irqs": [UINT32],
}  # fmt: skip

# config-vm.md. The frontend checks what is required: Go writes a missing object as one with empty strings.
VM: dict[str, Any] = {
    "hypervisor": {"path": str, "parameters": STRINGS},
    "kernel": {"path": str, "parameters": STRINGS, "initrd": str},
    "image": {"path": str, "format": str},
    # The spelling of the schema, and the spelling of Go's types.
    "hwConfig": _HARDWARE,
    "hwconfig": _HARDWARE,
}

CONFIG: dict[str, Any] = {
    "ociVersion!": str,
    "root!": {"path!": str, "readonly": bool},
    "process!": PROCESS,
    "mounts": [
        {
            "destination!": str, "type": str, "source": str, "options": STRINGS,
            "uidMappings": [_ID_MAPPING], "gidMappings": [_ID_MAPPING],
        }
    ],
    "hostname": str,
    "domainname": str,
    "hooks": {name: [_HOOK] for name in HOOK_KINDS},
    "annotations": Map(str),
    "linux": LINUX,
    "vm": VM,
    **dict.fromkeys(("solaris", "windows", "zos", "freebsd"), UNREAD),
}  # fmt: skip
