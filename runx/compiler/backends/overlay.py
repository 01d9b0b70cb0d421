"""The container's additions to the base initrd: what to set up, what to execute, the seccomp filter (docs/guest.md)."""

from runx.compiler.backends.network_script import network_script
from runx.compiler.backends.process_record import process_record
from runx.compiler.backends.setup_record import setup_record
from runx.compiler.model.plan import VmPlan
from runx.cpio import OverlayFile


def overlay(plan: VmPlan, seccomp_program: bytes = b"", copies: tuple[OverlayFile, ...] = ()) -> tuple[OverlayFile, ...]:
    """The overlay's files, in order; none if nothing of runx is in the guest. copies: the files of mounts by value."""
    if plan.console not in ("link", "pod") or not (plan.domain or plan.joined):
        return ()
    network = network_script(plan) if plan.domain else ""
    files: tuple[OverlayFile, ...] = (
        OverlayFile("runx/setup", 0o600, setup_record(plan)),
        *([OverlayFile("runx/network", 0o700, network.encode())] if network else []),
        # The environment may hold secrets.
        OverlayFile("runx/process", 0o600, process_record(plan)),
    )
    if plan.process.seccomp:
        files += (OverlayFile("runx/seccomp", 0o600, seccomp_program),)
    return files + copies
