"""The program around the commands: its help, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from runx import paths
from runx.cli.main import COMMANDS

CHECKOUT = Path(__file__).parents[3]
# As it is installed: the caller's environment does not count.
RUNX = [
    sys.executable,
    "-I",
    "-S",
    "-c",
    f"import sys; sys.path[:0] = {[str(CHECKOUT), *sys.path]!r}; from runx.cli.main import program; program()",
]


PRINTING = (
    ["--version"],
    ["--help"],
    ["--root", "/nonexistent", "list"],
    ["features"],
    ["config"],
    ["plan", "BUNDLE", "--format", "json"],
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("bundle")
    (directory / "rootfs").mkdir()
    subprocess.run([*RUNX, "spec", "--bundle", str(directory)], check=True)
    return str(directory)


@pytest.mark.parametrize("words", PRINTING)
def test_output_that_has_no_room_is_an_error(words: list[str], bundle: str, tmp_path: Path) -> None:
    words = [bundle if word == "BUNDLE" else word for word in words]
    with open("/dev/full", "w") as full:
        result = subprocess.run([*RUNX, "--log", str(tmp_path / "log"), *words], stdout=full, stderr=subprocess.PIPE)
    assert (result.returncode, result.stderr) == (1, b"runx: standard output: no space left on device\n")
    assert 'level=error msg="standard output: no space left on device"' in (tmp_path / "log").read_text()


@pytest.mark.parametrize("words", PRINTING)
def test_output_that_is_closed_is_an_error(words: list[str], bundle: str) -> None:
    words = [bundle if word == "BUNDLE" else word for word in words]
    result = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *RUNX, *words], stderr=subprocess.PIPE)
    assert (result.returncode, result.stderr) == (1, b"runx: standard output: bad file descriptor\n")


def test_closed_input_is_empty() -> None:
    result = subprocess.run(["sh", "-c", '"$@" <&-', "sh", *RUNX, "plan", "-"], capture_output=True, text=True)
    assert (result.returncode, "not JSON" in result.stderr) == (1, True)


LOST = (
    "2< /dev/null",
    "2> /dev/full",
    "2>&-",
    "> /dev/full 2> /dev/full",
    "1< /dev/null 2< /dev/null",
    ">&- 2>&-",
    "<&- >&- 2>&-",
)
"""Redirections that no error can be written to. containerd's shim has the fifth for a sandbox."""

FAILING = (
    ["--pod-machine", "pods", "list"],
    ["list", "x"],
    ["state", "c"],
    ["start", "c"],
    ["kill", "c", "TERM"],
    ["delete", "c"],
    ["pause", "c"],
    ["events", "c"],
    ["update", "-r", "-", "c"],
    ["create", "c"],
    ["run", "c"],
    ["spec", "--bundle", "/nonexistent"],
    ["config", "--config", "/nonexistent"],
    ["plan", "/nonexistent"],
    ["plan", "--format", "json", "/nonexistent"],
    ["--debug", "plan", "--diff", "/nonexistent", "/nonexistent"],
    ["frobnicate"],
    ["--frobnicate", "list"],
)


@pytest.mark.parametrize("lost", LOST)
def test_errors_that_cannot_be_written_are_in_the_log(lost: str, tmp_path: Path) -> None:
    for words in FAILING:
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        argv = [*RUNX, "--root", str(tmp_path / "state"), "--log", str(log), "--log-format=json", *words]
        result = subprocess.run(["sh", "-c", f'"$@" {lost}', "sh", *argv], capture_output=True, cwd=tmp_path)
        assert (result.returncode, result.stderr) == (2 if "--diff" in words else 1, b""), words
        told = [json.loads(line) for line in log.read_text().splitlines()]
        assert told and told[0]["level"] == "error" and "internal error" not in told[0]["msg"], (words, told)


def test_the_log_of_a_command_line_that_is_not_understood(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for words in (["--log", str(log), "--frobnicate", "list"], ["--frobnicate=x", f"--log={log}", "list"]):
        log.unlink(missing_ok=True)
        subprocess.run([*RUNX, *words], capture_output=True)
        assert 'level=error msg="unknown option --frobnicate' in log.read_text()
    subprocess.run([*RUNX, "frobnicate", "--log", str(tmp_path / "other")], capture_output=True)
    assert not (tmp_path / "other").exists(), "an option of another command"


def test_no_command_at_all() -> None:
    result = subprocess.run(RUNX, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "") and result.stdout.startswith("usage: runx"), result


def test_input_that_cannot_be_read_is_an_error() -> None:
    result = subprocess.run(["sh", "-c", '"$@" 0> /dev/null', "sh", *RUNX, "plan", "-"], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (1, "runx: standard input: bad file descriptor\n")


@pytest.mark.parametrize("debug", [True, False])
def test_a_fault_of_ours_is_in_the_log_before_its_traceback(debug: bool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    broken = RUNX[-1].replace("program()", "main.COMMANDS['list'].call = lambda *_: 1 // 0; main.program()")
    broken = broken.replace("from runx.cli.main import program", "from runx.cli import main")
    words = ["--log", str(log), *(["--debug"] if debug else []), "--root", str(tmp_path), "list"]
    result = subprocess.run([*RUNX[:-1], broken, *words], capture_output=True, text=True)
    assert (result.returncode, "Traceback" in result.stderr) == (1, debug)
    assert result.stderr.startswith("runx: internal error: ZeroDivisionError: ")
    assert 'msg="internal error: ZeroDivisionError: ' in log.read_text()
    log.unlink()
    with open("/dev/null") as unwritable:
        assert subprocess.run([*RUNX[:-1], broken, *words], stdout=unwritable, stderr=unwritable).returncode == 1
    assert 'msg="internal error: ZeroDivisionError: ' in log.read_text()


def test_an_interrupt_ends_a_command_without_a_word() -> None:
    interrupted = RUNX[-1].replace(
        "from runx.cli.main import program; program()",
        "import os, signal, time; from runx.cli import main; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "main.COMMANDS['list'].call = lambda *_: (os.kill(os.getpid(), signal.SIGINT), time.sleep(60)); main.program()",
    )
    result = subprocess.run([*RUNX[:-1], interrupted, "--root", "/nonexistent", "list"], capture_output=True)
    assert (result.returncode, result.stderr) == (-signal.SIGINT, b"")


def test_a_reader_that_has_gone_is_no_error_to_tell_of() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run([*RUNX, "features"], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, b"")


def test_closed_descriptors_change_nothing(tmp_path: Path) -> None:
    words = ["--log", str(tmp_path / "log"), "--root", str(tmp_path / "state")]
    closed = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *RUNX, *words, "delete", "--force", "c"], stderr=subprocess.PIPE)
    assert (closed.returncode, closed.stderr) == (0, b"")
    assert not (tmp_path / "log").exists()
    assert subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *RUNX, *words, "state", "c"]).returncode == 1
    assert "does not exist" in (tmp_path / "log").read_text()


def test_all_output_arrives() -> None:
    result = subprocess.run([*RUNX, "--version"], capture_output=True, text=True)
    assert result.returncode == 0
    assert result.stdout.startswith("runx version ")
    assert result.stdout.endswith("\n")


def test_help_names_every_command_and_the_default_root() -> None:
    result = subprocess.run([*RUNX, "--help"], capture_output=True, text=True, check=True)
    listed = [line.split()[0] for line in result.stdout.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()]
    assert listed == list(COMMANDS)
    assert f", or {paths.DEFAULT_STATE_ROOT})\n" in result.stdout
    for name in listed:
        own = subprocess.run([*RUNX, name, "--help"], capture_output=True, text=True, check=True)
        assert own.stdout.startswith(f"usage: runx [global options] {name} ".rstrip())
        assert "\n  -h, --help " in own.stdout
        assert not [line for line in own.stdout.splitlines() if line.endswith(" ")]


def refused(*words: str) -> str:
    result = subprocess.run([*RUNX, *words], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (1, "")
    return result.stderr


def test_a_log_that_cannot_be_written_is_told_once_and_changes_nothing() -> None:
    told = refused("--log", "/nonexistent/log", "list", "extra")
    assert told.startswith("runx: list takes no operands\n")
    assert told.count("runx: warning: --log /nonexistent/log: no such file or directory\n") == 1
    fine = subprocess.run([*RUNX, "--log", "/nonexistent/log", "--root", "/nonexistent", "list", "-q"], capture_output=True)
    assert (fine.returncode, fine.stderr) == (0, b"")


def test_values_of_global_options_are_checked_for_every_command() -> None:
    assert "--cgroup-manager: 'foo' is none of cgroupfs, systemd, disabled" in refused("--cgroup-manager", "foo", "features")
    assert "--log-format: 'foo' is none of text, json" in refused("--log-format", "foo", "features")


def test_empty_values_of_options_for_people_are_refused() -> None:
    assert "option --config needs a value that is not empty: --config FILE" in refused("config", "--config", "")
    assert "option --bundle needs a value that is not empty" in refused("spec", "--bundle=")


@pytest.mark.parametrize("name", ["list", "config", "features", "spec"])
def test_operands_that_mean_nothing_are_refused(name: str) -> None:
    assert f"{name} takes no operands\n" in refused(name, "extra")


def test_an_option_on_the_wrong_side_of_the_command() -> None:
    assert "hint: --root-carrier goes after the command: runx create|run|plan --root" in refused("--root-carrier", "ram", "plan")
    assert "hint: --root goes before the command" in refused("list", "--root", "/x")


def test_unknown_commands() -> None:
    assert "unknown command 'pla'\n  hint: did you mean plan?" in refused("pla")
    assert "unknown command 'xyzzy'\n  hint: see: runx --help" in refused("xyzzy")
    assert "agent" not in refused("checkpoint")
    assert "create the container again" in refused("restore")


def test_a_state_root_that_is_no_directory() -> None:
    for words in (["list"], ["delete", "--regex", "x"]):
        assert "cannot read the state directory /etc/passwd: not a directory\n" in refused("--root", "/etc/passwd", *words)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_is_told_what_root_alone_may() -> None:
    # All is imported before: the checkout may be below /root, which others cannot enter.
    modules = "os, runx.cli.main, runx.exec.commands.create, runx.exec.commands.list"
    become = f"import {modules}; os.setgroups([]); os.setuid(65534); from runx.cli"

    def as_user(*words: str) -> str:
        argv = [*RUNX[:-1], RUNX[-1].replace("from runx.cli", become), "--root", root, *words]
        result = subprocess.run(argv, capture_output=True, text=True)
        assert (result.returncode, result.stdout) == (1, "")
        return result.stderr

    with tempfile.TemporaryDirectory() as above:  # pytest's own directories are closed to others
        root = f"{above}/root"
        os.chmod(above, 0o755)
        os.mkdir(root)
        os.mkdir(f"{root}/c", 0o700)
        assert f'container "c": cannot read {root}/c/record: permission denied' in as_user("list")
        os.chmod(root, 0o700)
        assert f"cannot read the state directory {root}: permission denied" in as_user("list")
        assert as_user("create", "c") == "runx: runx must run as root to create a container\n"
