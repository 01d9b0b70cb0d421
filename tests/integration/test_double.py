"""The double itself, and runx on it: the guest's real ramdisk and PID 1 run, with a console over a ring and an event channel."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runx.exec.supervisor import boot
from runxtools.checkout import CHECKOUT
from runxtools.double.host import LOCAL, Double
from runxtools.testing.bundles import LIMIT_S, Bundle
from runxtools.testing.containers import until

ASSETS = f"{LOCAL}/share/runx/{os.uname().machine}"
CONFIG = """\
name = "by-hand"
type = "pv"
kernel = "{assets}/kernel"
ramdisk = "{assets}/initrd"
memory = 64
vcpus = 1
"""


@pytest.fixture
def bundle(double: Double, tmp_path: Path) -> Iterator[Bundle]:
    # Users of the container must be able to enter pytest's folders.
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    bundle = Bundle(double, tmp_path)
    yield bundle
    bundle.runx("delete", "--force", "c")
    assert domains(double) == []
    assert os.listdir(double.directory / "domains") == []
    nodes = double.run(["xenstore-ls", "-f"], check=True).stdout.decode()
    assert "/vm/" not in nodes
    assert "frontend" not in nodes
    assert "runx_9pfs" not in nodes
    assert double.run(["find", "/sys/fs/cgroup/domains", "-mindepth", "1", "-type", "d"], check=True).stdout == b""


def domains(double: Double) -> list[str]:
    """Name and state of all domains but dom0."""
    lines = double.run(["xl", "list"], check=True).stdout.decode().splitlines()
    return [f"{line.split()[0]} {line.split()[4]}" for line in lines[2:]]


def test_a_container(bundle: Bundle) -> None:
    result = bundle.sh("echo to stdout; echo to stderr >&2; cat; exit 7", stdin=b"input\n")
    assert (result.stdout, result.stderr, result.returncode) == (b"to stdout\ninput\n", b"to stderr\n", 7)


def test_it_is_a_machine_of_its_own(bundle: Bundle) -> None:
    """Its own processes, names, network, mounts; the ramdisk and dom0 are out of reach."""
    bundle.config["hostname"] = "inside"
    script = "echo $$; hostname; ls /sys/class/net; nproc; cut -d' ' -f2 /proc/self/mounts; ls /dev"
    result = bundle.sh(script)
    assert result.returncode == 0, result.stderr
    words = result.stdout.decode().split()
    assert words[:4] == ["1", "inside", "lo", "1"]
    assert "/proc" in words
    assert "/tmp" not in words
    assert not {"hvc0", "hvc1", "vda"} & set(words)
    assert os.uname().nodename != "inside"


def test_a_large_output_arrives_whole(bundle: Bundle) -> None:
    result = bundle.sh("dd if=/dev/urandom of=/tmp/data bs=64k count=128 2>/dev/null; md5sum < /tmp/data >&2; cat /tmp/data")
    assert result.returncode == 0
    assert len(result.stdout) == 8 << 20
    assert hashlib.md5(result.stdout, usedforsecurity=False).hexdigest() == result.stderr.decode().split()[0]


def test_read_only_mounts_are_the_hosts_to_keep(bundle: Bundle) -> None:
    """A guest that is all powerful cannot write to them; below other binds, and in files, neither."""
    for name in ("ro", "ro/below", "rw"):
        (bundle.directory / name).mkdir()
    (bundle.directory / "ro/file").write_text("kept\n")
    mounts = [("ro", "/ro", ["rbind", "ro"]), ("rw", "/rw", ["rbind", "rw"]), ("ro/file", "/etc/one", ["bind", "ro"])]
    bundle.config["mounts"] += [
        {"type": "bind", "source": str(bundle.directory / source), "destination": to, "options": options}
        for source, to, options in mounts
    ]
    for kind in ("bounding", "effective", "permitted"):
        bundle.config["process"]["capabilities"][kind].append("CAP_SYS_ADMIN")
    script = """
        cat /ro/file /etc/one
        for i in /ro/file /etc/one /ro/below/new; do
            point=${i%/file}; point=${point%/below/new}
            mount -o remount,rw $point; mount -o remount,bind,rw $point
            echo changed > $i || echo refused
        done
        echo written > /rw/new
    """
    result = bundle.sh(script)
    assert result.stdout == b"kept\nkept\n" + 3 * b"refused\n", result.stderr
    assert (bundle.directory / "ro/file").read_text() == "kept\n"
    assert (bundle.directory / "rw/new").read_text() == "written\n"
    assert os.listdir(bundle.directory / "ro/below") == []


def test_start_hooks_run_in_the_guest(bundle: Bundle) -> None:
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "cat > /told; echo $HOME > /variable; hostname > /name"], "env": ["HOME=own"]}
    bundle.config["hooks"] = {"startContainer": [hook]}
    bundle.config["hostname"] = "inside"
    result = bundle.sh("cat /told /variable /name; exit 3")
    assert result.returncode == 3, result.stderr
    told, *rest = result.stdout.decode().splitlines()
    state = json.loads(told)
    assert (state["id"], state["status"], state["pid"], state["bundle"]) == ("c", "created", 1, str(bundle.directory))
    assert rest == ["own", "inside"]


def test_a_start_hook_that_fails(bundle: Bundle) -> None:
    bundle.config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo no licence >&2; exit 4"]}]}
    result = bundle.sh("touch /the-process-ran")
    assert result.returncode == 125
    message = "hooks.startContainer[0] (/bin/sh) failed with exit status 4: no licence"
    assert message in result.stderr.decode() and message in (bundle.directory / "log").read_text()
    assert not (bundle.directory / "rootfs/the-process-ran").exists()


def test_pausing_stops_the_guest(bundle: Bundle, double: Double) -> None:
    process = bundle.popen("echo ready; while read line; do echo $line; done")
    assert process.stdin is not None
    assert process.stdout is not None
    bundle.runx("pause", "c", check=True)
    assert domains(double)[0].endswith(" --p---")
    (group,) = double.run(["sh", "-c", "cat /sys/fs/cgroup/domains/*/cgroup.events"], check=True).stdout.split(b"\n\n")
    assert b"frozen 1" in group
    process.stdin.write(b"late\n")
    process.stdin.flush()
    bundle.runx("resume", "c", check=True)
    assert process.stdout.readline() == b"late\n"
    process.communicate()
    assert process.returncode == 0


@pytest.mark.parametrize(("word", "seen"), [("shared", "shared"), ("unbindable", "unbindable"), ("slave", ""), ("private", "")])
def test_propagation_of_the_root(bundle: Bundle, word: str, seen: str) -> None:
    bundle.config["linux"]["rootfsPropagation"] = word
    bundle.config["linux"]["readonlyPaths"] = ["/etc"]  # bound onto itself, which an unbindable root does not allow
    result = bundle.sh("while read -r _ _ _ _ point _ tag _; do [ $point != / ] || echo ${tag%:*}; done < /proc/self/mountinfo")
    assert result.stdout.decode().split() == [seen or "-"], result.stderr


def test_signals_are_those_of_a_first_process(bundle: Bundle) -> None:
    """Without a handler they do nothing; KILL, which engines send when their time is over, ends it."""
    process = bundle.popen("echo ready; exec cat")
    for word in ("HUP", "USR1", "TERM", "INT"):
        bundle.runx("kill", "c", word, check=True)
    assert json.loads(bundle.runx("state", "c").stdout)["status"] == "running"
    assert process.stdin
    process.stdin.write(b"lives\n")
    process.stdin.flush()
    assert process.stdout
    assert process.stdout.readline() == b"lives\n"
    bundle.runx("kill", "c", "KILL", check=True)
    process.communicate()
    assert process.returncode == 137


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_a_user_opens_the_standard_streams(bundle: Bundle, stream: str) -> None:
    bundle.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    script = "cat /dev/stdin" if stream == "stdin" else f"echo text > /dev/{stream}"
    result = bundle.sh(script, stdin=b"text\n")
    assert (result.returncode, result.stderr if stream == "stderr" else result.stdout) == (0, b"text\n"), result


def test_input_that_is_the_null_device(bundle: Bundle) -> None:
    bundle.write("/bin/sh", "-c", "readlink /proc/self/fd/0; cat")
    result = bundle.host.run(["sh", "-c", 'exec "$@" < /dev/null', "sh", *bundle.argv("run", "c")])
    assert (result.returncode, result.stdout) == (0, b"/dev/null\n")


def test_xl_shutdown_ends_the_process_as_a_signal(bundle: Bundle, double: Double) -> None:
    process = bundle.popen("trap 'echo asked; exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    (name,) = (line.split()[0] for line in domains(double))
    double.run(["xl", "shutdown", name], check=True)
    assert process.communicate()[0] == b"asked\n"
    assert process.returncode == 3


def test_a_domain_destroyed_by_hand(bundle: Bundle, double: Double) -> None:
    process = bundle.popen("echo ready; exec sleep 1000")
    (name,) = (line.split()[0] for line in domains(double))
    double.run(["xl", "destroy", name], check=True)
    process.communicate()
    assert process.returncode == 137


def said(bundle: Bundle) -> str:
    """The log of the container, without what it says of a host that lacks controllers of control groups, and of the type."""
    log = bundle.directory / "log"
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    of_the_host = ("the controller is not enabled there", "the virtual machine is of type")
    return "".join(line for line in lines if not any(words in line for words in of_the_host))


@pytest.mark.parametrize("status", ["running", "paused"])
@pytest.mark.parametrize("words", [("kill", "c", "KILL"), ("delete", "--force", "c")], ids=lambda words: words[0])
def test_kill_has_the_guest_end_in_order(bundle: Bundle, status: str, words: tuple[str, ...]) -> None:
    process = bundle.popen("trap '' TERM; (trap '' TERM; sleep 1000) & echo ready; cat")
    if status == "paused":
        bundle.runx("pause", "c", check=True)
    bundle.runx(*words, check=True)
    process.communicate()
    assert (process.returncode, said(bundle)) == (137, "")


def test_a_guest_that_does_not_answer_kill_is_destroyed(bundle: Bundle, double: Double) -> None:
    process = bundle.popen("echo ready; cat")
    ((name, _),) = (line.split() for line in domains(double))
    double.run(["xl", "pause", name], check=True)  # runx does not know of it
    bundle.runx("kill", "c", "KILL", check=True)
    process.communicate()
    assert process.returncode == 137
    assert "the guest did not answer KILL within 1 s, and is destroyed" in said(bundle)


def test_kill_does_not_need_the_supervisor(bundle: Bundle, double: Double) -> None:
    """It hangs, and sees later that the domain has gone."""
    process = bundle.popen("echo ready; cat")
    pid = str(json.loads(bundle.runx("state", "c").stdout)["pid"])
    double.run(["kill", "-STOP", pid], check=True)
    bundle.runx("kill", "c", "KILL", check=True)
    assert domains(double) == []
    double.run(["kill", "-CONT", pid], check=True)
    process.communicate()
    assert process.returncode == 137


def test_the_domain_of_a_supervisor_that_is_killed_ends_with_the_next_command(bundle: Bundle, double: Double) -> None:
    bundle.write("/bin/sleep", "1000")
    silent = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    assert double.popen(bundle.argv("create", "c"), **silent).wait(LIMIT_S) == 0
    bundle.runx("start", "c", check=True)
    pid = json.loads(bundle.runx("state", "c").stdout)["pid"]
    double.run(["kill", "-KILL", str(pid)], check=True)
    assert domains(double) != []
    bundle.await_stopped()
    assert domains(double) == []
    bundle.runx("delete", "c", check=True)


def test_a_server_of_shares_that_is_killed_ends_the_container(bundle: Bundle, double: Double) -> None:
    """At once, with the reason."""
    volume = bundle.directory / "volume"
    volume.mkdir()
    bundle.config["mounts"].append({"destination": "/data", "type": "bind", "source": str(volume), "options": ["rbind"]})
    process = bundle.popen("echo ready; while :; do date > /data/time; sleep 0.1; done")
    domid = double.run(["xl", "domid", domains(double)[0].split()[0]], check=True).stdout.decode().strip()
    server = double.run(["xenstore-read", f"/local/domain/0/backend/runx_9pfs/{domid}/0/server"], check=True).stdout.decode()
    double.run(["kill", "-KILL", server.strip()], check=True)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 255
    assert b"the server of the container's shares has ended: signal 9" in errors
    assert domains(double) == []


# ---- faults on demand


@pytest.fixture
def fault(double: Double) -> Iterator[Callable[..., None]]:
    ordered = []

    def order(name: str, words: str = "") -> None:
        double.fault(name, words)
        ordered.append(name)

    yield order
    for name in ordered:
        double.no_fault(name)


def test_create_fails(bundle: Bundle, fault: Callable[..., None]) -> None:
    fault("create-fails", "libxl: error: words of xl")
    result = bundle.sh("true")
    assert result.returncode == 1
    assert b"xl create failed with exit status 3: libxl: error: words of xl" in result.stderr


def test_a_domain_that_dies_at_boot(bundle: Bundle, fault: Callable[..., None]) -> None:
    fault("dies-at-boot")
    result = bundle.sh("true")
    assert result.returncode == 255
    assert b"the virtual machine ended (crashed) before its process did" in result.stderr


def test_a_console_that_never_comes_is_ended_by_kill(bundle: Bundle, double: Double, fault: Callable[..., None]) -> None:
    fault("no-console")
    bundle.write("/bin/true")
    process = double.popen(bundle.argv("run", "c"), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    until(lambda: any("-b-" in line for line in domains(double)))
    bundle.runx("kill", "c", "KILL", check=True)
    process.communicate()
    assert process.returncode == 137


def test_a_share_that_does_not_come_up(bundle: Bundle, fault: Callable[..., None]) -> None:
    """The guest's kernel would wait for it for five minutes, and say nothing."""
    fault("devices-hang")
    begin = time.monotonic()
    result = bundle.sh("true")
    assert time.monotonic() - begin < boot.LIMIT_S + 15
    assert result.returncode == 125
    said = result.stderr.decode()
    first = "runx: the share root of the virtual machine has not come up within 30 s; the guest's driver has not answered"
    assert said.startswith(first) and said.endswith("its console said last:\nXENBUS: Timeout connecting to devices\n"), said


def test_create_hangs(bundle: Bundle, double: Double, fault: Callable[..., None]) -> None:
    fault("create-hangs")
    bundle.write("/bin/true")
    with double.popen(bundle.argv("create", "c"), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        hung = double.directory / "hung"
        until(hung.exists)
        double.run(["kill", "-TERM", hung.read_text()], check=True)
        hung.unlink()
        assert process.stderr is not None
        assert b"xl create was ended by signal 15" in process.stderr.read()
        assert process.wait(LIMIT_S) == 1


# ---- the clock, which is this machine's


def test_a_guest_whose_clock_is_right_is_told_nothing(bundle: Bundle) -> None:
    process = bundle.popen("echo ready; read x")
    for command in ("pause", "resume") * 3:
        bundle.runx(command, "c", check=True)
    process.communicate(b"\n", timeout=LIMIT_S)
    assert process.returncode == 0
    assert b"clock" not in (bundle.directory / "log").read_bytes()


def test_no_guest_sets_the_clock_of_this_machine(bundle: Bundle, fault: Callable[..., None]) -> None:
    """Whatever the host asks for, and whatever the process may: adjtimex -q only reads, by the call that also sets."""
    fault("clock-ahead", "1000")
    process = bundle.config["process"]
    process["capabilities"] = {kind: ["CAP_SYS_TIME"] for kind in ("bounding", "effective", "permitted")}
    before = time.time() - time.monotonic()
    result = bundle.sh("adjtimex -q && echo read it; sleep 1; date +%s")
    after = time.time() - time.monotonic()
    assert abs(after - before) < 1
    assert abs(int(result.stdout) - time.time()) < LIMIT_S, "and not some 1000 s"
    assert b"not permitted" in result.stderr
    log = (bundle.directory / "log").read_text()
    said = re.search(r"guest's clock was off by (-[0-9.]+) s", log)
    assert said and abs(float(said[1]) + 1000) < 1, log


def test_a_clock_that_is_to_be_left_alone_is_not_asked_for(bundle: Bundle, fault: Callable[..., None]) -> None:
    fault("clock-ahead", "1000")
    bundle.config.setdefault("annotations", {})["org.runx.sync_clock"] = "false"
    result = bundle.sh("sleep 1")
    assert result.returncode == 0, result
    assert "clock" not in (bundle.directory / "log").read_text()


# ---- xl as its users meet it


def test_what_xl_says(double: Double, tmp_path: Path) -> None:
    def xl(*words: str) -> tuple[int, str]:
        result = double.run(["xl", *words])
        return result.returncode, (result.stdout + result.stderr).decode()

    config = tmp_path / "domain.cfg"
    config.write_text("name = 'unfinished\n")
    status, words = xl("create", str(config))
    assert status == 1
    assert f"{config}:1: config parsing error" in words
    config.write_text(CONFIG.format(assets=ASSETS))
    assert xl("create", "-p", "-e", "-q", str(config)) == (0, "")
    status, words = xl("create", "-p", str(config))
    assert status != 0
    assert 'Domain with name "by-hand" already exists.' in words
    domid = xl("domid", "by-hand")[1].strip()
    assert xl("domname", domid) == (0, "by-hand\n")
    assert xl("list", domid)[1].splitlines()[1].split()[:5] == ["by-hand", domid, "64", "1", "--p---"]
    assert json.loads(xl("list", "-l", domid)[1])[0]["config"]["c_info"]["name"] == "by-hand"
    assert xl("mem-set", "by-hand", "128m") == (0, "")
    assert xl("sched-credit2", "-d", "by-hand", "-w", "512", "-c", "50") == (0, "")
    assert xl("sched-credit2", "-d", "by-hand")[1].splitlines()[1].split() == ["by-hand", domid, "512", "50"]
    assert xl("list", domid)[1].splitlines()[1].split()[2] == "128"
    assert xl("destroy", "by-hand") == (0, "")
    assert xl("destroy", "by-hand") == (1, "by-hand is an invalid domain identifier (rc=-6)\n")
    assert xl("domid", "by-hand") == (1, "Can't get domid of domain name 'by-hand', maybe this domain does not exist.\n")
    assert xl("list", domid) == (1, f"Error: Domain '{domid}' does not exist.\n")
    config.write_text(CONFIG.format(assets=ASSETS).replace("64", "99999999"))
    status, said = xl("create", str(config))
    assert (status, "xc_dom_boot_mem_init: can't allocate low memory" in said) == (3, True)


# ---- tools/xl-double


@pytest.mark.parametrize("how", ["ends", "is killed"])
def test_nothing_is_left(tmp_path: Path, how: str) -> None:
    """Whatever was started there, in whatever way it ends."""
    state = tmp_path / "double"
    config = CONFIG.format(assets=ASSETS)
    mark = f"{1000 + os.getpid()}.5"
    script = (
        f"printf '%s' '{config}' > {tmp_path}/cfg; xl create -e {tmp_path}/cfg; (sleep {mark} &); echo ready; read line; exit 5"
    )
    argv = [sys.executable, "-m", "runxtools.double.host", "--state", str(state), "--", "sh", "-c", script]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT / "tools")}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        words = f"sleep\0{mark}\0"
        until(lambda: words in commands())  # `ready` may come before its execve
        if how == "ends":
            process.communicate(b"go\n")
            assert process.returncode == 5
            assert not state.exists()
        else:
            process.send_signal(signal.SIGKILL)
            process.wait()
    until(lambda: words not in commands() and str(state) not in "".join(commands()))
    assert str(state) not in Path("/proc/self/mounts").read_text()


def commands() -> list[str]:
    """The command lines of all processes of this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text(errors="replace"))
        except OSError:
            continue  # it ended meanwhile
    return found


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "runxtools.double.host", "--state", str(tmp_path / "no/such"), "--", "true"]
    result = subprocess.run(argv, env=os.environ | {"PYTHONPATH": str(CHECKOUT / "tools")}, capture_output=True, text=True)
    assert result.returncode == 125
    assert "xl-double: " in result.stderr
