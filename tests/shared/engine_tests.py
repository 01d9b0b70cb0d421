"""Tests of podman and docker with runx; `engine` is the command line of one of them, with the test image."""

import subprocess

import pytest

from exec_setting import may_exec  # noqa: F401  # a fixture
from runxtools.machine import Machine
from runxtools.testing.containers import LIMIT_S, removed, until

IMAGE = "localhost/runx-test-engine:latest"


def test_a_container(host: Machine, engine: list[str]) -> None:
    script = "echo to stdout; echo to stderr >&2; cat; hostname; exit 4"
    argv = [*engine, "run", "--network", "none", "--hostname", "named", "-i", IMAGE, "/bin/sh", "-c", script]
    result = host.run(argv, stdin=b"input\n", timeout=LIMIT_S)
    assert result.stdout == b"to stdout\ninput\nnamed\n", result.stderr
    assert b"to stderr\n" in result.stderr
    assert result.returncode == 4
    listing = host.run([*engine, "ps", "-a", "--format", "{{.Status}}"], check=True, timeout=LIMIT_S).stdout
    assert listing.startswith(b"Exited (4)")
    result = host.run([*engine, "run", "--rm", "--network", "none", IMAGE, "no-such-program"], timeout=LIMIT_S)
    assert result.returncode == 127
    assert b"no-such-program" in result.stderr
    result = host.run([*engine, "run", "--rm", "--network", "none", IMAGE, "/etc/passwd"], timeout=LIMIT_S)
    assert result.returncode == 126, "a file that is no program"


def test_stop_and_logs(host: Machine, engine: list[str]) -> None:
    """A container in the background keeps its output, and `stop` reaches its trap."""
    script = "trap 'echo stopping; exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    run = [*engine, "run", "--detach", "--network", "none", IMAGE, "/bin/sh", "-c", script]
    # The supervisor and its parent continue to run: neither may keep the caller's pipes.
    container = host.run(run, check=True, timeout=LIMIT_S).stdout.decode().strip()
    follow = host.popen([*engine, "logs", "--follow", container], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert follow.stdout is not None
    assert follow.stdout.readline() == b"ready\n"
    host.run([*engine, "stop", container], check=True, timeout=LIMIT_S)
    assert follow.communicate(timeout=LIMIT_S)[0] == b"stopping\n"
    status = host.run([*engine, "inspect", "--format", "{{.State.ExitCode}}", container], check=True, timeout=LIMIT_S)
    assert status.stdout == b"5\n"
    host.run([*engine, "rm", container], check=True, timeout=LIMIT_S)


def test_a_terminal(host: Machine, engine: list[str]) -> None:
    argv = [
        *engine,
        "run",
        "--rm",
        "-it",
        "--network",
        "none",
        IMAGE,
        "/bin/sh",
        "-c",
        "tty; echo ready; read line; echo got $line; exit 6",
    ]
    process = host.popen(argv, tty=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdin is not None
    assert process.stdout is not None
    seen = b""
    while b"ready\r\n" not in seen:
        data = process.stdout.read(4096)
        assert data, seen
        seen += data
    process.stdin.write(b"hello\r")
    process.stdin.flush()
    seen += process.communicate(timeout=LIMIT_S)[0]
    assert b"/dev/pts/0\r\n" in seen
    assert b"got hello\r\n" in seen
    assert process.returncode == 6


def started(host: Machine, engine: list[str], *options: str) -> str:
    """The id of a container in the background that runs until it is removed."""
    script = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
    run = [*engine, "run", "--detach", "--network", "none", *options, IMAGE, "/bin/sh", "-c", script]
    return host.run(run, check=True, timeout=LIMIT_S).stdout.decode().strip()


@pytest.mark.usefixtures("may_exec")
def test_exec(host: Machine, engine: list[str]) -> None:
    container = started(host, engine)
    script = "cat; echo $A; id -u; pwd; echo to stderr >&2; exit 7"
    words = [*engine, "exec", "-i", "-e", "A=x y", "-u", "1000", "-w", "/tmp", container, "/bin/sh", "-c", script]
    result = host.run(words, stdin=b"input\n", timeout=LIMIT_S)
    assert result.stdout == b"input\nx y\n1000\n/tmp\n", result.stderr
    assert result.stderr.endswith(b"to stderr\n"), "podman may warn before that"
    assert result.returncode == 7
    missing = host.run([*engine, "exec", container, "no-such-program"], timeout=LIMIT_S)
    assert missing.returncode in (126, 127), "the former of docker 20.10, under runc too"
    assert b"executable file not found in $PATH" in missing.stdout + missing.stderr
    assert host.run([*engine, "exec", container, "/etc/hosts"], timeout=LIMIT_S).returncode == 126
    if "podman" in engine and b" version 4." in host.run([*engine, "--version"], check=True).stdout:
        # With options of ps, podman 4 runs that in the container. Podman 5 runs dom0's ps in the namespaces of the supervisor.
        top = host.run([*engine, "top", container, "-o", "pid,comm"], check=True, timeout=LIMIT_S).stdout.decode().split()
        assert top[:4] == ["PID", "COMMAND", "1", "sh"], top
    terminal = host.popen([*engine, "exec", "-it", container, "tty"], tty=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert terminal.stdout is not None
    said = terminal.stdout.read()  # before the input ends, which is a byte that the terminal would echo
    terminal.communicate(timeout=LIMIT_S)
    assert b"/dev/pts/" in said and terminal.returncode == 0, said
    host.run([*engine, "exec", "--detach", container, "touch", "/tmp/made"], check=True, timeout=LIMIT_S)
    until(lambda: not host.run([*engine, "exec", container, "test", "-e", "/tmp/made"], timeout=LIMIT_S).returncode)
    host.run([*engine, "stop", container], check=True, timeout=LIMIT_S)
    assert host.run([*engine, "exec", container, "true"], timeout=LIMIT_S).returncode
    host.run([*engine, "rm", container], check=True, timeout=LIMIT_S)


@pytest.mark.usefixtures("may_exec")
def test_a_health_check(host: Machine, engine: list[str]) -> None:
    # Checks that follow one another at once leave an emulated machine no time for docker's own limits, such as that of a KILL.
    check = ["--health-cmd", "test -e /tmp/well", "--health-interval", "5s", "--health-timeout", "5m", "--health-retries", "1"]
    container = started(host, engine, *check)
    is_podman = "podman" in engine

    def health() -> str:
        if is_podman:  # a timer of systemd would run it
            host.run([*engine, "healthcheck", "run", container], timeout=LIMIT_S)
        what = "{{.State.Health.Status}}"
        return host.run([*engine, "inspect", "--format", what, container], check=True, timeout=LIMIT_S).stdout.decode().strip()

    until(lambda: health() == "unhealthy", health)
    host.run([*engine, "exec", container, "touch", "/tmp/well"], check=True, timeout=LIMIT_S)
    until(lambda: health() == "healthy", health)
    removed(host, engine, container)
