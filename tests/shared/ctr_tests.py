"""containerd's ctr with runx: containers are Xen virtual machines, and behave as those of runc.

Modules of the lab and of the double import these tests; their conftest.py has the fixture `host`.
"""

import json
import random
import re
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from exec_setting import may_exec  # noqa: F401  # a fixture
from runxtools import ociimage
from runxtools.machine import Machine
from runxtools.testing.containers import LIMIT_S, REACH, RUNX, Running, command, new_id, run, sh, until

AWKWARD = [
    "",
    "two  spaces",
    "a\nb\n",
    "$HOME `id` $(id)",
    "a=b=c",
    "'single' \"double\" \\back\\slash",
    "*?[a-z]~",
    "ünïcödé 🎉",
    "-x",
    "\t",
    "%s%n",
    "#",
]


def test_output_and_errors_come_apart(host: Machine) -> None:
    result = sh(host, "echo to stdout; echo to stderr >&2; exit 3")
    assert (result.stdout, result.stderr, result.returncode) == (b"to stdout\n", b"to stderr\n", 3)


@pytest.mark.parametrize("status", [0, 255])
def test_exit_status(host: Machine, status: int) -> None:
    assert sh(host, f"exit {status}").returncode == status


def test_input_comes_back_byte_for_byte_with_its_end(host: Machine) -> None:
    data = random.Random(1).randbytes(200_000)
    result = run(host, ["/bin/cat"], stdin=data)
    assert result.returncode == 0, result.stderr
    assert result.stdout == data


STOPPED_READER = """
    errors=$1; shift
    { "$@" 2> "$errors"; echo "status $?" >> "$errors"; } | {
        until grep -q -e stalled -e status "$errors"; do sleep 1; done
        md5sum
    }
    cat "$errors"
"""
"""Runs in dom0: a command whose output is not read until its standard error says that it cannot continue. ssh would not do: its
channels hold 2 MiB, and an unread stream stops the other one."""


def test_a_reader_that_stops_loses_nothing_and_stalls_the_writer_alone(host: Machine, scratch: str) -> None:
    script = """
        dd if=/dev/urandom of=/tmp/data bs=64k count=32 2>/dev/null
        md5sum < /tmp/data >&2
        cat < /tmp/data &
        at=0
        while kill -0 $! && read -r _ now < /proc/$!/fdinfo/0; do
            [ "$now" = "$at" ] && [ "$now" != 0 ] && echo stalled >&2 && break
            at=$now
            sleep 2
        done
        wait
    """
    argv = ["sh", "-c", STOPPED_READER, "sh", f"{scratch}/errors", *command(["/bin/sh", "-c", script])]
    result = host.run(argv, timeout=LIMIT_S)
    received, expected, *rest = result.stdout.splitlines()
    assert rest == [b"stalled", b"status 0"], result
    assert received == expected


def test_arguments_are_exact(host: Machine) -> None:
    result = sh(host, "cat /proc/$$/cmdline; :", *AWKWARD)
    assert result.returncode == 0, result.stderr
    assert [word.decode() for word in result.stdout.split(b"\0")[:-1]] == [
        "/bin/sh",
        "-c",
        "cat /proc/$$/cmdline; :",
        "sh",
        *AWKWARD,
    ]


@pytest.fixture
def user_image(host: Machine, scratch: str, tmp_path: Path) -> Iterator[str]:
    """The test image with the user `user` of /etc/passwd, for which this ctr has no option."""
    name = "localhost/runx-test-user:latest"
    host.get("/bin/busybox", tmp_path / "busybox")
    ociimage.write(tmp_path / "image.tar", tmp_path / "busybox", name, "user")
    host.put(tmp_path / "image.tar", f"{scratch}/image.tar")
    host.run(["ctr", "image", "import", f"{scratch}/image.tar"], check=True, timeout=LIMIT_S)
    yield name
    host.run(["ctr", "image", "rm", "--sync", name], check=True, timeout=LIMIT_S)


def test_environment_directory_and_user_are_exact(host: Machine, user_image: str) -> None:
    options = [word for n, value in enumerate(AWKWARD) for word in ("--env", f"V{n}={value}")]
    script = (
        'cat /proc/$$/environ; printf "\\0"; pwd; id -u; id -g; touch made; stat -c "%u %g" made; grep Groups: /proc/self/status'
    )
    result = sh(host, script, options=[*options, "--cwd", "/var/tmp"], image=user_image)
    assert result.returncode == 0, result.stderr
    environment, _, rest = result.stdout.partition(b"\0\0")
    variables = dict(word.decode().split("=", 1) for word in environment.split(b"\0"))
    version = host.run(["ctr", "--version"], check=True).stdout.split()[-1]
    # ctr of containerd 2 takes blanks off the ends of its options' values.
    given = [value.strip() for value in AWKWARD] if int(version.lstrip(b"v").partition(b".")[0]) >= 2 else AWKWARD
    assert [variables[f"V{n}"] for n in range(len(AWKWARD))] == given
    assert variables["PATH"] == "/bin:/usr/bin"
    assert variables["HOME"] == "/home/user"
    assert rest.decode().split() == ["/var/tmp", "1000", "1000", "1000", "1000", "Groups:", "50", "1000"]


def test_a_read_only_bind_stays_read_only(host: Machine, scratch: str) -> None:
    host.run(["sh", "-c", f"mkdir {scratch}/ro {scratch}/rw; echo kept > {scratch}/ro/file; chmod 777 {scratch}/rw"], check=True)
    script = """
        cat /ro/file
        echo changed > /ro/file || echo refused
        mount -o remount,rw /ro; mount -o remount,bind,rw /ro
        echo changed > /ro/file || echo refused again
        echo written > /rw/new
        cp /bin/busybox /rw/program; /rw/program true || echo not executable
    """
    options = ["--privileged"]
    for where, words in (("ro", "rbind:ro"), ("rw", "bind:rw:noexec")):
        options += ["--mount", f"type=bind,src={scratch}/{where},dst=/{where},options={words}"]
    result = sh(host, script, options=options)
    assert result.stdout.decode().split("\n")[:4] == ["kept", "refused", "refused again", "not executable"], result.stderr
    assert host.run(["cat", f"{scratch}/ro/file", f"{scratch}/rw/new"]).stdout == b"kept\nwritten\n"


def test_a_single_file_is_bound(host: Machine, scratch: str) -> None:
    options = ["--mount", f"type=bind,src={scratch}/plain,dst=/etc/bound,options=rbind:ro"]
    host.run(["sh", "-c", f"echo one file > {scratch}/plain"], check=True)
    result = sh(host, "cat /etc/bound", options=options)
    assert (result.stdout, result.returncode) == (b"one file\n", 0), result.stderr


def test_sigterm_reaches_a_trap(host: Machine) -> None:
    container = Running(host, "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.1; done")
    container.kill("SIGTERM")
    assert container.end()[:2] == (7, b"caught\n")


def test_signals_without_a_handler_do_nothing(host: Machine) -> None:
    """The process is PID 1 of its namespace, as under runc."""
    container = Running(host, "echo ready; exec cat")
    for name in ("SIGTERM", "SIGHUP", "SIGUSR1"):
        container.kill(name)
    assert container.end(b"alive")[:2] == (0, b"alive")


def test_what_a_user_has(host: Machine, user_image: str) -> None:
    """Its standard streams, and as many processes as there can be in the smallest machine."""
    script = "read line < /dev/stdin; echo $line > /dev/stdout; echo error > /dev/stderr; [ $(ulimit -u) -ge 32768 ] && echo many"
    result = sh(host, script, stdin=b"input\n", options=["--memory-limit", "67108864"], image=user_image)
    assert (result.stdout, result.stderr) == (b"input\nmany\n", b"error\n")


def test_death_by_sigkill_is_137(host: Machine) -> None:
    container = Running(host, "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    container.kill("SIGKILL")
    assert container.end()[:2] == (137, b"")


def test_a_child_that_dies_by_a_signal_is_seen_by_its_shell(host: Machine) -> None:
    assert sh(host, "sh -c 'kill -TERM $$'; echo $?; sh -c 'kill -KILL $$'; echo $?").stdout == b"143\n137\n"


def test_a_missing_executable_is_an_error_of_create(host: Machine) -> None:
    """With runc's words. What is below a mount is found missing by the guest, which ends with 127."""
    result = run(host, ["/no/such/program"])
    assert result.returncode
    assert b'exec: "/no/such/program": stat /no/such/program: no such file or directory' in result.stderr
    result = run(host, ["no-such-word"])
    assert result.returncode
    assert b'exec: "no-such-word": executable file not found in $PATH' in result.stderr
    result = run(host, ["/dev/no-such-word"])
    assert result.returncode == 127
    assert b"/dev/no-such-word" in result.stderr


def test_five_at_once(host: Machine) -> None:
    def one(number: int) -> tuple[int, bytes]:
        result = sh(host, f"read line; echo {number} $line; exit {number}", stdin=b"input %d\n" % number)
        return result.returncode, result.stdout

    with ThreadPoolExecutor(5) as pool:
        results = list(pool.map(one, range(5)))
    assert results == [(n, b"%d input %d\n" % (n, n)) for n in range(5)]


CALL = """
import socket, sys
with socket.socket(socket.AF_UNIX) as caller:
    caller.settimeout(30)
    try:
        caller.connect(sys.argv[1].removeprefix("unix://"))
        caller.send(b"?")
        print(caller.recv(1))
    except ConnectionRefusedError:
        print("nobody listens")
"""


def test_a_shim_that_is_killed_leaves_nothing(host: Machine, scratch: str) -> None:
    """Nor does anybody keep the socket at which it listened: its callers would wait for ever."""
    container = Running(host, "echo ready; read line", ["--mount", f"type=bind,src={scratch},dst=/data,options=rbind:rw"])
    # Its directory is that of the container's bundle, where it leaves its address, in one of two files.
    find = """
        shim=$(pgrep -f "containerd-shim-runc-v2 .*-id $0 ")
        grep -hos 'unix://[^"]*' /proc/$shim/cwd/address /proc/$shim/cwd/bootstrap.json | head -n 1
        echo $shim
    """
    address, shim = host.run(["sh", "-c", find, container.id], check=True).stdout.decode().split()
    host.run(["kill", "-KILL", shim], check=True)
    assert host.run(["python3", "-c", CALL, address], check=True).stdout == b"nobody listens\n"
    container.end()
    until(lambda: container.id not in host.run(["xl", "list"], check=True).stdout.decode())
    until(lambda: host.run(["pgrep", "-f", f"[/]{container.id}"]).returncode)
    assert b"runx_9pfs" not in host.run(["xenstore-ls", "-f"], check=True).stdout
    # containerd gives up what it does for a dead shim after 5 s, which are few in an emulated machine.
    tidy = f"""
        ctr container delete $0 || :
        {RUNX} --root /run/containerd/runc/default delete --force $0
        ! umount /run/containerd/io.containerd.runtime.v2.task/default/$0/rootfs || echo unmounted
    """
    host.run(["sh", "-c", tidy, container.id], check=True, timeout=LIMIT_S)


def test_what_is_not_supported_is_an_error_that_says_so(host: Machine) -> None:
    for options, words in ((["--net-host"], b"network"), (["--env", "NETCONF=/etc/cni/net.d/x,x"], b"NETCONF")):
        result = sh(host, "true", options=options)
        assert result.returncode != 0
        assert words in result.stderr, result.stderr


def test_the_hosts_kernel_is_not_shared(host: Machine) -> None:
    """As by `-v /:/host`: proc and sysfs of dom0 are not among the mounts below. A container has its own."""
    everything = ["--mount", "type=bind,src=/,dst=/host,options=rbind:ro"]
    script = "ls -A /host/proc /host/sys; test -e /host/etc/passwd && cat /proc/self/comm"
    result = sh(host, script, options=everything)
    assert (result.returncode, result.stdout) == (0, b"/host/proc:\n\n/host/sys:\ncat\n"), result
    result = sh(host, "true", options=["--mount", "type=bind,src=/proc/sys,dst=/mnt,options=rbind:ro"])
    assert result.returncode != 0
    assert b"/proc/sys is on a proc of the host's kernel, which no virtual machine gets" in result.stderr


def test_bad_input_leaves_nothing(host: Machine, scratch: str) -> None:
    """A refused bundle gives one message with its place, also in the log, and no state."""
    log = f"{scratch}/log"
    base = [RUNX, "--root", f"{scratch}/root", "--log", log, "--log-format", "json"]
    result = host.run([*base, "create", "--bundle", f"{scratch}/none", new_id()])
    assert result.returncode == 1
    assert b"none" in result.stderr
    host.run(["sh", "-c", f"mkdir -p {scratch}/b/rootfs; echo '{{\"ociVersion\": 3}}' > {scratch}/b/config.json"], check=True)
    result = host.run([*base, "create", "--bundle", f"{scratch}/b", new_id()])
    assert result.returncode == 1
    assert b"config.json:1:16: ociVersion:" in result.stderr, result.stderr
    assert b"config.json:1:16: ociVersion:" in host.run(["tail", "-n", "1", log]).stdout
    assert host.run(["ls", f"{scratch}/root"]).stdout == b""


def test_xl_failing_is_told_in_its_own_words(host: Machine) -> None:
    container = new_id()
    options = ["--memory-limit", str(64 << 30)]
    result = host.run(command(["true"], options, container), timeout=LIMIT_S)
    # On a slow machine `create` has succeeded before, as images of the root filesystem were still being made. ctr leaves a
    # container whose start has failed.
    host.run(["sh", "-c", "ctr task delete --force $0; ctr container delete $0", container], timeout=LIMIT_S)
    assert result.returncode in (1, 125)
    assert b"xl create" in result.stderr, result.stderr
    assert b"memory" in result.stderr


_CNI = """
    set -eu
    # As ctr wants them; seen by this process alone.
    mount -t tmpfs none /opt && mkdir -p /opt/cni && ln -s /usr/lib/cni /opt/cni/bin
    mkdir -p /etc/cni/net.d && mount -t tmpfs none /etc/cni/net.d
    printf %s "$1" > /etc/cni/net.d/10-chain.conflist
    shift
    exec "$@"
"""


def test_a_chain_of_cni_plugins(host: Machine) -> None:
    """`ctr run --cni` fills the network namespace of the pid between create and start."""
    bridge = f"cni{new_id()[-8:]}"
    chain = {
        "cniVersion": "0.4.0",
        "name": bridge,
        "plugins": [
            {
                "type": "bridge",
                "bridge": bridge,
                "isDefaultGateway": True,
                "mtu": 1400,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/runx-test-cni",
                    "ranges": [[{"subnet": "10.214.9.0/24"}], [{"subnet": "fd00:214::/64"}]],
                },
            },
            {"type": "tuning", "mac": "02:00:00:00:00:09"},
        ],
    }
    script = f"""
        {REACH}
        reach 10.214.9.1 && echo reached
        reach fd00:214::1 && echo reached by IPv6
        ip addr show eth0; ip route; ip -6 route
    """
    argv = command(["/bin/sh", "-c", script], ["--cni"])
    result = host.run(["unshare", "--mount", "sh", "-c", _CNI, "sh", json.dumps(chain), *argv], timeout=LIMIT_S)
    text = result.stdout.decode()
    assert text.startswith("reached\nreached by IPv6\n"), (text, result.stderr)
    assert "mtu 1400 " in text
    assert "link/ether 02:00:00:00:00:09 " in text
    assert "inet 10.214.9." in text and "inet6 fd00:214::" in text
    assert "default via 10.214.9.1 dev eth0" in text and "default via fd00:214::1 dev eth0" in text
    assert result.returncode == 0

    # The kernel removes a namespace, and its interface, a little after its last process.
    def ports() -> bytes:
        return host.run(["ls", f"/sys/class/net/{bridge}/brif"], check=True).stdout

    until(lambda: not ports(), ports)
    leases = host.run(["sh", "-c", f"ls /run/runx-test-cni/{bridge} | grep -c '^[0-9a-f]*[.:]'"]).stdout
    assert leases == b"0\n"
    host.run(["sh", "-c", f"ip link delete {bridge}; rm -r /run/runx-test-cni"], check=True)


# Exec.


def execute(*words: str, options: Sequence[str] = ()) -> list[str]:
    """The command line of a further process in a container: its id, and what to execute."""
    return ["ctr", "task", "exec", "--exec-id", new_id(), *options, *words]


STATES = "/run/containerd/runc/default"
"""Where ctr's containers keep their state."""
WAITS = "echo ready; read line; exit 4"


def test_exec_is_not_allowed_by_default(host: Machine) -> None:
    running = Running(host, WAITS)
    try:
        result = host.run(execute(running.id, "true"), timeout=LIMIT_S)
        assert result.returncode and b"exec is not allowed by policy.exec of runx.toml" in result.stderr
        assert running.end(b"\n")[0] == 4
    finally:
        running.stop()


@pytest.mark.usefixtures("may_exec")
def test_exec(host: Machine) -> None:
    """Streams and statuses of processes, one by one and many at once; and their end with the container."""
    running = Running(host, WAITS)
    try:
        script = "cat; echo to stderr >&2; grep -c . /proc/1/cmdline; exit 7"
        data = random.Random(1).randbytes(200_000)
        result = host.run(execute(running.id, "/bin/sh", "-c", script), stdin=data, timeout=LIMIT_S)
        assert (result.stdout, result.stderr, result.returncode) == (data + b"1\n", b"to stderr\n", 7)
        missing = host.run(execute(running.id, "no-such-program"), timeout=LIMIT_S)
        assert missing.returncode and b"executable file not found in $PATH" in missing.stderr

        with ThreadPoolExecutor(20) as pool:
            many = [execute(running.id, "/bin/sh", "-c", f"echo {n}; exit {n}") for n in range(20)]
            results = list(pool.map(lambda words: host.run(words, timeout=LIMIT_S), many))
        assert [(r.stdout, r.returncode) for r in results] == [(f"{n}\n".encode(), n) for n in range(20)]

        words = execute(running.id, "sleep", "1000")
        last_id = words[words.index("--exec-id") + 1]
        last = host.popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        until(lambda: b"sleep 1000" in host.run([RUNX, "--root", STATES, "ps", running.id]).stdout)
        listed = host.run(["ctr", "task", "ps", running.id], check=True).stdout.decode()
        carrier = re.search(rf"^(\d+) .*{last_id}", listed, re.MULTILINE)
        assert carrier, listed
        assert host.run(["cat", f"/proc/{carrier[1]}/cmdline"], check=True).stdout.rstrip(b"\0") == b"runx: sleep 1000"
        assert running.end(b"\n")[0] == 4
        last.communicate(timeout=LIMIT_S)
        assert last.returncode == 137
    finally:
        running.stop()


@pytest.mark.usefixtures("may_exec")
def test_exec_with_a_terminal(host: Machine) -> None:
    running = Running(host, WAITS)
    try:
        words = execute(running.id, "/bin/sh", "-c", "tty; read line; echo got $line; exit 6", options=["--tty"])
        process = host.popen(words, tty=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output, _ = process.communicate(b"hello\r", timeout=LIMIT_S)
        assert b"/dev/pts/" in output and b"got hello\r" in output and process.returncode == 6, output
        assert running.end(b"\n")[0] == 4
    finally:
        running.stop()
