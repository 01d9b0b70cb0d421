"""The parts of a guest: kernel, busybox, /init, and the initrd. Each is cached under a key of its ingredients."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from recipes import initrd, kconfig, kernel_flags, kernel_source, linker_script, needs, toolchain
from recipes.busybox_source import busybox_source
from recipes.settings import ASSETS, INITRD_LIMIT, Settings
from runx import cpio
from runxtools import cache
from runxtools.arches import KIB
from runxtools.errors import ToolError
from runxtools.runner import Counter, Log, say

# Part of every key. Raise it when a recipe changes and its ingredients do not.
RECIPE = "2"

_KBUILD = {
    # Without these the kernel records this machine's (Documentation/kbuild/reproducible-builds.rst).
    "KBUILD_BUILD_USER": "runx",
    "KBUILD_BUILD_HOST": "runx",
    "KBUILD_BUILD_VERSION": "1",
    "KBUILD_BUILD_TIMESTAMP": "@1704067200",
}
INIT = ASSETS / "init"
"""The sources of /init; each includes headers by their names below this directory."""
INIT_FLAGS = [
    "-static", "-Os", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror",
    # Leave out unused sections, and tables for exceptions, which C does not have.
    "-ffunction-sections", "-fdata-sections", "-fno-asynchronous-unwind-tables", "-Wl,--gc-sections", "-s",
]  # fmt: skip


def work_directory() -> Path:
    """Directory in which sources are unpacked and compiled. It is removed after a successful build."""
    return cache.root() / "guest-work"


def _make(settings: Settings, name: str, ingredients: dict[str, str | bytes], fill: Callable[[Path], None]) -> Path:
    part = f"guest-{name}-{settings.arch.name}"
    key = cache.key_of({"recipe": RECIPE, "arch": settings.arch.name, **ingredients})
    return cache.find(cache.root(), part, key) or cache.make(cache.root(), part, key, fill)


def _elapsed(start: float) -> str:
    seconds = time.monotonic() - start
    return f"{seconds / 60:.1f} min" if seconds > 90 else f"{seconds:.0f} s"


def kernel(settings: Settings) -> Path:
    """Directory of the compiled `kernel` and its `kernel.config`.

    Raises ToolError for a line of KERNEL_CONFIG that has no effect.
    """
    needs.ensure(settings, needs.for_kernel(settings))
    arch = settings.arch
    source = kernel_source.find(settings)
    fragments = [ASSETS / "kernel" / "common.config", ASSETS / "kernel" / f"{arch.name}.config"]
    ingredients: dict[str, str | bytes] = {
        "source": source.identity,
        "config": kconfig.lines_of(fragments),
        "compiler": toolchain.kernel_version(settings),
        "environment": repr(sorted(_KBUILD.items())),
        "link": Path(linker_script.__file__).read_bytes(),
        "flags": Path(kernel_flags.__file__).read_bytes() + b"".join(header.read_bytes() for header in kernel_flags.INCLUDED),
    }
    added = added_config(settings)
    if added:
        ingredients["added"] = kconfig.text_of(added)

    def fill(directory: Path) -> None:
        _require_space(work_directory(), 3 * 1024**3)
        log = Log(f"kernel-{arch.name}")
        tree = source.unpacked(work_directory(), log)
        version = kernel_source.version_of(tree)
        if warning := kernel_source.warning(version):
            say(f"kernel: {warning}")
        objects = work_directory() / f"kernel-{arch.name}-{source.identity[:16]}"
        make = ["make", "-C", str(tree), f"ARCH={arch.kernel_arch}", f"O={objects}", f"CROSS_COMPILE={settings.cross}"]
        configure_kernel(make, objects, kconfig.read_fragments(fragments, version) | added, version, log)
        make += kernel_flags.for_all()
        if arch.kernel_arch == "x86_64":
            if flags := kernel_flags.for_x86_64(tree):
                make += flags
            else:
                say("kernel: asm/sparsemem.h has an unknown form; a guest takes up to 1 MiB more of its memory")
            log.run([*make, linker_script.SCRIPT], "kernel: linker script", env=_KBUILD)
            if script := linker_script.compact((objects / linker_script.SCRIPT).read_text()):
                (objects / linker_script.COMPACT).write_text(script)
                make.append(f"KBUILD_LDS={linker_script.COMPACT}")
            else:
                say(f"kernel: {linker_script.SCRIPT} has an unknown form; guests take up to 5 MiB more of their memory")
        about_min = arch.compile_minutes / settings.jobs * 1.2
        cores = f"{settings.jobs} cores" if settings.jobs > 1 else "1 core"
        say(f"kernel: compiling, about {about_min:.0f} min on {cores}; log: {log.path}")
        start = time.monotonic()
        counter = Counter("kernel: compiling", arch.files, about_min)
        log.run([*make, f"-j{settings.jobs}", arch.image], "kernel: compiling", env=_KBUILD, counter=counter)
        shutil.copyfile(objects / "arch" / _boot_of(arch.kernel_arch) / "boot" / arch.image, directory / "kernel")
        shutil.copyfile(objects / ".config", directory / "kernel.config")
        say(f"kernel: compiled {counter.count} files in {_elapsed(start)}")

    entry = _make(settings, "kernel", ingredients, fill)
    if not added:  # else its size is up to who adds
        _require_size(entry / "kernel", arch.kernel_limit, "kernel")
    return entry


def configure_kernel(make: list[str], objects: Path, values: dict[str, str], version: kconfig.Version, log: Log) -> None:
    """Make the configuration of a kernel. make: the command line. Raises ToolError for values that had no effect."""
    objects.mkdir(parents=True, exist_ok=True)
    wanted = objects / "runx.config"
    wanted.write_text(kconfig.text_of(values))
    log.run([*make, f"KCONFIG_ALLCONFIG={wanted}", "allnoconfig"], "kernel: configuration", env=_KBUILD)
    kconfig.check(values, objects / ".config", f"kernel {kernel_source.text_of(version)}")


def added_config(settings: Settings) -> dict[str, str]:
    """The values of KERNEL_CONFIG. Raises ToolError for a line that is none of a configuration, and for modules."""
    path = settings.kernel_config
    values = kconfig.parse(path.read_text(), str(path)) if path else {}
    modules = [name for name, value in values.items() if value == "m"]
    if modules:
        raise ToolError(f"{path}: {', '.join(modules)}: guests load no modules", "write =y")
    return values


ADDED = "kernel.added"
"""The result that tells the compiler that the kernel has more than its table says (runx/compiler/passes/guest_kernel.py)."""


def deliver_added(settings: Settings) -> None:
    """Put the values of KERNEL_CONFIG beside the kernel; remove those of an older kernel."""
    added = added_config(settings)
    path = settings.results / ADDED
    if added:
        path.write_text(kconfig.text_of(added))
    else:
        path.unlink(missing_ok=True)


def _boot_of(kernel_arch: str) -> str:
    return "x86" if kernel_arch == "x86_64" else kernel_arch


def _headers(settings: Settings) -> Path:
    """Directory of the kernel's headers for -idirafter: musl does not have them."""
    needs.ensure(settings, needs.for_kernel(settings))
    source = kernel_source.find(settings)

    def fill(directory: Path) -> None:
        log = Log(f"headers-{settings.arch.name}")
        tree = source.unpacked(work_directory(), log)
        objects = work_directory() / f"headers-{settings.arch.name}"
        say("busybox: kernel headers, about 10 s")
        make = ["make", "-C", str(tree), f"ARCH={settings.arch.kernel_arch}", f"O={objects}", f"-j{settings.jobs}"]
        log.run([*make, "headers"], "kernel headers")
        shutil.copytree(objects / "usr" / "include", directory / "include", ignore=shutil.ignore_patterns(".*", "Makefile"))

    return _make(settings, "headers", {"source": source.identity}, fill) / "include"


def busybox(settings: Settings) -> Path:
    """Path of the static busybox: `busybox=`, or compiled from Debian's source."""
    if settings.busybox:
        initrd.check_static(settings.busybox, settings.arch)
        return settings.busybox
    needs.ensure(settings, needs.for_busybox(settings))
    source = busybox_source(settings)
    (description,) = source.glob("busybox_*.dsc")
    wanted = kconfig.read_fragments([ASSETS / "busybox" / "busybox.config"])
    compiler = toolchain.musl_compiler(settings)

    def fill(directory: Path) -> None:
        headers = _headers(settings)
        log = Log(f"busybox-{settings.arch.name}")
        say(f"busybox: compiling, about {40 / settings.jobs:.0f} s; log: {log.path}")
        start = time.monotonic()
        tree = directory / "source"
        log.run(["dpkg-source", "--no-check", "-x", description, tree], "busybox: unpacking")
        _configure_busybox(tree, wanted | {"CONFIG_EXTRA_CFLAGS": f'"-idirafter {headers}"'}, log)
        make = ["make", "-C", str(tree), f"CC={' '.join(compiler)}", f"CROSS_COMPILE={settings.cross}", "HOSTCC=gcc"]
        log.run([*make, f"-j{settings.jobs}", "busybox"], "busybox: compiling")
        shutil.copyfile(tree / "busybox", directory / "busybox")
        (directory / "busybox").chmod(0o755)
        shutil.rmtree(tree)
        say(f"busybox: compiled in {_elapsed(start)}")

    ingredients: dict[str, str | bytes] = {
        "source": description.name + description.read_text(errors="replace"),
        "config": kconfig.text_of(wanted),
        "compiler": toolchain.musl_version(settings),
    }
    return _make(settings, "busybox", ingredients, fill) / "busybox"


def _configure_busybox(tree: Path, wanted: dict[str, str], log: Log) -> None:
    """Enable the wanted symbols and what they select, and nothing else. Raises ToolError for one that cannot be enabled.

    Busybox's kconfig knows no fragments. It answers questions that depend on ours with their defaults, mostly yes. So answer no
    to every symbol that it enabled by itself, and ask again until nothing changes.
    """
    make = ["make", "-C", str(tree)]
    config = tree / ".config"
    log.run([*make, "allnoconfig"], "busybox: configuration")
    previous: dict[str, str] = {}
    while (current := kconfig.parse(config.read_text(), str(config))) != previous:
        previous = current
        unasked = {name: "n" for name, value in current.items() if value == "y" and name not in wanted}
        config.write_text(kconfig.text_of(current | unasked | wanted))
        log.run([*make, "oldconfig"], "busybox: configuration")
    kconfig.check(wanted, config, "busybox")


def init_files() -> dict[str, Path]:
    """The sources and headers of /init, by their names below its directory. Two folders may each have a file of one name."""
    return {str(path.relative_to(INIT)): path for path in sorted(INIT.rglob("*.[ch]"))}


def init(settings: Settings) -> Path:
    """The compiled /init."""
    needs.ensure(settings, needs.for_init(settings))
    compiler = toolchain.musl_compiler(settings)
    files = init_files()

    def fill(directory: Path) -> None:
        say("init: compiling")
        code = [path for path in files.values() if path.suffix == ".c"]
        argv = [*compiler, *INIT_FLAGS, "-I", INIT, "-o", directory / "init", *code]
        Log(f"init-{settings.arch.name}").run(argv, "init: compiling")

    ingredients: dict[str, str | bytes] = {f"file {name}": path.read_bytes() for name, path in files.items()}
    ingredients |= {"flags": " ".join(INIT_FLAGS), "compiler": toolchain.musl_version(settings)}
    return _make(settings, "init", ingredients, fill) / "init"


def ramdisk(settings: Settings) -> Path:
    """Directory of the compressed `initrd`."""
    inputs = {"init": init(settings).read_bytes(), "busybox": (binary := busybox(settings)).read_bytes()}

    def fill(directory: Path) -> None:
        names = initrd.applets(binary, settings)
        (directory / "initrd").write_bytes(initrd.pack(initrd.tree(inputs["init"], inputs["busybox"], names)))

    recipe = (ASSETS / "recipes" / "initrd.py").read_bytes() + Path(cpio.__file__).read_bytes()
    scripts = {f"script {name}": (ASSETS / "network" / name).read_bytes() for name in initrd.NETWORK}
    entry = _make(settings, "initrd", {**inputs, "layout": recipe, **scripts}, fill)
    _require_size(entry / "initrd", INITRD_LIMIT, "initrd")
    return entry


def _require_size(path: Path, limit: int, what: str) -> None:
    size = path.stat().st_size
    if size > limit:
        hint = f"it is {path}; take something out of its configuration"
        raise ToolError(f"{what} has {size} bytes, the limit is {limit}", hint)


def _require_space(directory: Path, needed: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    if free < needed:
        raise ToolError(
            f"{directory} has {free // 1024**2} MiB left, compiling a kernel takes {needed // 1024**2}",
            "RUNX_CACHE=DIRECTORY puts the cache elsewhere",
        )


def deliver(settings: Settings, entry: Path, names: tuple[str, ...], what: str) -> None:
    """Copy the files of a cache entry to the results if they differ. Print whether they did."""
    settings.results.mkdir(parents=True, exist_ok=True)
    changed = False
    for name in names:
        made, result = entry / name, settings.results / name
        if not result.is_file() or result.read_bytes() != made.read_bytes():
            temporary = result.with_name(f"{name}.tmp")
            shutil.copyfile(made, temporary)
            temporary.replace(result)
            changed = True
    result = settings.results / names[0]
    size = f"{result.stat().st_size / KIB:.0f} KiB"
    say(f"{what}: {'written to' if changed else 'up to date,'} {result} ({size})")
