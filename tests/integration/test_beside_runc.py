"""The same configurations under runc and under runx: what a process can see of itself and around it is the same, but for what
docs/differences.md lists with its reason. A difference that is not listed fails, and so does a listed one that no case shows."""

import fnmatch
import json
import re
import resource
import subprocess
from pathlib import Path
from typing import Any

import pytest

from exec_setting import may_exec  # noqa: F401  # a fixture
from runxtools import ociimage
from runxtools.checkout import CHECKOUT
from runxtools.double.host import Double
from runxtools.testing.bundles import BUSYBOX, LIMIT_S, image_root
from runxtools.testing.containers import RUNX, until

TABLE = CHECKOUT / "docs/differences.md"
CASES = CHECKOUT / "tests/cases"
RUNC_CANNOT = ("ctr-mount-ro-noexec", "podman-full")
"""A bind mount by type alone, without the option, which runc 1.1 takes for a file system of that type; and so few open files
allowed that runc itself runs out of them."""
OURS = ("minimal", "read-only", "schedule")
OF_ENGINES = sorted(path.name for engine in ("ctr", "docker", "podman") for path in CASES.glob(f"{engine}-*"))
CONFIGS = {name: CASES / name / "config.json" for name in (*OURS, *OF_ENGINES) if name not in RUNC_CANNOT}
SYSCTLS = (
    "kernel/hostname", "kernel/domainname", "kernel/shmmax", "kernel/msgmax", "kernel/sem", "kernel/pid_max",
    "kernel/core_pattern", "fs/file-max", "fs/nr_open", "fs/mqueue/msg_max", "vm/overcommit_memory", "vm/max_map_count",
    "net/ipv4/ip_forward", "net/ipv4/ping_group_range", "net/ipv4/ip_unprivileged_port_start", "net/core/somaxconn",
)  # fmt: skip
PROBE = f"""
section() {{ echo "== $1"; }}
section id; id
section pwd; pwd
section umask; umask
section env; env
section ulimit; ulimit -a
section limits; cat /proc/self/limits
section status; cat /proc/self/status
section mountinfo; cat /proc/self/mountinfo
section oom; cat /proc/self/oom_score_adj
section cgroup; cat /proc/self/cgroup
section cmdline; tr '\\0' ' ' < /proc/1/cmdline; echo
section comm; cat /proc/1/comm
section fds; for fd in /proc/1/fd/*; do echo ${{fd##*/}}; done
section root; ls -A /
section dev; ls -ln /dev /dev/* 2> /dev/null
section interfaces; ls /sys/class/net
section nproc; nproc
section schedule; chrt -p 1; ionice -p 1
section sysctl; for i in {" ".join(SYSCTLS)}; do echo "$i $(cat /proc/sys/$i 2>&1)"; done
section masked; for i in kcore keys latency_stats timer_list sched_debug acpi scsi asound interrupts; do
    test -e /proc/$i && echo "$i $(head -c 20 /proc/$i 2>&1 | wc -c) $(ls -A /proc/$i 2>&1 | wc -l)"
done
section write; for i in / /dev /sys /proc/sys /proc/sysrq-trigger /tmp; do
    [ -w $i ] && echo "$i writable"
done
section end
exit 7
"""
VARY = re.compile(
    r"status (Vm\w+|Rss\w+|Hugetlb\w+|Pid|Tgid|PPid|\w*voluntary_ctxt_switches|Threads|SigQ|NS\w+|State|Name|FDSize)"
)
seen_rows: set[str] = set()
ran: set[str] = set()


def adapted(path: Path, directory: Path) -> dict[str, Any]:
    """The configuration, for a bundle here: with what it mounts, without what belongs to the engine or another machine."""
    config: dict[str, Any] = json.loads(path.read_text())
    linux = config["linux"]
    config["root"]["path"] = "rootfs"
    config.pop("hooks", None)
    config.pop("annotations", None)
    linux.pop("cgroupsPath", None)
    # The double's kernel has few controllers to give, and virtual machines are limited otherwise.
    devices = linux.pop("resources", {}).get("devices")
    if devices:
        linux["resources"] = {"devices": devices}
    linux["namespaces"] = [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]
    process = config["process"]
    process |= {"args": ["/bin/sh", "-c", PROBE], "terminal": False}
    process.pop("consoleSize", None)
    if "scheduler" in process:
        # runc 1.2 and newer ask the kernel for them, and this machine's may not have them.
        process["scheduler"]["flags"] = [flag for flag in process["scheduler"]["flags"] if "UTIL_CLAMP" not in flag]
    for limit in process.get("rlimits", []):
        # runc cannot raise what it was given.
        ceiling = resource.getrlimit(getattr(resource, limit["type"]))[1]
        for kind in ("soft", "hard"):
            limit[kind] = limit[kind] if ceiling == resource.RLIM_INFINITY else min(limit[kind], ceiling)
    process["env"] = [entry for entry in process.get("env", []) if not entry.startswith(("NETCONF=", "PATH="))] + ["PATH=/bin"]
    mounts = config.setdefault("mounts", [])
    if not any(mount["destination"] == "/proc" for mount in mounts):
        mounts.insert(0, {"destination": "/proc", "type": "proc", "source": "proc"})
    for number, mount in enumerate(mounts):
        if {"bind", "rbind"} & {mount.get("type"), *mount.get("options", ())}:
            source = directory / f"source-{number}"
            if re.fullmatch(r"/etc/\w+(\.conf)?|/run/\.containerenv", mount["destination"]):
                source.write_text(f"{mount['destination']}\n")
            else:
                source.mkdir()
            mount["source"] = str(source)
    return config


def facts(text: str) -> dict[str, str]:
    """What the probe printed, a name for each thing."""
    found: dict[str, str] = {}
    for section in text.split("== ")[1:]:
        name, _, body = section.partition("\n")
        lines = body.splitlines()
        if name == "mountinfo":
            for line in lines:
                fields, _, rest = line.partition(" - ")
                _, _, _, root, point, options, *tags = fields.split(" ")
                kind, source, superblock = rest.split(" ", 2)
                values = {"type": kind, "source": source, "root": root, "options": options, "superblock": superblock}
                values["propagation"] = " ".join(tag.split(":")[0] for tag in tags) or "private"
                found |= {f"mount {point} {what}": value for what, value in values.items()}
        elif name == "dev":
            for line in lines:
                words = line.split()
                if len(words) > 5 and not line.startswith("/"):
                    numbers = f"{words[4]}{words[5]}" if words[4].endswith(",") else ""
                    target = f" -> {words[-1]}" if "->" in words else ""
                    entry = words[words.index("->") - 1] if target else words[-1]
                    found[f"dev {entry.removeprefix('/dev/')}"] = f"{words[0]} {words[2]}:{words[3]} {numbers}{target}"
        elif name in ("status", "env", "sysctl", "limits", "ulimit", "masked", "root", "fds", "interfaces", "write"):
            for line in lines:
                key, _, value = re.sub(r"\s*[:=]\s*|\s{2,}", "\0", line, count=1).partition("\0")
                if not value:
                    key, _, value = line.partition(" ")
                if not VARY.match(f"{name} {key}"):
                    found[f"{name} {key}"] = " ".join(value.split())
        else:
            found[name] = body.strip()
    return found


def without_driver(double: Double, bundle: Path) -> set[str]:
    """The entries of /dev that runx does not make and lists, and the directories of nothing else."""
    plan = json.loads(double.run([RUNX, "plan", "--format", "json", str(bundle)], check=True).stdout)
    devices = json.loads((bundle / "config.json").read_text())["linux"].get("devices", [])
    left_out = [devices[int(entry["path"][len("linux.devices[") : -1])] for entry in plan["ignored"] if entry["id"] == "RX414"]
    paths = [Path(device["path"]).relative_to("/dev") for device in left_out if device["path"].startswith("/dev/")]
    return {f"dev {name}" for path in paths for name in (path.name, *map(str, path.parts[:-1]))}


def rows(double: Double) -> list[str]:
    """The first column of the tables: patterns of names. Rows of another version of runc are left out."""
    said = double.run(["runc", "--version"], check=True).stdout.decode()
    version = numbers(said.split()[2])
    found = re.findall(r"^\| `([^`]+)` \|(?: (since|before) runc ([\d.]+) \|)?", TABLE.read_text(), flags=re.MULTILINE)
    return [row for row, which, limit in found if not which or (version >= numbers(limit)) == (which == "since")]


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0]))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_same_but_for_what_is_listed(double: Double, tmp_path: Path, name: str) -> None:
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    ociimage.write(tmp_path / "image.tar", BUSYBOX)
    config = adapted(CONFIGS[name], tmp_path)
    said = {}
    for runtime in ("runc", RUNX):
        bundle = bundle_for(runtime, tmp_path, config)
        argv = [runtime, "--root", str(bundle / "state"), "run", "--bundle", str(bundle), "beside"]
        result = double.run(argv, timeout=LIMIT_S)
        assert result.returncode == 7, (runtime, result.stderr, result.stdout[-500:])
        said[runtime] = facts(result.stdout.decode())
    ran.add(name)
    compare(double, tmp_path, *said.values())


def bundle_for(runtime: str, directory: Path, config: dict[str, Any]) -> Path:
    """A bundle with a root of its own: mount points that one runtime makes are not to be found by the other."""
    bundle = directory / Path(runtime).name
    bundle.mkdir()
    image_root(directory / "image.tar", bundle / "rootfs")
    (bundle / "config.json").write_text(json.dumps(config))
    return bundle


def compare(double: Double, directory: Path, under_runc: dict[str, str], under_runx: dict[str, str]) -> None:
    """Raise AssertionError for a difference that is not listed."""
    differing = {
        key: (under_runc.get(key), under_runx.get(key))
        for key in sorted(under_runc.keys() | under_runx.keys())
        if under_runc.get(key) != under_runx.get(key)
    }
    for key in without_driver(double, directory / Path(RUNX).name):
        if differing.get(key, ("", ""))[1] is None:
            del differing[key]
    table = rows(double)
    listed = {key: [row for row in table if fnmatch.fnmatchcase(key, row)] for key in differing}
    seen_rows.update(row for found in listed.values() for row in found)
    unlisted = [f"{key}: runc {differing[key][0]!r}, runx {differing[key][1]!r}" for key, found in listed.items() if not found]
    assert not unlisted, "\n".join(["not in docs/differences.md:", *unlisted])


@pytest.mark.usefixtures("may_exec")
@pytest.mark.parametrize("name", ["minimal", "schedule", "ctr-plain", "docker-full", "podman-plain"])
@pytest.mark.parametrize("how", ["a file", "options"])
def test_a_further_process(double: Double, tmp_path: Path, name: str, how: str) -> None:
    """The same, of a process that `exec` starts beside one that waits: with what the file has, or what the container has."""
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    ociimage.write(tmp_path / "image.tar", BUSYBOX)
    config = adapted(CONFIGS[name], tmp_path)
    process = config["process"]
    for limit in process.get("rlimits", []):
        if limit["type"] == "RLIMIT_NOFILE":
            limit["soft"] = limit["hard"]  # as the exec of runc 1.1 has it in any case
    (tmp_path / "process.json").write_text(json.dumps(process))
    config["process"] = {**process, "args": ["/bin/sh", "-c", "echo ready; exec sleep 1000"]}
    said = {}
    for runtime in ("runc", RUNX):
        bundle = bundle_for(runtime, tmp_path, config)
        argv = [runtime, "--root", str(bundle / "state")]
        words = [*argv, "run", "--bundle", str(bundle), "beside"]
        with double.popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as waiting:
            assert waiting.stdout and waiting.stdout.readline() == b"ready\n"
            until(lambda argv=argv: b'"running"' in double.run([*argv, "state", "beside"]).stdout)
            if how == "a file":
                words = [*argv, "exec", "--process", str(tmp_path / "process.json"), "beside"]
            else:
                words = [*argv, "exec", "--env", "A=b", "beside", "/bin/sh", "-c", PROBE]
            result = double.run(words, timeout=LIMIT_S)
            double.run([*argv, "delete", "--force", "beside"], check=True)
        assert result.returncode == 7, (runtime, result.stderr, result.stdout[-500:])
        said[runtime] = facts(result.stdout.decode())
    compare(double, tmp_path, *said.values())


def test_every_listed_difference_is_one(double: Double) -> None:
    if ran < set(CONFIGS):
        pytest.skip("not all cases ran")
    assert [row for row in rows(double) if row not in seen_rows] == []
