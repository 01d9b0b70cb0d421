"""Sizes, names and carriers: what resolve.py decides; and what the checks let through."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler_cases import TextFacts
from runx.compiler.diagnostics import CompileError
from runx.compiler.frontends.json_shape import Map
from runx.compiler.frontends.oci.cpuset import parse_cpuset
from runx.compiler.frontends.oci.schema import CONFIG
from runx.compiler.host.config import MIN_MEMORY_MIB
from runx.compiler.model.plan import Capabilities, VmPlan
from runx.compiler.passes.cpu_limits import MIN_CAP_PERCENT
from runx.compiler.passes.memory import SHARE_MIB, memory_mib
from runx.compiler.passes.resolve import domain_name
from runx.compiler.pipeline import Inputs, compile
from runx.errors import RunxError
from specification import EXAMPLES, newer, schemas


def config(**members: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["sh"]},
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
    }
    for name, value in members.items():
        base[name] = {**base[name], **value} if isinstance(base.get(name), dict) else value
    return base


def plan(document: dict[str, Any], *, state_root: str = "/run/runx", **kinds: str) -> VmPlan:
    facts = TextFacts(json.dumps(document), kinds)
    return compile(Inputs("/bundle", container_id="c1", state_root=state_root, assets="/assets", facts=facts)).plan


def errors(document: dict[str, Any]) -> str:
    with pytest.raises(CompileError) as caught:
        plan(document)
    return caught.value.message


BIND = {"destination": "/d", "type": "bind", "source": "/srv", "options": ["bind"]}


@pytest.mark.parametrize(
    ("limit", "mounts", "mib"),
    [
        (None, [], 256),
        (0, [], 256),
        (-1, [], 256),
        (0x7FFFFFFFFFFFF000, [], 256),
        (1, [], MIN_MEMORY_MIB),
        (128 * 2**20, [], 155),
        (128 * 2**20 + 1, [], 157),
        (128 * 2**20, [BIND], 155 + SHARE_MIB),
        (128 * 2**20, [BIND, BIND, BIND], 155 + SHARE_MIB),
        (2**30, [], 1079),
    ],
)
def test_memory(limit: int | None, mounts: list[dict[str, Any]], mib: int) -> None:
    assert plan(config(mounts=mounts, linux={"resources": {"memory": {"limit": limit}}})).domain.memory_mib == mib


# Of machines of these sizes in MiB: what a program could touch of it, in MiB, with one share and one virtual CPU.
MEASURED = {64: 44, 96: 75, 128: 106, 160: 136, 256: 231, 512: 480, 1024: 979}


@pytest.mark.parametrize("size", MEASURED)
def test_a_limit_fits_into_its_machine(size: int) -> None:
    """A machine of the size that was measured is enough for no larger limit than could be touched, and not far too large."""
    needed = memory_mib(MEASURED[size] * 2**20, shares=1, vcpus=1, interfaces=0)
    assert size <= needed <= size + 6 + size // 64


@pytest.mark.parametrize(
    ("cpu", "count"),
    [
        ({}, 1),
        ({"quota": 100000}, 1),
        ({"quota": 100001}, 2),
        ({"quota": 150000, "period": 100000}, 2),
        ({"quota": 30000, "period": 10000}, 3),
        ({"quota": 1, "period": 100000}, 1),
        ({"quota": -1, "cpus": "0-2"}, 3),
        ({"quota": 0, "cpus": "1,1,1"}, 1),
        ({"quota": 200000, "cpus": "0-7"}, 2),
        ({"quota": 10**9}, 64),
        ({"shares": 4096}, 1),
    ],
)
def test_cpus(cpu: dict[str, Any], count: int) -> None:
    assert plan(config(linux={"resources": {"cpu": cpu}})).domain.vcpus == count


@pytest.mark.parametrize(
    ("cpu", "cap"),
    [
        ({}, None),
        ({"quota": 100000}, None),
        ({"quota": 400000}, None),
        ({"quota": 50000}, 50),
        ({"quota": 150000, "period": 100000}, 150),
        ({"quota": 100001}, 101),
        ({"quota": 25000, "period": 10000}, 250),
        ({"quota": 1}, MIN_CAP_PERCENT),
        ({"quota": 10**9 + 1}, None),
    ],
)
def test_cap(cpu: dict[str, Any], cap: int | None) -> None:
    found = plan(config(linux={"resources": {"cpu": cpu}}))
    assert found.domain.cap_percent == cap
    reasons = {entry.path: entry.reason for entry in found.ignored}
    assert ("% of a CPU are asked for" in reasons.get("linux.resources.cpu.quota", "")) == (cap == MIN_CAP_PERCENT)


@pytest.mark.parametrize(
    ("quota", "period", "asked"), [(1, 100_000, "0.001"), (1, 1_000_000, "0.0001"), (2500, 100_000, "2.5"), (8999, 100_000, "9")]
)
def test_a_cap_that_is_too_low_is_told_as_it_was_asked_for(quota: int, period: int, asked: str) -> None:
    found = plan(config(linux={"resources": {"cpu": {"quota": quota, "period": period}}}))
    reasons = {entry.path: entry.reason for entry in found.ignored}
    assert reasons["linux.resources.cpu.quota"].startswith(f"{asked} % of a CPU are asked for")


@pytest.mark.parametrize(("cpu", "name"), [({"quota": 10**9}, "quota"), ({"cpus": "0-99"}, "cpus")])
def test_too_many_cpus_are_told_where_they_are_asked_for(cpu: dict[str, Any], name: str) -> None:
    reasons = {entry.path: entry.reason for entry in plan(config(linux={"resources": {"cpu": cpu}})).ignored}
    assert reasons[f"linux.resources.cpu.{name}"].endswith("CPUs are asked for; a guest has 64 at most")


@pytest.mark.parametrize(
    ("shares", "weight"), [(None, None), (0, None), (1024, None), (1, 1), (512, 128), (2048, 512), (10**9, 65535)]
)
def test_weight(shares: int | None, weight: int | None) -> None:
    assert plan(config(linux={"resources": {"cpu": {"shares": shares}}})).domain.cpu_weight == weight


@given(st.sets(st.integers(0, 60), min_size=1))
def test_pinning_names_the_same_cpus(cpus: set[int]) -> None:
    text = ",".join(map(str, cpus))
    pinned = plan(config(linux={"resources": {"cpu": {"cpus": text}}})).domain.cpus
    assert pinned is not None
    assert parse_cpuset(pinned) == cpus
    assert len(pinned.split(",")) == len({cpu for cpu in cpus if cpu - 1 not in cpus})


@pytest.mark.parametrize(
    ("version", "limit", "most"),
    [("1.2.0", None, None), ("1.2.0", -1, None), ("1.2.0", 0, None), ("1.0.2-dev", 0, None), ("1.2.0", 7, 7),
     ("1.3.0", 0, 0), ("1.3.0-rc.1", 0, 0), ("1.3.0", -1, None), ("1.3.0", 4194304, 4194304),
     ("1.3.0", 4194305, None), ("1.3.0", 2**62, None)],
)  # fmt: skip
def test_tasks(version: str, limit: int | None, most: int | None) -> None:
    """0 came to be a limit with version 1.3; before, it was how engines said that there is none. The guest's kernel refuses a
    limit of more tasks than it can have."""
    assert plan(config(ociVersion=version, linux={"resources": {"pids": {"limit": limit}}})).process.pids_limit == most


def test_a_nice_value_that_the_policy_does_not_know_is_told() -> None:
    scheduler = {"policy": "SCHED_IDLE", "nice": 3, "flags": ["SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_RESET_ON_FORK"]}
    found = plan(config(process={"scheduler": scheduler}))
    assert found.process.scheduler is not None
    assert found.process.scheduler.nice == 0 and found.process.scheduler.flags == ("SCHED_FLAG_RESET_ON_FORK",)
    assert {entry.path for entry in found.ignored} == {"process.scheduler.nice", "process.scheduler.flags[0]"}


def test_cpus_taken_out_again() -> None:
    assert parse_cpuset("0-3,7,^2") == {0, 1, 3, 7}
    # Engines write short lists, and people long ones: the work for a part does not grow with its range.
    assert parse_cpuset("0-8191," * 50000 + "^1-8190") == {0, 8191}
    assert parse_cpuset("0-3,^1-2,2") == {0, 2, 3}
    for text in ("0,^0", "^1"):
        with pytest.raises(ValueError, match="leaves no CPU"):
            parse_cpuset(text)


@pytest.mark.parametrize("text", ["0", "0-3", "1,5-6, 7".replace(" ", ""), "0-8191"])
def test_cpuset(text: str) -> None:
    expected = {cpu for part in text.split(",") for cpu in range(int(part.split("-")[0]), int(part.split("-")[-1]) + 1)}
    assert parse_cpuset(text) == expected


@pytest.mark.parametrize("text", [" 0 , 1 ", "0,,1,", "0\n1\n", "0 1", ",0-1"])
def test_separators_are_the_kernels(text: str) -> None:
    """bitmap_parselist of Linux takes each of them, and so does runc."""
    assert parse_cpuset(text) == {0, 1}


@pytest.mark.parametrize("text", ["", ",", "a", "-1", "1-", "3-1", "0- 1", "0 - 1", "0-9999999999", "8192", "1-2-3", "²"])
def test_bad_cpuset(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a list|backwards|no CPU"):
        parse_cpuset(text)


@given(st.from_regex(r"[A-Za-z0-9_+.-]{1,100}", fullmatch=True), st.text(min_size=1))
def test_domain_names(container_id: str, root: str) -> None:
    name = domain_name(container_id, root)
    assert re.fullmatch(r"[A-Za-z0-9_+.-]{1,80}", name)
    assert name != domain_name(container_id, root + "x")
    assert name != domain_name(container_id + "x", root)
    assert name == domain_name(container_id, root)


def test_no_share_without_a_mount_that_needs_it() -> None:
    assert [share.tag for share in plan(config()).domain.shares] == ["root"]
    assert [share.tag for share in plan(config(mounts=[BIND])).domain.shares] == ["root", "mounts"]


@pytest.mark.parametrize("root", ["/run/a\nb", "/run/\x1b"])
def test_a_state_root_that_xl_cannot_take(root: str) -> None:
    with pytest.raises(RunxError, match="cannot be given to xl"):
        plan(config(), state_root=root)


def test_slots_are_counted_over_bind_mounts_alone() -> None:
    tmpfs = {"destination": "/t", "type": "tmpfs"}
    made = plan(
        config(mounts=[BIND, tmpfs, {**BIND, "source": "/etc/hosts", "destination": "/f"}, tmpfs]), **{"/etc/hosts": "file"}
    ).mounts
    assert [(mount.slot, mount.is_file) for mount in made] == [(0, False), (None, False), (1, True), (None, False)]


@pytest.mark.parametrize(
    ("path", "mounts", "bound"),
    [
        ("/dev/x", [], True),
        ("/dev/x", [("/dev", "tmpfs")], False),
        ("/dev/x/y", [("/dev", "tmpfs")], False),
        ("/devices", [("/dev", "tmpfs")], True),
        ("/dev/shm/x", [("/dev", "tmpfs"), ("/dev/shm", "bind")], True),
        ("/dev/shm/x", [("/dev/shm", "bind"), ("/dev/shm", "tmpfs")], False),
        ("/dev/shm/x", [("/dev/shm", "tmpfs"), ("/dev/shm", "bind")], True),
    ],
)
def test_nodes_are_made_in_place_only_in_a_tmpfs(path: str, mounts: list[tuple[str, str]], bound: bool) -> None:
    document = config(
        mounts=[{"destination": place, "type": kind, "source": "/srv"} for place, kind in mounts],
        linux={"devices": [{"path": path, "type": "c", "major": 1, "minor": 3}]},
    )
    assert plan(document).guest.devices[-1].bound is bound


def test_a_null_is_as_good_as_nothing() -> None:
    with_nulls = config(
        mounts=None, hostname=None, hooks={"prestart": None}, process={"env": None, "capabilities": None}, vm=None
    )
    assert plan(with_nulls) == plan(config())


def test_there_are_no_capabilities_but_those_given() -> None:
    assert plan(config()).process.capabilities == Capabilities()
    assert plan(config(process={"capabilities": {}})).process.capabilities == Capabilities()
    one = plan(config(process={"capabilities": {"bounding": ["CAP_KILL"]}})).process.capabilities
    assert one == Capabilities(bounding=("CAP_KILL",))


@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.1.0-rc.1+x", "1.3.0", "1.9.0"])
def test_versions(version: str) -> None:
    assert plan(config(ociVersion=version)).oci_version == version


@pytest.mark.parametrize("version", ["0.9.0", "2.0.0", "1.0", "1", "", "v1.0.0", "1.0.x"])
def test_bad_versions(version: str) -> None:
    assert "ociVersion" in errors(config(ociVersion=version))


def test_every_fault_is_told_at_once() -> None:
    message = errors(config(hostname="h" * 65, process={"args": [], "cwd": "x"}, root={"path": 5}))
    assert [line.split(": ")[1] for line in message.splitlines()] == ["root.path", "process.cwd", "process.args", "hostname"]


class TestSchema:
    @pytest.mark.parametrize("path", sorted(EXAMPLES.glob("bad/*.json")), ids=lambda path: path.stem)
    def test_bad_examples_are_refused(self, path: Path) -> None:
        with pytest.raises(CompileError):
            compile(Inputs("/b", container_id="c", state_root="/r", assets="/a", facts=TextFacts(path.read_bytes())))

    @pytest.mark.parametrize("path", sorted(EXAMPLES.glob("bad/linux*.json")), ids=lambda path: path.stem)
    def test_bad_examples_are_refused_for_what_is_bad(self, path: Path) -> None:
        """With all that they leave out, there is one fault, and it is in the part that the example is named for."""
        part = path.stem.removeprefix("linux-")
        fault = rf"config\.json:\S+: linux\.\S*{part}\S*: must be .*"
        assert re.fullmatch(fault, errors(config(**json.loads(path.read_text()))), re.IGNORECASE)

    @pytest.mark.parametrize("name", ["linux-netdevice", "linux-rdma", "minimal", "minimal-for-start"])
    def test_good_examples_compile_with_what_they_leave_out(self, name: str) -> None:
        found = plan(config(**json.loads((EXAMPLES / f"good/{name}.json").read_text())))
        assert not [entry for entry in found.ignored if entry.reason.startswith("unknown")]

    @pytest.mark.parametrize("path", sorted(EXAMPLES.glob("good/*.json")), ids=lambda path: path.stem)
    def test_good_examples_have_no_fault_of_form(self, path: Path) -> None:
        try:
            result = compile(Inputs("/b", container_id="c", state_root="/r", assets="/a", facts=TextFacts(path.read_bytes())))
        except CompileError as error:
            assert not re.search("must be (a|true|one)|not JSON|given twice", error.message)
        else:
            assert not [entry for entry in result.plan.ignored if entry.reason.startswith("unknown")]

    def test_every_property_of_the_specification_is_known(self) -> None:
        self.compare(schemas()["config-schema.json"], CONFIG, "config-schema.json", "")

    def compare(self, schema: dict[str, Any], shape: Any, file: str, path: str) -> None:
        if "$ref" in schema:
            name, _, pointer = schema["$ref"].partition("#/")
            file = name or file
            target: Any = schemas()[file]
            for part in pointer.split("/"):
                target = target[part]
            self.compare(target, shape, file, path)
            if "properties" not in schema:
                return
        for part in (*schema.get("allOf", ()), *schema.get("anyOf", ())):
            self.compare(part, shape, file, path)
        if isinstance(shape, dict):
            known = {name.removesuffix("!"): inner for name, inner in shape.items()}
            for name, inner in schema.get("properties", {}).items():
                if name not in known and newer():
                    continue
                assert name in known, f"{path}.{name}"
                self.compare(inner, known[name], file, f"{path}.{name}")
        elif isinstance(shape, list) and "items" in schema:
            self.compare(schema["items"], shape[0], file, f"{path}[]")
        elif isinstance(shape, Map) and "additionalProperties" in schema:
            self.compare(schema["additionalProperties"], shape.values, file, f"{path}.*")


@pytest.mark.parametrize(
    ("root", "what"), [("/a\nb", "characters that cannot be printed"), ("/a\u202e", "characters that cannot")]
)
def test_a_state_directory_that_xl_cannot_have(root: str, what: str) -> None:
    with pytest.raises(RunxError) as caught:
        plan(config(), state_root=root)
    assert f"cannot be given to xl: it has {what}" in caught.value.message
    assert f"without {what}" in caught.value.hint
    assert caught.value.message.isprintable()


def devices_of(linux: dict[str, Any], env: tuple[str, ...] = (), missing: tuple[str, ...] = ()) -> Any:
    config = {
        "ociVersion": "1.3.0", "root": {"path": "r"}, "process": {"cwd": "/", "args": ["x"], "env": list(env)},
        "linux": {"namespaces": [{"type": "network"}], **linux},
    }  # fmt: skip
    kinds = {f"/sys/class/net/{name}": "missing" for name in missing}
    facts = TextFacts(json.dumps(config), kinds=kinds, files={"/etc/cni/net.d/n": '{"name": "n", "type": "bridge"}'})
    return compile(Inputs("/b", container_id="c", state_root="/r", assets="/a", facts=facts)).plan.network_devices


def test_network_devices_of_the_host() -> None:
    found = devices_of({"netDevices": {"eth1": {}, "enp1s0": {"name": "net%d"}, "a.b": {"name": "x"}}})
    assert [(device.name, device.new_name) for device in found] == [("eth1", "eth1"), ("enp1s0", "net%d"), ("a.b", "x")]
    assert found[2].origin == 'linux.netDevices["a.b"]'


@pytest.mark.parametrize(
    ("devices", "more", "message"),
    [
        ({"eth9": {}}, {}, "the host has no network device eth9"),
        ({"eth1": {"name": "eth 0"}}, {}, '"eth 0" is not the name of a network device'),
        ({"lo": {}}, {}, "every network namespace has a loopback interface of its own"),
        ({"eth1": {"name": "lo"}}, {}, "every network namespace has a loopback interface of its own"),
        ({"eth1": {"name": "a/b"}}, {}, "is not the name"),
        ({"..": {}}, {}, "is not the name"),
        ({"eth1": {"name": "sixteen-letters-"}}, {}, "is not the name"),
        ({"eth1": {"name": "a%d%d"}}, {}, "is not the name"),
        ({"eth1": {"name": "eth0"}, "eth2": {"name": "eth0"}}, {}, 'two devices would be called "eth0"'),
        ({"eth1": {}}, {"env": ("NETCONF=/etc/cni/net.d/n,n",)}, "the container has the networks of NETCONF only"),
    ],
)
def test_network_devices_that_cannot_be_moved(devices: dict[str, Any], more: dict[str, Any], message: str) -> None:
    with pytest.raises(CompileError, match=re.escape(message)) as caught:
        devices_of({"netDevices": devices}, missing=("eth9",), **more)
    assert caught.value.diagnostics[0].id == "RX409"
