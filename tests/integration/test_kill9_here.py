"""SIGKILL for each process of a container in dom0, at each step of its life: nothing hangs, and nothing is left.

`tests/unit/exec/test_kill9.py` kills before any system call, with an xl that does nothing.
Guests, shares and disks are real here.
"""

import pytest

from lives import Life, before, is_over, life, log, nothing_is_left  # noqa: F401
from runxtools.double.host import Double
from runxtools.testing.bundles import Bundle
from runxtools.testing.containers import LIMIT_S, until

MATRIX = [
    ("creating", "create"),
    ("creating", "supervisor"),
    ("creating", "server"),
    ("creating", "xl"),
    ("created", "supervisor"),
    ("created", "server"),
    ("running", "supervisor"),
    ("running", "server"),
    ("creating", "foreground"),
    ("created", "foreground"),
    ("running", "foreground"),
    ("paused", "foreground"),
    ("paused", "supervisor"),
    ("paused", "server"),
    ("being_killed", "foreground"),
    ("being_killed", "supervisor"),
    ("being_killed", "server"),
    ("being_killed", "server_of_the_layer"),
    ("writing_back", "foreground"),
    ("writing_back", "supervisor"),
    ("writing_back", "server"),
    ("writing_back", "server_of_the_layer"),
    ("ending", "supervisor"),
    ("ending", "server"),
    ("ending", "foreground"),
]
"""The packer and mkfs.erofs are in test_packing_here.py."""


@pytest.mark.parametrize(("step", "victim"), MATRIX)
def test_nothing_hangs_and_nothing_is_left(
    before: list[str],  # noqa: F811
    life: Life,  # noqa: F811
    double: Double,
    bundle: Bundle,
    step: str,
    victim: str,
) -> None:
    getattr(life, step)()
    try:
        pid = getattr(life, victim)()
    except (ValueError, IndexError):
        assert step == "ending", "it has ended already"
        pid = 0
    if pid:
        double.run(["kill", "-9", str(pid)])
    if step == "creating":
        double.run(["kill", "-9", str(life.xl())])  # `delete` would wait for it for a minute: it may make a domain yet
    elif victim == "supervisor":
        until(lambda: is_over(bundle))
    assert life.command and life.command.stdout
    life.command.wait(LIMIT_S)  # its standard input is still open
    removed = bundle.runx("delete", "--force", "c")
    assert (removed.returncode, removed.stderr) == (0, b"")
    # Only now: a `create` that did not wait for slow images has left a supervisor, which has its standard output.
    said = life.command.stdout.read()  # nobody has it open any more
    if victim == "server" and step == "running":
        assert b"the server of the container's shares has ended: signal 9" in said, said
    nothing_is_left(double, bundle, before)
    is_written = (bundle.directory / "rootfs/written").exists()
    assert is_written or b"wrote back" not in log(bundle)
    # `run` goes on from `created` by itself, and its process may have written before the signal comes.
    if step != "ending" and (step, victim) != ("created", "foreground"):
        assert is_written == (victim == "foreground" and step in ("running", "paused")), "`delete` ends in order what has run"
