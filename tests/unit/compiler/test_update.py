"""`runx update`: limits as `create` makes them of the same configuration, all of them or none."""

import json
import subprocess
from typing import Any

import pytest

from commandhost import Host

MIB = 1 << 20
CPU = {"quota": 200_000, "period": 100_000}
MEMORY = {"limit": 512 * MIB}


def create(host: Host, **resources: Any) -> None:
    host.config["linux"] |= {"resources": resources}  # type: ignore[operator]
    host.write_config()
    host.create()


def changes(host: Host) -> list[list[str]]:
    """What xl was called with to change the domain."""
    return [call for call in host.xen.calls() if call[0] in ("mem-set", "vcpu-set", "vcpu-pin", "sched-credit2")]


def domain(host: Host) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads((host.root / "c" / "plan.json").read_text())
    return plan["domain"]  # type: ignore[no-any-return]


def limits(host: Host) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads((host.root / "c" / "limits.json").read_text())
    return kept


@pytest.mark.parametrize("status", ["created", "running", "paused"])
def test_memory(host: Host, status: str) -> None:
    create(host, memory=MEMORY)
    for command in {"created": (), "running": ("start",), "paused": ("start", "pause")}[status]:
        assert host.runx(command, "c").returncode == 0
    before, name = domain(host)["memory_mib"], domain(host)["name"]
    result = host.runx("update", "--memory", "256m", "c")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    now = int(host.xen.settings(1)["memory"])
    assert changes(host) == [["mem-set", name, f"{now}m"]]
    event = json.loads(host.runx("events", "--stats", "c").stdout)
    assert event["data"]["memory"]["usage"] == {"usage": now << 20, "limit": now << 20}
    assert host.state()["status"] == status

    # As large as one that is created with the smaller limit.
    host.runx("delete", "--force", "c")
    create(host, memory={"limit": 256 * MIB})
    assert domain(host)["memory_mib"] == now < before


def test_memory_has_a_maximum(host: Host) -> None:
    create(host, memory=MEMORY)
    most = domain(host)["memory_mib"]
    result = host.runx("update", "--memory=1g", "--cpu-share", "512", "c")
    assert result.returncode == 1
    assert f"--memory: {1 << 30} bytes need a machine of" in host.last_error()
    assert f"created with {most} and cannot grow" in host.last_error()
    assert changes(host) == [], "nothing by halves"
    assert host.runx("update", "--memory", "100m", "c").returncode == 0
    assert host.runx("update", "--memory", "-1", "c").returncode == 0
    assert changes(host)[-1][2] == f"{most}m"
    assert host.runx("update", "--memory", "0", "c").returncode == 0, "0 asks for nothing"
    assert len(changes(host)) == 2


def test_a_container_that_was_made_with_null(host: Host) -> None:
    create(host, memory=None, cpu={"quota": None, "shares": 512})
    assert host.runx("update", "--cpu-quota", "50000", "--memory", "100m", "c").returncode == 0
    assert [call[0] for call in changes(host)] == ["mem-set", "sched-credit2"]


def test_the_smallest_machine(host: Host) -> None:
    create(host, memory=MEMORY)
    assert host.runx("update", "--memory", "1m", "c").returncode == 0
    assert "a virtual machine has at least 64 MiB" in host.log.read_text()
    assert host.xen.settings(1)["memory"] == "64"


def test_cpus(host: Host) -> None:
    create(host, cpu=CPU)
    name = domain(host)["name"]
    assert host.runx("update", "--cpu-quota", "150000", "--cpu-share", "2048", "--cpuset-cpus", "0-3,^1", "c").returncode == 0
    # Three CPUs to run on do not make a third virtual one; 1.5 need two.
    assert changes(host) == [["vcpu-pin", name, "all", "0,2-3"], ["sched-credit2", "-d", name, "-w", "512", "-c", "150"]]
    assert host.runx("update", "--cpu-quota", "100000", "c").returncode == 0
    # The guest is asked to run on one, and held to it.
    assert changes(host)[2:] == [
        ["vcpu-set", "--ignore-host", name, "1"],
        ["sched-credit2", "-d", name, "-w", "512", "-c", "100"],
    ]
    assert host.runx("update", "--cpu-period", "50000", "c").returncode == 0
    assert changes(host)[4:] == [
        ["vcpu-set", "--ignore-host", name, "2"],
        ["sched-credit2", "-d", name, "-w", "512", "-c", "0"],
    ]
    result = host.runx("update", "--cpu-quota", "300000", "c")
    assert "--cpu-quota: needs 6 virtual CPUs; this machine was created with 2" in result.stderr
    assert len(changes(host)) == 6
    assert host.runx("update", "--cpu-quota", "-1", "--cpu-share", "1024", "c").returncode == 0
    assert changes(host)[6:] == [["sched-credit2", "-d", name, "-w", "256", "-c", "0"]]


def test_what_is_created_alike_is_left_alone(host: Host) -> None:
    """Engines send all of linux.resources, with what cannot be changed in it, for the change of one limit."""
    resources = {
        "memory": {**MEMORY, "swap": 1024 * MIB},
        "cpu": {**CPU, "shares": 512, "cpus": "0-1", "mems": "0"},
        "devices": [{"allow": False, "access": "rwm"}],
        "pids": {"limit": 100},
        "blockIO": {"weight": 10},
    }
    create(host, **resources)
    assert update(host, {**resources, "hugepageLimits": [], "network": None, "unified": {}}) == ""
    assert changes(host) == []
    resources["cpu"]["shares"] = 1024  # type: ignore[index]
    assert update(host, resources) == ""
    assert [call[0] for call in changes(host)] == ["sched-credit2"]
    assert update(host, {"memory": {"limit": 256 * MIB, "swap": 256 * MIB}}) == "", "no swap is what a machine has"
    assert [call[0] for call in changes(host)] == ["sched-credit2", "mem-set"]
    assert limits(host)["resources"]["blockIO"] == {"weight": 10}


@pytest.mark.parametrize("swap", [512 * MIB, -1])
def test_room_for_swap_is_told_once(host: Host, swap: int) -> None:
    """podman asks for twice the limit of memory when it is told that alone."""
    create(host, memory=MEMORY)
    text = json.dumps({"memory": {"limit": 256 * MIB, "swap": swap}})
    argv = host.argv("update", "--resources", "-", "c")
    for told in (True, False):
        environment = host.xen.environment()
        result = subprocess.run(argv, env=environment, input=text, capture_output=True, text=True, timeout=60)
        assert (result.returncode, "memory.swap: the guest has no swap" in result.stderr) == (0, told), result.stderr
    assert [call[0] for call in changes(host)] == ["mem-set"]


def update(host: Host, resources: Any) -> str:
    """As go-runc does it; what was said."""
    argv = host.argv("update", "--resources", "-", "c")
    text = resources if isinstance(resources, str) else json.dumps(resources)
    result = subprocess.run(argv, env=host.xen.environment(), input=text, capture_output=True, text=True, timeout=60)
    assert bool(result.returncode) == bool(result.stderr)
    return result.stderr


def test_a_file(host: Host) -> None:
    create(host, memory=MEMORY)
    file = host.bundle / "resources.json"
    file.write_text(json.dumps({"memory": {"limit": 128 * MIB}}))
    assert host.runx("update", "-r", str(file), "c").returncode == 0
    assert limits(host)["resources"] == {"memory": {"limit": 128 * MIB}}
    assert "exclude one another" in host.runx("update", "-r", str(file), "--memory", "1m", "c").stderr
    assert "no such file" in host.runx("update", "-r", f"{file}x", "c").stderr


def test_files_of_a_control_group(host: Host) -> None:
    """They change what the properties with the same meaning change, whichever the container was created with."""
    create(host, memory=MEMORY, unified={"cpu.weight": "100", "memory.oom.group": "1"})
    name = domain(host)["name"]
    kept = {"memory.oom.group": "1", "cpu.weight": "50"}
    assert update(host, {"memory": MEMORY, "unified": kept}) == ""
    assert changes(host) == [["sched-credit2", "-d", name, "-w", "128", "-c", "0"]]
    assert update(host, {"unified": {"memory.max": "256M"}}) == ""
    assert host.runx("update", "--memory", "128m", "--cpu-share", "1024", "c").returncode == 0
    assert [call[0] for call in changes(host)[1:]] == ["mem-set", "mem-set", "sched-credit2"]
    assert limits(host)["resources"] == {
        "memory": {"limit": 128 * MIB}, "cpu": {"shares": 1024}, "unified": {"memory.oom.group": "1"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ('{"memory": {"limit": "1g"}}', "standard input:1:22: memory.limit: must be a whole number"),
        ('{"memory": {"swap": 3}}', "standard input:1:21: memory.swap: cannot be changed: the guest has no swap"),
        ('{"memory": {"limit": 1048576, "kernel": 1}}', "memory.kernel: cannot be changed"),
        ('{"pids": {"limit": 5}}', "standard input:1:10: pids: cannot be changed: the number of tasks"),
        ('{"blockIO": {"weight": 5}}', "blockIO: cannot be changed"),
        ('{"cpu": {"mems": "0"}}', "cpu.mems: cannot be changed"),
        ('{"cpu": {"cpus": "1-"}}', "cpu.cpus: "),
        ('{"devices": [{"allow": true}]}', "devices: cannot be changed"),
        ('{"unified": {"memory.high": "1"}}', 'unified["memory.high"]: cannot be changed: of its files, memory.max, cpu.max'),
        ('{"unified": {"pids.max": "1"}}', 'unified["pids.max"]: cannot be changed'),
        ('{"unified": {"memory.max": "1x"}}', 'unified["memory.max"]: "1x": neither a number nor max'),
        ('{"memory": {"limit": 1048576}, "colour": 1}', "colour: cannot be changed: the specification has no such property"),
        ("[]", "must be an object"),
        ("{", "not JSON"),
    ],
)
def test_what_a_machine_cannot_have_changes_nothing(host: Host, resources: str, words: str) -> None:
    create(host, memory=MEMORY)
    before = limits(host)
    assert words in update(host, resources)
    assert words in host.last_error()
    assert changes(host) == []
    assert limits(host) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pids-limit", "7"], "--pids-limit: cannot be changed"),
        (["--memory", "5m", "--memory-swap", "1m"], "--memory-swap: cannot be changed"),
        (["--kernel-memory", "5m"], "--kernel-memory: cannot be changed"),
        (["--kernel-memory-tcp", "5m"], "--kernel-memory-tcp: cannot be changed"),
        (["--memory-reservation", "5m"], "--memory-reservation: cannot be changed"),
        (["--blkio-weight", "7"], "--blkio-weight: cannot be changed"),
        (["--cpu-rt-runtime", "7"], "--cpu-rt-runtime: cannot be changed"),
        (["--cpu-idle", "1"], "--cpu-idle: cannot be changed"),
        (["--l3-cache-schema", "x"], "--l3-cache-schema: nothing"),
        (["--cpu-quota", "x"], "--cpu-quota: 'x' is not a whole number"),
        (["--cpu-quota", "1_000"], "--cpu-quota: '1_000' is not a whole number"),
        (["--cpu-quota", "9" * 5000], "99...' is not a whole number"),
        (["--cpu-share", "-1"], "--cpu-share: must be a number"),
        (["--cpuset-cpus", "a"], '--cpuset-cpus: "a": not a list'),
        (["--memory", "much"], "--memory: 'much' is not a size"),
        (
            ["--memory", "99999999999999999999"],
            "--memory: must be a number from -9223372036854775808 to 9223372036854775807, not 9999999",
        ),
        (["--memory", "9" * 400], "99...' is not a size"),
        (["--memory", "\u0663m"], "is not a size"),
    ],
)
def test_options_that_mean_nothing(host: Host, words: list[str], message: str) -> None:
    create(host, memory=MEMORY)
    result = host.runx("update", *words, "c")
    assert (result.returncode, message in result.stderr) == (1, True), result.stderr
    assert changes(host) == []


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64M", 64 * MIB),
        ("65536k", 64 * MIB),
        ("0.5g", 512 * MIB),
        ("70000000", 70_000_000),
        ("64MiB", 64 * MIB),
        ("70000001b", 70_000_001),
    ],
)
def test_sizes(host: Host, text: str, size: int) -> None:
    create(host, memory={"limit": 1024 * MIB})
    assert host.runx("update", "--memory", text, "c").returncode == 0
    assert limits(host)["resources"]["memory"]["limit"] == size


def test_what_xl_refuses_is_taken_back(host: Host) -> None:
    create(host, memory=MEMORY, cpu=CPU)
    before, kept = host.xen.settings(1), limits(host)
    host.xen.fault("sched-credit2", "libxl_domain_sched_params_set failed.")
    result = host.runx("update", "--memory", "100m", "--cpu-quota", "50000", "--cpuset-cpus", "0", "c")
    assert (result.returncode, "libxl_domain_sched_params_set failed" in result.stderr) == (1, True)
    assert [call[0] for call in changes(host)] == [
        "mem-set",
        "vcpu-set",
        "vcpu-pin",
        "sched-credit2",
        "vcpu-pin",
        "vcpu-set",
        "mem-set",
    ]
    assert host.xen.settings(1) == before
    assert limits(host) == kept


def test_a_scheduler_without_weights(host: Host) -> None:
    create(host, memory=MEMORY)
    xl = host.xen.directory / "bin" / "xl"
    xl.write_text(xl.read_text().replace(": credit2", ": rtds"))
    result = host.runx("update", "--memory", "100m", "--cpu-share", "7", "c")
    assert (result.returncode, "the host's scheduler is rtds" in result.stderr) == (1, True)
    assert changes(host) == []


def test_a_quota_below_the_least_is_told(host: Host) -> None:
    create(host, cpu=CPU)
    result = host.runx("update", "--cpu-quota", "2000", "c")
    assert (result.returncode, "cpu.quota: 2 % of a CPU are asked for" in result.stderr) == (0, True), result.stderr
    assert host.xen.settings(1)["cap"] == "10"


def test_what_was_told_is_not_told_again(host: Host) -> None:
    create(host, cpu=CPU)
    assert "shares are asked for" in host.runx("update", "--cpu-share", "262145", "c").stderr
    assert host.runx("update", "--cpu-quota", "100000", "c").stderr == ""
    assert "% of a CPU" in host.runx("update", "--cpu-period", "1000000", "--cpu-quota", "50000", "c").stderr


def test_what_the_vm_section_says_stands(host: Host) -> None:
    host.config["vm"] = {"hwConfig": {"vcpus": 4, "memory": 512 * MIB}}
    create(host)
    assert "--memory: the size of this machine is vm.hwConfig.memory" in host.runx("update", "--memory", "100m", "c").stderr
    assert host.runx("update", "--cpu-quota", "200000", "c").returncode == 0
    assert [call[0] for call in changes(host)] == ["sched-credit2"]
    assert (host.xen.settings(1)["cap"], host.xen.settings(1)["vcpus"]) == ("200", "4")


def test_what_has_ended_has_no_limits(host: Host) -> None:
    assert "does not exist" in host.runx("update", "--memory", "1m", "c").stderr
    create(host, memory=MEMORY)
    assert host.runx("kill", "c", "KILL").returncode == 0
    host.await_status("stopped")
    result = host.runx("update", "--memory", "100m", "c")
    assert (result.returncode, "container not running" in result.stderr) == (1, True)
    assert changes(host) == []
