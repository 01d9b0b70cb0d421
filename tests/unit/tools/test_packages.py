"""packages.py: the Debian packages that tools install."""

import subprocess
import sys
from pathlib import Path

import pytest

from runxtools import packages
from runxtools.packages import Package

PACKAGE = Package("none-such", "/none/such", "for this test")


@pytest.mark.parametrize("held", [True, False])
def test_another_apt_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bool) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    monkeypatch.setattr(packages, "_LOCK", str(lock))
    calls: list[list[str]] = []
    monkeypatch.setattr(packages, "run", lambda argv, _: calls.append(argv))
    monkeypatch.setattr(packages, "require_root", lambda _: None)
    script = f"import fcntl; f = open({str(lock)!r}, 'rb+'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout
    other.stdout.readline()
    if not held:
        other.communicate(b"\n")
    notes: list[str] = []
    packages.install([PACKAGE], notes.append)
    other.communicate(b"\n" if held else None)
    assert ("another apt or dpkg is at work: waiting for its end, 10 minutes at most" in notes) == held
    assert "DPkg::Lock::Timeout=600" in calls[0]
