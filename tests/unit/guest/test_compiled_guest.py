"""The compiler and the guest together: compiled configurations run by the real /init, in namespaces of this machine.

Only what Xen brings is left out: the container's root, the share of bind mounts and images are directories here.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import guestbox as gb
from compiler_cases import CASES, TextFacts
from guestbox import GuestBox
from runx.compiler.backends.records import parse, record
from runx.compiler.model.plan import VmPlan
from runx.compiler.pipeline import Inputs, compile

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")

IMAGES = ("/srv/images/root, 1.img", "/srv/images/root.img")
Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return gb.compile_guest(tmp_path_factory.mktemp("guest"))


@pytest.fixture
def run(tmp_path: Path, programs: tuple[Path, Path]) -> Run:
    """Compile a case with another command, and run it: exit status and output, or 125 and what PID 1 says of the failure."""

    def begin(case: str, command: str, **changes: Any) -> tuple[int, str]:
        config = json.loads((CASES / case / "config.json").read_text())
        config["process"]["args"] = ["/bin/sh", "-c", command]
        for name, value in changes.items():
            config[name] = {**config.get(name, {}), **value} if isinstance(value, dict) else value
        facts = TextFacts(json.dumps(config), dict.fromkeys(("/etc/hosts", *IMAGES), "file"))
        plan, artifacts, *_ = compile(Inputs("/bundle", container_id="box", state_root="/r", assets="/a", facts=facts))
        root = tmp_path / "root"
        gb.make_root(root, *programs)
        _share(root, plan)
        setup, process, *seccomp = (file.content for file in artifacts.overlay)
        for program in seccomp:
            (root / "runx/seccomp").write_bytes(program)
        if plan.root.carrier == "disk" and plan.root.read_only:
            (root / "newroot").rename(root / "image")
            (root / "newroot").mkdir()
        with GuestBox(root, setup=b"".join(_here(setup)), process=process) as box:
            while gb.EXIT not in box.seen and gb.FATAL not in box.seen:
                frame = box.frame()
                assert frame, box.log
                if frame[0] == gb.HELLO:
                    box.send(gb.HOST_NETWORK)  # nothing to set up
            assert not box.log or gb.FATAL in box.seen, box.log
            return frame[1][0], (box.streams[gb.STDOUT] + frame[1][1:]).decode()

    return begin


def _here(setup: bytes) -> Iterator[bytes]:
    """The steps without what Xen brings."""
    for name, values in parse(setup):
        if name == "attach" and values[0] in ("9p", "ext4") and values[2] == "/newroot":
            yield record("propagation", "/", "private")  # makes it a mount of its own, as it is in the guest
        elif name != "up" and not (name == "attach" and (values[0] == "9p" or values[1] == "/dev/xvda")):
            yield record(name, *values)


def _share(root: Path, plan: VmPlan) -> None:
    for mount in plan.mounts:
        place = root / f"shares/mounts/{mount.slot}"
        if mount.is_file:
            place.write_text("a file of the host\n")
        elif mount.carrier == "9p":
            place.mkdir()
            (place / "from-the-host").touch()


def mounts(output: str) -> dict[str, tuple[str, set[str]]]:
    """Of /proc/self/mounts: mount point → type and options; of mounts on top of one another the last."""
    fields = [line.split() for line in output.splitlines()]
    return {line[1]: (line[2], set(line[3].split(","))) for line in fields if len(line) == 6}


def test_what_containerd_asks_for(run: Run) -> None:
    status, output = run("ctr-plain", "cat /proc/self/mounts; ls -l /dev; hostname; pwd; env; exit 3")
    assert status == 3
    seen = mounts(output)
    assert seen["/proc"] == ("proc", {"rw", "nosuid", "nodev", "noexec", "relatime"})
    assert seen["/dev"][0] == "tmpfs"
    assert {"nosuid", "mode=755", "size=65536k"} <= seen["/dev"][1]
    assert "relatime" not in seen["/dev"][1]
    assert {"mode=620", "ptmxmode=666", "gid=5"} <= seen["/dev/pts"][1]
    assert seen["/dev/mqueue"][0] == "mqueue"
    assert {"ro", "nosuid", "nodev", "noexec"} <= seen["/sys"][1]
    assert "ro" in seen["/proc/sys"][1]
    assert seen["/sys/firmware"][0] == "tmpfs"
    assert "crw-rw-rw-" in next(line for line in output.splitlines() if line.endswith(" full"))
    assert "ptmx -> pts/ptmx" in output
    assert "\nbox\n/\n" in output
    assert "FOO=bar baz\n" in output


@pytest.mark.parametrize("case", ["minimal", "devices"])
def test_device_nodes_work_on_any_root(run: Run, case: str) -> None:
    command = """
        echo x > /dev/null && dd if=/dev/zero bs=3 count=1 2>/dev/null | wc -c
        test -c /dev/full -a -c /dev/urandom -a -c /dev/tty
    """
    # One case gives them to another user.
    process = {"capabilities": {name: ["CAP_DAC_OVERRIDE"] for name in ("bounding", "effective", "permitted")}}
    assert run(case, command, process=process) == (0, "3\n")


def test_devices_as_configured(run: Run) -> None:
    output = run("devices", "ls -ln /dev/null /dev/fuse /dev/loop0 /dev/pipe /srv/pipe")[1]
    # mode, links, owner, group, major and minor or size, perhaps a date, path
    shown = [re.fullmatch(r"(\S+) +\d+ (\d+) +(\d+) +(\d+, +\d+|\d+) .*?(/\S+)", line) for line in output.splitlines()]
    assert {" ".join(" ".join(match.groups()).split()) for match in shown if match} == {
        "crw-rw---- 7 8 1, 3 /dev/null",
        "crw-rw-rw- 0 0 10, 229 /dev/fuse",
        "brw-rw---- 0 0 7, 0 /dev/loop0",
        "prw-rw-rw- 0 0 0 /dev/pipe",
        "prw-r--r-- 0 0 0 /srv/pipe",
    }


def test_a_read_only_root(run: Run) -> None:
    command = """
        for i in / /dev /dev/shm /sys /ro /work; do touch $i/x 2>&1; done
        echo x > /dev/null; pwd; cat /proc/self/mounts
    """
    mount = {"destination": "/proc", "type": "proc"}
    config = json.loads((CASES / "read-only/config.json").read_text())
    status, output = run("read-only", command, mounts=[mount, *config["mounts"]])
    assert status == 0, output
    assert output.count("Read-only file system") == 6
    assert "\n/work\n" in output
    assert {"ro", "nosuid"} <= mounts(output)["/dev"][1]


def test_bind_mounts(run: Run) -> None:
    command = """
        for i in /by-type /all-below /made-in-the-guest "/with,comma and 'quote'"; do ls "$i"; touch "$i/x" 2>&1; done
        touch /by-option/x && cat /etc/hosts; cat /proc/self/mounts
    """
    config = json.loads((CASES / "binds/config.json").read_text())
    status, output = run("binds", command, mounts=[{"destination": "/proc", "type": "proc"}, *config["mounts"]])
    assert status == 0
    assert output.count("from-the-host") == 3
    assert output.count("Read-only file system") == 2
    assert "a file of the host\n" in output
    assert {"ro", "nosuid", "nodev", "noexec"} <= mounts(output)["/etc/hosts"][1]


def test_mount_options(run: Run) -> None:
    config = json.loads((CASES / "mount-options/config.json").read_text())
    # What depends on this machine's kernel rather than on ours is left out.
    kept = [mount for mount in config["mounts"] if mount["destination"] in ("/a", "/b", "/c", "/d", "/f", "/g", "/h", "/proc")]
    status, output = run("mount-options", "cat /proc/self/mounts", mounts=kept)
    assert status == 0
    seen = {place: options for place, (_, options) in mounts(output).items()}
    assert {"size=65536k", "rw"} <= seen["/a"]
    assert {"size=65536k", "ro", "noexec"} <= seen["/b"]
    assert {"rw", "nodev"} <= seen["/c"]
    assert not {"noexec", "sync"} & seen["/c"]
    assert "nodiratime" in seen["/d"]
    assert not {"noatime", "relatime"} & seen["/d"]
    assert {"ro", "nosuid"} <= seen["/g"]


def test_an_image(run: Run) -> None:
    status, output = run("image", "touch /written && ls /; grep ' / ' /proc/self/mounts")
    assert status == 0, output
    assert "\nwritten\n" in output


def test_a_read_only_image(run: Run) -> None:
    """Mount points that are not in the image are made all the same, and nothing else."""
    config = json.loads((CASES / "image-read-only/config.json").read_text())
    mounts = [{"destination": "/proc", "type": "proc"}, {**config["mounts"][0], "destination": "/not/there"}]
    command = "ls -d /work; touch /etc/x 2>&1; ls /not/there; echo x > /dev/null; grep ' / ' /proc/self/mounts"
    status, output = run("image-read-only", command, mounts=mounts)
    assert status == 0, output
    assert output.startswith("/work\n")
    assert "Read-only file system\nfrom-the-host\n" in output
    assert re.search(r"^overlay / overlay ro,", output, re.MULTILINE)


def test_names_and_words_that_need_quoting(run: Run) -> None:
    linux = {"sysctl": {}, "maskedPaths": ["/a b'c"], "readonlyPaths": ["/$x"]}
    # A shell finds the names by what they are, so that the way it shows them does not matter.
    command = """
        pwd; test -d '/new
line' -a -d '/$HOME/`id`/;reboot' || exit 1
        grep -q "^it's /new.012line tmpfs" /proc/self/mounts && grep -q '^-t /-n tmpfs' /proc/self/mounts && env
    """
    config = json.loads((CASES / "quoting/config.json").read_text())
    status, output = run("quoting", command, linux=linux, mounts=[{"destination": "/proc", "type": "proc"}, *config["mounts"]])
    assert status == 0
    assert output.startswith("/it's here\n")
    assert {"A=b=c", "EMPTY=", "QUOTES='\"", "_=$A"} <= set(output.splitlines())
    assert "NEWLINE=a\nb\n" in output


def test_limits_and_ids(run: Run) -> None:
    command = """
        id -u; id -g; umask; ulimit -Sn; ulimit -Hn; ulimit -c
        grep -E 'Cap(Bnd|Amb)|NoNewPrivs' /proc/self/status; cat /proc/self/oom_score_adj
    """
    process = {
        **json.loads((CASES / "process/config.json").read_text())["process"],
        "args": ["/bin/sh", "-c", command],
        "env": ["PATH=/bin"],
        # No more than this machine may give: it can lack CAP_SYS_RESOURCE.
        "capabilities": {"bounding": ["CAP_CHOWN"]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        "oomScoreAdj": 100,
    }
    status, output = run("process", "", process=process, mounts=[{"destination": "/proc", "type": "proc"}])
    assert status == 0, output
    assert [line.replace("\t", " ") for line in output.splitlines()] == [
        "1000", "4294967294", "0077", "10", "20", "0",
        "CapBnd: 0000000000000001", "CapAmb: 0000000000000000", "NoNewPrivs: 1", "100",
    ]  # fmt: skip


def test_a_failing_step_is_the_containers_error(run: Run) -> None:
    # The compiler knows what else is in proc.
    bad = {"destination": "/proc/1/x", "type": "tmpfs"}
    status, message = run("minimal", "true", mounts=[{"destination": "/proc", "type": "proc"}, bad])
    assert status == 125
    assert message.startswith("mount /proc/1/x: ")
    assert message.rstrip().endswith("runx: mounts[1] /proc/1/x failed")


def start_hook(script: str, *, timeout: int | None = None, env: list[str] | None = None) -> dict[str, Any]:
    """A startContainer hook that is a shell script of the container's root."""
    hook: dict[str, Any] = {"path": "/bin/sh", "args": ["sh", "-c", script, "x", "a b", ""]}
    return hook | ({"timeout": timeout} if timeout else {}) | ({"env": env} if env is not None else {})


def test_start_hooks_run_in_the_container_before_its_process(run: Run) -> None:
    tell = """
        cat >/tmp/state.$N; tr '\\0' '\\n' </proc/$$/cmdline >/tmp/args.$N; tr '\\0' '\\n' </proc/$$/environ >/tmp/env.$N
        grep -E '^(PPid|Uid|CapEff)' /proc/$$/status >/tmp/status.$N; pwd >/tmp/cwd.$N
        echo not for the container
        exec ls /proc/$$/fd >/tmp/fds.$N  # 3 is this directory
    """
    hooks = [start_hook(tell, env=[f"N={number}", "A=b=c"]) for number in (1, 2)]
    hooks.append(start_hook("test -s /tmp/cwd.2 -a ! -e /tmp/process && exec 0<&- && sleep 600 >/tmp/left 2>&1 &"))
    command = """
        touch /tmp/process; cd /tmp; cat state.1 args.1 env.1 status.1 cwd.1; echo $(cat fds.1)
        test "$(cat state.1)" = "$(cat state.2)" && exit 7
    """
    process = {"user": {"uid": 1, "gid": 1}, "cwd": "/tmp", "env": ["PATH=/bin", "SECRET=1"]}
    process["capabilities"] = {name: ["CAP_KILL"] for name in ("bounding", "effective", "permitted")}
    annotations = {"quote": '"\u00e9\n', "empty": ""}
    mounts = [{"destination": "/proc", "type": "proc"}]
    given = {"hooks": {"startContainer": hooks}, "process": process, "annotations": annotations, "mounts": mounts}
    status, output = run("minimal", command, **given)
    assert status == 7, output
    state, rest = output.split("\n", 1)
    rest, fds, _ = rest.rsplit("\n", 2)
    assert json.loads(state) == {
        "ociVersion": "1.2.0", "id": "box", "status": "created", "pid": 1, "bundle": "/bundle", "annotations": annotations,
    }  # fmt: skip
    expected = f"""sh
-c
{hooks[0]["args"][2]}
x
a b

N=1
A=b=c
PPid:\t1
Uid:\t1\t1\t1\t1
CapEff:\t0000000000000000
/tmp"""
    assert rest == expected
    assert sorted(fds.split()) == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("hook", "reason"),
    [
        (start_hook("echo two >&2; echo lines; exit 3"), "(/bin/sh) failed with exit status 3: two lines"),
        (start_hook("exit 1"), "(/bin/sh) failed with exit status 1"),
        (start_hook("kill -9 $$"), "(/bin/sh) was ended by signal 9"),
        (start_hook("echo late; sleep 600 & wait", timeout=1), "(/bin/sh) did not end within 1 s: late"),
        ({"path": "/no/such"}, "(/no/such): cannot be executed: no such file or directory"),
        ({"path": "/etc"}, "(/etc): cannot be executed: permission denied"),
        (start_hook("yes | head -c 100000; echo the end; exit 1"), "the end"),
    ],
)
def test_a_start_hook_that_fails_is_the_end(run: Run, hook: dict[str, Any], reason: str) -> None:
    hooks = [start_hook("exit 0"), hook, start_hook("touch /tmp/third")]
    status, output = run("minimal", "echo the process runs", hooks={"startContainer": hooks})
    assert status == 125 and output.startswith("hooks.startContainer[1] (/") and output.endswith(reason), output


def test_a_start_hook_may_take_its_time(run: Run) -> None:
    assert run("minimal", "exit 5", hooks={"startContainer": [start_hook("cat >/dev/null", timeout=300)]}) == (5, "")
