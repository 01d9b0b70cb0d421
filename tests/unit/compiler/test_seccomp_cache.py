"""seccomp in the compiler: the plan that tells of a filter, and the cache of programs."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from compiler_cases import CASES
from runx import paths
from runx.cli.main import main
from runx.compiler.diagnostics import CompileError
from runx.compiler.host import seccomp_cache
from runx.compiler.host.facts import NoFilters
from runx.compiler.host.host_facts import HostFacts
from runx.compiler.host.seccomp_cache import host_filter
from runx.compiler.pipeline import Inputs
from runx.errors import RunxError
from runx.exec.commands import create
from runx.log import Log
from seccomp_profiles import compiled, profile, rule


def test_the_plan_tells_of_the_filter() -> None:
    flags = ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG"]
    plan, artifacts, *_ = compiled(profile(rule("read", "write"), flags=flags))
    assert plan.process.seccomp.default_action == "SCMP_ACT_ERRNO"
    assert plan.process.seccomp.system_calls == 2
    assert plan.process.seccomp.flags == ("SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW")
    files = {file.path: file.content for file in artifacts.overlay}
    assert len(files["runx/seccomp"]) == plan.process.seccomp.instructions * 8
    assert b"seccomp\x001\x006\x00" in files["runx/process"]
    assert not [entry for entry in plan.ignored if "seccomp" in entry.path]


def test_without_the_library_the_profile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp_cache, "find_library", lambda: "")
    with pytest.raises(CompileError, match=r"linux\.seccomp: no filter can be made: libseccomp\.so\.2 is not installed"):
        compiled(profile(rule("read")))


def test_a_library_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "lib").write_text("no library")
    with pytest.raises(NoFilters, match="lib: "):
        seccomp_cache._made(profile(), str(tmp_path / "lib"), -1, "")


def test_a_host_short_of_files_does_not_drop_the_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("os.memfd_create", full)
    with pytest.raises(CompileError, match="no place for the program: too many open files"):
        compiled(profile(rule("read")))


# The cache.


def test_a_filter_is_kept_and_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache/runx/seccomp"
    document = profile(rule("read"))
    program = host_filter(document, str(cache))
    assert cache.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in cache.iterdir()] == [0o600]
    monkeypatch.setattr(seccomp_cache, "_made", lambda *_: pytest.fail("built again"))
    assert host_filter(document, str(cache)) == program
    with pytest.raises(pytest.fail.Exception):
        host_filter(profile(rule("write")), str(cache))


def test_a_hit_loads_no_library(tmp_path: Path) -> None:
    script = (
        "import sys; from runx.compiler.host.seccomp_cache import host_filter; "
        f"host_filter({{'defaultAction': 'SCMP_ACT_ALLOW'}}, {str(tmp_path / 'c')!r}); print('ctypes' in sys.modules)"
    )
    runs = [subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout for _ in "12"]
    assert runs == ["True\n", "False\n"]


@pytest.mark.parametrize("damage", [b"", b"short", bytes(32 + 16)])
def test_a_damaged_file_is_replaced(tmp_path: Path, damage: bytes) -> None:
    document = profile(rule("read"))
    program = host_filter(document, str(tmp_path / "c"))
    (kept,) = (tmp_path / "c").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(damage)
    assert host_filter(document, str(tmp_path / "c")) == program
    assert kept.read_bytes() == whole


def test_a_directory_that_others_may_use_is_not_trusted(tmp_path: Path) -> None:
    document = profile(rule("read"))
    program = host_filter(document, str(tmp_path / "c"))
    (kept,) = (tmp_path / "c").iterdir()
    kept.unlink()
    (tmp_path / "c").chmod(0o755)
    (tmp_path / "link").symlink_to("c")
    for cache in ("c", "link"):
        assert host_filter(document, str(tmp_path / cache)) == program
        assert not list((tmp_path / "c").iterdir())


def test_a_link_in_the_cache_is_not_followed(tmp_path: Path) -> None:
    document = profile(rule("read"))
    program = host_filter(document, str(tmp_path / "c"))
    (kept,) = (tmp_path / "c").iterdir()
    kept.rename(tmp_path / "elsewhere")
    kept.symlink_to(tmp_path / "elsewhere")
    assert host_filter(document, str(tmp_path / "c")) == program
    assert not kept.is_symlink()


def test_a_cache_that_cannot_be_written_is_no_failure() -> None:
    assert host_filter(profile(rule("read")), "/proc/nowhere/seccomp")


def test_the_cache_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp_cache, "KEPT", 3)
    for number in range(6):
        host_filter(profile(rule("read"), defaultErrnoRet=number), str(tmp_path / "c"))
    assert len(list((tmp_path / "c").iterdir())) == 3


def test_looking_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`runx plan` builds the filter to show its length, or finds it, and keeps nothing."""
    monkeypatch.setattr(paths, "FILTER_CACHE", str(tmp_path / "cache"))
    config = json.loads((CASES / "minimal/config.json").read_text())
    config["linux"]["seccomp"] = profile(rule("read", "write"))
    (tmp_path / "bundle/rootfs").mkdir(parents=True)
    (tmp_path / "bundle/config.json").write_text(json.dumps(config))
    assert main(["plan", str(tmp_path / "bundle")]) == 0
    assert re.search(
        r"seccomp +2 system calls, \d+ instructions, all else: errno \(sha256 [0-9a-f]{12}\)", capsys.readouterr().out
    )
    assert not (tmp_path / "cache").exists()
    host_filter(profile(rule("read", "write")), str(tmp_path / "cache"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    monkeypatch.setattr("runx.compiler.host.seccomp_cache._made", None)
    assert main(["plan", str(tmp_path / "bundle")]) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == before


def test_create_keeps_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(inputs: Inputs) -> None:
        assert isinstance(inputs.facts, HostFacts)
        raise RunxError(f"{inputs.facts.filter_cache} {inputs.facts.keeps_filters}")

    monkeypatch.setattr("runx.compiler.pipeline.compile", stop)
    with pytest.raises(RunxError, match=r"^/var/cache/runx/seccomp True$"):
        create._compile_into(SimpleNamespace(directory="/run/runx/c"), "/run/runx", create.CreateOptions("/b", Log("", False)))
