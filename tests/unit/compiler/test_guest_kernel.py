"""What is asked of the guest's kernel: checked against the table of runx's own kernel, and left to any other."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from compiler_cases import TextFacts
from runx.compiler.diagnostics import CompileError
from runx.compiler.model.plan import VmPlan
from runx.compiler.pipeline import Inputs, compile

ASKS: dict[str, Any] = {
    "mounts": [{"destination": "/t", "type": "tmpfs", "options": ["huge=always", "new=1", "noswap"]}],
    "sysctl": {"net.netfilter.nf_conntrack_max": "1"},
    "devices": [{"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200}],
}


def plan(kinds: dict[str, str], env: tuple[str, ...] = (), **asks: Any) -> VmPlan:
    config = {
        "ociVersion": "1.2.0",
        "process": {"cwd": "/", "args": ["/x"], "env": env},
        "root": {"path": "rootfs"},
        "mounts": asks.get("mounts", []),
        "linux": {"namespaces": [{"type": "network"}], "sysctl": asks.get("sysctl"), "devices": asks.get("devices")},
    }
    facts = TextFacts(json.dumps(config), kinds)
    return compile(Inputs("/bundle", container_id="c", state_root="/r", assets="/a", facts=facts)).plan


@pytest.mark.parametrize(
    ("kinds", "env"),
    [({"/a/kernel.added": "file"}, ()), ({"root:/boot/vmlinux": "file"}, ("RUNX_KERNEL=/boot/vmlinux",))],
    ids=["built with more", "the container's own"],
)
def test_another_kernel_decides_itself(kinds: dict[str, str], env: tuple[str, ...]) -> None:
    made = plan(kinds, env, **ASKS)
    assert made.mounts[0].data == ("huge=always", "new=1", "noswap")
    assert made.guest.sysctl == (("net/netfilter/nf_conntrack_max", "1"),)
    assert "/dev/net/tun" in [device.path for device in made.guest.devices]
    assert not made.ignored or all(entry.id == "RX407" for entry in made.ignored)


def test_the_same_of_our_own() -> None:
    with pytest.raises(CompileError) as caught:
        plan({}, **ASKS)
    assert [fault.id for fault in caught.value.diagnostics] == ["RX322", "RX315", "RX426"]
    made = plan({}, devices=ASKS["devices"])
    assert "/dev/net/tun" not in [device.path for device in made.guest.devices]
    assert [entry.path for entry in made.ignored if entry.id == "RX414"] == ["linux.devices[0]"]


def test_the_kernel_of_a_pod_takes_the_sandboxs_parameters() -> None:
    """They are for the virtual machines of its containers, so they are refused with the sandbox."""
    config = {
        "ociVersion": "1.2.0",
        "process": {"cwd": "/", "args": ["/pause"]},
        "root": {"path": "rootfs"},
        "annotations": {"io.kubernetes.cri.container-type": "sandbox"},
        "linux": {"namespaces": [{"type": "network"}], "sysctl": {"net.ipv4.no_such": "1"}},
    }
    with pytest.raises(CompileError, match=r"the guest's kernel has no parameter \"net\.ipv4\.no_such\""):
        compile(Inputs("/bundle", container_id="c", state_root="/r", assets="/a", facts=TextFacts(json.dumps(config))))


def test_sizes_that_many_mounts_have_are_read_once_each() -> None:
    """A file with thousands of mounts and devices compiles; each device finds the mount that it is in."""
    mounts = [{"destination": f"/m{index}", "type": "tmpfs", "options": [f"size={index + 4}k"]} for index in range(3000)]
    devices = [{"path": f"/m{index}/x", "type": "c", "major": 1, "minor": 3} for index in range(3000)]
    made = plan({}, mounts=mounts, devices=devices)
    assert sum(not device.bound for device in made.guest.devices) == 3000


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace needs root")
def test_huge_pages_of_the_host_are_seen(tmp_path: Path) -> None:
    """Through a symbolic link, too, and no directory beside them."""
    code = """
import sys
sys.path[:0] = sys.argv[2:]
from runx.compiler.host.host_facts import HostFacts
print([HostFacts().has_huge_pages(sys.argv[1] + place) for place in ("", "/huge", "/link", "/none")])
"""
    (tmp_path / "huge").mkdir()
    (tmp_path / "link").symlink_to("huge")
    script = 'mount -t hugetlbfs none "$1/huge" 2> /dev/null || exit 77; shift; exec "$@"'
    argv = ["unshare", "--mount", "sh", "-c", script, "sh", tmp_path, sys.executable, "-c", code, tmp_path, *sys.path]
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("this kernel has no huge pages")
    assert done.stdout == "[False, True, True, False]\n", done.stderr


def test_parameters_of_the_command_line_that_have_no_effect_are_listed() -> None:
    """The kernel skips them without a word."""
    config = {
        "ociVersion": "1.2.0",
        "process": {"cwd": "/", "args": ["/x"]},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "network"}]},
        "vm": {"kernel": {"path": "", "parameters": ["panic=5", "sysctl.net/core/somaxconn=128", "sysctl.vm.swappiness=201"]}},
    }
    given = ["sysctl.vm.max_map_count=262144", "sysctl.vm.max_map_count=-5", "quiet", "sysctl.vm.nosuch=1"]

    class Facts(TextFacts):
        def host_config(self) -> tuple[str, bytes]:  # type: ignore[override]
            return "runx.toml", f"[defaults]\nkernel_parameters = {json.dumps(given)}\n".encode()

    facts = Facts(json.dumps(config))
    made = compile(Inputs("/bundle", container_id="c", state_root="/r", assets="/a", facts=facts)).plan
    assert [entry.path for entry in made.ignored if entry.id == "RX429"] == [
        "defaults.kernel_parameters[1]",
        "defaults.kernel_parameters[3]",
        "vm.kernel.parameters[2]",
    ]


@pytest.mark.parametrize(
    ("start", "ports", "is_first"), [("0", "80 65535", True), ("32768", "40000 50000", True), ("40000", "40000 65535", False)]
)
def test_ports_are_set_in_an_order_that_the_kernel_takes(start: str, ports: str, is_first: bool) -> None:
    """The range never begins below the first unprivileged port, which is 1024 at first, as the range is 32768 to 60999."""
    names = ("net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_port_range")
    given = dict(zip(names, (start, ports), strict=True))
    for order in (names, names[::-1]):
        made = plan({}, sysctl={name: given[name] for name in order}).guest.sysctl
        expected = names if is_first else names[::-1]
        assert made == tuple((name.replace(".", "/"), given[name]) for name in expected)
    with pytest.raises(CompileError, match="gives no ports below"):
        plan({}, sysctl={names[1]: "80 65535"})


def refused(**sysctl: str) -> list[str]:
    with pytest.raises(CompileError) as caught:
        plan({}, sysctl=sysctl)
    return [f"{fault.id} {fault.message}" for fault in caught.value.diagnostics]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("net.ipv4.ip_forward", "  ", "must be a number"),
        ("net.ipv4.tcp_rmem", "\n", "must be a number"),
        ("kernel.sem", "250 32000 100 32769", "a last number from 0 to 32768"),
        ("kernel.shmall", "-1", "numbers from 0 to 18446744073709551615"),
        ("kernel.shmmax", "18446744073709551616", "numbers from 0 to 18446744073709551615"),
        ("net.ipv4.tcp_congestion_control", "reno cubic", 'no congestion control "reno cubic"'),
        ("net.ipv4.tcp_congestion_control", " reno", 'no congestion control " reno"'),
        ("net.ipv4.tcp_congestion_control", "\n", 'no congestion control ""'),
        ("net.ipv6.conf.all.stable_secret", "1.2.3.4", "must be an IPv6 address"),
        ("net.ipv6.conf.all.stable_secret", ":::::", "must be an IPv6 address"),
        ("net.ipv6.conf.all.stable_secret", "fe80::1%eth0", "must be an IPv6 address"),
        ("kernel.core_pattern", "a\nb", "several lines, of which the kernel keeps the first"),
        ("kernel.sched_rt_runtime_us", "1000001", "1000001 us in each 1000000 us"),
        ("kernel.sched_rt_period_us", "900000", "950000 us in each 900000 us"),
        ("net.ipv4.neigh.eth0.gc_thresh1", "5", 'for "default", not for "eth0"'),
        ("net.ipv6.neigh.all.mcast_solicit", "5", 'for "default", not for "all"'),
    ],
)
def test_values_that_the_kernel_refuses(name: str, value: str, words: str) -> None:
    """Linux 6.18 refused each with an error, or kept a part of the text, when it was written to /proc/sys."""
    (fault,) = refused(**{name: value})
    assert words in fault


def test_values_that_the_kernel_takes() -> None:
    taken = {
        "kernel.sem": "250 32000 100 32768", "kernel.shmmax": "18446744073709551615", "kernel.core_pattern": "core\n",
        "net.ipv4.tcp_congestion_control": "reno\n", "net.ipv6.conf.default.stable_secret": "2001:db8::1 ",
        "net.ipv4.neigh.default.gc_thresh1": "5", "net.ipv4.neigh.eth0.gc_stale_time": "5", "net.ipv4.conf.new0.forwarding": "1",
        "kernel.sched_rt_runtime_us": "-1",
    }  # fmt: skip
    made = plan({}, sysctl=taken)
    assert len(made.guest.sysctl) == len(taken)
    assert not [entry for entry in made.ignored if entry.path.startswith("linux.sysctl")]


def test_the_order_of_times_for_real_time_processes() -> None:
    """At every time the runtime is within the period, which is 1000000 us at first, with 950000 us of runtime."""
    for period, runtime, first in (("2000000", "1500000", "period"), ("100000", "50000", "runtime")):
        made = plan({}, sysctl={"kernel.sched_rt_runtime_us": runtime, "kernel.sched_rt_period_us": period})
        assert first in made.guest.sysctl[0][0]


def test_an_empty_parameter_is_listed() -> None:
    """The kernel does nothing when nothing is written, and runc says nothing."""
    made = plan({}, sysctl={"net.ipv4.ip_forward": "", "kernel.shm_rmid_forced": "1"})
    assert made.guest.sysctl == (("kernel/shm_rmid_forced", "1"),)
    assert [entry.id for entry in made.ignored if entry.path == 'linux.sysctl["net.ipv4.ip_forward"]'] == ["RX429"]


def test_parameters_of_interfaces_that_a_container_with_netconf_has_not() -> None:
    """It has the networks of NETCONF alone, so its interfaces are known."""
    conf = json.dumps({"cniVersion": "1.0.0", "name": "n", "type": "bridge", "bridge": "b", "ipam": {"type": "dhcp"}})
    names = [f"net.ipv4.conf.{name}.forwarding" for name in ("all", "default", "lo", "eth0", "eth1", "eth2")]
    config = {
        "ociVersion": "1.2.0",
        "process": {"cwd": "/", "args": ["/x"], "env": ["NETCONF=/n.conf,n", "NETCONF=/n.conf,n"]},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "network"}], "sysctl": dict.fromkeys(names, "1")},
    }
    facts = TextFacts(json.dumps(config), {})
    facts.netconf = lambda *_: conf.encode()  # type: ignore[method-assign]
    with pytest.raises(CompileError) as caught:
        compile(Inputs("/bundle", container_id="c", state_root="/r", assets="/a", facts=facts))
    assert [fault.path[-1] for fault in caught.value.diagnostics] == ["net.ipv4.conf.eth2.forwarding"]
