"""The kernel's compiler, and the compiler of static programs with musl."""

import re
import shutil
import subprocess
from pathlib import Path

from recipes.settings import Settings
from runxtools import cache
from runxtools.apt import PrivateApt, source_entries
from runxtools.command import PATH
from runxtools.errors import ToolError
from runxtools.runner import Log, environment, say


def version(*argv: str | Path) -> str:
    """First line of the program's --version, for cache keys. Raises ToolError when it does not run."""
    try:
        result = subprocess.run([*argv, "--version"], env=environment(), capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ToolError(f"{argv[0]} does not run: {error}") from None
    return result.stdout.splitlines()[0]


def kernel_version(settings: Settings) -> str:
    """Versions of the kernel's compiler and linker."""
    return f"{version(settings.cross + 'gcc')}; {version(settings.cross + 'ld')}"


def musl_compiler(settings: Settings) -> list[str]:
    """First words of a command that compiles a static program for the guest."""
    if settings.arch.native and not settings.cross:
        return ["musl-gcc"]
    specs = _foreign_musl(settings) / "musl-gcc.specs"
    return [f"{settings.cross}gcc", "-specs", str(specs)]


def musl_version(settings: Settings) -> str:
    """Version of musl_compiler, and the size of its musl."""
    libc = Path(f"/usr/lib/{settings.arch.musl}/libc.a")
    if not settings.arch.native or settings.cross:
        libc = _foreign_musl(settings) / "usr" / "lib" / settings.arch.musl / "libc.a"
    status = libc.stat() if libc.exists() else None
    return f"{version(settings.cross + 'gcc')}; musl {status.st_size if status else 0}"


def _foreign_musl(settings: Settings) -> Path:
    """Directory of musl for another architecture: Debian's package, unpacked, and a specs file for it."""
    arch = settings.arch
    native_specs = _native_specs()
    part = f"guest-musl-{arch.name}"
    key = cache.key_of({"recipe": "1", "specs": native_specs.read_bytes(), "place": str(cache.root())})
    entry = cache.find(cache.root(), part, key)
    if entry:
        return entry

    def fill(directory: Path) -> None:
        say(f"musl: downloading Debian's package for {arch.debian}")
        log = Log(f"musl-{arch.name}")
        apt = PrivateApt(directory / "apt", log, source_entries(kind="deb"), [arch.debian])
        apt.run("update", cwd=directory, check=False)
        apt.run("download", f"musl-dev:{arch.debian}", cwd=directory)
        for deb in directory.glob("*.deb"):
            log.run(["dpkg-deb", "-x", deb, directory], "unpacking musl")
            deb.unlink()
        shutil.rmtree(directory / "apt")
        place = cache.root() / f"{part}-{key}"
        native = native_specs.parent.name
        text = native_specs.read_text()
        text = re.sub(rf"/usr/(include|lib)/{native}", rf"{place}/usr/\1/{arch.musl}", text)
        (directory / "musl-gcc.specs").write_text(text)

    return cache.make(cache.root(), part, key, fill)


def _native_specs() -> Path:
    """The specs file of this machine's musl-tools. Raises ToolError."""
    script = shutil.which("musl-gcc", path=PATH)
    found = re.search(r"-specs \"?([^\" ]+)", Path(script).read_text()) if script else None
    if not found or not Path(found[1]).exists():
        raise ToolError("musl-gcc names no specs file", "apt-get install musl-tools")
    return Path(found[1])
