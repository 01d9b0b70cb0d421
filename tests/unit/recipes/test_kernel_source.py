"""`./build`: which kernel's source it takes on which host. The archives are real ones, for the real apt-get, in a directory."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from guestbox import CHECKOUT

sys.path[:0] = [str(CHECKOUT / "guest-assets"), str(CHECKOUT / "tools")]

from recipes import kernel_source  # noqa: E402
from recipes.kernel_source import KernelSource  # noqa: E402
from recipes.settings import Settings, settings_from  # noqa: E402

from runxtools.errors import ToolError  # noqa: E402

needs_apt = pytest.mark.skipif(not shutil.which("apt-get"), reason="apt-get is not installed")

DEBIAN_12 = """\
Types: deb
URIs: {archive}/debian
Suites: bookworm bookworm-updates
Components: main
Trusted: yes

Types: deb
URIs: {archive}/security
Suites: bookworm-security
Components: main
Trusted: yes
"""
DEBIAN_13_LINES = """\
deb [trusted=yes] {archive}/debian trixie main non-free-firmware
deb-src [trusted=yes] {archive}/debian trixie main
deb [trusted=yes] {archive}/security trixie-security main
deb [trusted=yes] {archive}/debian trixie-updates main
"""
TESTING = "deb [trusted=yes] {archive}/debian testing main\n"
SID = "Types: deb\nURIs: {archive}/debian\nSuites: unstable\nComponents: main\nTrusted: yes\n"
UBUNTU = """\
Types: deb
URIs: {archive}/ubuntu
Suites: noble noble-updates noble-backports
Components: main universe
Trusted: yes
"""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of the test's own."""
    monkeypatch.setenv("RUNX_CACHE", str(tmp_path / "cache"))
    for name in ("ARCH", "CROSS_COMPILE", "KERNEL_SRC", "OUT", "busybox"):
        monkeypatch.delenv(name, raising=False)


class Host:
    """A host with package sources, an archive that they name, and a /usr/src."""

    def __init__(self, directory: Path, sources: str, name: str) -> None:
        self.archive = directory / "archive"
        self.installed = directory / "src"
        self.apt = directory / "apt"
        self.installed.mkdir()
        (self.apt / "sources.list.d").mkdir(parents=True)
        (self.apt / name).write_text(sources.format(archive=f"file:{self.archive}"))

    def offer(self, place: str, suite: str, packages: Sequence[str], components: Sequence[str] = ("main",)) -> None:
        """Put a suite with these packages, each with its tarball, into the archive (DebianRepository/Format)."""
        root = self.archive / place
        for component in components:
            index = root / "dists" / suite / component / "binary-amd64"
            index.mkdir(parents=True)
            stanzas = [self._package(root, name) for name in packages] if component == "main" else []
            (index / "Packages").write_text("\n".join(stanzas))
        listed = (root / "dists" / suite).rglob("Packages")
        hashes = [
            f" {hashlib.sha256(p.read_bytes()).hexdigest()} {p.stat().st_size} {p.relative_to(root / 'dists' / suite)}"
            for p in listed
        ]
        (root / "dists" / suite / "Release").write_text(
            f"Suite: {suite}\nCodename: {suite}\nArchitectures: amd64\nComponents: {' '.join(components)}\nSHA256:\n"
            + "\n".join(hashes)
            + "\n"
        )

    @staticmethod
    def _package(root: Path, name: str) -> str:
        version = name.removeprefix("linux-source-")
        deb = root / f"{name}.deb"
        if not deb.exists():
            Host._build(deb, root / "trees" / name, name, version)
        data = deb.read_bytes()
        return (
            f"Package: {name}\nVersion: {version}-1\nArchitecture: all\nFilename: {name}.deb\n"
            f"Size: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
        )

    @staticmethod
    def _build(deb: Path, tree: Path, name: str, version: str) -> None:
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text(
            f"Package: {name}\nVersion: {version}-1\nArchitecture: all\nMaintainer: x <x@y>\nDescription: x\n"
        )
        source = tree / "usr/src"
        source.mkdir(parents=True)
        if version.count(".") == 2:  # as Ubuntu has it
            (source / name).mkdir()
            (source / name / f"{name}.tar.bz2").write_text(version)
            (source / f"{name}.tar.bz2").symlink_to(f"{name}/{name}.tar.bz2")
        else:
            (source / f"{name}.tar.xz").write_text(version)
        subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, deb], check=True, capture_output=True)

    def find(self, *, update: bool = False, **values: str) -> tuple[KernelSource, str]:
        """The chosen source, and what its file says."""
        source = kernel_source.find(settings(update=update, **values), self.installed, self.apt)
        return source, next(path for path in [source.origin] if path.is_file()).read_text()


def settings(*, update: bool = False, **values: str) -> Settings:
    return settings_from(values, jobs=1, install_packages=False, keep_work=False, update=update)


def debian(host: Host) -> None:
    """What Debian's archive has today."""
    host.offer("debian", "bookworm", ["linux-source-6.1"])
    host.offer("debian", "trixie", ["linux-source-6.12"], ["main", "non-free-firmware"])
    for suite in ("testing", "unstable"):
        host.offer("debian", suite, ["linux-source-7.2"])
    host.offer("security", "trixie-security", [])


@needs_apt
@pytest.mark.parametrize(
    ("sources", "name"),
    [
        pytest.param(DEBIAN_12, "sources.list.d/debian.sources", id="debian-12"),
        pytest.param(DEBIAN_13_LINES, "sources.list", id="debian-13"),
        pytest.param(TESTING, "sources.list", id="testing"),
        pytest.param(SID, "sources.list.d/debian.sources", id="unstable"),
    ],
)
def test_every_debian_gets_the_same_version(sources: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = Host(tmp_path, sources, name)
    debian(host)
    source, text = host.find()
    assert text == "6.12"
    assert "downloading linux-source-6.12" in capsys.readouterr().out
    assert len(list((tmp_path / "cache").rglob("*.tar.xz"))) == 1
    # It is kept: no archive is asked again, unless the caller wants that.
    shutil.rmtree(host.archive)
    assert host.find()[0].identity == source.identity
    with pytest.raises(ToolError, match="no source of the kernel"):
        host.find(update=True)


@needs_apt
def test_ubuntu_gives_the_newest_that_was_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has no entries of Debian, and no 6.12. Versions beyond the range are left alone."""
    host = Host(tmp_path, UBUNTU, "sources.list.d/ubuntu.sources")
    for suite in ("noble", "noble-updates", "noble-backports"):
        host.offer("ubuntu", suite, ["linux-source-5.15.0", "linux-source-6.8.0", "linux-source-9.9.0"], ["main", "universe"])
    source, text = host.find()
    assert text == "6.8.0" and source.origin.name == "linux-source-6.8.0.tar.bz2"
    assert "linux-source-6.12 cannot be had here" in (out := capsys.readouterr().out) and "taking linux-source-6.8.0" in out
    shutil.rmtree(host.archive)
    assert host.find()[1] == "6.8.0"


@needs_apt
def test_a_newer_one_in_the_security_archive(tmp_path: Path) -> None:
    """Debian's entries for security have their own suites; fixes of the kernel come there first."""
    host = Host(tmp_path, DEBIAN_12, "sources.list.d/debian.sources")
    host.offer("debian", "trixie", [])
    host.offer("security", "trixie-security", ["linux-source-6.12"])
    assert host.find()[1] == "6.12"


def test_an_installed_package_needs_no_archive(tmp_path: Path) -> None:
    host = Host(tmp_path, DEBIAN_13_LINES, "sources.list")
    (host.installed / "linux-source-6.12.tar.xz").write_text("installed")
    (host.installed / "linux-source-7.2.tar.xz").write_text("newer")
    assert host.find()[1] == "installed"


@needs_apt
def test_an_installed_package_of_another_version_without_a_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = Host(tmp_path, DEBIAN_12, "sources.list.d/debian.sources")
    for version in ("6.1", "5.10", "9.9"):
        (host.installed / f"linux-source-{version}.tar.xz").write_text(version)
    assert host.find()[1] == "6.1"
    assert "linux-source-6.12 cannot be had here" in capsys.readouterr().out


@pytest.mark.parametrize("sources", [UBUNTU, ""])
def test_what_to_do_where_there_is_none(sources: str, tmp_path: Path) -> None:
    host = Host(tmp_path, sources, "sources.list.d/x.sources")
    with pytest.raises(ToolError) as failure:
        host.find()
    text = str(failure.value)
    assert "neither linux-source-6.12 nor another from 6.1 to 7.2" in text
    assert "KERNEL_SRC=PATH" in text and "kernel-source.log" in text


def test_the_callers_source_comes_first(tmp_path: Path) -> None:
    host = Host(tmp_path, "", "sources.list")
    (host.installed / "linux-source-6.12.tar.xz").write_text("installed")
    mine = tmp_path / "linux-6.6.tar"
    mine.write_text("mine")
    assert host.find(KERNEL_SRC=str(mine))[1] == "mine"
    (tmp_path / "tree").mkdir()
    with pytest.raises(ToolError, match="tree is not a kernel source: it has no Kconfig"):
        host.find(KERNEL_SRC=str(tmp_path / "tree"))


def test_the_version_of_a_source(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("# SPDX\nVERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 117\nEXTRAVERSION =\n")
    assert kernel_source.version_of(tmp_path) == (6, 12)
    (tmp_path / "Makefile").write_text("all:\n")
    with pytest.raises(ToolError, match="Makefile names no version of Linux"):
        kernel_source.version_of(tmp_path)


@pytest.mark.parametrize(
    ("version", "tried"), [((5, 19), False), ((6, 1), True), ((6, 12), True), ((7, 2), True), ((7, 10), False)]
)
def test_versions_that_were_tried(version: tuple[int, int], tried: bool) -> None:
    warning = kernel_source.warning(version)
    assert warning is None if tried else warning and "was not tried: runx is tried with 6.1 to 7.2" in warning
