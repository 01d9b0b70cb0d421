"""manifest.spdx.json beside the kernel and the initrd: what they were made of, with versions, hashes and licences.

It is a document of SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3). It depends on what was built alone: two builds of the same
make the same document.
"""

import datetime
import hashlib
import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from recipes import kernel_source, pins, toolchain
from recipes.busybox_source import busybox_source
from recipes.settings import Settings
from runx import __version__
from runxtools.apt import machine_release
from runxtools.runner import SOURCE_DATE_EPOCH, environment

NAME = "manifest.spdx.json"
_UNKNOWN = "NOASSERTION"
_LINUX, _BUSYBOX = "GPL-2.0-only WITH Linux-syscall-note", "GPL-2.0-only"
_LIBGCC = "GPL-3.0-or-later WITH GCC-exception-3.1"
_INITRD = f"GPL-2.0-only AND MIT AND Apache-2.0 AND ({_LIBGCC})"


class Part(NamedTuple):
    """A work of others, or our own, that is in a result, or that it was compiled from."""

    name: str
    version: str
    """"" if it is unknown."""
    licence: str
    """An expression of SPDX."""
    sha256: str = ""
    """Of its source: a tarball, the description of a source package, or a program that was given."""
    package: str = ""
    """Its package, as a purl."""


class Result(NamedTuple):
    """A file that `./build` makes."""

    name: str
    licence: str
    relation: str
    """How it has its parts: CONTAINS or GENERATED_FROM."""
    parts: tuple[Part, ...]
    comment: str


def of_kernel(settings: Settings) -> Result:
    """The kernel that is in the results. Raises ToolError."""
    source = kernel_source.find(settings)
    header = re.search(r"^# Linux/\S+ (\S+) Kernel Configuration$", (settings.results / "kernel.config").read_text(), re.M)
    tarball = source.origin.is_file()
    debian = re.match(r"(linux-source-[\d.]+)\.tar", source.origin.name) if tarball else None
    part = Part(
        "linux",
        header[1] if header else "",
        _LINUX,
        source.identity if tarball else "",
        f"pkg:deb/debian/{debian[1]}" if debian else "",
    )
    return Result("kernel", _LINUX, "GENERATED_FROM", (part,), toolchain.kernel_version(settings))


def of_initrd(settings: Settings) -> Result:
    """The initrd that is in the results. Raises ToolError."""
    compiler = toolchain.version(settings.cross + "gcc")
    parts = (
        Part("runx-init", __version__, "Apache-2.0"),
        _busybox(settings),
        Part("musl", _installed("musl-dev") if settings.arch.native else "", "MIT"),
        Part("libgcc", compiler.split()[-1], _LIBGCC),
    )
    return Result("initrd", _INITRD, "CONTAINS", parts, compiler)


def _busybox(settings: Settings) -> Part:
    if settings.busybox:
        return Part("busybox", "", _BUSYBOX, _sha256(settings.busybox))
    (description,) = busybox_source(settings).glob("busybox_*.dsc")
    found = re.search(r"^Version: (\S+)$", description.read_text(errors="replace"), re.M)
    version = found[1] if found else ""
    package = f"pkg:deb/debian/busybox@{quote(version, safe=':')}?arch=source"
    return Part("busybox", version, _BUSYBOX, _sha256(description), package)


def _installed(package: str) -> str:
    """The version of a package of this machine; "" if it has none, or is no Debian."""
    argv = ["dpkg-query", "--show", "--showformat=${Version}", package]
    try:
        done = subprocess.run(argv, env=environment(), capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remark(settings: Settings, result: Result) -> str:
    """What to tell of a result whose source is not the pinned one; "" if there is nothing. Raises ToolError, as pins.remark."""
    for part in result.parts:
        if part.name == "linux" and not settings.kernel_src:
            return pins.remark("kernel", pins.pin("linux", kernel_source.SUITE), "", part.sha256)
        if part.name == "busybox" and not settings.busybox:
            return pins.remark("busybox", pins.pin("busybox", machine_release()), part.version, part.sha256)
    return ""


def write(settings: Settings, results: Sequence[Result]) -> Path:
    """Write the manifest of these results. What it says of others stays, if they are what they were."""
    path = settings.results / NAME
    packages: list[dict[str, Any]] = []
    relations: list[dict[str, str]] = []
    for result in results:
        packages += _packages(settings, result)
        relations += _relations(result)
    written = {package["SPDXID"] for package in packages}
    for package, related in _kept(path):
        if package["SPDXID"] not in written and _is_current(settings, package):
            packages += [package, *(other for other, _ in related)]
            relations += [_describes(package["SPDXID"]), *(relation for _, relation in related)]
    packages.sort(key=lambda package: str(package["SPDXID"]))
    relations.sort(key=lambda relation: sorted(relation.items()))
    text = json.dumps([packages, relations])
    name = f"runx-guest-{settings.arch.name}"
    created = datetime.datetime.fromtimestamp(int(SOURCE_DATE_EPOCH), datetime.UTC)
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://spdx.org/spdxdocs/{name}-{hashlib.sha256(text.encode()).hexdigest()[:32]}",
        "creationInfo": {"created": created.strftime("%Y-%m-%dT%H:%M:%SZ"), "creators": [f"Tool: runx-build-{__version__}"]},
        "packages": packages,
        "relationships": relations,
    }
    temporary = path.with_name(f"{NAME}.tmp")
    temporary.write_text(json.dumps(document, indent=2) + "\n")
    temporary.replace(path)
    return path


def _packages(settings: Settings, result: Result) -> Iterator[dict[str, Any]]:
    yield _package(result.name, result.name, "", result.licence, _sha256(settings.results / result.name)) | {
        "packageFileName": result.name,
        "comment": f"made with {result.comment}",
    }
    for part in result.parts:
        package = _package(f"{result.name}.{part.name}", part.name, part.version, part.licence, part.sha256)
        if part.package:
            locator = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": part.package}
            package["externalRefs"] = [locator]
        yield package


def _package(identity: str, name: str, version: str, licence: str, sha256: str) -> dict[str, Any]:
    return {
        "SPDXID": f"SPDXRef-{identity}",
        "name": name,
        **({"versionInfo": version} if version else {}),
        "downloadLocation": _UNKNOWN,
        "filesAnalyzed": False,
        "licenseConcluded": _UNKNOWN,
        "licenseDeclared": licence,
        "copyrightText": _UNKNOWN,
        **({"checksums": [{"algorithm": "SHA256", "checksumValue": sha256}]} if sha256 else {}),
    }


def _relations(result: Result) -> Iterator[dict[str, str]]:
    yield _describes(f"SPDXRef-{result.name}")
    for part in result.parts:
        yield _relation(f"SPDXRef-{result.name}", result.relation, f"SPDXRef-{result.name}.{part.name}")


def _describes(identity: str) -> dict[str, str]:
    return _relation("SPDXRef-DOCUMENT", "DESCRIBES", identity)


def _relation(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


_Related = list[tuple[dict[str, Any], dict[str, str]]]


def _kept(path: Path) -> Iterator[tuple[dict[str, Any], _Related]]:
    """The results of a manifest that is there, each with its parts and how it has them."""
    try:
        document = json.loads(path.read_text())
        packages = {package["SPDXID"]: package for package in document["packages"]}
        for identity, package in packages.items():
            if "packageFileName" in package:
                of_it = [relation for relation in document["relationships"] if relation["spdxElementId"] == identity]
                yield package, [(packages[relation["relatedSpdxElement"]], relation) for relation in of_it]
    except (OSError, ValueError, KeyError, TypeError):
        return  # none, or one of another version


def _is_current(settings: Settings, package: dict[str, Any]) -> bool:
    """Whether the file that a package describes is there and unchanged."""
    file = settings.results / str(package["packageFileName"])
    return file.is_file() and package.get("checksums") == [{"algorithm": "SHA256", "checksumValue": _sha256(file)}]
