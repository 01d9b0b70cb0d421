"""`runx events`: runc's form, with what xl says of the domain and nothing else."""

import json
import os
import subprocess

import pytest

from commandhost import Host
from runx.errors import RunxError
from runx.exec.commands.events import interval


def test_one_line_of_what_xl_says(host: Host) -> None:
    host.config["linux"] |= {"resources": {"memory": {"limit": 256 << 20}}}  # type: ignore[operator]
    host.write_config()
    host.create()
    memory = json.loads((host.root / "c" / "plan.json").read_text())["domain"]["memory_mib"]
    host.xen.set(1, time="1234.5", memory=200)
    result = host.runx("events", "--stats", "c")
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("\n")
    assert json.loads(result.stdout) == {
        "type": "stats",
        "id": "c",
        "data": {
            "cpu": {"usage": {"total": 1_234_500_000_000}},
            "memory": {"usage": {"usage": 200 << 20, "limit": memory << 20}},
        },
    }


@pytest.mark.parametrize("end", ["kill", "destroy"])
def test_a_line_each_interval_until_the_end(host: Host, end: str) -> None:
    host.create()
    assert host.runx("start", "c").returncode == 0
    argv = host.argv("events", "--interval=50ms", "c")
    with subprocess.Popen(argv, env=host.xen.environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for _ in range(2):
            assert json.loads(process.stdout.readline())["type"] == "stats"
        if end == "kill":
            assert host.runx("kill", "c", "KILL").returncode == 0
        else:
            subprocess.run([str(host.xen.directory / "bin" / "xl"), "destroy", "1"], check=True)
        rest = process.stdout.read()
        assert all(json.loads(line)["id"] == "c" for line in rest.splitlines())
        assert process.wait(60) == 0


def test_what_has_ended_uses_nothing(host: Host) -> None:
    assert "does not exist" in host.runx("events", "c").stderr
    os.kill(host.create(), 9)
    host.await_status("stopped")
    for words in (["--stats"], []):
        result = host.runx("events", *words, "c")
        assert (result.returncode, result.stdout) == (1, "")
        assert "container with id c is not running" in result.stderr


def test_xl_that_fails_is_told(host: Host) -> None:
    host.create()
    host.xen.fault("list", "libxl: error: no memory")
    result = host.runx("events", "--stats", "c")
    assert (result.returncode, result.stdout) == (1, "")
    assert "xl list failed with exit status 3: libxl: error: no memory" in host.last_error()


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5), ("1m30s", 90), ("500ms", 0.5), ("1.5h", 5400), ("2us", 2e-6), (".5s", 0.5), ("10ns", 1e-8)]
)
def test_durations(text: str, seconds: float) -> None:
    assert interval(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["9999999h", "9" * 400 + "s"])
def test_a_duration_beyond_what_the_kernel_takes(text: str) -> None:
    assert interval(text) == pytest.approx(2147483, abs=1)


@pytest.mark.parametrize("text", ["", "5", "s", "-5s", "5 s", "0s", "0s0ms", "5x", "1e3s", "\u0663s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(RunxError, match="--interval"):
        interval(text)
