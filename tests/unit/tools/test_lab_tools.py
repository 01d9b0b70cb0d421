"""The parts of tools/lab that need no lab: the cache, progress, processes, quoting, the test image, a boot that fails."""

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))

from runxtools import cache, command, ociimage
from runxtools.errors import ToolError
from runxtools.lab import dom0, install, qemu
from runxtools.lab.kinds import NAMES, Kind, named
from runxtools.lab.lab import Lab
from runxtools.lab.ssh import Connection, remote_line
from runxtools.process import Process
from runxtools.progress import Progress

TOOLS = Path(cache.__file__).parents[1]
PRINT_ARGUMENTS = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))"
words = st.binary(max_size=40).map(lambda word: word.replace(b"\0", b""))


class TestRemoteLine:
    """What sshd hands to dom0's login shell, run by that shell here."""

    @settings(max_examples=60, deadline=None)
    @given(st.lists(words, max_size=5))
    def test_arguments_survive_the_shell(self, arguments: list[bytes]) -> None:
        line = remote_line([sys.executable, "-c", PRINT_ARGUMENTS, *arguments])
        result = subprocess.run([b"/bin/sh", b"-c", line], capture_output=True, check=True)
        assert (result.stdout, result.stderr) == (b"\0".join(arguments), b"")

    def test_a_signal_becomes_a_status_without_a_remark(self) -> None:
        result = subprocess.run([b"/bin/sh", b"-c", remote_line(["sh", "-c", "kill -9 $$"])], capture_output=True, check=False)
        assert (result.returncode, result.stderr) == (137, b"")


class TestCache:
    def test_the_key_changes_with_name_and_value(self) -> None:
        keys = {cache.key_of(parts) for parts in ({"a": "bc"}, {"ab": "c"}, {"a": "b", "c": ""}, {"a": "bd"}, {})}
        assert len(keys) == 5
        assert cache.key_of({"a": "1", "b": b"2"}) == cache.key_of({"b": "2", "a": b"1"})

    def test_making_one_removes_what_nobody_looked_for_within_a_day(self, tmp_path: Path) -> None:
        two_days_ago = time.time() - 2 * 24 * 3600
        for key in ("old", "used", "recent"):
            entry = cache.make(tmp_path, "image", key, lambda directory: directory.joinpath("file").write_text("x") and None)
            assert (entry / "file").read_text() == "x"
        cache.make(tmp_path, "other", "old", lambda _: None)
        for name in ("image-old", "image-used", "other-old"):
            os.utime(tmp_path / name, (two_days_ago, two_days_ago))
        assert cache.find(tmp_path, "image", "used")
        cache.make(tmp_path, "image", "new", lambda _: None)
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == ["image-new", "image-recent", "image-used", "other-old"]
        assert not cache.find(tmp_path, "image", "old")

    def test_one_that_fails_leaves_nothing_and_keeps_the_old(self, tmp_path: Path) -> None:
        def fail(directory: Path) -> None:
            (directory / "half").touch()
            raise ToolError("no space")

        cache.make(tmp_path, "image", "old", lambda _: None)
        with pytest.raises(ToolError):
            cache.make(tmp_path, "image", "new", fail)
        assert [path.name for path in tmp_path.iterdir()] == ["image-old"]

    def test_what_a_killed_one_left_is_no_entry(self, tmp_path: Path) -> None:
        (tmp_path / "image.tmp").mkdir()
        (tmp_path / "image.tmp" / "half").touch()
        entry = cache.make(tmp_path, "image", "key", lambda _: None)
        assert list(entry.iterdir()) == []

    def test_the_lock_goes_with_its_process(self, tmp_path: Path) -> None:
        holder = (
            "import sys, pathlib; from runxtools import cache\n"
            "with cache.locked(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
        )
        command = [sys.executable, "-c", holder, str(tmp_path / "lock")]
        environment = {"PYTHONPATH": str(TOOLS)}

        def start() -> "subprocess.Popen[bytes]":
            pipe = subprocess.PIPE
            return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe)

        with start() as first:
            assert first.stdout and first.stdout.readline() == b"held\n"
            with start() as second:
                assert second.stderr and b"waiting" in second.stderr.readline()
                first.kill()
                assert second.stdout and second.stdout.readline() == b"held\n"
                second.communicate(timeout=10)


def test_a_process_is_known_by_its_start_time() -> None:
    with subprocess.Popen(["sleep", "1000"]) as child:
        process = Process.of(child.pid)
        assert process.alive()
        other = Process(process.pid, process.started - 1)
        assert not other.alive()
        other.end()
        assert process.alive(), "a process that reuses a pid was ended"
        process.end()
        assert not process.alive(), "a zombie counts as ended"


def test_progress_in_a_log_file() -> None:
    log = io.StringIO()
    progress = Progress(3, log)
    progress.skip("first", "cached")
    with progress.step("second", about_s=90):
        progress.note("a note")
    with pytest.raises(ToolError), progress.step("third"):
        raise ToolError("no")
    lines = log.getvalue().splitlines()
    assert lines[0] == "[1/3] first: cached"
    assert lines[1:3] == ["[2/3] second (about 90 s) ...", "    a note"]
    assert lines[3].startswith("[2/3] second (about 90 s) ... 0.")
    assert lines[4].startswith("[3/3] third ... failed after 0.")


class TestCommand:
    def test_a_failure_is_one_sentence_with_the_last_words(self) -> None:
        with pytest.raises(ToolError, match=r"(?s)^sh failed with status 3\n  out\n  err$"):
            command.run(["sh", "-c", "echo out; echo err >&2; exit 3"])

    def test_a_program_that_is_not_there(self) -> None:
        with pytest.raises(ToolError, match="program no-such-program not found"):
            command.run(["no-such-program"])

    @pytest.mark.parametrize(("sender", "receiver"), [("echo why >&2; exit 1", "cat"), ("cat /dev/zero", "echo why; exit 1")])
    def test_either_end_of_a_pipe_may_fail(self, sender: str, receiver: str) -> None:
        with pytest.raises(ToolError, match=r"(?s)the copy failed.*why"):
            command.pipe(["sh", "-c", sender], ["sh", "-c", receiver], "the copy")


class TestBoot:
    """A first boot that does not get there."""

    def test_a_hang_names_the_last_line_of_the_console(self, tmp_path: Path) -> None:
        (tmp_path / "console.log").write_text("Xen 4.17\r\nLAB: init 3.0\r\n")
        with (
            subprocess.Popen(["sleep", "1000"]) as child,
            pytest.raises(ToolError, match=r"not ready in 0 s; the console's last line: LAB: init 3.0"),
        ):
            try:
                qemu.await_boot(tmp_path, Process.of(child.pid), limit_s=0)
            finally:
                child.kill()

    def test_a_crash_is_not_waited_for(self, tmp_path: Path) -> None:
        (tmp_path / "console.log").write_text("Panic on CPU 0:\nout of memory\n")
        with pytest.raises(ToolError, match=r"crashed.*out of memory"):
            qemu.await_boot(tmp_path, Process.of(1), limit_s=300)

    def test_it_is_tried_again_and_says_why(self) -> None:
        notes: list[str] = []
        attempts = iter([ToolError("hung at init"), None])

        def body() -> None:
            if error := next(attempts):
                raise error

        qemu.retry(3, body, notes.append)
        assert notes == ["attempt 1 of 3 failed: hung at init"]

    def test_the_last_failure_is_the_error(self) -> None:
        def body() -> None:
            raise ToolError("hung")

        with pytest.raises(ToolError, match="hung"):
            qemu.retry(2, body, lambda _: None)


class TestKinds:
    def test_names_and_options_lead_back(self) -> None:
        kinds = [named(name) for name in NAMES]
        assert [kind.name for kind in kinds] == list(NAMES)
        assert [kind.options for kind in kinds] == ["", "--suite bookworm ", "--systemd ", "--suite bookworm --systemd "]
        with pytest.raises(ToolError, match="no lab is called woody"):
            named("woody")

    def test_each_has_its_own_directory_and_image(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("RUNX_CACHE", str(tmp_path))
        # Neither the programs nor the package sources need be on this machine.
        monkeypatch.setattr("runxtools.lab.dom0.run", lambda _: "version 1")
        monkeypatch.setattr("runxtools.bootstrap.ingredients", lambda suite: {"source": suite})
        kinds = [named(name) for name in NAMES]
        assert len({Lab(kind).directory for kind in kinds}) == len(kinds)
        assert len({dom0.key(kind) for kind in kinds}) == len(kinds)

    def test_labs_that_share_tests_have_a_machine_each(self) -> None:
        kind = Kind("bookworm")
        assert kind.parts(1) == (kind,)
        first, second = kind.parts(2)
        assert (first.options, first.full_name) == ("--suite bookworm --number 1 ", "bookworm 1")
        assert [part.cpus for part in (kind, first, second)] == [2, 1, 1]
        assert len({Lab(part)._machine for part in (kind, first, second)}) == 3
        assert {Lab(part).directory for part in (kind, first, second)} == {Lab(kind).directory}
        assert qemu.machine(1) != qemu.machine(2), "each has a saved state of its own"

    def test_packages_have_the_version_of_xen(self) -> None:
        assert {"xen-utils-4.20", "docker.io"} <= set(Kind("trixie").packages)
        assert "xen-hypervisor-4.17-amd64" in Kind("bookworm").packages
        assert "lvm2" in Kind("bookworm", systemd=True).packages

    def test_a_lab_that_is_not_up_says_how_to_start_it(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("RUNX_CACHE", str(tmp_path))
        with pytest.raises(ToolError, match=r"(?s)the lab bookworm is not up.*tools/lab --suite bookworm up"):
            Lab(Kind("bookworm")).run(["true"])


class Dom0:
    """In the place of dom0: it has no runx yet, and its commands do nothing."""

    def run(self, argv: list[str], *_: object, check: bool = False) -> object:
        return subprocess.CompletedProcess(argv, 0 if check else 1, b"", b"")

    def command(self, _: list[str]) -> list[str]:
        return ["sh", "-c", "cat > /dev/null"]


@pytest.mark.parametrize(("suite", "in_a_tree"), [("bookworm", False), ("trixie", True)])
def test_runx_is_installed_by_the_python_of_dom0(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, suite: str, in_a_tree: bool
) -> None:
    ran: list[list[str]] = []
    trees: list[str] = []

    def run(argv: list[str | Path], *_: object, **__: object) -> str:
        ran.append([str(word) for word in argv])
        (tmp_path / "scratch").mkdir(exist_ok=True)
        return ""

    monkeypatch.setattr("runxtools.apt.machine_release", lambda: "bookworm")
    monkeypatch.setattr("runxtools.command.run", run)
    monkeypatch.setattr("runxtools.tree.make", lambda suite, _: trees.append(suite) or tmp_path)
    monkeypatch.setattr("runxtools.tree.require_root", lambda _: None)
    assert install.install(Dom0(), tmp_path / "scratch", suite)  # type: ignore[arg-type]
    (words,) = ran
    assert words[-6:] == ["./build", "install", "--prefix", "/usr/local", "--destdir", str(tmp_path / "scratch")]
    assert trees == (["trixie"] if in_a_tree else [])
    assert (words[0] == "unshare") == in_a_tree


def test_a_socket_path_that_is_too_long_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="RUNX_CACHE"):
        Connection(22, tmp_path, tmp_path, tmp_path / ("x" * 100))


def test_the_test_image(tmp_path: Path) -> None:
    busybox = tmp_path / "busybox"
    busybox.write_text("#!/bin/sh\necho sh; echo busybox; echo cat\n")
    busybox.chmod(0o755)
    for name in ("one", "two"):
        ociimage.write(tmp_path / name, busybox)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with tarfile.open(tmp_path / "one") as image:

        def blob(descriptor: dict[str, str]) -> bytes:
            member = image.extractfile("blobs/sha256/" + descriptor["digest"].removeprefix("sha256:"))
            assert member is not None
            return member.read()

        index = image.extractfile("index.json")
        assert index is not None
        entry = json.load(index)["manifests"][0]
        assert entry["annotations"]["io.containerd.image.name"] == ociimage.NAME
        manifest = json.loads(blob(entry))
        config = json.loads(blob(manifest["config"]))
        layer = blob(manifest["layers"][0])
    assert config["rootfs"]["diff_ids"] == [manifest["layers"][0]["digest"]]
    with tarfile.open(fileobj=io.BytesIO(layer)) as root:
        members = {member.name: member for member in root}
        assert members["bin/sh"].linkname == members["bin/cat"].linkname == "busybox"
        assert members["bin/busybox"].mode == 0o755 and members["bin/busybox"].isfile()
        assert members["tmp"].mode == 0o1777
        assert members["home/user"].uid == 1000
