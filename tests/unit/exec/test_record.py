"""The record: ids, claiming, atomic state, processes that are not who they were."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runx.errors import RunxError
from runx.exec.container import record as records
from runx.linux.proc import start_time


@pytest.mark.parametrize("good", ["a", "A-z_0.9+", "x" * 255, "...", "-"])
def test_good_ids(good: str) -> None:
    records.check_id(good)


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "/", "a b", "a\n", "é", "x" * 256, "x" * 1025, "a\0"])
def test_bad_ids(bad: str) -> None:
    with pytest.raises(RunxError, match="invalid container id"):
        records.check_id(bad)


def test_an_id_is_claimed_once(tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    record = records.claim(root, "c", "/bundle")
    assert (tmp_path / "root").stat().st_mode & 0o777 == 0o700
    assert Path(record.directory).stat().st_mode & 0o777 == 0o700
    with pytest.raises(RunxError, match="already exists"):
        records.claim(root, "c", "/bundle")


def test_all_that_is_made_of_a_state_root_is_closed(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        records.claim(f"{tmp_path}/a/b", "c", "/bundle")
    finally:
        os.umask(before)
    for path in ("a", "a/b", "a/b/c"):
        assert (tmp_path / path).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("open_one", ["above", "above/root", "above/root/c"])
@pytest.mark.parametrize("how", ["everybody", "the group", "sticky", "user"])
def test_a_state_root_is_roots_alone(tmp_path: Path, open_one: str, how: str) -> None:
    """Whoever can exchange a state directory has root act on what it says. /tmp may be above."""
    if how == "user" and os.geteuid():
        pytest.skip("only root gives directories away")
    root = tmp_path / "above/root"
    (root / "c").mkdir(parents=True)
    modes = {"everybody": 0o777, "the group": 0o775, "sticky": 0o1777, "user": 0o755}
    (tmp_path / open_one).chmod(modes[how])
    if how == "user":
        os.chown(tmp_path / open_one, 12345, 12345)
    if (open_one, how) == ("above", "sticky"):
        os.close(records.claim(str(root), "c", "/bundle").lock)
        return
    with pytest.raises(RunxError, match=f"^the state directory {root} is not root's alone: {tmp_path}/{open_one} "):
        records.claim(str(root), "c", "/bundle")
    assert not list(root.rglob("record"))


def test_nothing_is_made_in_a_directory_of_others(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs").chmod(0o777)
    with pytest.raises(RunxError, match=f"{tmp_path}/theirs can be written by everybody"):
        records.claim(f"{tmp_path}/theirs/a/b", "c", "/bundle")
    assert not list((tmp_path / "theirs").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_record_of_another_user_is_not_read(tmp_path: Path) -> None:
    """It could name any process to signal, and any domain to destroy."""
    record = records.claim(str(tmp_path), "c", "/bundle")
    os.chown(f"{record.directory}/record", 12345, 12345)
    with pytest.raises(RunxError, match="/c/record belongs to another user"):
        records.load(str(tmp_path), "c")


def test_a_root_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("none")
    with pytest.raises(RunxError, match=f"^cannot make {tmp_path}/link/root: no such file or directory"):
        records.claim(f"{tmp_path}/link/root", "c", "/bundle")


def test_a_container_being_made_has_a_state(tmp_path: Path) -> None:
    from runx.exec.commands.state import state

    records.claim(str(tmp_path), "c", 'a "bundle"')
    assert json.loads(state(str(tmp_path), "c")) | {"ociVersion": "x"} == {
        "ociVersion": "x", "id": "c", "status": "creating", "pid": 0, "bundle": 'a "bundle"',
    }  # fmt: skip


@given(st.text(alphabet=st.characters(exclude_characters="\n", exclude_categories=["Cs"])))
@example("x\rstatus=running\rpid=1")
def test_values_survive(value: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as root:
        record = records.claim(root, "c", "/bundle")
        record.log, record.domid = value, 7
        record.save()
        read = records.load(root, "c")
        assert (read.log, read.domid, read.status) == (value, 7, "creating")


def test_a_newline_cannot_forge_a_line(tmp_path: Path) -> None:
    """Nor any other character that ends lines somewhere."""
    record = records.claim(str(tmp_path), "c", "/bundle")
    record.log = "x\nstatus=running"
    with pytest.raises(RunxError, match="newline"):
        record.save()
    for character in "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029":
        forged = f"/x{character}domain=other{character}pid=1"
        record.log = record.network_namespace = forged
        record.disks = [f"rw layer {forged}"]
        record.save()
        read = records.load(str(tmp_path), "c")
        assert (read.domain, read.pid) == (record.domain, record.pid)
        assert (read.log, read.network_namespace, read.disks) == (forged, forged, record.disks)


def test_a_record_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    record = records.claim(str(tmp_path), "c", "/bundle")
    records.remove(record)
    with pytest.raises(RunxError, match=f"cannot write {tmp_path}/c/record: no such file or directory"):
        record.save()


OLD = """\
runx-record 1
cgroups=/sys/fs/cgroup/a b/c\t/sys/fs/cgroup/memory/c
console=link
console_socket=/run/console socket
disks=ro base /var/cache/runx/base one\0rw qcow2 /disks/two
domain=runx-c-1a2b
domid=7
exit_status=0
log=/run/log.json
log_json=0
network_namespace=/proc/1/ns/net
oci={"ociVersion": "1.0.2", "id": "c"}
pid=4711
pid_start=1234567
scope=runx-c.scope
shares=root mounts
status=stopped
taken=eth0 eth1,allmulticast
takes_interfaces=1
terminal=33 101
"""
"""The text that `text` wrote when all attributes but two were strings, with the lines that were added since."""
OLD_EMPTY = """\
runx-record 1
cgroups=
console=
console_socket=
disks=
domain=
domid=-1
exit_status=
log=
log_json=1
network_namespace=
oci={}
pid=0
pid_start=
scope=
shares=
status=creating
taken=
takes_interfaces=
terminal=
"""


def as_now(text: str) -> str:
    """The text of this version, in which these attributes are new."""
    for new, before in (
        ("cpu_percent=100", "disks="),
        ("exec=", "exit_status="),
        ("keep_free_mib=0\nkill_answer_s=0\nkill_end_s=0", "log="),
        ("macs=\nnetwork_devices=", "network_namespace="),
        ("packs=", "pid="),
        ("pid_namespace=", "pid_start="),
        ("pod=", "scope="),
        ("sees_host=", "shares="),
        ("sync_clock=", "taken="),
    ):
        text = text.replace(f"\n{before}", f"\n{new}\n{before}")
    return text + "writes_back=\n"


def record_of(root: Path, text: str) -> records.Record:
    (root / "c").mkdir()
    (root / "c/record").write_text(text)
    return records.load(str(root), "c")


def test_the_text_of_an_older_version(tmp_path: Path) -> None:
    record = record_of(tmp_path, OLD)
    assert {name: getattr(record, name) for name in records.Record.LINES} == {
        "cgroups": ["/sys/fs/cgroup/a b/c", "/sys/fs/cgroup/memory/c"],
        "console": "link",
        "console_socket": "/run/console socket",
        "cpu_percent": 100,
        "disks": ["ro base /var/cache/runx/base one", "rw qcow2 /disks/two"],
        "domain": "runx-c-1a2b",
        "domid": 7,
        "exec": False,
        "exit_status": 0,
        "keep_free_mib": 0,
        "kill_answer_s": 0,
        "kill_end_s": 0,
        "log": "/run/log.json",
        "log_json": False,
        "macs": [],
        "network_devices": [],
        "network_namespace": "/proc/1/ns/net",
        "oci": '{"ociVersion": "1.0.2", "id": "c"}',
        "packs": "",
        "pid": 4711,
        "pid_namespace": "",
        "pid_start": "1234567",
        "pod": "",
        "scope": "runx-c.scope",
        "sees_host": False,
        "shares": ["root", "mounts"],
        "status": "stopped",
        "sync_clock": False,
        "taken": ["eth0", "eth1,allmulticast"],
        "takes_interfaces": True,
        "terminal": (33, 101),
        "writes_back": False,
    }
    assert record.text() == as_now(OLD)


def test_the_text_of_an_empty_record(tmp_path: Path) -> None:
    """What is not known yet has a type as well: no list with one empty name, and no exit status 0."""
    record = record_of(tmp_path, OLD_EMPTY)
    assert (record.cgroups, record.disks, record.taken) == ([], [], [])
    assert (record.exit_status, record.terminal, record.takes_interfaces, record.log_json) == (None, None, False, True)
    assert record.text() == as_now(OLD_EMPTY) == records.Record("/nowhere").text()


@pytest.mark.parametrize("name", records.Record.LINES)
def test_a_record_without_a_line_has_the_default(tmp_path: Path, name: str) -> None:
    """A version that did not know the line wrote it."""
    text = "".join(line for line in OLD.splitlines(keepends=True) if not line.startswith(f"{name}="))
    record = record_of(tmp_path, text + "of_a_newer_version=1\n")
    assert getattr(record, name) == getattr(records.Record("/nowhere"), name)


def test_an_unknown_container_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(RunxError, match='container "c" does not exist'):
        records.load(str(tmp_path), "c")


def test_a_dead_supervisor_means_stopped(tmp_path: Path) -> None:
    record = records.claim(str(tmp_path), "c", "/bundle")
    child = subprocess.Popen(["sleep", "1000"])
    try:
        record.status, record.pid, record.pid_start = "running", child.pid, start_time(child.pid)
        assert record.current_status() == "running"
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert record.current_status() == "stopped", "a zombie that its parent has not taken is not alive"
    finally:
        child.kill()
        child.wait()


def test_another_process_with_the_same_number_is_not_the_supervisor(tmp_path: Path) -> None:
    record = records.claim(str(tmp_path), "c", "/bundle")
    record.status, record.pid, record.pid_start = "running", os.getpid(), "1"
    assert record.current_status() == "stopped"


def test_remove_does_not_follow_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    record = records.claim(str(tmp_path / "root"), "c", "/bundle")
    os.symlink(outside, f"{record.directory}/link")
    os.makedirs(f"{record.directory}/shares/root")
    records.remove(record)
    assert not Path(record.directory).exists()
    assert (outside / "file").read_text() == "kept"
