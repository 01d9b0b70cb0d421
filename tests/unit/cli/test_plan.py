"""`runx plan`: what it shows, what it writes, and that it changes nothing else."""

import io
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from test_cpio import read

from compiler_cases import CASES
from runx.cli import plan as plan_command
from runx.cli.plan_text import visible
from runx.compiler.model.plan import VmPlan
from runx.errors import RunxError


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    directory = tmp_path / "bundle"
    (directory / "rootfs").mkdir(parents=True)
    shutil.copy(CASES / "ctr-plain/config.json", directory / "config.json")
    return directory


def snapshot(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(directory.rglob("*"))
    }


def test_text_tells_everything(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(bundle)
    assert plan_command.main([str(bundle), "--id", "c1"], root="/run/elsewhere") == 0
    text = capsys.readouterr().out
    for words in (
        "/run/elsewhere/c1/initrd", "share root", f"{bundle}/rootfs", "nosuid,strictatime,mode=755,size=65536k", "FOO=bar baz",
        "linux.resources.devices", 'extra = "console=hvc0', "    mount proc proc /proc", "runx/process",
        "/default/ctr-plain", "a new one, which the engine may fill",
    ):  # fmt: skip
        assert words in text
    assert "\x1b" not in text
    assert snapshot(bundle) == before


def test_json_is_the_plan(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan_command.main(["--format=json", str(bundle)]) == 0
    text = capsys.readouterr().out
    assert VmPlan.model_validate_json(text).bundle == str(bundle)
    assert json.loads(text)["root"]["path"] == f"{bundle}/rootfs"


def test_colours_are_for_terminals(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    plan_command.main([str(bundle)])
    assert "\x1b[" in terminal.getvalue()


def test_a_relative_bundle(bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(bundle.parent)
    plan_command.main(["bundle", "--format", "json"], root="state")
    plan = json.loads(capsys.readouterr().out)
    assert plan["bundle"] == str(bundle)
    assert plan["domain"]["ramdisk"] == f"{bundle.parent}/state/ID/initrd"


def test_what_the_image_says_cannot_act_on_the_terminal(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["args"] = ["\x1b]0;owned\x07", "[bold]not markup[/bold] :smile:"]
    config["annotations"] = {"\x1b[31m": "\x9b"}
    (bundle / "config.json").write_text(json.dumps(config))
    plan_command.main([str(bundle)])
    text = capsys.readouterr().out
    assert "\\x1b]0;owned\\x07" in text
    assert "[bold]not markup[/bold] :smile:" in text
    assert not {character for character in text if not character.isprintable()} - {"\n"}
    assert visible("a\u202eb\n") == "a\\u202eb\\n"


def test_output(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    plan_command.main([str(bundle), "-o", str(out), "--format", "json"])
    assert (out / "plan.json").read_text() == capsys.readouterr().out
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert files == ["cmdline", "domain.cfg", "overlay.cpio", "overlay/runx/process", "overlay/runx/setup", "plan.json"]
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert not [path for path in out.rglob("*") if path.lstat().st_mode & 0o077]
    packed = {name: content for name, mode, content, _ in read((out / "overlay.cpio").read_bytes()) if stat.S_ISREG(mode)}
    assert packed == {f"runx/{name}": (out / "overlay/runx" / name).read_bytes() for name in ("setup", "process")}


def test_output_again_replaces_the_files(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    plan_command.main([str(bundle), "-o", str(out)])
    first = (out / "domain.cfg").read_text()
    plan_command.main([str(bundle), "-o", str(out), "--id", "other"])
    assert "runx-other-" in (out / "domain.cfg").read_text() != first
    assert not list(out.rglob(".*"))


def test_output_leaves_directories_of_others_alone(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").touch()
    with pytest.raises(RunxError, match="not empty"):
        plan_command.main([str(bundle), "-o", str(out)])
    assert os.listdir(out) == ["precious"]


def test_output_follows_no_link(bundle: Path, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("precious")
    out.mkdir()
    (out / "plan.json").symlink_to(elsewhere / "file")
    (out / "overlay").symlink_to(elsewhere)
    with pytest.raises(RunxError, match=r"out/overlay: not a directory"):
        plan_command.main([str(bundle), "-o", str(out)])
    assert os.listdir(elsewhere) == ["file"]
    assert (elsewhere / "file").read_text() == "precious"
    assert not (out / "plan.json").is_symlink()


def test_output_says_what_cannot_be_written(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunxError, match=r"file: not a directory"):
        plan_command.main([str(bundle), "-o", str(tmp_path / "file")])
    with pytest.raises(RunxError, match=r"none/out: no such file or directory"):
        plan_command.main([str(bundle), "-o", str(tmp_path / "none/out")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected one operand, BUNDLE"),
        (["a", "b"], "expected one operand, BUNDLE"),
        (["--format", "yaml", "BUNDLE"], "neither text nor json"),
        (["--id", "../x", "BUNDLE"], "invalid container id"),
        (["/no/such/bundle"], "bundle /no/such/bundle: no such directory"),
        (["--frmat", "json"], "unknown option --frmat"),
        (["--bundle", "/", "BUNDLE"], "--bundle goes with -"),
        (["--diff", "/no/such", "BUNDLE"], "--diff /no/such: no such file"),
        (["--diff", "/dev/null", "BUNDLE"], "--diff /dev/null: /dev/null: not a file"),
        (["--diff", "/dev/zero", "BUNDLE"], "not a file"),
        (["--diff", "/proc/version", "BUNDLE"], "/proc/version:1:1: not JSON: a value must stand here"),
        (["--explain", "root", "--diff", "BUNDLE", "BUNDLE"], "--explain goes with neither --diff nor --output"),
        (["--explain", "root", "--output", "/no/such", "BUNDLE"], "--explain goes with neither --diff nor --output"),
        *(
            ([option, "", "BUNDLE"], f"option {option} needs a value that is not empty")
            for option in ("--format", "-o", "--output", "--bundle", "--config", "--diff", "--explain", "--root-carrier", "--id")
        ),
        (["--diff", str(CASES / "minimal/config.json"), "BUNDLE"], "not a plan"),
    ],
)
def test_mistakes(arguments: list[str], message: str, bundle: Path) -> None:
    with pytest.raises(RunxError, match=message):
        plan_command.main([str(bundle) if word == "BUNDLE" else word for word in arguments])


def test_nothing_is_shown_or_written_of_a_bad_configuration(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(CASES / "bad-mount-options/config.json", bundle / "config.json")
    with pytest.raises(RunxError, match="noexce"):
        plan_command.main([str(bundle), "-o", str(tmp_path / "out")])
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_locale_that_knows_ascii_alone(bundle: Path, output: str) -> None:
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["args"] = ["é☃"]
    (bundle / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "runx", "plan", "--format", output, str(bundle)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=environment, cwd=Path(__file__).parents[3], check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    if output == "json":
        assert json.loads(done.stdout)["process"]["args"] == ["é☃"]
    else:
        assert b"\\xe9\\u2603" in done.stdout


def run(*argv: object, stdin: bytes = b"", cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """The whole program, in a process of its own."""
    top = Path(__file__).parents[3]
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path[:0] = [{str(top)!r}]; from runx.cli.main import main; sys.exit(main())",
    ]
    return subprocess.run([*command, *map(str, argv)], input=stdin, capture_output=True, cwd=cwd, check=False)


def test_standard_input(bundle: Path) -> None:
    config = (bundle / "config.json").read_bytes()
    (bundle / "config.json").unlink()
    here = run("plan", "-", "--format", "json", stdin=config, cwd=bundle)
    there = run("plan", "-", "--format", "json", "--bundle", bundle, stdin=config)
    assert (here.returncode, here.stderr) == (0, b"")
    assert here.stdout == there.stdout
    assert json.loads(here.stdout)["root"]["path"] == f"{bundle}/rootfs"
    assert run("plan", "-", stdin=b'{"a": x}').stderr.startswith(b"runx: <stdin>:1:7: not JSON")


def test_same_input_same_bytes(bundle: Path) -> None:
    for form in ("text", "json"):
        outputs = {run("plan", "--format", form, bundle).stdout for _ in range(3)}
        assert len(outputs) == 1
        assert outputs != {b""}


def test_diff(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("plan", "-o", out, bundle).returncode == 0
    same = run("plan", "--diff", out / "plan.json", bundle)
    assert (same.returncode, same.stdout, same.stderr) == (0, b"", b"")

    config = json.loads((bundle / "config.json").read_text())
    config["hostname"] = "\x1b[31m"
    config["mounts"].insert(0, {"destination": "/data", "type": "tmpfs", "options": ["ro"]})
    config["mounts"][1]["options"] = ["nosuid"]
    config["process"]["args"].insert(1, "-x")
    config["process"]["env"].pop()
    (bundle / "config.json").write_text(json.dumps(config))
    done = run("plan", "--diff", out / "plan.json", bundle)
    assert (done.returncode, done.stderr) == (1, b"")
    lines = done.stdout.decode().splitlines()
    assert lines[lines.index('mounts["/data"]') + 1].startswith('  + {"destination": "/data", ')
    assert f'mounts["{config["mounts"][1]["destination"]}"].flags[0]' in lines or any(".data[0]" in line for line in lines)
    changed = {line for line in lines if line.startswith("mounts[") and not line.endswith(".origin")}
    assert all(line.startswith(('mounts["/data"]', f'mounts["{config["mounts"][1]["destination"]}"]')) for line in changed)
    assert ["process.args[1]", '  + "-x"'] == lines[lines.index("process.args[1]") :][:2]
    assert any(line.startswith("  - ") for line in lines)
    assert ["guest.hostname", '  - "ID"', '  + "\\u001b[31m"'] == lines[lines.index("guest.hostname") :][:3]

    as_json = json.loads(run("plan", "--format", "json", "--diff", out / "plan.json", bundle).stdout)
    assert {"path": "guest.hostname", "before": "ID", "after": "\x1b[31m"} in as_json


def test_diff_of_bundles(bundle: Path, tmp_path: Path) -> None:
    assert run("plan", "--diff", bundle, bundle).returncode == 0
    shutil.copytree(bundle, tmp_path / "other")
    done = run("plan", "--diff", tmp_path / "other", bundle)
    assert done.returncode == 1
    assert done.stdout.decode().startswith(f'bundle\n  - "{tmp_path}/other"\n  + "{bundle}"\n')


def test_an_error_of_diff_is_no_difference(bundle: Path, tmp_path: Path) -> None:
    assert run("plan", "--diff", bundle, tmp_path).returncode == 2
    assert run("plan", "--diff=/no/such", bundle).returncode == 2
    assert run("plan", "--diff").returncode == 2
    assert run("plan", tmp_path).returncode == 1


@pytest.mark.parametrize(
    ("content", "fault_id", "message"),
    [
        (b"", "RX003", ":1:1: not JSON: the text is empty"),
        (b'{"version": 01}', "RX003", ":1:14: not JSON: a number begins with 0"),
        (b"\xff", "RX002", ":1:1: not UTF-8: byte 0xff"),
        (b"[" * 100000, "RX004", ":1:66: not a configuration: nested too deeply"),
        (b"[" + b"9" * 5000, "RX004", ":1:2: not a configuration: a number of thousands of digits"),
        (b"[]", "RX011", ":1:1: must be an object"),
        (b" " * (16 * 1024 * 1024 + 1), "RX001", ": larger than 16 MiB"),
    ],
)  # fmt: skip
def test_a_saved_plan_that_is_none(bundle: Path, tmp_path: Path, content: bytes, fault_id: str, message: str) -> None:
    (tmp_path / "p").write_bytes(content)
    done = run("plan", "--format", "json", "--diff", tmp_path / "p", bundle)
    assert (done.returncode, [fault["id"] for fault in json.loads(done.stdout)]) == (2, [fault_id])
    assert done.stderr.decode().startswith(f"runx: {tmp_path}/p{message} [{fault_id}]\n")


def test_diff_with_a_fifo(bundle: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    done = run("plan", "--diff", tmp_path / "fifo", bundle)
    assert (done.returncode, b"not a file [RX901]" in done.stderr) == (2, True)


def test_diff_with_a_bundle_that_is_refused(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(bundle, other)
    shutil.copy(CASES / "bad-mount-options/config.json", other / "config.json")
    done = run("plan", "--format", "json", "--diff", other, bundle)
    faults = json.loads(done.stdout)
    assert (done.returncode, {fault["file"] for fault in faults}) == (2, {f"{other}/config.json"})
    assert done.stderr.decode().startswith(f"runx: {other}/config.json:") and "[RX3" in done.stderr.decode()
    (other / "config.json").unlink()
    done = run("plan", "--format", "json", "--diff", other, bundle)
    assert [fault["id"] for fault in json.loads(done.stdout)] == ["RX901"]
    assert done.stderr.decode().startswith(f"runx: --diff {other}: {other}/config.json: no such file or directory [RX901]\n")


def test_diagnostics_for_tools(bundle: Path) -> None:
    config = json.loads((bundle / "config.json").read_text())
    config["mounts"][0]["options"].append("noexce")
    config["unheard"] = 1
    (bundle / "config.json").write_text(json.dumps(config, indent=1))
    done = run("plan", "--format", "json", bundle)
    assert done.returncode == 1
    first, *others = json.loads(done.stdout)
    line = next(n for n, text in enumerate((bundle / "config.json").read_text().splitlines(), 1) if "noexce" in text)
    index = len(config["mounts"][0]["options"]) - 1
    assert first.pop("message").startswith('unknown option "noexce"')
    assert first == {
        "id": "RX315", "severity": "error", "file": "config.json", "path": f"mounts[0].options[{index}]", "line": line,
        "column": 5, "hint": "",
    }  # fmt: skip
    assert ("RX015", "warning", "unheard", "unknown property") in {
        (d["id"], d["severity"], d["path"], d["message"]) for d in others
    }
    assert done.stderr.startswith(f"runx: config.json:{line}:5: mounts[0].options[{index}]: unknown".encode())
    missing = json.loads(run("plan", "--format", "json", "/no/such").stdout)
    assert [(d["id"], d["severity"], d["line"], d["message"]) for d in missing] == [
        ("RX901", "error", None, "bundle /no/such: no such directory")
    ]


def test_a_fault_of_another_source_names_it(bundle: Path, tmp_path: Path) -> None:
    toml = tmp_path / "runx.toml"
    toml.write_text("# ours\n[root]\ncarrier = 'ram'\nram_limit = '1MiB'\n")
    (bundle / "rootfs/file").write_bytes(bytes(2 << 20))
    for options, source, line in (
        ((), str(toml), 3),
        (("--root-carrier", "ram"), "--root-carrier", None),
    ):
        done = run("plan", "--format", "json", "--config", toml, *options, bundle)
        fault = json.loads(done.stdout)[0]
        assert (fault["file"], fault["line"], fault["column"]) == (source, line, None)
        assert fault["path"] == ("root.carrier" if line else "")
        assert done.stderr.decode().startswith(f"runx: {source}:3: root.carrier: " if line else f"runx: {source}: ")


def test_people_see_the_line(bundle: Path, tmp_path: Path) -> None:
    (bundle / "config.json").write_text('{\n\t"é界": 1, "ociVersion": 3}\n')
    done = run("--log", tmp_path / "log", "plan", bundle)
    shown = done.stderr.decode()
    assert "config.json:2:25: ociVersion: must be a string, not the number 3 [RX011]\n" in shown
    assert '\n    2 |  "é界": 1, "ociVersion": 3}\n' in shown
    lines = shown.splitlines()
    at = next(index for index, line in enumerate(lines) if "2:25" in line) + 1
    # 界 takes two columns.
    assert lines[at + 1].index("^") == lines[at].index("3}") + 1
    log = (tmp_path / "log").read_text()
    assert "^" not in log and "RX011" not in log


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert plan_command.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: runx [global options] plan")
    for option in plan_command.OPTIONS:
        assert option.names[-1] in text
        assert f"**{option.names[-1]}**" in (Path(__file__).parents[3] / "docs/man/runx-plan.1.md").read_text()


def test_the_command_line(bundle: Path) -> None:
    """The whole program: one error on standard error, exit status 1, and no Xen needed."""
    command = [sys.executable, "-m", "runx", "plan", str(bundle)]
    environment = {**os.environ, "PATH": "/nonexistent"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[3], check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "    mount proc" in done.stdout
    (bundle / "rootfs").rmdir()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[3], check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("runx: config.json:79:13: root.path: ")


@pytest.mark.parametrize("form", ["text", "json"])
def test_paths_that_are_not_utf8_are_refused_by_name(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/b\xff")
    shutil.copytree(bundle, odd)
    shown = f"{tmp_path}/b\\xff"
    for words, root, message in (
        ([odd], "", f"bundle {shown}: the path is not UTF-8"),
        ([str(bundle)], odd, f"the state directory {shown}: the path is not UTF-8"),
        ([str(bundle), "--explain", "domain"], odd, f"the state directory {shown}: the path is not UTF-8"),
    ):
        with pytest.raises(RunxError) as caught:
            plan_command.main([*words, "--format", form], root)
        assert (caught.value.message, "bind mount" in caught.value.hint) == (message, True)
        assert form == "text" or json.loads(capsys.readouterr().out)[0]["message"] == message


def test_a_link_to_a_path_that_is_not_utf8_is_refused_by_name(bundle: Path, tmp_path: Path) -> None:
    os.rename(bundle / "rootfs", os.fsencode(tmp_path) + b"/r\xff")
    os.symlink(os.fsencode(tmp_path) + b"/r\xff", os.fsencode(bundle) + b"/rootfs")
    with pytest.raises(RunxError, match=r"/r\\xff.*: the path is not UTF-8"):
        plan_command.main([str(bundle), "--root-carrier", "disk"])


def test_an_empty_operand_is_not_the_current_directory() -> None:
    with pytest.raises(RunxError, match="BUNDLE is empty"):
        plan_command.main([""])


def test_an_error_about_a_path_that_is_not_utf8_is_json(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RunxError):
        plan_command.main([str(bundle), "--config", "/nonexistent/\udcff", "--format", "json"], "/run/runx")
    assert "/nonexistent/\udcff" in json.loads(capsys.readouterr().out)[0]["message"]
