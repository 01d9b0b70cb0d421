"""What the commands refuse or cannot do: one clear error, and nothing is left behind."""

import os
import shutil
import subprocess

import pytest

from commandhost import Host


def test_an_id_that_exists(host: Host) -> None:
    host.create()
    result = host.runx("create", "--bundle", str(host.bundle), "c")
    assert (result.returncode, "already exists" in result.stderr) == (1, True)
    assert "already exists" in host.last_error()
    assert host.state()["status"] == "created", "the first is untouched"


@pytest.mark.parametrize("container", ["a/b", "..", "", "x y"])
def test_bad_ids(host: Host, container: str) -> None:
    result = host.runx("create", "--bundle", str(host.bundle), "--", container)
    assert result.returncode == 1
    assert "invalid container id" in result.stderr
    host.nothing_left()


def test_long_words_are_cut(host: Host) -> None:
    result = host.runx("state", "x" * 5000)
    assert result.returncode == 1
    assert "xxx..." in result.stderr
    assert max(map(len, result.stderr.split())) == 200


def test_bad_bundles_leave_nothing(host: Host) -> None:
    config = host.bundle / "config.json"
    for text, words in (("{", "config.json:1:2:"), ('{"ociVersion": 3}', "config.json:1:16: ociVersion:"), (None, "config.json")):
        config.unlink()
        if text is not None:
            config.write_text(text)
        else:
            config.mkdir()
        result = host.runx("create", "--bundle", str(host.bundle), "c")
        assert result.returncode == 1
        assert words in result.stderr
        assert words in host.last_error()
        host.nothing_left()
    assert host.runx("create", "--bundle", "/no/such", "c").returncode == 1
    host.nothing_left()


def test_a_bundle_whose_path_is_not_utf8(host: Host) -> None:
    odd = os.fsdecode(os.fsencode(host.bundle) + b"\xff")
    shutil.copytree(host.bundle, odd)
    result = host.runx("create", "--bundle", odd, "c")
    assert (result.returncode, f"{host.bundle}\\xff: the path is not UTF-8" in result.stderr) == (1, True)
    assert "the path is not UTF-8" in host.last_error()
    host.nothing_left()


def test_xl_failing_is_told_in_its_own_words(host: Host) -> None:
    host.xen.fault("create", "libxl: error: something specific went wrong")
    result = host.runx("create", "--bundle", str(host.bundle), "c")
    assert result.returncode == 1
    assert "xl create failed with exit status 3: libxl: error: something specific went wrong" in result.stderr
    assert "something specific" in host.last_error()
    assert not (host.bundle / "pid").exists()
    host.nothing_left()


def test_no_xl(host: Host) -> None:
    (host.xen.directory / "bin" / "xl").unlink()
    result = host.runx("create", "--bundle", str(host.bundle), "c")
    assert (result.returncode, "xl: command not found" in result.stderr) == (1, True)
    assert "hint:" in result.stderr
    host.nothing_left()


def test_xen_not_running(host: Host) -> None:
    host.xen.fault("list", "xencall: error: Could not obtain handle on privileged command interface: No such file or directory")
    environment = host.xen.environment() | {"XENSTORED_PATH": "/no/such/socket"}
    argv = host.argv("create", "--bundle", str(host.bundle), "c")
    result = subprocess.run(argv, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert "privileged command interface" in result.stderr
    assert "Xen is not running here" in result.stderr
    host.nothing_left()


def test_unpause_failing(host: Host) -> None:
    host.create()
    host.xen.fault("unpause", "libxl: error: cannot unpause")
    result = host.runx("start", "c")
    assert (result.returncode, "cannot unpause" in result.stderr) == (1, True)
    assert host.state()["status"] == "created"


def test_a_pid_file_that_cannot_be_written(host: Host) -> None:
    result = host.runx("create", "--bundle", str(host.bundle), "--pid-file", "/no/such/dir/pid", "c")
    assert (result.returncode, "/no/such/dir/pid" in result.stderr) == (1, True)
    host.nothing_left()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["checkpoint", "c"], "9p shares cannot be saved with a domain"),
        (["frobnicate"], "unknown command"),
        (["create", "--preserve-fds", "2", "c"], "file descriptors of the host"),
        (["create", "--frob", "c"], "unknown option --frob"),
        (["kill", "c", "NOSUCH"], "unknown signal"),
        (["state"], "expected one operand"),
        (["state", "nobody"], "does not exist"),
    ],
)
def test_what_cannot_be_done_is_one_clear_error(host: Host, words: list[str], message: str) -> None:
    result = host.runx(*words)
    assert result.returncode == 1
    assert message in result.stderr
    assert message in host.last_error()


def test_exec_says_what_is_wrong(host: Host) -> None:
    """The states have runc's words, which engines match; status 255, too, is runc's."""
    for state, message in (
        ("", 'container "c" does not exist'),
        ("created", "cannot exec in a created container"),
        ("running", "exec is not allowed by policy.exec of runx.toml"),
        ("paused", "exec is not allowed by policy.exec of runx.toml"),
        ("stopped", "cannot exec in a stopped container"),
    ):
        if state == "created":
            host.create()
        elif state:
            assert (
                host.runx(
                    {"running": "start", "paused": "pause", "stopped": "kill"}[state], "c", *["KILL"] * (state == "stopped")
                ).returncode
                == 0
            )
            host.await_status(state)
        result = host.runx("exec", "c", "sh")
        assert (result.returncode, message in result.stderr) == (255, True), result.stderr
        assert message in host.last_error()
    for words, message in (
        (["exec"], "exec takes ID and what to execute"),
        (["exec", "--preserve-fds", "1", "c", "sh"], "file descriptors of the host"),
    ):
        assert message in host.runx(*words).stderr


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        (
            {"org.runx.exec": "false"},
            "exec is forbidden to this container by its annotation org.runx.exec, with which it was created\n",
        ),
        ({"a": '"org.runx.exec":'}, "exec is not allowed by policy.exec of runx.toml"),
    ],
)
def test_who_forbids_exec(host: Host, annotations: dict[str, str], message: str) -> None:
    """It is not the setting of the host that would have to be changed where an annotation forbids it."""
    host.config["annotations"] = annotations
    host.write_config()
    host.create()
    assert host.runx("start", "c").returncode == 0
    result = host.runx("exec", "c", "sh")
    assert result.returncode == 255 and result.stderr.startswith(f"runx: {message}"), result


def test_a_terminal_needs_its_socket(host: Host) -> None:
    result = host.runx("create", "--bundle", str(host.bundle), "--console-socket", "/no/such", "c")
    assert "process.terminal is false" in result.stderr
    host.config["process"] |= {"terminal": True}  # type: ignore[operator]
    host.write_config()
    result = host.runx("create", "--bundle", str(host.bundle), "c")
    assert "there is no --console-socket" in result.stderr
    long = "/no/" + "such" * 30
    for path, why in (("/no/such", "no such file or directory"), (long, "af_unix path too long")):
        result = host.runx("create", "--bundle", str(host.bundle), "--console-socket", path, "c")
        assert f"--console-socket {path}: {why}" in result.stderr
    host.nothing_left()


def test_an_image_has_one_writer(host: Host) -> None:
    image = host.bundle / "root, 1.img"
    image.write_bytes(b"image")
    host.config["vm"] = {"image": {"path": str(image), "format": "raw"}}
    host.write_config()
    host.create()
    assert f"target={host.root}/c/shares/image" in (host.root / "c/domain.cfg").read_text()
    result = host.runx("create", "-b", str(host.bundle), "d")
    assert (result.returncode, f"vm.image.path: {image} is in use by another container" in result.stderr) == (1, True)
    assert host.state()["status"] == "created", "the first is untouched"
    assert host.runx("delete", "--force", "c").returncode == 0
    host.nothing_left()

    host.config["root"]["readonly"] = True  # type: ignore[index]
    host.write_config()
    host.create("c")
    host.create("d")
    host.config["root"]["readonly"] = False  # type: ignore[index]
    host.write_config()
    assert host.runx("create", "-b", str(host.bundle), "e").returncode == 1
    assert image.read_bytes() == b"image"


@pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed (package qemu-utils)")
def test_a_qcow2_image_leads_to_no_other_file(host: Host) -> None:
    image = host.bundle / "root.qcow2"
    host.config["vm"] = {"image": {"path": str(image), "format": "qcow2"}}
    host.write_config()
    for options, words in (
        (None, "is no qcow2 image"),
        (["-b", "/etc/passwd", "-F", "raw"], "has a backing file"),
        (["-o", f"data_file={host.bundle}/data"], "has an external data file"),
        (["-o", "compat=0.10", "-b", "/etc/passwd", "-F", "raw"], "has a backing file"),
    ):
        if options is None:
            image.write_bytes(bytes(1 << 20))
        else:
            image.unlink()
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, str(image), "1M"], check=True)
        result = host.runx("create", "-b", str(host.bundle), "c")
        assert (result.returncode, words in result.stderr) == (1, True), result.stderr
        host.nothing_left()
    image.unlink()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "1M"], check=True)
    host.create()
