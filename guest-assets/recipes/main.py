"""The command line of `./build`."""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence

from recipes import kernel_table, manifest, parts, reproducible
from recipes.settings import Settings, settings_from
from runxtools import cache, installer
from runxtools.checkout import HOST_SCRIPTS
from runxtools.errors import ToolError
from runxtools.runner import say

_NAMES = ("ARCH", "CROSS_COMPILE", "KERNEL_SRC", "KERNEL_CONFIG", "OUT", "busybox")
_TARGETS = ("all", "kernel", "initrd", "kernel-table", "install", "uninstall")

_DESCRIPTION = """\
Makes the guest's kernel and initrd, and installs runx.

targets:
  all          kernel and initrd, into OUT/ARCH (the default)
  kernel       the kernel alone
  initrd       the initrd alone: busybox and /init
  kernel-table the table of what the kernel of x86_64 has, into the compiler (after `all`; for developers)
  install      runx and what has been built, below --prefix; for another ARCH into --destdir
  uninstall    removes that again

settings, as arguments or in the environment:
  ARCH=NAME            x86_64, aarch64 or arm (default: this machine's)
  CROSS_COMPILE=PREFIX of the compiler's programs (default: Debian's cross compiler for another ARCH)
  KERNEL_SRC=PATH      a kernel tree or tarball (default: Debian's linux-source-6.12)
  KERNEL_CONFIG=FILE   lines of a kernel configuration to add to ours, for drivers that containers need
  busybox=PATH         a static busybox to use instead of compiling one
  OUT=DIRECTORY        where results go (default: out)
  RUNX_CACHE=DIRECTORY where what has been made is kept, by its content (default: ~/.cache/runx)
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./build",
        usage="./build [options] [NAME=VALUE ...] [target ...]",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="target", help=argparse.SUPPRESS)
    parser.add_argument(
        "-j", "--jobs", type=int, default=os.cpu_count() or 1, help="number of files to compile at once (%(default)s)"
    )
    parser.add_argument("--no-install", action="store_true", help="name missing Debian packages; do not install them")
    parser.add_argument("--keep-work", action="store_true", help="keep unpacked sources and objects, for quick rebuilds")
    parser.add_argument("--update", action="store_true", help="download the sources of kernel and busybox again")
    parser.add_argument(
        "--check-reproducible",
        action="store_true",
        help="then build the targets once more, from the sources, and compare the bytes",
    )
    where = parser.add_argument_group("install and uninstall")
    where.add_argument("--prefix", default="/usr/local", help="directory in which runx will be (%(default)s)")
    where.add_argument("--destdir", help="directory to install into in place of /, to make a package")
    where.add_argument(
        "--python",
        default=os.environ.get("PYTHON", "/usr/bin/python3"),
        help="the interpreter runx will run with (%(default)s; PYTHON in the environment)",
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Run `./build ARGV`: its exit status."""
    options = _parser().parse_intermixed_args(argv)
    try:
        values, targets = _words(options.words)
        if options.jobs < 1:
            raise ToolError(f"--jobs {options.jobs}: must be at least 1")
        if options.check_reproducible and (others := sorted(set(targets) - reproducible.TARGETS.keys())):
            raise ToolError(f"--check-reproducible: {', '.join(others)} cannot be compared", "it is for all, kernel and initrd")
        settings = settings_from(
            values,
            jobs=options.jobs,
            install_packages=not options.no_install,
            keep_work=options.keep_work,
            update=options.update,
        )
        for target in targets:
            _run(target, settings, options)
        if options.check_reproducible:
            reproducible.check(settings, targets)
    except ToolError as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("build: interrupted; the next run continues with what was compiled", file=sys.stderr)
        return 130
    return 0


def _words(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    values: dict[str, str] = {}
    targets: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name in _NAMES:
            values[name] = value
        elif not equals and word in _TARGETS:
            targets.append(word)
        elif equals:
            raise ToolError(f"unknown setting {name}=", f"there are {', '.join(_NAMES)}")
        else:
            raise ToolError(f"unknown target {word}", f"there are {', '.join(_TARGETS)}")
    return values, targets or ["all"]


def _run(target: str, settings: Settings, options: argparse.Namespace) -> None:
    if target in ("install", "uninstall"):
        place = installer.place(options.prefix, options.destdir, options.python)
        with cache.locked(cache.root() / "install.lock"):
            if target == "install":
                installer.install(settings.out, settings.arch, place)
            else:
                installer.uninstall(place)
        return
    if target == "kernel-table":
        kernel_table.write(settings.out / "x86_64")
        return
    with cache.locked(cache.root() / "guest.lock"):
        # The initrd first: it takes seconds, so a mistake shows before the kernel takes ten minutes.
        if target in ("all", "initrd"):
            parts.deliver(settings, parts.ramdisk(settings), ("initrd",), "initrd")
            _note(settings, manifest.of_initrd(settings))
            for script in HOST_SCRIPTS:
                shutil.copy(script, settings.results)
        if target in ("all", "kernel"):
            parts.deliver(settings, parts.kernel(settings), ("kernel", "kernel.config"), "kernel")
            parts.deliver_added(settings)
            _note(settings, manifest.of_kernel(settings))
        if not settings.keep_work and parts.work_directory().exists():
            say("removing unpacked sources and objects")
            shutil.rmtree(parts.work_directory())


def _note(settings: Settings, result: manifest.Result) -> None:
    """Write what a result was made of, and tell if that is another source than the pinned one."""
    manifest.write(settings, [result])
    if text := manifest.remark(settings, result):
        say(f"{text}; --update looks for that version, tools/sources for newer ones")
