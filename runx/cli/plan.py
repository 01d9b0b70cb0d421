"""`runx plan`: show everything that would be done for a bundle, without doing it."""

import io
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from runx import collector
from runx.cli.options import Arguments, Option, help_lines, parse
from runx.errors import RunxError, reason
from runx.exec.xen import xl
from runx.linux.files import standard_input, write_atomically
from runx.paths import DEFAULT_STATE_ROOT, assets_dir

if TYPE_CHECKING:
    from runx.compiler.host.facts import Facts
    from runx.compiler.pipeline import Artifacts, Compilation, Inputs

OPTIONS = (
    Option("-f", "--format", value="FORMAT", default="text", help="text (default): the plan and the files; json: the plan alone"),
    Option("-o", "--output", value="DIR", help="also write plan.json, domain.cfg, cmdline, overlay/ and overlay.cpio into DIR"),
    Option("-b", "--bundle", value="DIR", help="with -: the bundle directory (default: the current one)"),
    Option("--config", value="FILE", help="the host's settings instead of /etc/runx/runx.toml"),
    Option("--diff", value="OTHER", help="show only the differences from the plan of OTHER: a bundle, or a plan.json"),
    Option("--explain", value="PATH", help="show where the plan's value at PATH comes from and where it shows"),
    Option("--root-carrier", value="CARRIER", help="how the root filesystem travels: disk, 9p, ram or auto"),
    Option("--id", value="ID", default="ID", help="the container's id, which names its domain and its directory (default ID)"),
    Option("-h", "--help", help="show this help"),
)

HELP = """\
usage: runx [global options] plan [options] BUNDLE
       runx [global options] plan [options] -

Shows the virtual machine that runx would make of BUNDLE: the plan, the configuration for xl, the kernel's
command line and the additions to the ramdisk. Needs no Xen, and changes nothing but DIR of -o.
With - the configuration is read from standard input.

Exit status: 0, or 1 for an error. With --diff: 0 no difference, 1 differences, 2 an error.
"""

TROUBLE = 2
"""Exit status of an error with --diff, as in diff(1)."""

_OPERAND = "usage: runx plan [options] BUNDLE, or - for standard input"


def main(argv: list[str], root: str = "", pod_machine: str = "") -> int:
    """Run `runx plan` with the words after the command. root: the state root; "" for that of runx.toml.
    pod_machine: of --pod-machine. Raises RunxError."""
    try:
        with collector.paused():
            return _main(argv, root, pod_machine)
    except RunxError as error:
        if any(word == "--diff" or word.startswith("--diff=") for word in argv):
            error.status = TROUBLE
        raise


def _main(argv: list[str], root: str, pod_machine: str) -> int:
    arguments, _ = parse(argv, OPTIONS, allow_empty=False)
    values = arguments.values
    values["pod_machine"] = pod_machine
    if "help" in arguments.switches:
        sys.stdout.write("\n".join([HELP, *help_lines(OPTIONS)]) + "\n")
        return 0
    if len(arguments.operands) != 1:
        raise RunxError(f"expected one operand, BUNDLE, not {len(arguments.operands)}", _OPERAND)
    if not arguments.operands[0]:
        raise RunxError("BUNDLE is empty", _OPERAND)
    if values["format"] not in ("text", "json"):
        raise RunxError(f"--format: {values['format']!r} is neither text nor json")
    if values["bundle"] and arguments.operands[0] != "-":
        raise RunxError("--bundle goes with -, the configuration from standard input", _OPERAND)

    if values["explain"] and (values["diff"] or values["output"]):
        raise RunxError("--explain goes with neither --diff nor --output", _OPERAND)

    from runx.exec.container.record import check_id

    check_id(values["id"])
    try:
        inputs = _inputs(arguments.operands[0], arguments, root)
        if values["explain"]:
            return _explain(arguments, inputs)
        result = _compile(inputs)
        before = _other_plan(arguments, root) if values["diff"] else None
    except RunxError as error:
        error.shows_ids = True
        if values["format"] == "json":
            _write_json(_diagnostics(error))
        raise
    _warn_of_host(inputs.facts)
    if values["output"]:
        write(result.artifacts, values["output"])
    if before is not None:
        return _diff(arguments, before, result)
    if values["format"] == "json":
        _write_stdout(result.artifacts.plan_json)
    else:
        from runx.cli.plan_text import show

        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        show(result, sys.stdout)
    return 0


def _inputs(operand: str, arguments: Arguments, root: str, name: str = "config.json") -> "Inputs":
    """name: of the configuration in messages, if it is a file."""
    from runx.compiler.host.host_facts import HostFactsWithBridges
    from runx.compiler.pipeline import Inputs
    from runx.compiler.source import SIZE_LIMIT

    is_stdin = operand == "-"
    facts = HostFactsWithBridges(standard_input(SIZE_LIMIT + 1) if is_stdin else None, arguments.values["config"])
    facts.xl_info = xl.info
    return Inputs(
        os.path.abspath((arguments.values["bundle"] or ".") if is_stdin else operand),
        container_id=arguments.values["id"],
        state_root=os.path.abspath(root or _state_root(facts)),
        assets=assets_dir(),
        facts=facts,
        name="<stdin>" if is_stdin else name,
        root_carrier=arguments.values["root_carrier"],
        pod_machine=arguments.values["pod_machine"],
    )


def _state_root(facts: "Facts") -> str:
    from runx.compiler.diagnostics import CompileError
    from runx.compiler.host.config import read_host_config

    try:
        return read_host_config(facts.host_config()).state
    except CompileError:
        return DEFAULT_STATE_ROOT  # the pipeline says what is wrong, along with all other faults


def _warn_of_host(facts: "Facts") -> None:
    from runx.compiler.host.host_facts import HostFactsWithBridges

    if not isinstance(facts, HostFactsWithBridges):
        return
    if facts.no_filters:
        sys.stderr.write(f"runx: warning: no seccomp filter: {facts.no_filters}, without which `runx create` would fail\n")
    for bridge, address in dict.fromkeys(facts.without_address):
        sys.stderr.write(f"runx: warning: the bridge {bridge} does not have the address {address}: `runx create` would fail\n")
    for bridge in dict.fromkeys(facts.missing):
        sys.stderr.write(f"runx: warning: this host has no bridge {bridge}, without which `runx create` would fail\n")


def _compile(inputs: "Inputs") -> "Compilation":
    from runx.compiler.pipeline import compile

    return compile(inputs)


def _explain(arguments: Arguments, inputs: "Inputs") -> int:
    from runx.cli.plan_explain import as_json, explain, text
    from runx.compiler.diagnostics import visible

    explanation = explain(inputs, arguments.values["explain"])
    if arguments.values["format"] == "json":
        _write_json(as_json(explanation))
    else:
        _write_stdout("".join(f"{visible(line)}\n" for line in text(explanation, inputs.name).split("\n")[:-1]))
    return 0


def _diff(arguments: Arguments, before: dict[str, Any], result: "Compilation") -> int:
    from runx.cli.plan_diff import changes, text
    from runx.compiler.diagnostics import visible

    found = list(changes(before, json.loads(result.artifacts.plan_json)))
    if arguments.values["format"] == "json":
        _write_json([change._asdict() for change in found])
    else:
        _write_stdout("".join(f"{visible(line)}\n" for line in text(found).split("\n")[:-1]))
    return 1 if found else 0


def _other_plan(arguments: Arguments, root: str) -> dict[str, Any]:
    """The plan that --diff names, as read from JSON. Raises RunxError, with a message that names the bundle or the file."""
    from runx.compiler.diagnostics import CompileError

    other = arguments.values["diff"]
    try:
        if not os.path.isdir(other):
            return _saved_plan(other)
        plan: dict[str, Any] = json.loads(
            _compile(_inputs(other, arguments, root, os.path.join(other, "config.json"))).artifacts.plan_json
        )
        return plan
    except CompileError:
        raise  # its faults name the file
    except RunxError as error:
        raise RunxError(f"--diff {other}: {error.message}", error.hint, error.fault_id) from None


def _saved_plan(path: str) -> dict[str, Any]:
    from runx.compiler.host.host_facts import read_file
    from runx.compiler.source import Source

    try:
        raw = read_file(path)
    except OSError as error:
        raise RunxError(reason(error), fault_id="RX901") from None
    plan: dict[str, Any] = Source(raw, path).document
    if "version" not in plan or "domain" not in plan:
        raise RunxError("not a plan", "OTHER is a bundle's directory, or a plan.json that runx plan wrote")
    return plan


def _diagnostics(error: RunxError) -> list[dict[str, Any]]:
    """The faults, and the settings that would be ignored, for tools."""
    from runx.compiler.diagnostics import CompileError, path_text, source_of

    if not isinstance(error, CompileError):
        nowhere = {"file": None, "path": "", "line": None, "column": None}
        return [{"id": error.fault_id, "severity": "error", **nowhere, "message": error.message, "hint": error.hint}]
    found = []
    parts = (error, *error.others)
    for part, severity, located in [(e, "error", e.located) for e in parts] + [(e, "warning", e.ignored) for e in parts]:
        for place, diagnostic in located:
            source = source_of(diagnostic.path)
            found.append(
                {
                    "id": diagnostic.id,
                    "severity": severity,
                    "file": source.file if source else part.file_name,
                    "path": path_text(diagnostic.path),
                    "line": place.line if place else source.line if source else None,
                    "column": place.column if place else None,
                    "message": diagnostic.message,
                    "hint": diagnostic.hint,
                }
            )
    return found


def _write_json(value: object) -> None:
    _write_stdout(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _write_stdout(text: str) -> None:
    # JSON is UTF-8, whatever the locale (RFC 8259). Of a path that is not, errors may tell: an escape is JSON, too.
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))


def write(artifacts: "Artifacts", directory: str) -> None:
    """Write the artifacts into `directory`, which is made if it is missing. Only the owner can read them, as the environment may
    hold secrets.

    A directory with other files is refused. Files of an earlier plan are replaced. Symbolic links in it are replaced or refused,
    never followed. Raises RunxError.
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
        raise RunxError(f"{name}: {reason(error)}") from None


def _make_directory(name: str, parent: int | None = None) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        pass


def _write_file(top: int, path: str, mode: int, content: bytes) -> None:
    """Write `path` below the open directory `top`, completely or not at all."""
    *above, name = path.split("/")
    here = os.dup(top)
    try:
        for part in above:
            _make_directory(part, here)
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = below
        write_atomically(name, content, mode, directory=here)
    finally:
        os.close(here)
