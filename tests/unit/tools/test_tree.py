"""Debian roots of other suites: whose packages they are made of, and what a command in one sees and leaves behind."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from runxtools import apt, bootstrap, tree
from runxtools.errors import ToolError
from runxtools.tree import Bind

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
USR = Bind(Path("/usr"), writable=False)


class TestSources:
    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        (tmp_path / "sources.list.d").mkdir()
        (tmp_path / "sources.list").write_text(
            "deb [signed-by=/k] http://one old main\ndeb http://one/security old-security main\n"
        )
        (tmp_path / "sources.list.d/a.sources").write_text(
            "Types: deb deb-src\nURIs: http://two\nSuites: old old-updates\n\nTypes: deb\nURIs: http://no\nSuites: other\n"
        )
        (tmp_path / "sources.list.d/b.list").write_text("deb http://three other main\n")
        return tmp_path

    def test_the_release_is_replaced(self, directory: Path) -> None:
        assert apt.suite_entries("new", directory, release=["old"]) == {
            "sources.list": "deb [signed-by=/k] http://one new main\ndeb http://one/security new-security main\n",
            "a.sources": "Types: deb\nURIs: http://two\nSuites: new new-updates\n",
        }

    def test_unstable_has_no_updates(self, directory: Path) -> None:
        assert apt.suite_entries("sid", directory, release=["old"]) == {
            "sources.list": "deb [signed-by=/k] http://one sid main\n",
            "a.sources": "Types: deb\nURIs: http://two\nSuites: sid\n",
        }
        assert 'Acquire::Check-Valid-Until "false";' in apt.settings("sid")

    def test_the_machine_s_own_release_keeps_all(self, directory: Path) -> None:
        found = apt.suite_entries("old", directory, release=["old"])
        assert found["b.list"] == "deb http://three other main\n"
        assert found["a.sources"].count("Suites: ") == 2

    def test_sources_of_another_release_are_an_error(self, directory: Path) -> None:
        with pytest.raises(ToolError, match="do not name this machine's release, woody or stable"):
            apt.suite_entries("new", directory, release=["woody", "stable"])

    @pytest.mark.parametrize(
        ("suite", "wanted"),
        [("trixie", "trixie trixie-updates trixie-security"), ("sid", "sid"), ("testing", "testing"), ("forky", None)],
    )
    def test_testing_and_unstable_are_named_by_their_use(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suite: str, wanted: str | None
    ) -> None:
        """As entries of such machines have it, whose os-release(5) has the code name of the next release for both."""
        of_the_machine = {"ID": "debian", "VERSION_CODENAME": "forky"}
        monkeypatch.setattr("platform.freedesktop_os_release", lambda: of_the_machine)
        named = "testing testing-updates testing-security unstable"
        (tmp_path / "sources.list.d").mkdir()
        (tmp_path / "sources.list").write_text("deb http://one sid main\n")
        (tmp_path / "sources.list.d/a.sources").write_text(f"Types: deb\nURIs: http://two\nSuites: {named}\n")
        (tmp_path / "sources.list.d/b.list").write_text("deb http://elsewhere stable main\n")
        found = apt.suite_entries(suite, tmp_path)
        assert found["a.sources"] == f"Types: deb\nURIs: http://two\nSuites: {wanted or named}\n"
        assert found["sources.list"] == f"deb http://one {suite if wanted else 'sid'} main\n"
        assert ("b.list" in found) == (wanted is None)

    def test_stable_is_replaced_where_no_entry_has_the_code_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "platform.freedesktop_os_release", lambda: {"ID": "debian", "VERSION_ID": "13", "VERSION_CODENAME": "trixie"}
        )
        (tmp_path / "sources.list").write_text("deb http://one stable main\ndeb http://one stable-security main\n")
        wanted = "deb http://one bookworm main\ndeb http://one bookworm-security main\n"
        assert apt.suite_entries("bookworm", tmp_path) == {"sources.list": wanted}
        (tmp_path / "sources.list").write_text("deb http://one trixie main\ndeb http://elsewhere stable main\n")
        assert apt.suite_entries("bookworm", tmp_path) == {"sources.list": "deb http://one bookworm main\n"}

    def test_a_machine_of_another_system_is_an_error(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("platform.freedesktop_os_release", lambda: {"ID": "ubuntu", "VERSION_CODENAME": "noble"})
        with pytest.raises(ToolError, match="no Debian of a known release"):
            apt.suite_entries("trixie", directory)


@pytest.mark.parametrize(("packages", "include"), [((), []), (("a", "b"), ["--include=a,b"])])
def test_mmdebstrap_gets_no_empty_list_of_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, packages: tuple[str, ...], include: list[str]
) -> None:
    """It would end with its usage."""
    called: list[str] = []
    monkeypatch.setattr(apt, "suite_entries", lambda _: {"a.list": "deb http://one new main\n"})
    monkeypatch.setattr(bootstrap, "run", lambda argv: called.extend(map(str, argv)))
    bootstrap.make("new", packages, tmp_path, ())
    assert [word for word in called if word.startswith("--include")] == include
    assert called[-3:-1] == ["new", str(tmp_path)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with nothing but links to /usr, which is this machine's."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "etc/kept").write_text("as it was\n")
    return root


def sh(root: Path, script: str, *binds: Bind) -> "subprocess.CompletedProcess[bytes]":
    return tree.call(root, ["/bin/sh", "-c", script], [USR, *binds], capture_output=True)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


@needs_root
class TestCall:
    @pytest.mark.parametrize(("script", "status"), [("true", 0), ("exit 77", 77), ("kill -TERM $$", 128 + 15)])
    def test_exit_status(self, root: Path, script: str, status: int) -> None:
        assert sh(root, script).returncode == status

    def test_who_joins_its_mounts_sees_the_root(self, root: Path) -> None:
        """As the commands in a double do. A chroot would be left by that."""
        result = sh(root, "nsenter --target $$ --mount cat /etc/kept")
        assert result.stdout == b"as it was\n", result.stderr

    def test_streams_and_arguments(self, root: Path) -> None:
        result = tree.call(
            root, ["/bin/sh", "-c", 'cat; printf %s "$1" >&2', "sh", "a 'b"], [USR], input=b"in\0", capture_output=True
        )
        assert (result.stdout, result.stderr) == (b"in\0", b"a 'b")

    def test_the_root_stays_as_it_was(self, root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "scratch").mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
        before, mounts = files(root), Path("/proc/self/mountinfo").read_text()
        result = sh(root, "echo new > /etc/kept; touch /etc/more; mkdir /srv; cat /etc/kept; mount -t tmpfs none /srv")
        assert (result.returncode, result.stdout) == (0, b"new\n"), result.stderr
        assert files(root) == before
        assert (root / "etc/kept").read_text() == "as it was\n"
        assert Path("/proc/self/mountinfo").read_text() == mounts
        assert list((tmp_path / "scratch").iterdir()) == []

    def test_where_overlays_cannot_be_stacked_writes_go_to_memory(self, root: Path) -> None:
        """In a root within a root: /tmp there is an overlay, which cannot be the upper layer of another."""
        inner = (
            "import sys; from pathlib import Path; from runxtools import tree;"
            "sys.exit(tree.call(Path(sys.argv[1]), ['/bin/sh', '-c', 'touch /etc/x && stat -f -c %T /etc/x'],"
            " [tree.Bind(Path('/usr'), writable=False)]).returncode)"
        )
        tools = Path(tree.__file__).parents[1]
        result = tree.call(
            root,
            ["/usr/bin/python3", "-c", f"import os; os.makedirs('/tmp', exist_ok=True); {inner}", str(root)],
            [USR, Bind(tools), Bind(root, writable=False)],
            environment={"PYTHONPATH": str(tools)},
            capture_output=True,
        )
        assert (result.returncode, result.stdout) == (0, b"overlayfs\n"), result.stderr

    def test_it_has_what_is_bound(self, root: Path, tmp_path: Path) -> None:
        shared, read_only = tmp_path / "shared", tmp_path / "one file"
        shared.mkdir()
        read_only.write_text("read\n")
        script = f"echo written > /srv/there/new; cat '{read_only}'; echo x 2>/dev/null > '{read_only}' || echo refused"
        result = sh(root, script, Bind(shared, Path("/srv/there")), Bind(read_only, writable=False))
        assert (result.returncode, result.stdout) == (0, b"read\nrefused\n"), result.stderr
        assert (shared / "new").read_text() == "written\n"

    def test_a_bind_of_nothing_is_an_error(self, root: Path, tmp_path: Path) -> None:
        with pytest.raises(ToolError, match="absent: no such file"):
            sh(root, "true", Bind(tmp_path / "absent"))

    def test_kernel_file_systems(self, root: Path) -> None:
        result = sh(
            root, "cat /sys/fs/cgroup/cgroup.controllers >&2 && echo $$ && ls /run && test -c /dev/null && test -d /sys/class"
        )
        assert result.returncode == 0, result.stderr
        pid, lock = result.stdout.split()
        assert int(pid) < 100, "it sees its own processes alone"
        assert lock == b"lock"

    def test_its_end_ends_what_it_started(self, root: Path, tmp_path: Path) -> None:
        sh(root, "(while :; do date +%N > /srv/beat; sleep 0.1; done) > /dev/null 2>&1 & sleep 0.5", Bind(tmp_path, Path("/srv")))
        last = (tmp_path / "beat").read_text()
        time.sleep(0.5)
        assert (tmp_path / "beat").read_text() == last

    def test_pip_has_its_settings_and_nothing_else_of_the_environment(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PIP_INDEX_URL", "https://index")
        monkeypatch.setenv("PRIVATE", "kept here")
        result = tree.call(root, ["/usr/bin/env"], [USR], environment={"MINE": "yes"}, capture_output=True)
        names = dict(line.split("=", 1) for line in result.stdout.decode().splitlines())
        assert names["PIP_INDEX_URL"] == "https://index"
        assert names["MINE"] == "yes"
        assert "PRIVATE" not in names
