"""The usage that the original RunX documents: each line of it gives the plan that it meant."""

import json
from typing import Any

import pytest

from compiler_cases import TextFacts
from original_usage import FILE, NETWORK
from runx.compiler.model.plan import VmPlan
from runx.compiler.pipeline import Inputs, compile


def plan(*env: str, mounts: tuple[dict[str, Any], ...] = ()) -> VmPlan:
    config = {
        "ociVersion": "1.0.2",
        "process": {"cwd": "/", "args": ["/bin/sh"], "env": env},
        "root": {"path": "rootfs"},
        "mounts": mounts,
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")]},
    }
    kinds = {"root:/boot/kernel": "file", "root:/boot/initrd": "file"}
    facts = TextFacts(json.dumps(config), kinds, {FILE: NETWORK})
    return compile(Inputs("/bundle", container_id="c", state_root="/r", assets="/a", facts=facts)).plan


def test_a_network_with_an_address() -> None:
    (made,) = plan(f"NETCONF={FILE},mynet,192.168.0.7").machine.interfaces
    assert (made.bridge, made.address, made.nameservers) == ("xenbr0", "192.168.0.7/24", ("8.8.8.8",))
    assert made.routes == (("default", "192.168.0.1"),), "the kernel makes the route to the subnet"


def test_a_network_by_dhcp() -> None:
    (made,) = plan(f"NETCONF={FILE},mynet").machine.interfaces
    assert (made.bridge, made.address, made.layer2, made.routes) == ("xenbr0", None, False, ())


@pytest.mark.parametrize(
    ("options", "recursive", "flags"),
    [
        # As ctr writes them: it separates the words of `options=` at the colons.
        (["bind", "rw"], False, ("rw",)),
        (None, False, ()),
        (["ro", "noexec"], False, ("noexec", "ro")),
        (["ro:noexec"], False, ("noexec", "ro")),
        (["rbind"], True, ()),
    ],
)
def test_binds(options: list[str] | None, recursive: bool, flags: tuple[str, ...]) -> None:
    (mount,) = plan(mounts=({"type": "bind", "source": "/tmp", "destination": "/host", "options": options},)).mounts
    assert (mount.carrier, mount.source, mount.destination) == ("9p", "/tmp", "/host")
    assert (mount.recursive, mount.flags, mount.read_only) == (recursive, flags, "ro" in flags)


def test_a_kernel_and_a_ramdisk_of_its_own() -> None:
    made = plan("RUNX_KERNEL=/boot/kernel", "RUNX_RAMDISK=/boot/initrd")
    assert (made.machine.own_kernel, made.machine.own_ramdisk, made.console) == ("/boot/kernel", "/boot/initrd", "passthrough")
