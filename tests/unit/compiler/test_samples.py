"""What the specification allows and what it forbids, one part of it at a time: accepted with nothing unknown, or refused."""

import json
from typing import Any

import pytest

from compiler_cases import TextFacts
from runx.compiler.diagnostics import CompileError, path_text
from runx.compiler.pipeline import Compilation, Inputs, compile

NAMESPACES = [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]
BASE: dict[str, Any] = {"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": {"cwd": "/", "args": ["sh"]}}


def made(fragment: dict[str, Any]) -> Compilation:
    """Of the smallest configuration with `fragment` put into its objects."""
    document = {**BASE, **fragment}
    document["process"] = (
        {**BASE["process"], **fragment["process"]} if isinstance(fragment.get("process"), dict) else document["process"]
    )
    if isinstance(document.get("linux", {}), dict):
        document["linux"] = {"namespaces": NAMESPACES, **document.get("linux", {})}
    return compile(Inputs("/b", container_id="c", state_root="/r", assets="/a", facts=TextFacts(json.dumps(document))))


def resources(**members: Any) -> dict[str, Any]:
    return {"linux": {"resources": members}}


GOOD: dict[str, dict[str, Any]] = {
    "the least": {},
    "an empty linux object": {"linux": {}},
    "no user": {"process": {"user": {}}},
    "a pre-release of the specification": {"ociVersion": "1.1.0-rc.3+dev"},
    "a later minor version": {"ociVersion": "1.9.0"},
    "an absolute root, read-only": {"root": {"path": "/srv/root", "readonly": True}},
    "annotations of any name": {"annotations": {"org.example.key": "", "x": "ü"}},
    "numbers at their limits": {"process": {"user": {"uid": 2**32 - 2, "gid": 0, "umask": 0o777}, "oomScoreAdj": -1000}},
    "a limit without an end": {"process": {"rlimits": [{"type": "RLIMIT_CORE", "soft": 2**64 - 1, "hard": 2**64 - 1}]}},
    "empty capabilities": {"process": {"capabilities": {}}},
    "null where nothing is meant": {"hostname": None, "mounts": None, "linux": {"devices": None, "sysctl": None}},
    "rdma devices": resources(rdma={"mlx5_0": {"hcaHandles": 4, "hcaObjects": 9}, "mlx4_1": {"hcaObjects": 1}, "rx0": {}}),
    "huge pages": resources(hugepageLimits=[{"pageSize": "2MB", "limit": 2**30}, {"pageSize": "64KB", "limit": 0}]),
    "block devices": resources(
        blockIO={
            "weight": 10,
            "weightDevice": [{"major": 8, "minor": 0, "weight": 500}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
        }
    ),
    "no limits, in numbers": resources(memory={"limit": -1, "swap": -1}, cpu={"quota": -1, "period": 0}, pids={"limit": -1}),
    "cgroups of version 2": resources(unified={"memory.high": "max", "io.max": "8:0 rbps=1"}),
    "network devices": {"linux": {"netDevices": {"eth0": {"name": "inside"}, "ens3": {}}}},
    "devices of every type": {
        "linux": {
            "devices": [
                {"path": "/dev/a", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0},
                {"path": "/dev/b", "type": "b", "major": 8, "minor": 0},
                {"path": "/dev/u", "type": "u", "major": 1, "minor": 3},
                {"path": "/dev/p", "type": "p"},
            ]
        }
    },
    "sysctls by dots and by slashes": {"linux": {"sysctl": {"net.ipv4.ip_forward": "1", "net/core/somaxconn": "256"}}},
    "mounts of the specification's example": {
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/data", "type": "none", "source": "/srv/data", "options": ["rbind", "rw"]},
        ]
    },
    "a relative mount point, which older versions allowed": {"mounts": [{"destination": "data", "type": "tmpfs"}]},
    "a scheduler": {"process": {"scheduler": {"policy": "SCHED_FIFO", "priority": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}}},
    "a deadline": {
        "process": {"scheduler": {"policy": "SCHED_DEADLINE", "runtime": 10**6, "deadline": 10**7, "period": 10**8}}
    },
    "no time to spare": {"process": {"scheduler": {"policy": "SCHED_DEADLINE", "runtime": 10**6, "deadline": 10**6}}},
    "a nice batch": {"process": {"scheduler": {"policy": "SCHED_BATCH", "nice": -20}}},
    "idle": {"process": {"scheduler": {"policy": "SCHED_IDLE"}, "ioPriority": {"class": "IOPRIO_CLASS_IDLE"}}},
    "input and output before others": {"process": {"ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 7}}},
    "CPUs for exec": {"process": {"execCPUAffinity": {"initial": "0-3, 7", "final": ""}}},
    "a personality and memory policy": {
        "linux": {"personality": {"domain": "LINUX32", "flags": []}, "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-1"}}
    },
    "a clock of its own": {"linux": {"timeOffsets": {"boottime": {"secs": -5, "nanosecs": 1}}}},
    "other platforms": {"solaris": {"milestone": "x"}, "windows": {"layerFolders": []}, "zos": {}, "freebsd": {"jail": {}}},
    "seccomp by default alone": {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_LOG"}}},
    "hooks, but none of them": {"hooks": {"prestart": [], "poststop": []}},
}  # fmt: skip


def scheduler(policy: str, **members: Any) -> dict[str, Any]:
    return {"process": {"scheduler": {"policy": policy, **members}}}


_IN_SCHEDULER = "process.scheduler"
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a scheduler without a policy": ({"process": {"scheduler": {"nice": 1}}}, f"{_IN_SCHEDULER}.policy"),
    "an unknown policy": (scheduler("SCHED_FIF0"), f"{_IN_SCHEDULER}.policy"),
    "a policy that Linux does not have": (scheduler("SCHED_ISO"), f"{_IN_SCHEDULER}.policy"),
    "an unknown flag": (scheduler("SCHED_OTHER", flags=["SCHED_FLAG_RESET"]), f"{_IN_SCHEDULER}.flags[0]"),
    "too nice": (scheduler("SCHED_OTHER", nice=20), f"{_IN_SCHEDULER}.nice"),
    "no priority for real time": (scheduler("SCHED_FIFO"), f"{_IN_SCHEDULER}.priority"),
    "a priority beyond the last": (scheduler("SCHED_RR", priority=100), f"{_IN_SCHEDULER}.priority"),
    "a priority where nice is meant": (scheduler("SCHED_OTHER", priority=1), f"{_IN_SCHEDULER}.priority"),
    "a deadline without a runtime": (scheduler("SCHED_DEADLINE", deadline=10**6), f"{_IN_SCHEDULER}.runtime"),
    "a runtime without a deadline": (scheduler("SCHED_DEADLINE", runtime=10**6, period=10**6), f"{_IN_SCHEDULER}.deadline"),
    "a runtime beyond the deadline": (scheduler("SCHED_DEADLINE", runtime=10**7, deadline=10**6), f"{_IN_SCHEDULER}.runtime"),
    "a deadline beyond the period": (
        scheduler("SCHED_DEADLINE", runtime=10**5, deadline=10**7, period=10**6),
        f"{_IN_SCHEDULER}.deadline",
    ),
    "a runtime in microseconds": (scheduler("SCHED_DEADLINE", runtime=900, deadline=10**6), f"{_IN_SCHEDULER}.runtime"),
    "a period of an hour": (
        scheduler("SCHED_DEADLINE", runtime=10**6, deadline=10**6, period=3600 * 10**9),
        f"{_IN_SCHEDULER}.period",
    ),
    "a runtime without its policy": (scheduler("SCHED_FIFO", priority=1, runtime=5), f"{_IN_SCHEDULER}.runtime"),
    "a level beyond the last": (
        {"process": {"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}},
        "process.ioPriority.priority",
    ),
    "a level without its class": ({"process": {"ioPriority": {"priority": 1}}}, "process.ioPriority.class"),
    "CPUs for exec in words": ({"process": {"execCPUAffinity": {"final": "all"}}}, "process.execCPUAffinity.final"),
    "a number of tasks in words": (resources(pids={"limit": "max"}), "linux.resources.pids.limit"),
    "no version": ({"ociVersion": None}, "ociVersion"),
    "a version that is none": ({"ociVersion": "latest"}, "ociVersion"),
    "another major version": ({"ociVersion": "2.0.0"}, "ociVersion"),
    "no root": ({"root": None}, "root"),
    "a root without a path": ({"root": {"readonly": True}}, "root.path"),
    "a root that is a string": ({"root": "rootfs"}, "root"),
    "a process that is an array": ({"process": ["sh"]}, "process"),
    "no arguments": ({"process": {"args": []}}, "process.args"),
    "an argument that is a number": ({"process": {"args": ["sleep", 5]}}, "process.args[1]"),
    "a relative cwd": ({"process": {"cwd": "here"}}, "process.cwd"),
    "a variable without a name": ({"process": {"env": ["PATH=/bin", "=x"]}}, "process.env[1]"),
    "a negative uid": ({"process": {"user": {"uid": -1}}}, "process.user.uid"),
    "the uid that is none": ({"process": {"user": {"uid": 2**32 - 1}}}, "process.user.uid"),
    "a fraction": ({"process": {"user": {"gid": 1.5}}}, "process.user.gid"),
    "true for a number": ({"process": {"oomScoreAdj": True}}, "process.oomScoreAdj"),
    "a limit given twice": (
        {"process": {"rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}, {"type": "RLIMIT_CPU", "soft": 2, "hard": 2}]}},
        "process.rlimits[1].type",
    ),
    "a limit without a hard one": ({"process": {"rlimits": [{"type": "RLIMIT_CPU", "soft": 1}]}}, "process.rlimits[0].hard"),
    "an annotation that is a number": ({"annotations": {"x": 1}}, "annotations.x"),
    "a mount without a place": ({"mounts": [{"type": "tmpfs"}]}, "mounts[0].destination"),
    "mounts that are an object": ({"mounts": {}}, "mounts"),
    "a page size with a small letter": (
        resources(hugepageLimits=[{"pageSize": "2mB", "limit": 1}]),
        "linux.resources.hugepageLimits[0].pageSize",
    ),
    "a page size without a limit": (resources(hugepageLimits=[{"pageSize": "2MB"}]), "linux.resources.hugepageLimits[0].limit"),
    "handles in words": (resources(rdma={"mlx5_0": {"hcaHandles": "many"}}), "linux.resources.rdma.mlx5_0.hcaHandles"),
    "a weight beyond 16 bits": (resources(blockIO={"weight": 2**16}), "linux.resources.blockIO.weight"),
    "memory in words": (resources(memory={"limit": "1G"}), "linux.resources.memory.limit"),
    "a rule for devices without its verdict": (resources(devices=[{"access": "rwm"}]), "linux.resources.devices[0].allow"),
    "a network device's name as a number": ({"linux": {"netDevices": {"eth0": {"name": 7}}}}, "linux.netDevices.eth0.name"),
    "an unknown namespace": ({"linux": {"namespaces": [*NAMESPACES, {"type": "user2"}]}}, "linux.namespaces[5].type"),
    "a namespace given twice": ({"linux": {"namespaces": [*NAMESPACES, {"type": "pid"}]}}, "linux.namespaces[5].type"),
    "a device of no type": ({"linux": {"devices": [{"path": "/dev/x"}]}}, "linux.devices[0].type"),
    "a sysctl as a number": ({"linux": {"sysctl": {"net.ipv4.ip_forward": 1}}}, 'linux.sysctl["net.ipv4.ip_forward"]'),
    "masked paths that are one": ({"linux": {"maskedPaths": "/proc/kcore"}}, "linux.maskedPaths"),
    "seccomp without a default": (
        {"linux": {"seccomp": {"syscalls": [{"names": ["a"], "action": "SCMP_ACT_ALLOW"}]}}},
        "linux.seccomp.defaultAction",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fragment", GOOD.values(), ids=GOOD)
def test_what_the_specification_allows(fragment: dict[str, Any]) -> None:
    ignored = [entry for entry in made(fragment).plan.ignored if "unknown" in entry.reason]
    assert not ignored


@pytest.mark.parametrize(("fragment", "place"), BAD.values(), ids=BAD)
def test_what_the_specification_forbids(fragment: dict[str, Any], place: str) -> None:
    with pytest.raises(CompileError) as caught:
        made(fragment)
    # One fault in, one fault out: nothing else is said of an otherwise good configuration.
    assert [path_text(fault.path) for fault in caught.value.diagnostics] == [place]
    assert place in caught.value.message
