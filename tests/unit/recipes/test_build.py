"""`./build`: its settings, its configuration fragments, the archive it writes, and what it installs."""

import gzip
import io
import marshal
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lark
import pytest

from guestbox import CHECKOUT, initrd_entries

sys.path[:0] = [str(CHECKOUT / "guest-assets"), str(CHECKOUT / "tools")]

from recipes import initrd, kconfig, kernel_source, main, needs, parts  # noqa: E402
from recipes.settings import Settings, settings_from  # noqa: E402

from runxtools import installer, runner  # noqa: E402
from runxtools.apt import source_entries  # noqa: E402
from runxtools.arches import ARCHES, arch_named  # noqa: E402
from runxtools.errors import ToolError  # noqa: E402
from runxtools.packages import Package  # noqa: E402


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of the test's own, and no settings from the environment."""
    monkeypatch.setenv("RUNX_CACHE", str(tmp_path / "cache"))
    for name in ("ARCH", "CROSS_COMPILE", "KERNEL_SRC", "KERNEL_CONFIG", "OUT", "busybox"):
        monkeypatch.delenv(name, raising=False)


def settings(**values: str) -> Settings:
    return settings_from(values, jobs=1, install_packages=False, keep_work=False, update=False)


# Settings.


@pytest.mark.parametrize(
    ("name", "arch"), [("x86_64", "x86_64"), ("amd64", "x86_64"), ("arm64", "aarch64"), ("armv7l", "arm"), ("arm", "arm")]
)
def test_architectures(name: str, arch: str) -> None:
    assert arch_named(name).name == arch


def test_an_unknown_architecture() -> None:
    with pytest.raises(ToolError, match=r"ARCH=riscv64 is unknown\n.*x86_64, aarch64, arm"):
        settings(ARCH="riscv64")


def test_settings_come_from_arguments_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCH", "arm")
    monkeypatch.setenv("OUT", "/elsewhere")
    made = settings(ARCH="aarch64")
    assert made.arch.name == "aarch64" and made.results == Path("/elsewhere/aarch64")


def test_another_architecture_has_debians_cross_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "h", "6", "v", "x86_64")))
    assert settings(ARCH="x86_64").cross == ""
    assert settings(ARCH="aarch64").cross == "aarch64-linux-gnu-"
    assert settings(ARCH="aarch64", CROSS_COMPILE="mine-").cross == "mine-"


@pytest.mark.parametrize("name", ["KERNEL_SRC", "KERNEL_CONFIG", "busybox"])
def test_a_file_that_is_not_there(name: str) -> None:
    with pytest.raises(ToolError, match=f"{name}=/nosuch: there is no such file"):
        settings(**{name: "/nosuch"})


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["kernle"], "unknown target kernle"),
        (["BUSYBOX=/x"], "unknown setting BUSYBOX="),
        (["-j0"], "--jobs 0: must be at least 1"),
        (["ARCH=vax"], "ARCH=vax is unknown"),
        (["install", "--prefix", "usr"], "--prefix usr is not an absolute path"),
        (["install", "--python", "/no/python"], "--python /no/python: no such program"),
    ],
)
def test_faults_of_the_command_line(words: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(words) == 1
    assert capsys.readouterr().err.startswith(f"build: {error}")


# Configuration fragments.


def test_every_architecture_has_a_readable_configuration() -> None:
    folder = CHECKOUT / "guest-assets" / "kernel"
    for arch in ARCHES:
        values = kconfig.read_fragments([folder / "common.config", folder / f"{arch}.config"], kernel_source.SERIES)
        assert values["CONFIG_9P_FS"] == "y" and values["CONFIG_PCI"] == "n"


def test_the_hardening_that_the_document_names_is_in_the_configuration() -> None:
    section = (CHECKOUT / "docs/guest.md").read_text().partition("\n### Hardening\n")[2].partition("\n### ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| ")]
    named = {row[0]: set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", row[1])) for row in rows}
    wanted = {f"CONFIG_{name}" for what in ("stacks", "memory", "the kernel's messages") for name in named[what]}
    folder = CHECKOUT / "guest-assets/kernel"
    for arch in ARCHES:
        values = kconfig.read_fragments([folder / "common.config", folder / f"{arch}.config"], kernel_source.SERIES)
        lacking = {name for name in wanted if values.get(name) != "y"}
        assert lacking == ({"CONFIG_RANDOMIZE_KSTACK_OFFSET"} if arch == "arm" else set()), arch
    assert len(wanted) >= 9


def test_fragments_are_merged(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("# a comment\nCONFIG_A=y\n# CONFIG_B is not set\n\n")
    (tmp_path / "b").write_text('CONFIG_C="text with = and #"\nCONFIG_A=y\n')
    values = kconfig.read_fragments([tmp_path / "a", tmp_path / "b"])
    assert values == {"CONFIG_A": "y", "CONFIG_B": "n", "CONFIG_C": '"text with = and #"'}
    assert kconfig.parse(kconfig.text_of(values), "x") == values


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("CONFIG_A=y\nCONFIG_A=y\n", "f:2: CONFIG_A is set twice"),
        ("CONFIG_A=y\n# CONFIG_A is not set\n", "f:2: CONFIG_A is set twice"),
        ("CONFIG_A=\n", "is not a line of a configuration"),
        ("A=y\n", "is not a line of a configuration"),
    ],
)
def test_faults_of_fragments(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "f").write_text(text)
    with pytest.raises(ToolError, match=error):
        kconfig.read_fragments([tmp_path / "f"])


@pytest.mark.parametrize(("version", "names"), [((6, 1), "AB"), ((6, 9), "AB"), ((6, 10), "BC"), ((6, 12), "CD"), ((7, 0), "CD")])
def test_lines_for_some_versions_alone(version: tuple[int, int], names: str, tmp_path: Path) -> None:
    """The same symbol may have one line for older and one for newer sources."""
    (tmp_path / "f").write_text(
        "CONFIG_A=y  # before 6.10\nCONFIG_B=y  # before 6.12\n# CONFIG_A is not set  # since 6.10\n"
        'CONFIG_C="x # since"  # since 6.10\n# CONFIG_D is not set  # since 6.12\n'
    )
    values = kconfig.read_fragments([tmp_path / "f"], version)
    assert values["CONFIG_A"] == ("y" if version < (6, 10) else "n")
    wanted = set(names) - {"A"}
    assert {name.removeprefix("CONFIG_") for name in values if name != "CONFIG_A"} == wanted
    assert "CONFIG_C" not in values or values["CONFIG_C"] == '"x # since"'


def test_the_key_of_fragments_has_the_lines_of_all_versions(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("# a comment\nCONFIG_A=y  # before 6.10\n# CONFIG_B is not set\n\n")
    assert kconfig.lines_of([tmp_path / "f"]) == "CONFIG_A=y  # before 6.10\n# CONFIG_B is not set\n"


def test_lines_that_did_not_take_are_named(tmp_path: Path) -> None:
    made = tmp_path / ".config"
    made.write_text("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=y\n")
    kconfig.check({"CONFIG_A": "y", "CONFIG_B": "n", "CONFIG_GONE": "n"}, made, "kernel")
    with pytest.raises(ToolError) as failure:
        kconfig.check({"CONFIG_B": "y", "CONFIG_C": "n", "CONFIG_D": "5"}, made, "kernel")
    text = str(failure.value)
    assert "kernel: 3 lines" in text
    assert "CONFIG_B=y became n" in text and "CONFIG_C=n became y" in text and "CONFIG_D=5 became n" in text


# Sources and packages.


def test_sources_of_source_packages(tmp_path: Path) -> None:
    parts_directory = tmp_path / "sources.list.d"
    parts_directory.mkdir()
    (tmp_path / "sources.list").write_text("# deb one\ndeb [signed-by=/k] http://one suite main\ndeb-src http://two suite main\n")
    (parts_directory / "a.list").write_text("  deb http://three suite main contrib # why\n")
    (parts_directory / "b.list.disabled").write_text("deb http://no suite main\n")
    (parts_directory / "c.sources").write_text(
        "Types: deb deb-src\n# a comment\nURIs: http://four\nSuites: s\n\n"
        "Types: deb-src\nURIs: http://no\n\nTypes: deb\nURIs: http://no\nEnabled: no\n\n\nTypes: deb\nURIs: http://five\n"
    )
    assert source_entries(tmp_path) == {
        "sources.list": "deb-src [signed-by=/k] http://one suite main\n",
        "a.list": "deb-src http://three suite main contrib # why\n",
        "c.sources": "Types: deb-src\nURIs: http://four\nSuites: s\n\nTypes: deb-src\nURIs: http://five\n",
    }


def test_sources_of_other_suites(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb [signed-by=/k] http://one old main\ndeb http://one old-security main\n")
    (tmp_path / "sources.list.d/a.sources").write_text(
        "Types: deb\nURIs: http://two\nSuites: old old-updates\nComponents: main\n\nTypes: deb\nURIs: http://no\nSuites: other\n"
    )
    assert source_entries(tmp_path, kind="deb", suites=["new", "newer"], releases=["older", "old"]) == {
        "sources.list": "deb [signed-by=/k] http://one new main\ndeb [signed-by=/k] http://one newer main\n",
        "a.sources": "Types: deb\nURIs: http://two\nSuites: new newer\nComponents: main\n",
    }


def test_missing_packages_are_named_with_the_line_to_type() -> None:
    wanted = [Package("there", "sh", "is"), Package("one", "/nosuch/1", "first"), Package("two", "/nosuch/2", "second")]
    with pytest.raises(ToolError) as failure:
        needs.ensure(settings(), [*wanted, wanted[1]])
    text = str(failure.value)
    assert "one: first" in text and "two: second" in text and "there" not in text
    assert "apt-get install --no-install-recommends one two" in text


# Commands.


def test_a_failing_command_shows_the_end_of_its_log() -> None:
    log = runner.Log("test")
    with pytest.raises(ToolError) as failure:
        log.run(["sh", "-c", "seq 1 50; echo file.c:3: error: wrong; echo more; exit 3"], "compiling")
    text = str(failure.value)
    assert text.startswith("compiling failed with status 3\n")
    assert "file.c:3: error: wrong" in text and "more" in text and str(log.path) in text


def test_commands_see_nothing_of_the_callers_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFLAGS", "-O0")
    monkeypatch.setenv("MAKEFLAGS", "-k")
    log = runner.Log("test")
    log.run(["env"], "env")
    text = log.path.read_text()
    assert "LC_ALL=C" in text and "CFLAGS" not in text and "MAKEFLAGS" not in text


# /init.


@pytest.mark.parametrize("changed", ["main.c", "folder/main.c", "folder/header.h"])
def test_init_is_compiled_again_when_any_of_its_files_changes(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two folders may each have a file of one name."""
    sources_of_init = tmp_path / "init"
    (sources_of_init / "folder").mkdir(parents=True)
    (sources_of_init / "folder/header.h").write_text("int answer(void);\n")
    (sources_of_init / "folder/main.c").write_text('#include "folder/header.h"\nint answer(void) { return 42; }\n')
    (sources_of_init / "main.c").write_text('#include "folder/header.h"\nint main(void) { return answer(); }\n')
    monkeypatch.setattr(parts, "INIT", sources_of_init)
    before = parts.init(settings())
    assert subprocess.run([before], check=False).returncode == 42
    assert parts.init(settings()) == before
    with (sources_of_init / changed).open("a") as file:
        file.write("/* more */\n")
    assert parts.init(settings()) != before


# The archive.


def entries() -> list[initrd.Entry]:
    return initrd.tree(b"the init", b"the busybox", ["sh", "poweroff"])


def test_the_archive_is_what_cpio_reads(tmp_path: Path) -> None:
    data = initrd.archive(entries())
    listing = subprocess.run(["cpio", "-itv", "--quiet"], input=data, capture_output=True, check=True).stdout.decode()
    lines = listing.splitlines()
    assert all(line.split()[2:4] == ["root", "root"] and " Jan  1  1970 " in line for line in lines)
    found = {line.split("1970 ", 1)[1]: line[:10] for line in lines}
    assert found["init"] == "-rwxr-xr-x" and found["newroot"] == "drwxr-xr-x" and found["dev/console"] == "crw-------"
    assert (
        found["bin/sh -> /bin/busybox"]
        == found["sbin/poweroff -> /bin/busybox"]
        == found["bin/add-neighbour -> /init"]
        == "lrwxrwxrwx"
    )
    subprocess.run(["cpio", "-id", "--quiet", "bin/*", "init"], input=data, cwd=tmp_path, check=True)
    assert (tmp_path / "init").read_bytes() == b"the init"


def test_directories_come_before_what_is_in_them() -> None:
    path = io.BytesIO(initrd.archive(entries())).getvalue()
    assert path.index(b"shares\0") < path.index(b"shares/mounts\0")
    assert path.index(b"bin\0") < path.index(b"bin/busybox\0")


def test_the_same_input_makes_the_same_bytes(tmp_path: Path) -> None:
    first, second = initrd.pack(entries()), initrd.pack(list(reversed(entries())))
    assert first == second and len(first) % 512 == 0
    assert gzip.decompress(first) == initrd.archive(entries())
    (tmp_path / "initrd").write_bytes(first)
    assert stat.S_ISCHR(initrd_entries(tmp_path / "initrd")["dev/null"][0])


def elf(machine: int, *, interpreter: bool) -> bytes:
    header = bytearray(64 + 56)
    header[:6] = b"\x7fELF\x02\x01"
    header[18:20] = machine.to_bytes(2, "little")
    header[32:40] = (64).to_bytes(8, "little")
    header[54:58] = (56).to_bytes(2, "little") + (1).to_bytes(2, "little")
    header[64:68] = (3 if interpreter else 1).to_bytes(4, "little")
    return bytes(header)


def test_a_given_busybox_has_to_be_static_and_of_the_architecture(tmp_path: Path) -> None:
    path = tmp_path / "busybox"
    path.write_bytes(elf(183, interpreter=False))
    initrd.check_static(path, ARCHES["aarch64"])
    with pytest.raises(ToolError, match="is not a program for x86_64"):
        initrd.check_static(path, ARCHES["x86_64"])
    path.write_bytes(elf(183, interpreter=True))
    with pytest.raises(ToolError, match="is not static"):
        initrd.check_static(path, ARCHES["aarch64"])
    path.write_bytes(b"#!/bin/sh\n")
    with pytest.raises(ToolError, match="is not a program"):
        initrd.check_static(path, ARCHES["aarch64"])


def test_a_given_busybox_has_to_have_what_scripts_use(tmp_path: Path) -> None:
    path = tmp_path / "busybox"
    path.write_text("#!/bin/sh\nprintf '%s\\n' " + " ".join(set(initrd.REQUIRED) - {"mount", "sed"}) + "\n")
    path.chmod(0o755)
    with pytest.raises(ToolError, match="busybox lacks mount sed"):
        initrd.applets(path, settings(ARCH=os.uname().machine))


def test_results_that_are_the_same_are_not_written_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "entry"
    made.mkdir()
    (made / "initrd").write_bytes(b"first")
    here = settings(OUT=str(tmp_path / "out"))
    parts.deliver(here, made, ("initrd",), "initrd")
    result = here.results / "initrd"
    before = result.stat()
    parts.deliver(here, made, ("initrd",), "initrd")
    assert result.stat() == before or result.stat().st_mtime_ns == before.st_mtime_ns
    (made / "initrd").write_bytes(b"other")
    parts.deliver(here, made, ("initrd",), "initrd")
    assert result.read_bytes() == b"other"
    words = [line.split("/")[0] for line in capsys.readouterr().out.splitlines()]
    assert words == ["initrd: written to ", "initrd: up to date, ", "initrd: written to "]


# Installing.


@pytest.fixture
def staged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Settings, Path]]:
    """Settings with made-up guest files, and an empty destination; the libraries are the tests' own, and one more."""
    libraries = tmp_path / "libraries"
    (libraries / "lib" / "library").mkdir(parents=True)
    (libraries / "lib" / "library" / "__init__.py").write_text("value = 1\n")
    site = Path(lark.__file__).parents[1]
    for name in ("lark", "pydantic", "pydantic_core", "annotated_types", "typing_inspection", "typing_extensions.py"):
        (libraries / "lib" / name).symlink_to(site / name)
    monkeypatch.setattr(installer, "_libraries", lambda *_: libraries)
    here = settings(OUT=str(tmp_path / "out"))
    here.results.mkdir(parents=True)
    for name in ("kernel", "initrd"):
        (here.results / name).write_text(name)
    yield here, tmp_path / "dest"


def test_install(staged: tuple[Settings, Path]) -> None:
    here, dest = staged
    place = installer.place("/opt/runx", str(dest), sys.executable)
    old = os.umask(0o077)
    try:
        installer.install(here.out, here.arch, place)
    finally:
        os.umask(old)
    library = dest / "opt/runx/lib/runx"
    launcher = dest / "opt/runx/bin/runx"
    assert f'\nexec {sys.executable} -IS "$0" "$@"\n' in launcher.read_text()
    assert '"/opt/runx/lib/runx"' in launcher.read_text()
    assert stat.S_IMODE(launcher.stat().st_mode) == 0o755
    assert stat.S_IMODE(library.stat().st_mode) == 0o755
    assert stat.S_IMODE((library / "runx/cli/main.py").stat().st_mode) == 0o644
    assert (library / "grammars/mount_options.tables").is_file() and (library / "library/__init__.py").is_file()
    assert (dest / "opt/runx/share/runx" / here.arch.name / "kernel").read_text() == "kernel"
    assert not list(library.parent.glob("runx.*")), "nothing is left beside it"


def test_compiled_modules_name_their_final_place_and_need_no_check(staged: tuple[Settings, Path]) -> None:
    here, dest = staged
    installer.install(here.out, here.arch, installer.place("/opt/runx", str(dest), sys.executable))
    compiled = dest / f"opt/runx/lib/runx/runx/cli/__pycache__/main.{sys.implementation.cache_tag}.pyc"
    data = compiled.read_bytes()
    assert int.from_bytes(data[4:8], "little") == 0b01, "hash-based, unchecked (PEP 552)"
    assert marshal.loads(data[16:]).co_filename == "/opt/runx/lib/runx/runx/cli/main.py"  # noqa: S302
    modules = {path.relative_to(CHECKOUT).with_suffix("") for path in (CHECKOUT / "runx").rglob("*.py")}
    library = dest / "opt/runx/lib/runx"
    found = {path.relative_to(library).parent.parent / path.name.split(".")[0] for path in (library / "runx").rglob("*.pyc")}
    assert found == modules


def test_what_is_installed_runs(staged: tuple[Settings, Path], tmp_path: Path) -> None:
    here, _ = staged
    prefix = tmp_path / "prefix"
    installer.install(here.out, here.arch, installer.place(str(prefix), None, sys.executable))
    done = subprocess.run([prefix / "bin/runx", "--version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("runx version ")
    directory = os.open(tmp_path, os.O_RDONLY)  # with which Python does not start
    refused = subprocess.run([prefix / "bin/runx", "a b", ""], stdin=directory, capture_output=True, text=True, check=False)
    os.close(directory)
    assert refused.stderr.startswith("runx: unknown command 'a b'\n"), refused


def test_install_again_replaces_what_was_there(staged: tuple[Settings, Path]) -> None:
    here, dest = staged
    place = installer.place("/opt/runx", str(dest), sys.executable)
    installer.install(here.out, here.arch, place)
    stale = dest / "opt/runx/lib/runx/runx/stale.py"
    stale.touch()
    (here.results / installer.ADDED).write_text("CONFIG_TUN=y\n")
    installer.install(here.out, here.arch, place)
    assert not stale.exists() and (stale.parent / "paths.py").exists()
    added = dest / "opt/runx/share/runx" / here.arch.name / installer.ADDED
    assert added.read_text() == "CONFIG_TUN=y\n"
    (here.results / installer.ADDED).unlink()
    installer.install(here.out, here.arch, place)
    assert not added.exists(), "the kernel is one without them"


def test_the_manifest_of_the_guest_is_installed(staged: tuple[Settings, Path]) -> None:
    here, dest = staged
    place = installer.place("/opt/runx", str(dest), sys.executable)
    target = dest / "opt/runx/share/runx" / here.arch.name / installer.MANIFEST
    (here.results / installer.MANIFEST).write_text("{}")
    installer.install(here.out, here.arch, place)
    assert target.read_text() == "{}"
    (here.results / installer.MANIFEST).unlink()
    installer.install(here.out, here.arch, place)
    assert not target.exists(), "it would be another guest's"


def test_install_leaves_a_strangers_directory_alone(staged: tuple[Settings, Path]) -> None:
    here, dest = staged
    (dest / "opt/runx/lib/runx").mkdir(parents=True)
    (dest / "opt/runx/lib/runx/precious").touch()
    with pytest.raises(ToolError, match="exists and was not installed by"):
        installer.install(here.out, here.arch, installer.place("/opt/runx", str(dest), sys.executable))
    assert (dest / "opt/runx/lib/runx/precious").exists()


def test_install_needs_a_built_guest(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"has no kernel and initrd yet\n.*\./build ARCH="):
        installer.install(tmp_path, settings().arch, installer.place("/opt", str(tmp_path / "dest"), sys.executable))
    assert not (tmp_path / "dest").exists()


def test_uninstall(staged: tuple[Settings, Path]) -> None:
    here, dest = staged
    place = installer.place("/usr", str(dest), sys.executable)
    (dest / "usr/bin").mkdir(parents=True)
    (dest / "usr/bin/other").touch()
    with pytest.raises(ToolError, match="was not installed"):
        installer.uninstall(place)
    installer.install(here.out, here.arch, place)
    installer.uninstall(place)
    assert [path.name for path in dest.rglob("*") if path.is_file()] == ["other"]


def test_an_old_interpreter_is_refused(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho cpython-39 linux-x86_64 3 9 2\n")
    python.chmod(0o755)
    with pytest.raises(ToolError, match=r"is Python 3\.9\.2\n.*3\.11"):
        installer._libraries(installer.place("/opt", None, str(python)))


def test_install_for_another_machine(staged: tuple[Settings, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The libraries are that machine's, and nothing is put where this one would run it."""
    here, dest = staged
    other = next(name for name in ("aarch64", "arm") if ARCHES[name] is not here.arch)
    there = settings(OUT=str(here.out), ARCH=other)
    there.results.mkdir()
    for name in ("kernel", "initrd"):
        (there.results / name).write_text(name)
    ours, theirs = installer._libraries(installer.place("/opt/runx", None, sys.executable)), dest.parent / "theirs"
    shutil.copytree(ours / "lib", theirs / "lib", symlinks=True)
    (theirs / "lib" / "pydantic_core").unlink()
    (theirs / "lib" / "pydantic_core").mkdir()
    (theirs / "lib" / "pydantic_core" / "__init__.py").write_text("raise ImportError('of another machine')\n")
    monkeypatch.setattr(installer, "_libraries", lambda _, foreign=None: theirs if foreign is ARCHES[other] else ours)
    with pytest.raises(ToolError, match=rf"ARCH={other} is not this machine's.*\n.*--destdir"):
        installer.install(there.out, there.arch, installer.place("/opt/runx", None, sys.executable))
    installer.install(there.out, there.arch, installer.place("/opt/runx", str(dest), sys.executable))
    library = dest / "opt/runx/lib/runx"
    assert "another machine" in (library / "pydantic_core/__init__.py").read_text()
    assert (library / "grammars/mount_options.tables").is_file() and (dest / "opt/runx/share/runx" / other / "kernel").is_file()


@pytest.mark.parametrize(("name", "wheels"), [("aarch64", "aarch64"), ("arm", "armv7l"), ("x86_64", "x86_64")])
def test_which_libraries_pip_is_to_fetch(name: str, wheels: str) -> None:
    assert installer._platform(ARCHES[name], "cpython-311 linux-x86_64 3 11 2") == (
        f"--platform=manylinux_2_17_{wheels}", f"--platform=manylinux2014_{wheels}",
        "--python-version=3.11", "--implementation=cp", "--abi=cp311",
    )  # fmt: skip
