"""`runx plan`: show everything that would be done for a bundle, and do none of it."""

import io
import os
import sys
from typing import TYPE_CHECKING

from runx.errors import RunxError
from runx.options import Option, help_lines, parse
from runx.paths import DEFAULT_STATE_ROOT, assets_dir

if TYPE_CHECKING:
    from runx.compiler import Artifacts

OPTIONS = (
    Option("-f", "--format", value="FORMAT", default="text", help="text (default): the plan and the files; json: the plan alone"),
    Option("-o", "--output", value="DIR", help="also write plan.json, domain.cfg, cmdline, overlay/ and overlay.cpio into DIR"),
    Option("--id", value="ID", default="ID", help="the container's id, which names its domain and its directory (default ID)"),
    Option("-h", "--help", help="show this help"),
)

HELP = """\
usage: runx [global options] plan [options] BUNDLE

Shows the virtual machine that runx would make of BUNDLE: the plan, the configuration for xl, the kernel's
command line and what is added to the ramdisk. Needs no Xen and changes nothing but DIR of -o.
"""


def main(argv: list[str], root: str = DEFAULT_STATE_ROOT) -> int:
    """Run `runx plan` with the words after the verb; `root` is the state root. Raises RunxError."""
    arguments, _ = parse(argv, OPTIONS)
    if "help" in arguments.switches:
        sys.stdout.write("\n".join([HELP, *help_lines(OPTIONS)]) + "\n")
        return 0
    if len(arguments.operands) != 1:
        raise RunxError(f"expected one operand, BUNDLE, not {len(arguments.operands)}", "usage: runx plan [options] BUNDLE")
    if arguments.values["format"] not in ("text", "json"):
        raise RunxError(f"--format: {arguments.values['format']!r} is neither text nor json")

    from runx.compiler import compile
    from runx.exec.record import check_id

    check_id(arguments.values["id"])
    result = compile(
        os.path.abspath(arguments.operands[0]),
        container_id=arguments.values["id"],
        state_root=os.path.abspath(root),
        assets=assets_dir(),
    )
    if arguments.values["output"]:
        write(result.artifacts, arguments.values["output"])
    if arguments.values["format"] == "json":
        # JSON is UTF-8, whatever the locale (RFC 8259).
        sys.stdout.flush()
        sys.stdout.buffer.write(result.artifacts.plan_json.encode())
    else:
        from runx.plan_text import show

        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        show(result, sys.stdout)
    return 0


def write(artifacts: "Artifacts", directory: str) -> None:
    """Write the artifacts into `directory`, made when missing, readable by the owner alone as the environment may hold secrets.

    A directory that holds other things is refused; files of an earlier plan are replaced. Symbolic links in it are replaced or
    refused, never followed. Raises RunxError.
    """
    try:
        _make_directory(directory)
        top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if "plan.json" not in (names := os.listdir(top)) and names:
                raise RunxError(f"{directory} is not empty and holds no earlier plan", "name a new or an empty directory")
            _write_file(top, "plan.json", 0o600, artifacts.plan_json.encode())
            _write_file(top, "domain.cfg", 0o600, artifacts.domain_cfg.encode())
            _write_file(top, "cmdline", 0o600, artifacts.cmdline.encode())
            for file in artifacts.overlay:
                _write_file(top, f"overlay/{file.path}", file.mode, file.content)
            _write_file(top, "overlay.cpio", 0o600, artifacts.overlay_cpio)
        finally:
            os.close(top)
    except OSError as error:
        name = f"{directory}/{error.filename}" if error.filename and error.filename != directory else directory
        raise RunxError(f"{name}: {(error.strerror or str(error)).lower()}") from None


def _make_directory(name: str, parent: int | None = None) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        pass


def _write_file(top: int, path: str, mode: int, content: bytes) -> None:
    """Write `path` below the open directory `top`, whole or not at all."""
    *above, name = path.split("/")
    here = os.dup(top)
    try:
        for part in above:
            _make_directory(part, here)
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = below
        temporary = f".{name}.{os.getpid()}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=here)
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
            os.rename(temporary, name, src_dir_fd=here, dst_dir_fd=here)
        except BaseException:
            os.unlink(temporary, dir_fd=here)
            raise
    finally:
        os.close(here)
