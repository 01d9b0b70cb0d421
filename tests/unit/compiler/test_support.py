"""The table of settings: complete by the specification, true by the compiler, and its page current. And `runx features`."""

import ast
import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from compiler_cases import TESTS, TextFacts
from runx.cli.features import features
from runx.cli.main import main
from runx.compiler.diagnostics import CompileError, path_text
from runx.compiler.frontends.json_shape import Int, Map, Matching, OneOf
from runx.compiler.frontends.oci.schema import CONFIG
from runx.compiler.model.plan import HOOK_KINDS
from runx.compiler.model.settings import FATES, SETTINGS, Setting, path_of
from runx.compiler.pipeline import Compilation, Inputs, compile
from runxtools.support_table import page
from spec_fields import FIELDS
from specification import newer, schemas

ROWS = {row.path: row for row in SETTINGS}
COMPILER = TESTS.parent / "runx/compiler"


# The table and the specification.


def schema_fields() -> set[str]:
    documents = schemas()
    found: set[str] = set()

    def walk(node: dict[str, Any], file: str, path: str) -> None:
        while "$ref" in node:
            name, _, fragment = node["$ref"].partition("#")
            file = name or file
            node = documents[file]
            for part in fragment.strip("/").split("/") if fragment else ():
                node = node[part]
        for kind in ("allOf", "anyOf", "oneOf"):
            for part in node.get(kind, ()):
                walk(part, file, path)
        for name, member in node.get("properties", {}).items():
            below = f"{path}.{name}" if path else name
            found.add(below)
            walk(member, file, below)
        if isinstance(node.get("items"), dict):
            walk(node["items"], file, f"{path}[]")
        for member in (*node.get("patternProperties", {}).values(), node.get("additionalProperties")):
            if isinstance(member, dict):
                walk(member, file, f"{path}{{}}")

    walk(documents["config-schema.json"], "config-schema.json", "")
    return {path for path in found if not path.startswith(("solaris.", "windows.", "zos.", "freebsd."))}


def test_the_list_of_fields_is_the_specifications() -> None:
    theirs = schema_fields()
    assert not sorted(FIELDS - theirs), "in spec_fields.py, but not in the installed specification"
    assert newer() or not sorted(theirs - FIELDS), "in the installed specification, but not in spec_fields.py"


def row_of(field: str) -> Setting | None:
    """Its own row, or that of the field above which it shares the fate of."""
    if field in ROWS:
        return ROWS[field]
    above = field.rpartition(".")[0]
    row = row_of(re.sub(r"(\[\]|\{\})$", "", above)) if above else None
    return row if row and row.fate != "carried" else None


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_every_field_has_a_fate(field: str) -> None:
    assert row_of(field)


def test_no_row_is_about_something_else() -> None:
    assert not set(ROWS) - FIELDS
    assert {row.fate for row in ROWS.values()} == set(FATES)


def properties(shape: Any, path: str = "") -> list[str]:
    """Every property of a shape, as rows name them."""
    if isinstance(shape, list):
        return properties(shape[0], f"{path}[]")
    if isinstance(shape, Map):
        return properties(shape.values, f"{path}{{}}")
    if not isinstance(shape, dict):
        return []
    found = []
    for name, member in shape.items():
        below = f"{path}.{name}".strip(".!")
        found += [below, *properties(member, below)]
    return found


def test_every_property_of_the_shape_has_one_row() -> None:
    """Its own, or the one row above it that is not carried."""
    assert len(ROWS) == len(SETTINGS)
    known = [name for name in properties(CONFIG) if not re.match(r"vm\.hwconfig\b", name)]
    assert len(known) == len(set(known)) and set(ROWS) <= set(known)
    for name in known:
        above = [name[: match.start()] for match in re.finditer(r"[.\[{]", name)]
        deciding = [row for each in (*above, name) if (row := ROWS.get(each)) and (row.fate != "carried" or each == name)]
        assert len(deciding) == 1, name


def tuples(tree: ast.AST) -> list[tuple[object, ...]]:
    """Every tuple in a source that consists of constants."""
    nodes = [node.elts for node in ast.walk(tree) if isinstance(node, ast.Tuple)]
    constant = [[item.value for item in items if isinstance(item, ast.Constant)] for items in nodes]
    return [tuple(values) for values, items in zip(constant, nodes, strict=True) if values and len(values) == len(items)]


def test_a_fate_stands_in_the_table_alone() -> None:
    """No other module has the path of a property that is not carried, or a table of what an own ramdisk, the sandbox of a pod or
    `runx update` leaves undone."""
    fates = {path_of(row) for row in SETTINGS if row.fate != "carried"}
    fates |= {path[2:] for path in fates if path[:2] == ("linux", "resources")}
    paths = {path_of(row) for row in SETTINGS}
    found = []
    for file in [*COMPILER.rglob("*.py"), *(TESTS.parent / "tools").rglob("*.py")]:
        if file == COMPILER / "model/settings.py":
            continue
        tree, name = ast.parse(file.read_text()), file.relative_to(TESTS.parent)
        # Engines write memory.swap to say that there is to be none: update.py knows it.
        found += [f"{name}: {path}" for path in tuples(tree) if path in fates - {("memory", "swap")}]
        tables = [node for node in tree.body if isinstance(node, (ast.Assign, ast.AnnAssign)) and "passes" in file.parts]
        found += [f"{name}: a table with {path}" for node in tables for path in tuples(node) if path in paths]
        words = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        found += [f"{name}: {word}" for word in words if "." in word and word in ROWS and ROWS[word].fate != "carried"]
    assert not found


def module_of(path: str) -> str:
    above = re.sub(r"(\[\])?\.?[^.]*$", "", path)
    return ROWS[path].read or module_of(above)


@pytest.mark.parametrize("path", sorted(path for path, row in ROWS.items() if row.fate == "carried"))
def test_a_carried_property_is_read_where_its_row_says(path: str) -> None:
    source = ast.parse((COMPILER / module_of(path)).read_text())
    names = {str(node.value).strip("!") for node in ast.walk(source) if isinstance(node, ast.Constant)}
    # Hooks and sets of capabilities are read as a whole, whatever their names. Nothing in vm.hypervisor is carried.
    whole = path in [f"hooks.{kind}" for kind in HOOK_KINDS] or path.startswith("process.capabilities.")
    assert whole or path == "vm.hypervisor" or path.rpartition(".")[2] in names


def test_the_page_is_current() -> None:
    """If not: make docs"""
    assert (TESTS.parent / "docs/support.md").read_text() == page()


# The table and the compiler.

BASE: dict[str, Any] = {
    "ociVersion": "1.2.0",
    "root": {"path": "rootfs"},
    "process": {"cwd": "/", "args": ["/bin/sh"]},
    "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")]},
}

# Where a made up value would not do: what stands at the field's first entry.
SAMPLES: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "process.cwd": "/there",
    "process.env": ["A=b"],
    "linux.sysctl": {"vm.swappiness": "0"},
    **{
        f"process.capabilities.{name}": ["CAP_CHOWN"] for name in ("bounding", "effective", "inheritable", "permitted", "ambient")
    },
    "process.rlimits[]": {"type": "RLIMIT_CORE", "soft": 1, "hard": 2},
    "process.rlimits[].type": "RLIMIT_CPU",
    "process.rlimits[].soft": 2,
    "process.rlimits[].hard": 3,
    "process.execCPUAffinity.initial": "0-1",
    "linux.rootfsPropagation": "shared",
    "process.scheduler.policy": "SCHED_BATCH",
    "process.scheduler.runtime": 10_000,
    "process.scheduler.deadline": 200_000,
    "process.scheduler.period": 300_000,
    "mounts[]": {"destination": "/there", "type": "bind", "source": "/here", "options": ["rbind"]},
    "mounts[].destination": "/elsewhere",
    "mounts[].type": "tmpfs",
    "mounts[].source": "/elsewhere",
    "mounts[].options": ["rbind", "ro"],
    "linux.devices[]": {"path": "/dev/x", "type": "c", "major": 1, "minor": 3},
    "linux.devices[].path": "/dev/y",
    "linux.devices[].type": "b",
    "linux.devices[].major": 7,
    "linux.namespaces": BASE["linux"]["namespaces"],
    "linux.maskedPaths": ["/proc/x"],
    "linux.readonlyPaths": ["/proc/y"],
    "linux.resources.memory.limit": 2**30,
    "linux.resources.cpu.cpus": "0-1",
    "linux.resources.cpu.quota": 300000,
    "linux.resources.cpu.period": 1000,
    "linux.namespaces[].path": "/run/netns/x",
    "linux.namespaces[].type": "cgroup",
    "linux.seccomp.architectures": ["SCMP_ARCH_X86"],
    **{f"hooks.{kind}[]": {"path": "/bin/other"} for kind in HOOK_KINDS},
    **{
        f"hooks.{kind}[].{name}": value
        for kind in HOOK_KINDS
        for name, value in (("path", "/bin/hook"), ("args", ["hook", "x"]), ("env", ["A=b"]), ("timeout", 7))
    },
    "vm.kernel.path": "/boot/vmlinuz",
    "vm.kernel.initrd": "/boot/initrd",
    "vm.image": {"path": "/boot/image", "format": "raw"},
    "vm.image.path": "/boot/image",
    "vm.image.format": "qcow2",
    "vm.hwConfig.deviceTree": "/boot/guest.dtb",
    "vm.hwConfig.vcpus": 2,
    "vm.hwConfig.memory": 2**30,
    "vm.hwConfig.dtdevs": ["/soc/serial"],
    "vm.hwConfig.iomems[]": {"firstMFN": 1, "nrMFNs": 2},
    "vm.hwConfig.iomems[].firstMFN": 3,
    "vm.hwConfig.iomems[].nrMFNs": 4,
}
_DEADLINE = {"process.scheduler": {"policy": "SCHED_DEADLINE", "runtime": 20_000, "deadline": 100_000}}
HOST = dict.fromkeys(("/boot/vmlinuz", "/boot/initrd", "/boot/image", "/boot/other", "/boot/guest.dtb", "/run/netns/x"), "file")
# What else must be there for the field to mean anything.
NEIGHBOURS: dict[str, dict[str, Any]] = {
    "vm.image.format": {"vm.image": {"path": "/boot/image", "format": "raw"}},
    "vm.image.path": {"vm.image": {"path": "/boot/other", "format": "raw"}},
    "process.consoleSize": {"process.terminal": True},
    "process.consoleSize.height": {"process.terminal": True},
    "process.consoleSize.width": {"process.terminal": True},
    "process.scheduler.priority": {"process.scheduler": {"policy": "SCHED_RR", "priority": 7}},
    **{f"process.scheduler.{name}": _DEADLINE for name in ("runtime", "deadline", "period")},
    "process.capabilities.effective": {"process.capabilities": {"permitted": ["CAP_CHOWN"]}},
    "process.capabilities.inheritable": {"process.capabilities": {"bounding": ["CAP_CHOWN"]}},
    "process.capabilities.ambient": {
        "process.capabilities": {name: ["CAP_CHOWN"] for name in ("bounding", "inheritable", "permitted")}
    },
    "linux.resources.cpu.period": {"linux.resources.cpu.quota": 100000},
    "linux.namespaces[].path": {"linux.namespaces": BASE["linux"]["namespaces"][::-1]},
    "mounts[].type": {"mounts": [{"destination": "/there", "source": "x", "type": "proc"}]},
}


def shape_at(path: str) -> Any:
    shape: Any = CONFIG
    for part in re.findall(r"[^.\[\]{}]+|\[\]|\{\}", path):
        if part == "[]":
            shape = shape[0]
        elif part == "{}":
            shape = shape.values
        else:
            shape = shape.get(part, shape.get(f"{part}!"))
    return shape


def sample(path: str) -> Any:
    """A value for the field that asks for something."""
    return copy.deepcopy(SAMPLES[path]) if path in SAMPLES else made_up(shape_at(path), path)


def made_up(shape: Any, path: str) -> Any:
    if isinstance(shape, dict):
        required = {name[:-1]: member for name, member in shape.items() if name.endswith("!")}
        members = required or dict([next(iter(shape.items()))])
        return {name: sample(f"{path}.{name}") for name in members}
    if isinstance(shape, list):
        return [sample(f"{path}[]")]
    if isinstance(shape, Map):
        return {"x": sample(f"{path}{{}}")}
    if isinstance(shape, Int):
        return max(shape.low, 1)
    if isinstance(shape, OneOf):
        return shape.words[0]
    if isinstance(shape, Matching):
        return "2MB"
    return {bool: True, object: {"x": 1}}.get(shape, "x")


def put(document: dict[str, Any], path: str, value: Any) -> None:
    holder: Any = document
    *above, last = re.findall(r"[^.\[\]{}]+|\[\]|\{\}", path)
    at = ""
    for part in above:
        at += part if part in ("[]", "{}") else f".{part}" if at else part
        key: Any = {"[]": 0, "{}": "x"}.get(part, part)
        if isinstance(holder, dict) and key not in holder:
            holder[key] = sample(at)
        holder = holder[key]
    holder[last] = value


def compiled(path: str = "", value: Any = None) -> Compilation:
    document = json.loads(json.dumps(BASE))
    for neighbour, there in NEIGHBOURS.get(path, {}).items():
        put(document, neighbour, copy.deepcopy(there))
    if path and value is not None:
        put(document, path, value)
    return compile(Inputs("/b", container_id="c", state_root="/r", assets="/a", facts=TextFacts(json.dumps(document), HOST)))


def concrete(path: str) -> str:
    """As messages write it, at the first entry."""
    return path.replace("[]", "[0]").replace("{}", ".x")


@pytest.mark.parametrize("path", sorted(path for path, row in ROWS.items() if row.fate in ("ignored", "vm")))
def test_what_is_ignored_is_in_the_plan(path: str) -> None:
    result = compiled(path, sample(path) if shape_at(path) is not None else {"x": 1})
    reasons = {entry.path: entry.reason for entry in result.plan.ignored}
    assert reasons.get(concrete(path)) == ROWS[path].how
    assert concrete(path) not in {entry.path for entry in compiled().plan.ignored}


@pytest.mark.parametrize("path", sorted(path for path, row in ROWS.items() if row.fate == "refused"))
def test_what_is_refused_is_an_error_at_its_place(path: str) -> None:
    with pytest.raises(CompileError) as caught:
        compiled(path, sample(path))
    assert concrete(path) in [path_text(fault.path) for fault in caught.value.diagnostics]


def carried() -> list[str]:
    objects = {path.rpartition(".")[0].removesuffix("[]") for path in FIELDS}
    return sorted(path for path, row in ROWS.items() if row.fate == "carried" and path not in objects)


@pytest.mark.parametrize("path", carried())
def test_what_is_carried_changes_the_plan(path: str) -> None:
    value = sample(path)
    result = compiled(path, value)
    assert concrete(path) not in {entry.path for entry in result.plan.ignored}
    holder, _, _ = path.rpartition(".")
    if path.startswith("linux.seccomp"):
        # Cases are given a filter of one instruction; test_seccomp.py follows the real ones.
        assert result.plan.process.seccomp
        return
    without = compiled(holder.removesuffix("[]"), sample(holder.removesuffix("[]"))) if "[]" in path else compiled(path)
    before, after = (each.artifacts.plan_json for each in (without, result))
    assert before != after


# features


def test_features(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == features()
    assert document["ociVersionMin"] == "1.0.0" and document["ociVersionMax"] == "1.3.0"
    assert document["hooks"] == ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    # containerd 2 offers recursive read-only mounts of pods if it finds rro.
    assert {"ro", "rro", "rbind", "tmpcopyup", "rslave"} <= set(document["mountOptions"])
    assert not {"idmap", "remount"} & set(document["mountOptions"])
    linux = document["linux"]
    assert linux["seccomp"]["enabled"] is True
    assert "SCMP_ACT_NOTIFY" not in linux["seccomp"]["actions"]
    assert len(linux["capabilities"]) == 41
    assert linux["mountExtensions"] == {"idmap": {"enabled": False}}


def test_features_without_libseccomp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runx.cli.features.find_library", lambda: "")
    assert features()["linux"]["seccomp"]["enabled"] is False


def test_features_takes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", "x"]) == 1
    assert "features takes no operands" in capsys.readouterr().err


def test_features_follow_the_schema() -> None:
    linux = schemas()["features-linux.json"]["linux"]["properties"]
    top = schemas()["features-schema.json"]
    words = schemas()["defs-linux.json"]["definitions"]
    document: dict[str, Any] = features()
    assert set(document) <= set(top["properties"]) and set(top["required"]) <= set(document)
    assert set(document["linux"]) <= set(linux)
    for name, members in document["linux"].items():
        if isinstance(members, dict):
            assert set(members) <= set(linux[name]["properties"])
    seccomp = document["linux"]["seccomp"]
    assert set(seccomp["actions"]) <= set(words["SeccompAction"]["enum"])
    assert set(seccomp["operators"]) == set(words["SeccompOperators"]["enum"])
    assert set(seccomp["archs"]) <= set(words["SeccompArch"]["enum"])
    assert set(seccomp["knownFlags"]) == set(words["SeccompFlag"]["enum"])
    assert set(document["linux"]["namespaces"]) == set(words["NamespaceType"]["enum"])


def test_the_page_is_where_readers_find_it() -> None:
    assert "docs/support.md" in (TESTS.parent / "README.md").read_text()
    assert Path(TESTS.parent / "docs/support.md").is_file()
