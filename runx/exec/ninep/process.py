"""The process that serves the shares of one machine: a child of the supervisor's, from the fork on."""

import gc
import json
import os

from runx.errors import RunxError
from runx.exec.ninep import exports, jail, limits
from runx.exec.ninep.hypervisor import Hypervisor
from runx.exec.ninep.server import Server
from runx.exec.ninep.share import Share, open_directory
from runx.linux import confine, xen
from runx.linux.signals import signal

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from runx.exec.plan_json import VmPlan


def become(control: int, directory: str, title: str) -> None:
    """Serve the shares of the plan in a container's directory. Never returns.

    control: a socket to the supervisor, which gets `ready`, or `error MESSAGE` with the hint on the next line. title: the command
    line that ps(1) shows.
    """
    try:
        control, hypervisor = _alone(control)
        server = _confined(control, hypervisor, directory, title)
    except BaseException as error:
        _report(control, _words(error))
        os._exit(1)
    server.run()


def _words(error: BaseException) -> str:
    if isinstance(error, RunxError):
        return f"error {error.message}\n{error.hint}"
    return f"error the server of shares: {type(error).__name__}: {error}\n"


def _alone(control: int) -> tuple[int, Hypervisor]:
    """Let go of all that is the supervisor's but the control socket, whose new number is given, and open Xen's devices."""
    confine.end_with_parent(signal.SIGKILL)
    try:
        kept = [control, xen.open_grants(), xen.open_channels()]
    except OSError as error:
        raise RunxError(f"cannot open {error.filename}: {error.strerror}", xen.MODULES_HINT) from None
    control, grants, channels = jail.keep_descriptors(kept)
    return control, Hypervisor(grants, channels)


def _confined(control: int, hypervisor: Hypervisor, directory: str, title: str) -> Server:
    with open(f"{directory}/plan.json", encoding="utf-8") as file:
        plan: VmPlan = json.load(file)
    found = exports.of_plan(plan)
    confine.set_title(title)
    confine.one_heap()
    os.umask(0)
    jail.enter(f"{directory}/shares", found, limits.descriptors(len(found)))
    shares = [Share(open_directory(f"/{export.tag}"), export.rules, export.entries) for export in found]
    gc.disable()  # nothing here makes circles, and a collection would copy pages that are shared with the supervisor
    server = Server(control, hypervisor, shares)
    jail.lock()
    _report(control, "ready")
    return server


def _report(control: int, words: str) -> None:
    try:
        os.write(control, words.encode("utf-8", "replace")[:4096])
    except OSError:
        pass
