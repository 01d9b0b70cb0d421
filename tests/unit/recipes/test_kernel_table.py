"""The compiler's table of what the guest's kernel has, and kernels that have more."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).parents[3]
sys.path[:0] = [str(TOP / "guest-assets"), str(TOP / "tools")]

from recipes import kconfig, kernel_table, parts  # noqa: E402
from recipes.kernel_source import SERIES  # noqa: E402
from recipes.settings import settings_from  # noqa: E402

from runx.compiler.model import guest_kernel  # noqa: E402
from runx.compiler.passes import guest_kernel as checks  # noqa: E402
from runxtools import installer  # noqa: E402
from runxtools.errors import ToolError  # noqa: E402

SET = kconfig.read_fragments(kernel_table.FRAGMENTS, SERIES)


def test_the_table_is_of_this_configuration() -> None:
    """If not: ./build all, then ./build kernel-table."""
    assert guest_kernel.FRAGMENTS == kernel_table.fragments_hash()
    assert tuple(guest_kernel.CONFIG) == kernel_table.ASKED
    assert {name for name, has in guest_kernel.CONFIG.items() if has} == set(kernel_table.ASKED) & {
        name for name, value in SET.items() if value == "y"
    }


def test_the_table_has_what_containers_need() -> None:
    """The parameters that Kubernetes calls safe, and the default devices."""
    safe = """
        kernel/shm_rmid_forced net/ipv4/ip_local_port_range net/ipv4/tcp_syncookies net/ipv4/ping_group_range
        net/ipv4/ip_unprivileged_port_start net/ipv4/ip_local_reserved_ports net/ipv4/tcp_keepalive_time
        net/ipv4/tcp_fin_timeout net/ipv4/tcp_keepalive_intvl net/ipv4/tcp_keepalive_probes net/ipv4/tcp_rmem net/ipv4/tcp_wmem
    """
    assert set(safe.split()) <= guest_kernel.SYSCTL.keys()
    assert "kernel/ostype" not in guest_kernel.SYSCTL, "it cannot be set"
    assert {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (10, 229)} <= guest_kernel.CHARACTER_DEVICES
    assert {7, 202} <= guest_kernel.BLOCK_MAJORS
    assert {
        "/proc/cpuinfo": "file",
        "/proc/xen": "directory",
        "/sys/fs/cgroup": "directory",
    }.items() <= guest_kernel.PLACES.items()


def test_the_bounds_are_those_of_the_kernels_source() -> None:
    """One of each kind of handler: bits, a byte, int, unsigned long, time, several numbers, another bound of its own."""
    bounds = {
        "kernel/dmesg_restrict": "1 0 1", "net/ipv4/tcp_syncookies": "1 0 255", "net/core/somaxconn": "1 0 2147483647",
        "fs/file-max": f"1 0 {2**63 - 1}", "fs/pipe-user-pages-hard": f"1 0 {2**64 - 1}", "vm/swappiness": "1 0 200",
        "kernel/sem": f"4 {-(2**31)} {2**31 - 1}", "kernel/pid_max": "1 301 4194304", "kernel/domainname": "",
        "net/ipv4/conf/*/rp_filter": f"1 {-(2**31)} {2**31 - 1}", "vm/overcommit_memory": "",
    }  # fmt: skip
    assert bounds.items() <= guest_kernel.SYSCTL.items()


def test_the_table_is_written_from_what_the_kernel_says() -> None:
    lines = {
        "sysctl net/ipv4/conf/all/rp_filter", "sysctl net/ipv4/conf/default/rp_filter 1 0 9", "sysctl vm/swappiness 1 0 200",
        "sysctl net/ipv4/conf/lo/rp_filter", "place /sys/fs directory",
        "char 1:3", "char 10:229", "char 136:0", "chars 1", "chars 136", "blocks 7",
    }  # fmt: skip
    made: dict[str, Any] = {}
    exec(kernel_table.table(lines, {"CONFIG_TUN": "y"}), made)  # noqa: S102
    assert made["SYSCTL"] == {"net/ipv4/conf/*/rp_filter": "1 0 9", "vm/swappiness": "1 0 200"}
    assert made["PLACES"].keys() == {"/sys/fs", "/proc/xen", "/sys/hypervisor"}
    assert made["CHARACTER_DEVICES"] == {(1, 3), (10, 229)} and made["CHARACTER_MAJORS"] == {136, 229}
    assert made["BLOCK_MAJORS"] == {7, 202, 259}
    assert [name for name, has in made["CONFIG"].items() if has] == ["CONFIG_TUN"]


def test_the_documents_table_is_true() -> None:
    rows = re.findall(r"^\| .* \| (CONFIG_\w+) \| (yes|no) \|$", (TOP / "docs/guest.md").read_text(), re.M)
    assert len(rows) > 15
    assert {name: answer for name, answer in rows if (SET.get(name, "n") == "y") != (answer == "yes")} == {}


def settings(file: Path, out: Path) -> Any:
    values = {"KERNEL_CONFIG": str(file), "OUT": str(out), "ARCH": "x86_64"}
    return settings_from(values, jobs=1, install_packages=False, keep_work=False, update=False)


def test_lines_that_are_added(tmp_path: Path) -> None:
    """They are beside the kernel, where the compiler looks, until a kernel without them is made."""
    file = tmp_path / "more.config"
    file.write_text("# VPNs\nCONFIG_TUN=y\n")
    made = settings(file, tmp_path)
    assert parts.added_config(made) == {"CONFIG_TUN": "y"}
    made.results.mkdir()
    parts.deliver_added(made)
    assert (made.results / checks.ADDED).read_text() == "CONFIG_TUN=y\n"
    assert parts.ADDED == checks.ADDED == installer.ADDED
    file.write_text("")
    parts.deliver_added(made)
    assert not (made.results / checks.ADDED).exists()


@pytest.mark.parametrize(
    ("line", "message"), [("CONFIG_TUN=m", "CONFIG_TUN: guests load no modules"), ("tun", "'tun' is not a line")]
)
def test_lines_that_cannot_be_added(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "more.config"
    file.write_text(line + "\n")
    with pytest.raises(ToolError, match=message):
        parts.added_config(settings(file, tmp_path))
