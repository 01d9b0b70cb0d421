"""Who decides how a root filesystem travels, and what `auto` makes of what it finds."""

import json
from typing import Any

import pytest

from compiler_cases import TextFacts
from runx.compiler.backends.records import record
from runx.compiler.diagnostics import CompileError, Report
from runx.compiler.host.overlay_layers import RootFacts
from runx.compiler.model.plan import Domain, Root
from runx.compiler.passes.memory import DISK_MIB, GUEST_MIB, LIMIT_PER_MIB, SHARE_MIB, UNPACKING_MIB
from runx.compiler.passes.update import change
from runx.compiler.pipeline import Compilation, Inputs, compile

CONFIG: dict[str, Any] = {
    "ociVersion": "1.2.0",
    "root": {"path": "rootfs"},
    "process": {"cwd": "/", "args": ["sh"]},
    "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
}
LAYERS = {"lower": ("/s/overlay2/a/diff",), "lower_identity": "1234", "upper": "/s/overlay2/c/diff", "upper_is_engines": True}


class Facts(TextFacts):
    """A host with a runx.toml, whose root filesystem is made of `layers` (fields of RootFacts)."""

    def __init__(self, config: dict[str, Any], toml: str = "", layers: dict[str, Any] | None = None, missing: str = "") -> None:
        super().__init__(json.dumps(config), {"/k": "file", "/image": "file"})
        self.toml = toml
        self.layers = layers or {}
        self.missing = missing

    def host_config(self) -> Any:
        return ("runx.toml", self.toml.encode()) if self.toml else None

    def root(self, path: str) -> RootFacts:
        return RootFacts(path)._replace(**self.layers)

    def identity(self, path: str) -> str:  # noqa: ARG002
        return str(self.layers.get("identity", "id"))

    def image_bytes(self, path: str, limit: int) -> int:  # noqa: ARG002
        return self.sizes.get(path, 5 << 20)

    sizes: dict[str, int] = {}  # noqa: RUF012  # read alone

    def has_program(self, name: str) -> bool:
        return name != self.missing


def root(option: str = "", annotation: str = "", **given: Any) -> Root:
    config = {**CONFIG, **given.pop("config", {})}
    if annotation:
        config["annotations"] = {"org.runx.root.carrier": annotation}
    facts = Facts(config, **given)
    return compile(Inputs("/b", container_id="c", state_root="/s", assets="/a", facts=facts, root_carrier=option)).plan.root


@pytest.mark.parametrize(
    ("option", "annotation", "toml", "carrier", "reason"),
    [
        ("disk", "9p", "[root]\ncarrier = '9p'\n", "disk", "--root-carrier"),
        ("", "disk", "[root]\ncarrier = '9p'\n", "disk", "org.runx.root.carrier"),
        ("", "", "[root]\ncarrier = 'disk'\n", "disk", "root.carrier of runx.toml"),
        ("9p", "disk", "", "9p", "--root-carrier"),
        ("", "9p", "[root]\ncarrier = 'disk'\n", "9p", "org.runx.root.carrier"),
        ("ram", "9p", "", "ram", "--root-carrier"),
        ("", "ram", "[root]\ncarrier = '9p'\n", "ram", "org.runx.root.carrier"),
        ("", "", "[root]\ncarrier = 'ram'\n", "ram", "root.carrier of runx.toml"),
    ],
)
def test_who_decides(option: str, annotation: str, toml: str, carrier: str, reason: str) -> None:
    chosen = root(option, annotation, toml=toml)
    assert (chosen.carrier, chosen.reason) == (carrier, reason)


def test_what_auto_chooses() -> None:
    assert root(layers=LAYERS).carrier == "disk"
    assert root("auto", toml="[root]\ncarrier = 'disk'\n").carrier == "9p", "a directory that may change"
    assert "no mkfs.erofs" in root(layers=LAYERS, missing="mkfs.erofs").reason
    assert "mount point" in root(layers=LAYERS | {"mounts_below": ("/b/rootfs/x",)}).reason
    kernel = {"vm": {"kernel": {"path": "/k"}}}
    assert root(layers=LAYERS, config=kernel).carrier == "9p"
    assert root(layers=LAYERS, config={"vm": {"image": {"path": "/image", "format": "raw"}}}).reason == "vm.image"


def test_auto_for_a_step_of_a_build() -> None:
    """buildah commits what is in the directory: a disk would lose the step's changes without a word."""
    step = {"root": {"path": "/var/tmp/buildah3025840313/mnt/rootfs"}}
    assert root(layers=LAYERS, config=step).carrier == "9p"
    assert root("disk", layers=LAYERS, config=step).carrier == "disk", "as asked for"
    assert root(layers=LAYERS, config={"root": {"path": "/buildah/mnt/rootfs"}}).carrier == "disk"


def test_disks_count_as_shares_do() -> None:
    """In the machine's memory."""
    config = {**CONFIG, "linux": {**CONFIG["linux"], "resources": {"memory": {"limit": 128 << 20}}}}
    sizes = [
        compile(
            Inputs("/b", container_id="c", state_root="/s", assets="/a", facts=Facts(config), root_carrier=carrier)
        ).plan.domain.memory_mib
        for carrier in ("9p", "disk")
    ]
    assert sizes[1] - sizes[0] == 2 * DISK_MIB - SHARE_MIB


def in_memory(layers: dict[str, Any], sizes: dict[str, int], toml: str = "", **members: Any) -> Compilation:
    """What is compiled of a root in memory."""
    facts = Facts({**CONFIG, **members}, toml, layers)
    facts.sizes = sizes
    return compile(Inputs("/b", container_id="c", state_root="/s", assets="/a", facts=facts, root_carrier="ram"))


def machine(layers: dict[str, Any], sizes: dict[str, int], toml: str = "", **members: Any) -> Domain:
    domain = in_memory(layers, sizes, toml, **members).plan.domain
    assert domain
    return domain


ROOT = "/b/rootfs"


def test_a_root_in_memory_counts_as_often_as_it_is_there() -> None:
    """Once beside what the container may use, twice while the ramdisk is unpacked."""
    linux = {**CONFIG["linux"], "resources": {"memory": {"limit": 256 << 20}}}
    without, with_root = machine({}, {ROOT: 0}, linux=linux).memory_mib, machine({}, {ROOT: 64 << 20}, linux=linux).memory_mib
    assert with_root - without == 64 + 64 // LIMIT_PER_MIB
    assert machine({}, {ROOT: 64 << 20}).memory_mib == 256 + 66, "the default is for the container"
    small = {**CONFIG["linux"], "resources": {"memory": {"limit": 16 << 20}}}
    assert machine({}, {ROOT: 64 << 20}, linux=small).memory_mib == GUEST_MIB + UNPACKING_MIB + 2 * 66
    domain = machine({}, {ROOT: 64 << 20})
    assert (domain.disks, domain.shares) == ((), ())
    assert "rootfstype=ramfs" in domain.cmdline


def test_an_update_leaves_a_root_in_memory_its_part() -> None:
    linux = [{**CONFIG["linux"], "resources": {"memory": {"limit": mib << 20}}} for mib in (256, 128)]
    kept = json.loads(in_memory({}, {ROOT: 64 << 20}, linux=linux[0]).kept_limits)
    report = Report()
    after = change(kept, {"memory": {"limit": 128 << 20}}, report)
    assert not report.errors
    assert after["size"]["memory_mib"] == machine({}, {ROOT: 64 << 20}, linux=linux[1]).memory_mib


def test_images_of_an_engine_are_disks_as_they_are() -> None:
    """A disk for each, the lowest first; what lies on them is copied, as on a base of runx's own."""
    layers = LAYERS | {
        "lower": ("/s/snapshots/2/fs", "/s/snapshots/1/fs"),
        "images": ("/s/snapshots/2/layer.erofs", "/s/snapshots/1/layer.erofs"),
        "upper": "/s/snapshots/3/fs",
        "added": ("/s/snapshots/3/fs",),
    }
    facts = Facts(CONFIG, layers=layers)
    result = compile(Inputs("/b", container_id="c", state_root="/s", assets="/a", facts=facts))
    domain = result.plan.domain
    assert domain is not None
    kinds = [(disk.vdev, disk.holds, disk.read_only) for disk in domain.disks]
    assert kinds == [
        ("xvda", "engine", True), ("xvdb", "engine", True), ("xvdc", "added", True), ("xvdd", "layer", False)
    ]  # fmt: skip
    assert [disk.source for disk in domain.disks[:2]] == ["/s/snapshots/1/layer.erofs", "/s/snapshots/2/layer.erofs"]
    assert domain.disks[2].made_of == "/s/snapshots/3/fs"
    script = next(file.content for file in result.artifacts.overlay if b"lowerdir=" in file.content)
    assert b"lowerdir=/disks/xvdc:/disks/xvdb:/disks/xvda,upperdir=/disks/xvdd/upper" in script
    assert record("attach", "erofs", "/dev/xvda", "/disks/xvda", "ro") in script


def test_a_root_in_memory_of_layers() -> None:
    """What has changed in it already is not packed on its own: it may hide what would take memory."""
    layers = LAYERS | {"added": ("/s/overlay2/c-init/diff",)}
    kept = root("ram", layers=layers)
    assert [image.source.rpartition("/")[2] for image in kept.images] == ["1234", kept.images[1].source.rpartition("/")[2]]
    assert kept.images[1].made_of == "/s/overlay2/c-init/diff"
    assert (kept.lower, kept.layer_mib, kept.images_mib) == (LAYERS["lower"], None, 10)
    changed = root("ram", layers=LAYERS | {"added": (LAYERS["upper"], "/s/overlay2/c-init/diff")})
    (image,) = changed.images
    assert (changed.lower, image.made_of, "/once-" in image.source) == ((), "", True)
    assert root("ram", layers={"identity": ""}).carrier == "ram", "nothing is kept that could be taken for another's"
    assert root("ram", missing="mke2fs").carrier == "ram"


@pytest.mark.parametrize(
    ("sizes", "toml", "members", "words"),
    [
        ({ROOT: (64 << 20) + 1}, "", {}, "may take more than 64 MiB, root.ram_limit"),
        ({ROOT: 3 << 20}, "[root]\nram_limit = '2MiB'\n", {}, "may take more than 2 MiB"),
        ({ROOT: 32 << 20}, "", {"vm": {"hwConfig": {"memory": 80 << 20}}}, "32 MiB, needs 102 MiB to start"),
        ({ROOT: 32 << 20}, "", {"vm": {"hwconfig": {"memory": 80 << 20}}}, "vm.hwconfig.memory: the root filesystem"),
        ({}, "", {"vm": {"kernel": {"initrd": "/k"}}}, "is ram, but the container's own ramdisk would not know about it"),
        ({}, "", {"vm": {"image": {"path": "/image", "format": "raw"}}}, "is ram, but the root filesystem is vm.image"),
    ],
)
def test_a_root_that_cannot_be_in_memory(sizes: dict[str, int], toml: str, members: dict[str, Any], words: str) -> None:
    with pytest.raises(CompileError) as caught:
        machine({}, sizes, toml, **members)
    assert words in caught.value.message
    assert "    hint: " in caught.value.message


def test_layers_and_changes() -> None:
    chosen = root(layers=LAYERS)
    assert (chosen.lower, chosen.layer_of, chosen.layer_mib) == (LAYERS["lower"], LAYERS["upper"], 10240)
    read_only = root(layers=LAYERS, config={"root": {"path": "rootfs", "readonly": True}})
    assert (read_only.layer_mib, read_only.layer_of) == (None, "")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"missing": "mke2fs"}, "this host has no mke2fs"),
        ({"layers": {"mounts_below": ("/b/rootfs/x",)}}, "is a mount point in the root filesystem"),
        ({"layers": {"identity": ""}}, "keeps no time of birth"),
        ({"toml": "[policy]\nannotations = []\n", "annotation": "disk"}, "not allowed by policy.annotations"),
        ({"config": {"vm": {"kernel": {"initrd": "/k"}}}}, "would not know about it"),
    ],
)
def test_a_disk_that_cannot_be_is_an_error(given: dict[str, Any], words: str) -> None:
    with pytest.raises(CompileError) as caught:
        root("" if "annotation" in given else "disk", **given)
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"option": "disk", "annotation": "ram"}, "--root-carrier"),
        ({"toml": "[root]\n\ncarrier = 'disk'\n"}, "runx.toml:3: root.carrier"),
        ({"annotation": "disk"}, 'config.json:1:253: annotations["org.runx.root.carrier"]'),
    ],
)
def test_a_fault_of_the_carrier_is_told_where_it_is_asked_for(given: dict[str, Any], place: str) -> None:
    with pytest.raises(CompileError) as caught:
        root(**given, missing="mke2fs")
    assert caught.value.message.startswith(f"{place}: the carrier is disk, but this host has no mke2fs\n")


def test_a_carrier_that_is_none() -> None:
    with pytest.raises(CompileError, match='--root-carrier: "floppy" is none of auto, disk, 9p, ram'):
        root("floppy")
    with pytest.raises(CompileError) as caught:
        root("floppy", config={"hostname": 3})
    assert [fault.id for fault in caught.value.diagnostics] == ["RX210", "RX011"], "it hides no other fault"
    with pytest.raises(CompileError, match=r"is 9p, but the root filesystem is vm\.image"):
        root("9p", config={"vm": {"image": {"path": "/image", "format": "raw"}}})


@pytest.mark.parametrize(
    ("option", "annotations", "given", "write_back", "ignored"),
    [
        ("disk", {}, {}, "exit", 0),
        ("ram", {}, {}, "exit", 0),
        ("disk", {}, {"toml": "[root]\nwrite_back = 'never'\n"}, "never", 0),
        ("disk", {"org.runx.root.write_back": "exit"}, {"toml": "[root]\nwrite_back = 'never'\n"}, "exit", 0),
        ("ram", {"org.runx.root.write_back": "never"}, {}, "never", 0),
        ("9p", {}, {}, "", 0),
        ("9p", {"org.runx.root.write_back": "never"}, {}, "", 1),
        ("disk", {}, {"config": {"root": {"path": "rootfs", "readonly": True}}}, "", 0),
    ],
)
def test_when_changes_are_written_back(
    option: str, annotations: dict[str, str], given: dict[str, Any], write_back: str, ignored: int
) -> None:
    config = {**CONFIG, **given.pop("config", {}), "annotations": annotations}
    facts = Facts(config, **given)
    plan = compile(Inputs("/b", container_id="c", state_root="/s", assets="/a", facts=facts, root_carrier=option)).plan
    assert plan.root.write_back == write_back
    assert [notice.id for notice in plan.ignored if "write_back" in notice.id + notice.path] == ["RX218"] * ignored


@pytest.mark.parametrize(
    ("option", "asked", "toml", "mib", "ignored"),
    [
        ("disk", "2GiB", "", 2048, 0),
        ("disk", "10GiB", "", 10240, 0),
        ("disk", "300 MiB", "[root]\nlayer_size = '1GiB'\n", 300, 0),
        ("9p", "2GiB", "", None, 1),
        ("ram", "2GiB", "", None, 1),
    ],
)
def test_a_container_may_have_a_smaller_layer(option: str, asked: str, toml: str, mib: int | None, ignored: int) -> None:
    config = {**CONFIG, "annotations": {"org.runx.root.layer_size": asked}}
    facts = Facts(config, **({"toml": toml} if toml else {}))
    plan = compile(Inputs("/b", container_id="c", state_root="/s", assets="/a", facts=facts, root_carrier=option)).plan
    assert plan.root.layer_mib == mib and bool(plan.root.layer_of) == (mib is not None)
    assert [notice.id for notice in plan.ignored if "layer_size" in notice.path] == ["RX224"] * ignored


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("11GiB", r'"11GiB" is more than root\.layer_size \(default\), 10240 MiB'),
        ("32MiB", '"32MiB" is not a size from 64 MiB to 16384 GiB'),
        ("much", '"much" is not a size'),
        ("", '"" is not a size'),
    ],
)
def test_layers_that_no_container_may_have(asked: str, message: str) -> None:
    with pytest.raises(CompileError, match=r'annotations\["org\.runx\.root\.layer_size"\]: ' + message):
        root("disk", config={"annotations": {"org.runx.root.layer_size": asked}})


def test_a_moment_that_is_none() -> None:
    with pytest.raises(CompileError, match=r'annotations\["org.runx.root.write_back"\]: "now" is none of exit, never'):
        root("disk", config={"annotations": {"org.runx.root.write_back": "now"}})
