"""What a build is made of: the same sources give the same bytes, the manifest says which they were, and pins name them."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from guestbox import CHECKOUT

sys.path[:0] = [str(CHECKOUT / "guest-assets"), str(CHECKOUT / "tools")]

from recipes import initrd, kernel_source, main, manifest, newer, parts, pins  # noqa: E402
from recipes.settings import Settings, settings_from  # noqa: E402

from runxtools.apt import newest_first  # noqa: E402
from runxtools.errors import ToolError  # noqa: E402

needs_compiler = pytest.mark.skipif(not shutil.which("musl-gcc"), reason="musl-tools")
SMALL_BUSYBOX = f"""
#include <stdio.h>
int main(void) {{ return puts("{" ".join(initrd.REQUIRED)}") < 0; }}
"""
"""All of it that a build looks at."""


def settings(out: Path, **values: str) -> Settings:
    return settings_from({"OUT": str(out), **values}, jobs=1, install_packages=False, keep_work=False, update=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what a build takes of the checkout, and a busybox that is made quickly."""
    ignored = shutil.ignore_patterns(".*", "out", "__pycache__", "tests", "docs")
    copy = tmp_path / "checkout"
    shutil.copytree(CHECKOUT, copy, ignore=ignored, copy_function=shutil.copy)
    argv = ["musl-gcc", "-static", "-Os", "-s", "-x", "c", "-", "-o", tmp_path / "busybox"]
    subprocess.run(argv, input=SMALL_BUSYBOX, text=True, check=True)
    return copy


def check_reproducible(checkout: Path) -> "subprocess.CompletedProcess[str]":
    place = checkout.parent
    argv = [checkout / "build", "--no-install", "--check-reproducible", f"OUT={place}/out", f"busybox={place}/busybox", "initrd"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(place), "RUNX_CACHE": f"{place}/cache"}
    return subprocess.run(argv, env=environment, check=False, capture_output=True, text=True)


@needs_compiler
def test_two_builds_of_the_initrd_have_the_same_bytes(checkout: Path) -> None:
    """From checkouts at other paths, with other dates, by a caller with another umask and time zone."""
    result = check_reproducible(checkout)
    assert result.returncode == 0, result.stderr
    made = checkout.parent / "out" / os.uname().machine
    assert result.stdout.splitlines()[-2:] == [
        f"{name}: two builds made the same bytes, sha256 {hashlib.sha256((made / name).read_bytes()).hexdigest()}"
        for name in ("initrd", manifest.NAME)
    ]
    assert not (checkout.parent / "cache/guest-again").exists()


@needs_compiler
def test_a_build_that_records_its_path_is_found(checkout: Path) -> None:
    with (checkout / "guest-assets/init/pid1/main.c").open("a") as file:
        file.write("__attribute__((constructor)) static void record(void) { const char *volatile at = __FILE__; (void)*at; }\n")
    result = check_reproducible(checkout)
    assert result.returncode == 1
    assert re.search(r"^build: two builds differ: initrd from byte \d+ on \(\d+ and \d+ bytes\);", result.stderr), result.stderr
    assert (checkout.parent / "cache/guest-again/out").exists(), "to be compared"


def test_what_cannot_be_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--check-reproducible", "uninstall", "initrd"]) == 1
    assert "uninstall cannot be compared" in capsys.readouterr().err


def test_what_a_kernel_would_record_of_its_machine_is_fixed() -> None:
    """Linux, Documentation/kbuild/reproducible-builds.rst."""
    assert parts._KBUILD.keys() == {
        "KBUILD_BUILD_TIMESTAMP", "KBUILD_BUILD_USER", "KBUILD_BUILD_HOST", "KBUILD_BUILD_VERSION",
    }  # fmt: skip
    text = "\n".join(path.read_text() for path in (CHECKOUT / "guest-assets/kernel").glob("*.config"))
    # Keys made for one build, and times in what is compiled in.
    assert not re.search(r"^CONFIG_(MODULE_SIG|IKHEADERS|IKCONFIG|GCC_PLUGIN_RANDSTRUCT|RANDSTRUCT_FULL)=y", text, re.M)


# -- the manifest ----------------------------------------------------------------------------------------------------------

LINUX = manifest.Part("linux", "6.12.1", "GPL-2.0-only", "ab" * 32, "pkg:deb/debian/linux-source-6.12")
KERNEL = manifest.Result("kernel", "GPL-2.0-only", "GENERATED_FROM", (LINUX,), "gcc 12")
INITRD = manifest.Result("initrd", "MIT", "CONTAINS", (manifest.Part("musl", "", "MIT"),), "gcc 12")


@pytest.fixture
def results(tmp_path: Path) -> Settings:
    here = settings(tmp_path)
    here.results.mkdir()
    for name in ("kernel", "initrd"):
        (here.results / name).write_text(name)
    return here


def written(here: Settings) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((here.results / manifest.NAME).read_text())
    return document


def test_a_manifest_is_a_document_of_spdx(results: Settings) -> None:
    """The properties that the specification asks for (SPDX 2.3, chapters 6, 7 and 11)."""
    manifest.write(results, [KERNEL, INITRD])
    document = written(results)
    assert document["spdxVersion"] == "SPDX-2.3" and document["dataLicense"] == "CC0-1.0"
    assert re.fullmatch(r"https://\S+-[0-9a-f]{32}", document["documentNamespace"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["creationInfo"]["created"])
    assert all(re.match(r"(Tool|Person|Organization): ", creator) for creator in document["creationInfo"]["creators"])
    ids = {package["SPDXID"] for package in document["packages"]} | {document["SPDXID"]}
    assert len(ids) == 5 and all(re.fullmatch(r"SPDXRef-[\w.-]+", identity) for identity in ids)
    for package in document["packages"]:
        assert package["name"] and package["downloadLocation"] and package["licenseDeclared"]
        assert all(len(found["checksumValue"]) == 64 for found in package.get("checksums", ()))
    named = {relation[end] for relation in document["relationships"] for end in ("spdxElementId", "relatedSpdxElement")}
    assert named == ids
    kernel = next(package for package in document["packages"] if package["name"] == "kernel")
    assert kernel["checksums"][0]["checksumValue"] == hashlib.sha256(b"kernel").hexdigest()


def test_a_result_keeps_its_part_of_the_manifest(results: Settings) -> None:
    """As long as its file is what it was. The order of builds does not matter."""
    manifest.write(results, [KERNEL])
    manifest.write(results, [INITRD])
    one_by_one = written(results)
    manifest.write(results, [INITRD, KERNEL])
    assert written(results) == one_by_one
    (results.results / "kernel").write_text("another")
    manifest.write(results, [INITRD])
    assert {package["name"] for package in written(results)["packages"]} == {"initrd", "musl"}
    (results.results / manifest.NAME).write_text("damaged")
    manifest.write(results, [INITRD])
    assert len(written(results)["packages"]) == 2


def test_the_kernel_in_a_manifest(results: Settings, tmp_path: Path) -> None:
    (results.results / "kernel.config").write_text("#\n# Linux/x86_64 6.12.34 Kernel Configuration\n#\n")
    tarball = tmp_path / "linux-source-6.12.tar.xz"
    tarball.write_text("source")
    found = manifest.of_kernel(settings(tmp_path, KERNEL_SRC=str(tarball)))
    expected = manifest.Part(
        "linux", "6.12.34", manifest._LINUX, hashlib.sha256(b"source").hexdigest(), "pkg:deb/debian/linux-source-6.12"
    )
    assert found.parts == (expected,)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "Kconfig").touch()
    (part,) = manifest.of_kernel(settings(tmp_path, KERNEL_SRC=str(tree))).parts
    assert (part.sha256, part.package) == ("", ""), "a tree has no hash that another could check"


# -- pins ------------------------------------------------------------------------------------------------------------------


def test_pins_are_complete() -> None:
    for name, suite in (("linux", kernel_source.SUITE), ("busybox", "bookworm"), ("busybox", "trixie")):
        known = pins.pin(name, suite)
        assert known and re.fullmatch(r"(\d+:)?[\w.+~]+-[\w.+~]+", known.version) and re.fullmatch(r"[0-9a-f]{64}", known.sha256)
    assert pins.pin("linux", kernel_source.SUITE).version.startswith(kernel_source.text_of(kernel_source.SERIES) + ".")  # type: ignore[union-attr]
    assert pins.pin("busybox", "sid") is pins.pin("nothing", "bookworm") is None


PIN = pins.Pin("1.2-3", "ab" * 32)


def test_a_pinned_version_is_taken_where_it_is() -> None:
    assert pins.wanted(PIN, ["1.3-1", "1.2-3", "1.1-1"]) == "1.2-3"
    assert pins.wanted(PIN, ["1.3-1", "1.2-4"]) == pins.wanted(None, ["1.3-1", "1.2-3"]) == "1.3-1"
    assert pins.wanted(PIN, []) == ""


def test_another_source_is_told() -> None:
    assert pins.remark("x", PIN, "1.2-3", PIN.sha256) == pins.remark("x", None, "1", "cd" * 32) == ""
    assert pins.remark("x", PIN, "1.3-1", "cd" * 32) == "x: its source is 1.3-1, not 1.2-3 of guest-assets/sources.toml"
    assert "is another one, not 1.2-3" in pins.remark("x", PIN, "", "cd" * 32)
    with pytest.raises(ToolError, match=r"x: version 1\.2-3 has the hash cdcd"):
        pins.remark("x", PIN, "1.2-3", "cd" * 32)


@pytest.mark.parametrize(
    ("known", "versions", "told"),
    [
        (PIN, ["1.2-3"], "x (bookworm): 1.2-3; the newest"),
        (PIN, ["1.3-1", "1.2-3"], "x (bookworm): 1.2-3; Debian has 1.3-1"),
        (PIN, ["1.3-1"], "x (bookworm): 1.2-3; Debian has 1.3-1, and this one no more"),
        (PIN, [], "x (bookworm): 1.2-3; the package sources have none"),
        (None, ["1.3-1"], "x (bookworm): no version; Debian has 1.3-1"),
    ],
)
def test_newer_versions_are_told(known: pins.Pin | None, versions: list[str], told: str) -> None:
    assert newer.line("x", "bookworm", known, versions) == told


@pytest.mark.skipif(not shutil.which("dpkg"), reason="Debian's order of versions")
def test_the_order_of_versions() -> None:
    assert newest_first(["1.9-1", "1:1.0-1", "1.10-1", "1.10~rc1-1", "1.9-1"]) == ["1:1.0-1", "1.10-1", "1.10~rc1-1", "1.9-1"]
