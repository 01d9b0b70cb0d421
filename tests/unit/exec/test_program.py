"""`create` looks for the program of a container. It never refuses one that the guest might find."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from commandhost import Host
from runx.errors import RunxError
from runx.exec.commands.program import Program

PATH = "PATH=/usr/bin:/bin"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name in ("usr/bin", "etc", "opt", "var"):
        (root / name).mkdir(parents=True)
    (root / "usr/bin/tool").touch(0o755)
    (root / "etc/passwd").touch(0o644)
    for link, target in (
        ("bin", "usr/bin"), ("usr/bin/absolute", "/usr/bin/tool"), ("usr/bin/relative", "../../bin/./tool"),
        ("usr/bin/dangling", "/usr/bin/nothing"), ("usr/bin/loop", "loop"), ("usr/bin/mounted", "/opt/data/tool"),
        ("usr/bin/through", "/linked/tool"), ("linked", "/opt/data"), ("usr/bin/outside", "/../../../../bin/sh"),
        ("var/link", "/opt"),
    ):  # fmt: skip
        (root / link).symlink_to(target)
    return root


def look(root: Path, name: str, mounts: Sequence[str] = (), env: Sequence[str] = (PATH,)) -> tuple[int, str]:
    """Exit status and message; 0 and "" if nothing is said."""
    try:
        Program(str(root), mounts, [name], env).check()
    except RunxError as error:
        return error.status, error.message.removeprefix("unable to start container process: ")
    return 0, ""


@pytest.mark.parametrize("name", ["tool", "/usr/bin/tool", "/bin/tool", "absolute", "relative", "loop", "/usr/bin/loop"])
def test_what_is_there_or_nobody_knows(root: Path, name: str) -> None:
    assert look(root, name) == (0, "")


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("nope", 127, 'exec: "nope": executable file not found in $PATH'),
        ("dangling", 127, 'exec: "dangling": executable file not found in $PATH'),
        ("/nope", 127, 'exec: "/nope": stat /nope: no such file or directory'),
        ("/bin/dangling", 127, 'exec: "/bin/dangling": stat /bin/dangling: no such file or directory'),
        ("/etc/passwd/x", 127, 'exec: "/etc/passwd/x": stat /etc/passwd/x: not a directory'),
        ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
        ("/usr", 126, 'exec: "/usr": permission denied'),
        ("/bin/", 126, 'exec: "/bin/": permission denied'),
        ("/opt/data/tool", 127, 'exec: "/opt/data/tool": stat /opt/data/tool: no such file or directory'),
        # A link of the image leads nowhere but into the image.
        ("/bin/outside", 127, 'exec: "/bin/outside": stat /bin/outside: no such file or directory'),
    ],
)
def test_what_is_certainly_not_there(root: Path, name: str, status: int, message: str) -> None:
    assert look(root, name) == (status, message)


@pytest.mark.parametrize(
    ("name", "mounts"),
    [
        ("/opt/data/tool", ["/opt/data"]), ("/opt/data/tool", ["/opt"]), ("mounted", ["/opt/data"]), ("through", ["/opt/data"]),
        ("/opt/data/tool", ["/var/link/data"]), ("/var/link/data/tool", ["/opt"]), ("/opt/data", ["/opt/data"]),
        ("nope", ["/usr"]),
        ("/sbin/docker-init", ["/sbin/docker-init"]), ("/new/dir/tool", ["/new/dir"]), ("/new/tool", ["/new/dir"]),
        ("/opt/data/deep/tool", ["/opt/data"]), ("nope", ["/bin"]), ("/var/link/data/tool", ["/var/link"]),
    ],
)  # fmt: skip
def test_what_is_below_a_mount_is_the_guests_to_find(root: Path, name: str, mounts: list[str]) -> None:
    assert look(root, name, mounts) == (0, "")


@pytest.mark.parametrize(
    ("name", "env"),
    [
        ("nope", []), ("nope", ["PATH="]), ("nope", ["PATH=bin"]), ("nope", ["PATH=/bin:"]), ("nope", ["PATH=/bin", "PATH=/x"]),
        ("./nope", [PATH]), ("x/nope", [PATH]), ("/new/../nope", [PATH]),
    ],
)  # fmt: skip
def test_what_depends_on_the_working_directory_is_the_guests_to_find(root: Path, name: str, env: list[str]) -> None:
    assert look(root, name, env=env) == (0, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")
def test_create_fails_and_leaves_nothing(host: Host) -> None:
    """The log has the words that engines keep, and the status is that of the program."""
    host.config["process"]["args"] = ["nope"]
    host.write_config()
    done = host.runx("create", "--bundle", str(host.bundle), "c")
    assert done.returncode == 127
    message = 'unable to start container process: exec: "nope": executable file not found in $PATH'
    assert json.loads(host.log.read_text().splitlines()[-1])["msg"] == message
    assert message in done.stderr
    assert not host.root.exists()
    host.await_no_process()


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")
@pytest.mark.parametrize(
    ("kind", "makes", "status"), [("createRuntime", True, 0), ("createRuntime", False, 127), ("poststop", False, 127)]
)
def test_a_hook_may_bring_the_program(host: Host, kind: str, makes: bool, status: int) -> None:
    path = host.bundle / "rootfs/bin/made"
    script = f"touch {path}; chmod 755 {path}" if makes else ":"
    host.config["hooks"] = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"]}]}
    host.config["process"]["args"] = ["made"]
    host.write_config()
    argv, null = host.argv("create", "--bundle", str(host.bundle), "c"), subprocess.DEVNULL
    with (host.bundle / "out").open("wb") as out:
        done = subprocess.run(argv, env=host.xen.environment(), stdin=null, stdout=out, stderr=out)
    assert done.returncode == status, (host.bundle / "out").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")
def test_a_hook_of_the_guest_may_bring_it_too(host: Host) -> None:
    host.config["hooks"] = {"startContainer": [{"path": "/bin/sh"}]}
    host.config["process"]["args"] = ["made"]
    host.write_config()
    assert host.create() > 0
