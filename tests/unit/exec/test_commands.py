"""The commands, against a Xen of bookkeeping: states, errors, and that nothing is left behind. No guest runs here."""

import fcntl
import json
import os
import re
import socket
import struct
import subprocess
import sys
import termios
import time
from datetime import datetime
from pathlib import Path

import pytest

from commandhost import Host
from runx import paths

FAST_COMMANDS = {
    "state": ["state", "c"],
    "start": ["start", "c"],
    "kill": ["kill", "c", "TERM"],
    "delete": ["delete", "--force", "c"],
}
HEAVY = "pydantic lark rich argparse logging pathlib typing dataclasses asyncio json re subprocess socket signal ctypes".split()


def test_a_life(host: Host) -> None:
    pid = host.create()
    assert (host.bundle / "pid").read_text() == str(pid), "no newline"
    assert host.state() == {
        "ociVersion": "1.0.2",
        "id": "c",
        "status": "created",
        "pid": pid,
        "bundle": str(host.bundle),
        "annotations": {"org.example.key": 'a "value"'},
    }
    (name,) = host.xen.domains().values()
    first = next(call for call in host.xen.calls() if call[0] != "info")
    assert first[:5] == ["xl", "create", "-p", "-e", "-q"][1:] + [str(host.root / "c" / "domain.cfg")]
    assert host.xen.permissions["/local/domain/1/device/console/1"] == ["n1", "r0"]
    assert host.xen.permissions["/local/domain/0/backend/console/1/1"] == ["n0", "r1"]

    assert host.runx("start", "c").returncode == 0
    assert host.state()["status"] == "running"
    assert ["unpause", "1"] in host.xen.calls()
    assert "running" in host.runx("start", "c").stderr

    result = host.runx("delete", "c")
    assert (result.returncode, "that is not stopped: running" in result.stderr) == (1, True)

    assert host.runx("kill", "c", "KILL").returncode == 0
    host.await_status("stopped")
    assert {("destroy", "1"), ("destroy", name)} & set(map(tuple, host.xen.calls()))
    assert host.xen.domains() == {}
    assert host.state()["pid"] == 0
    assert host.runx("kill", "c", "TERM").stderr == "runx: container not running\n"
    assert host.runx("kill", "--all", "c", "TERM").returncode == 0
    assert host.runx("delete", "c").returncode == 0
    assert 'container "c" does not exist' in host.runx("state", "c").stderr
    host.nothing_left()


def test_the_supervisors_status_is_the_containers(host: Host) -> None:
    """Engines are subreapers: the supervisor becomes their child, and they wait for it."""
    import ctypes

    libc = ctypes.CDLL(None)
    assert libc.prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
    try:
        pid = host.create()
        assert host.runx("kill", "c", "KILL").returncode == 0
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 137
        pid = (host.runx("delete", "c"), host.create())[1]
        assert host.runx("kill", "c", "SIGTERM").returncode == 0
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 143, "a created container ends by what would end a process"
    finally:
        libc.prctl(36, 0, 0, 0, 0)


@pytest.mark.parametrize(("null", "told"), [((), None), ((0,), b"0"), ((0, 2), b"02")])
def test_the_guest_is_told_which_streams_are_the_null_device(
    host: Host, tmp_path: Path, null: tuple[int, ...], told: bytes | None
) -> None:
    fds = [os.open("/dev/null" if fd in null else tmp_path / str(fd), os.O_RDWR | os.O_CREAT, 0o600) for fd in range(3)]
    argv = host.argv("create", "--bundle", str(host.bundle), "c")
    process = subprocess.run(argv, env=host.xen.environment(), stdin=fds[0], stdout=fds[1], stderr=fds[2], timeout=60)
    for fd in fds:
        os.close(fd)
    assert process.returncode == 0
    entries = (host.root / "c/initrd").read_bytes().split(b"070701")
    told_by = [entry.split(b"runx/null\0", 1)[1].strip(b"\0") for entry in entries if b"runx/null\0" in entry]
    assert told_by == ([told] if told else [])


def test_the_same_id_in_two_roots_makes_two_domains(host: Host) -> None:
    host.create()
    first = host.root
    host.root = host.root.with_name("state2")
    host.create()
    assert len(set(host.xen.domains().values())) == 2
    assert host.runx("delete", "--force", "c").returncode == 0
    host.root = first
    assert host.state()["status"] == "created"


def test_force_deletes_in_any_state(host: Host) -> None:
    host.create()
    assert host.runx("delete", "--force", "c").returncode == 0
    host.nothing_left()
    assert host.runx("delete", "--force", "c").returncode == 0
    assert host.runx("delete", "c").returncode == 1


def test_a_killed_supervisor_leaves_what_delete_removes(host: Host) -> None:
    pid = host.create()
    os.kill(pid, 9)
    host.await_status("stopped")
    assert host.xen.domains() == {}, "what is said to be stopped is gone"
    assert host.runx("start", "c").returncode == 1
    assert host.runx("delete", "c").returncode == 0
    assert host.xen.domains() == {}
    assert not list(host.root.iterdir())


def test_sigkill_works_without_the_supervisor(host: Host) -> None:
    os.kill(host.create(), 9)
    host.await_no_process()
    assert host.xen.domains(), "the domain is still there"
    assert host.runx("kill", "c", "9").returncode == 0
    assert host.xen.domains() == {}


def test_a_container_of_an_older_version_is_destroyed_at_once(host: Host) -> None:
    """Its supervisor sets no limit to its guest, and its guest sends no answer."""
    host.create()
    assert host.runx("start", "c").returncode == 0
    record = host.root / "c/record"
    record.write_text(re.sub("kill_end_s=.*\n", "", record.read_text()))
    (name,) = host.xen.domains().values()
    assert host.runx("kill", "c", "KILL").returncode == 0
    assert ["destroy", name] in host.xen.calls()
    host.await_status("stopped")


def test_a_destroyed_domain_ends_its_container(host: Host) -> None:
    host.create()
    assert host.runx("start", "c").returncode == 0
    (number,) = host.xen.domains()
    subprocess.run([str(host.xen.directory / "bin" / "xl"), "destroy", str(number)], check=True)
    host.await_status("stopped")


@pytest.mark.parametrize("recovers", [True, False])
def test_an_xl_that_fails_for_a_while(host: Host, recovers: bool) -> None:
    """A failure says nothing about the container: xl is asked again, more and more rarely. KILL does not need its answer."""
    host.supervise_through(patch="from runx.exec.supervisor import vm; vm.LOOK_AGAIN_S = 0.05")
    host.create()
    assert host.runx("start", "c").returncode == 0
    host.xen.fault("list", "libxl: error: cannot get domain info")
    host.xen.shut_down(1)  # xenstored says that some domain ended; xl would say which
    limit = time.monotonic() + 60
    while "asked again" not in (host.log.read_text() if host.log.exists() else ""):
        assert time.monotonic() < limit
        time.sleep(0.01)
    if recovers:
        assert host.state()["status"] == "running"
        (host.xen.directory / "faults" / "list").unlink()
    else:
        time.sleep(0.05 * 2**6 + 1)  # longer than the last interval
        assert host.state()["status"] == "running"
        assert host.runx("kill", "c", "KILL").returncode == 0
    host.await_status("stopped")
    told = [line for line in host.log.read_text().splitlines() if "asked again" in line]
    assert '"level":"warning"' in told[0] and "in 0.05 s: xl list failed with exit status 3: libxl: error: cannot get" in told[0]
    if not recovers:
        assert len(told) == 6 and "in 1.6 s, and at that interval from then on: xl list failed" in told[-1]
    (host.xen.directory / "faults" / "list").unlink(missing_ok=True)


def test_sockets_of_socket_activation_are_not_handed_on(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "2")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    host.create("of-another-program")
    assert "LISTEN_FDS" not in host.log.read_text()
    monkeypatch.delenv("LISTEN_PID")
    host.create("ours")
    told = [json.loads(line) for line in host.log.read_text().splitlines()]
    assert [line["msg"].partition(":")[0] for line in told if line["level"] == "warning"] == ["LISTEN_FDS=2"]
    for container in ("of-another-program", "ours"):
        assert host.runx("delete", "--force", container).returncode == 0


def test_a_kernel_of_the_containers_own(host: Host) -> None:
    """xl gets a copy: the container cannot exchange the file, nor lead outside its root filesystem."""
    (host.bundle / "rootfs/boot").mkdir()
    (host.bundle / "rootfs/boot/k").write_bytes(b"own kernel")
    (host.bundle / "rootfs/link").symlink_to("/boot/k")
    host.config["process"]["env"].append("RUNX_KERNEL=/link")
    host.write_config()
    kernel, seen = host.root / "c/kernel", host.bundle / "seen"
    xl = host.xen.directory / "bin" / "xl"
    xl.write_text(xl.read_text().replace("create)\n", f"create)\n\tcp {kernel} {seen}\n", 1))
    host.create()
    assert seen.read_bytes() == b"own kernel"
    assert not kernel.exists(), "the domain has it, and here it takes memory of dom0"
    assert f'kernel = "{kernel}"' in (host.root / "c/domain.cfg").read_text()
    assert (host.root / "c/initrd").read_bytes().startswith(b"initrd")  # runx's own, with the overlay
    assert host.runx("delete", "--force", "c").returncode == 0
    host.nothing_left()

    (host.bundle / "rootfs/link").unlink()
    (host.bundle / "rootfs/link").symlink_to(host.bundle / "config.json")
    assert host.runx("create", "-b", str(host.bundle), "c").returncode == 1
    assert '"/link" does not exist in the root filesystem' in host.last_error()
    host.nothing_left()


@pytest.mark.parametrize(("kind", "limit_mib"), [("KERNEL", 128), ("RAMDISK", 512)])
def test_a_boot_file_of_the_containers_own_has_a_limit(host: Host, kind: str, limit_mib: int) -> None:
    """Its copy is in the state directory, which is memory of dom0 on most hosts. The file itself may be sparse."""
    with (host.bundle / "rootfs/huge").open("wb") as file:
        file.truncate((limit_mib << 20) + 1)
    host.config["process"]["env"].append(f"RUNX_{kind}=/huge")
    host.write_config()
    assert host.runx("create", "-b", str(host.bundle), "c").returncode == 1
    assert host.last_error() == f"/huge in {host.bundle}/rootfs: larger than {limit_mib} MiB"
    host.nothing_left()


def test_a_ramdisk_of_the_containers_own_takes_no_room_when_the_domain_has_it(host: Host) -> None:
    (host.bundle / "rootfs/ramdisk").write_bytes(b"own ramdisk")
    (host.bundle / "rootfs/link").symlink_to("/ramdisk")
    host.config["process"]["env"].append("RUNX_RAMDISK=link")
    host.write_config()
    ramdisk, seen = host.root / "c/initrd", host.bundle / "seen"
    xl = host.xen.directory / "bin" / "xl"
    xl.write_text(xl.read_text().replace("create)\n", f"create)\n\tcp {ramdisk} {seen}\n", 1))
    host.create()
    assert seen.read_bytes() == b"own ramdisk"
    assert not ramdisk.exists()
    assert host.runx("delete", "--force", "c").returncode == 0
    host.nothing_left()


def test_an_event_that_comes_with_an_answer_is_seen(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the supervisor, for one event, asks xenstored for the console's pty, its domain goes."""
    host.create()
    for _ in range(2):  # ignored by what has not started; the second is served after all events of the beginning
        assert host.runx("kill", "c", "CONT").returncode == 0
    value = host.xen.value

    def destroyed_meanwhile(path: str) -> bytes | None:
        if path.endswith("/console/tty"):
            for domain in (host.xen.directory / "domains").iterdir():
                domain.unlink()
            host.xen.fire("@releaseDomain")
        return value(path)

    monkeypatch.setattr(host.xen, "value", destroyed_meanwhile)
    host.xen.write("/local/domain/1/console/tty", "")
    host.await_status("stopped")


def test_a_terminal_goes_to_the_engine(host: Host, tmp_path: Path) -> None:
    host.config["process"] |= {"terminal": True, "consoleSize": {"height": 33, "width": 101}}  # type: ignore[operator]
    host.write_config()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "console"))
        listener.listen()
        # Its streams are the engine's pipes, and the supervisor must not keep them: run() waits for their end.
        result = host.runx("create", "--bundle", str(host.bundle), "--console-socket", str(tmp_path / "console"), "c")
        assert result.returncode == 0, result.stderr
        connection, _ = listener.accept()
        with connection:
            _, (master,), _, _ = socket.recv_fds(connection, 64, 4)
    with open(master, "r+b", buffering=0) as terminal:
        assert struct.unpack("HHHH", fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8)))[:2] == (33, 101)
        assert host.runx("kill", "c", "KILL").returncode == 0
        with pytest.raises(OSError, match="Input/output error"):
            while terminal.read(100):
                pass
    host.await_status("stopped")
    assert host.runx("delete", "c").returncode == 0
    host.nothing_left()


def test_pausing(host: Host) -> None:
    host.create()
    assert "container not running" in host.runx("pause", "c").stderr
    assert host.runx("start", "c").returncode == 0
    assert "container not paused" in host.runx("resume", "c").stderr
    assert host.runx("pause", "c").returncode == 0
    assert (host.state()["status"], host.xen.calls()[-1]) == ("paused", ["pause", "1"])
    assert host.state()["pid"] != 0
    assert host.runx("resume", "c").returncode == 0
    assert (host.state()["status"], host.xen.calls()[-1]) == ("running", ["unpause", "1"])
    assert host.runx("pause", "c").returncode == 0
    assert host.runx("kill", "c", "KILL").returncode == 0
    host.await_status("stopped")


def test_listing(host: Host) -> None:
    assert host.runx("list").stdout.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert host.runx("list", "--format", "json").stdout == "null\n"
    pid = host.create()
    (container,) = json.loads(host.runx("list", "-f", "json").stdout)
    assert datetime.fromisoformat(container.pop("created")).tzinfo is not None
    assert container == {
        "ociVersion": "1.0.2",
        "id": "c",
        "pid": pid,
        "status": "created",
        "bundle": str(host.bundle),
        "rootfs": str(host.bundle / "rootfs"),
        "annotations": {"org.example.key": 'a "value"'},
        "owner": "root",
    }
    assert host.runx("list", "-q").stdout == "c\n"
    assert host.runx("ps", "--format", "json", "c").stdout == f"[{pid}]\n"
    assert host.runx("ps", "c").stdout == f"PID\n{pid}\n"
    assert "neither table nor json" in host.runx("ps", "--format", "xml", "c").stderr
    os.kill(pid, 9)
    host.await_status("stopped")
    assert host.runx("ps", "c").returncode == 1
    assert host.runx("list").stdout.splitlines()[1].split()[:3] == ["c", "0", "stopped"]


def test_version_as_docker_reads_it(host: Host) -> None:
    first, second = host.runx("--version").stdout.splitlines()
    assert first.startswith("runx version ")
    assert second.startswith("spec: 1.")


@pytest.mark.parametrize("command", FAST_COMMANDS)
def test_fast_commands_import_nothing_heavy(host: Host, command: str) -> None:
    host.create()
    code = host.program.replace("program()", "main(sys.argv[1:]); print('\\n' + ' '.join(sys.modules))")
    argv = [sys.executable, "-I", "-S", "-c", code, "--root", str(host.root), *FAST_COMMANDS[command]]
    result = subprocess.run(argv, env=host.xen.environment(), capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(result.stdout.splitlines()[-1].split())


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")
def test_the_state_root_of_the_host(host: Host, tmp_path: Path) -> None:
    """Every command finds it. Fast commands load what reads TOML only for a file that has the setting."""
    config, state = tmp_path / "runx.toml", tmp_path / "elsewhere"
    config.write_text(f"[paths]\nstate = '{state}'\n")
    code = host.program.replace("from runx.cli.main", f"paths.HOST_CONFIG = {str(config)!r}; from runx.cli.main")
    code = code.replace("program()", "main(sys.argv[1:]); print('\\n' + ' '.join(sys.modules))")

    def runx(*words: str) -> str:
        argv = [sys.executable, "-I", "-S", "-c", code, *words]
        with (tmp_path / "out").open("w+") as out:  # a pipe would stay open in the supervisor
            subprocess.run(argv, env=host.xen.environment(), stdin=subprocess.DEVNULL, stdout=out, check=True, timeout=60)
            out.seek(0)
            return out.read()

    runx("create", "--bundle", str(host.bundle), "c")
    assert (state / "c/plan.json").exists() and not host.root.exists()
    for words in (("state", "c"), ("start", "c"), ("kill", "c", "KILL"), ("list",), ("delete", "--force", "c")):
        output = runx(*words).splitlines()
        assert words[0] != "list" or output[1].split()[0] == "c"
    assert not list(state.iterdir())
    # The directory of the host's default is not this test's.
    config.write_text("[defaults]\nvcpus = 2\n")
    code = code.replace("; from runx.cli.main", f"; paths.DEFAULT_STATE_ROOT = {str(state)!r}; from runx.cli.main")
    runx("create", "--bundle", str(host.bundle), "c")
    for words in (("state", "c"), ("start", "c"), ("kill", "c", "KILL"), ("delete", "--force", "c")):
        output = runx(*words).splitlines()
        assert words[0] == "delete" or not {"tomllib", "re", *HEAVY} & set(output[-1].split())
    config.unlink()
    config.mkdir()
    result = subprocess.run([sys.executable, "-I", "-S", "-c", code, "state", "c"], capture_output=True, text=True)
    assert f"runx: {config}: is a directory" in result.stderr


def test_a_record_of_another_user_is_left_out_of_the_list_and_named(host: Host) -> None:
    host.create()
    os.chown(host.root / "c/record", 12345, 12345)
    listed = host.runx("list", "--quiet")
    assert (listed.returncode, listed.stdout) == (0, "")
    assert "/c/record belongs to another user: left out" in listed.stderr
    os.chown(host.root / "c/record", 0, 0)


@pytest.mark.parametrize("kib", [4, 12, 16, 24])
def test_a_full_state_directory_is_one_line_with_its_path(host: Host, kib: int) -> None:
    """Whichever file is the first that has no room."""
    if os.geteuid():
        pytest.skip("mounts need root")
    host.root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=755,size={kib}k", "tmpfs", host.root], check=True)
    try:
        with pytest.raises(AssertionError) as caught:
            host.create()
        error, hint = str(caught.value).splitlines()[:2]
        assert f"{host.root}" in error and error.endswith(": no space left on device")
        directory = hint.partition("free some space there (df ")[2].partition(")")[0]
        assert os.path.isdir(directory), "what could not be made is gone"
        assert "internal error" not in str(caught.value)
    finally:
        subprocess.run(["umount", host.root], check=True)


def test_a_failed_create_leaves_no_state_root(host: Host, tmp_path: Path) -> None:
    host.root = tmp_path / "new/root"
    host.config["process"]["cwd"] = "relative"  # type: ignore[index]
    host.write_config()
    assert host.runx("create", "--bundle", str(host.bundle), "c").returncode == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("", "/runx.toml:2: paths.initrd: {}: no such file\n"),
        ("directory", "/runx.toml:2: paths.initrd: {}: not a file\n"),
        ("text", "/runx.toml:2: paths.initrd: {} is no ramdisk that ./build has made\n"),
    ],
)
def test_a_wrong_ramdisk_of_the_host_is_blamed_on_its_setting(host: Host, tmp_path: Path, file: str, said: str) -> None:
    named = tmp_path / "ramdisk"
    if file == "directory":
        named.mkdir()
    elif file:
        named.write_text(file)
    config = tmp_path / "runx.toml"
    config.write_text(f'[paths]\ninitrd = "{named}"\n')
    host.program = host.program.replace(
        "from runx import paths;", f"from runx import paths; paths.HOST_CONFIG = {str(config)!r};"
    )
    result = host.runx("create", "--bundle", str(host.bundle), "c")
    assert said.format(named) in result.stderr


def test_signal_0_asks_whether_a_container_runs(host: Host) -> None:
    """As kill(2), and as runc does it."""
    host.create()
    assert host.runx("kill", "c", "0").returncode == 0
    assert host.runx("kill", "c", "KILL").returncode == 0
    host.await_status("stopped")
    assert host.runx("kill", "c", "0").stderr == "runx: container not running\n"


@pytest.mark.parametrize(
    ("word", "number"), [("9", 9), ("KILL", 9), ("SIGTERM", 15), ("sigusr1", 10), ("RTMIN", 34), ("RTMAX-1", 63)]
)
def test_signal_names(word: str, number: int) -> None:
    import signal

    from runx.exec.commands.kill import number_of

    assert number_of(word) == number
    for member in signal.Signals:
        assert number_of(member.name) == member


@pytest.mark.parametrize("word", ["65", "9" * 5000, "RTMIN+" + "9" * 5000, "RTMIN+\u0663", "RTMIN-1", "SIG", "SIG_DFL"])
def test_what_is_no_signal(word: str) -> None:
    from runx.errors import RunxError
    from runx.exec.commands.kill import number_of

    with pytest.raises(RunxError, match="unknown signal"):
        number_of(word)


def test_paths_are_found_from_the_package() -> None:
    assert Path(paths.LIBRARY_DIR, "runx", "paths.py").exists()


def test_delete_of_what_was_never_started(host: Host) -> None:
    host.create()
    assert host.runx("delete", "c").returncode == 0
    host.nothing_left()


def test_delete_by_a_regular_expression(host: Host) -> None:
    for name in ("test-1", "test-2", "other"):
        host.create(name)
    assert "is not a regular expression" in host.runx("delete", "--regex", "test[").stderr
    assert host.runx("delete", "--force", "--regex", "test-.").returncode == 0
    assert host.runx("list", "-q").stdout == "other\n"
    assert host.runx("delete", "other").returncode == 0
    host.nothing_left()


def test_a_configuration_of_another_name(host: Host) -> None:
    """From the bundle, as for crun."""
    (host.bundle / "sub").mkdir()
    (host.bundle / "config.json").rename(host.bundle / "sub" / "other.json")
    words = ["create", "--bundle", str(host.bundle)]
    assert "config.json" in host.runx(*words, "c").stderr
    with host.popen("--cgroup-manager", "cgroupfs", *words, "--config", "sub/other.json", "c") as create:
        assert create.wait(timeout=60) == 0
    assert "is none of cgroupfs, systemd, disabled" in host.runx("--cgroup-manager", "none", *words, "d").stderr


def test_somebody_else_destroys_the_domain_first(host: Host) -> None:
    """xl fails then, in words that change; the domain has gone all the same."""
    host.create()
    assert host.runx("start", "c").returncode == 0
    (host.xen.directory / "bin" / "real").write_text((host.xen.directory / "bin" / "xl").read_text())
    (host.xen.directory / "bin" / "xl").write_text(
        '#!/bin/sh\nsh "${0%/*}/real" "$@" || exit\n[ "$1" != destroy ] || { echo "Unable to destroy guest" >&2; exit 1; }\n'
    )
    assert host.runx("kill", "c", "KILL").returncode == 0
    host.await_status("stopped")
    assert host.runx("delete", "c").returncode == 0
    host.nothing_left()
