"""What the guest's kernel keeps from processes without privileges."""

from runxtools.lab.lab import Lab
from runxtools.testing.containers import sh

SHOWN = "cd /proc/sys/kernel; cat io_uring_disabled unprivileged_userns_clone; unshare -U true 2> /dev/null || echo refused"


def test_what_needs_privileges(lab: Lab) -> None:
    """The container of ctr has no seccomp profile and no CAP_SYS_ADMIN."""
    result = sh(lab, SHOWN)
    assert (result.returncode, result.stdout) == (0, b"1\n0\nrefused\n"), result.stderr
