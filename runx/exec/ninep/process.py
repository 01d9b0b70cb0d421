"""The process that serves the shares of one machine: a child of the supervisor's, from the fork on."""

import os

from runx.errors import RunxError
from runx.exec import confinement
from runx.exec.ninep import exports, jail, limits
from runx.exec.ninep.hypervisor import Hypervisor
from runx.exec.ninep.server import Server
from runx.exec.ninep.share import Share, open_directory
from runx.linux import confine, memory
from runx.linux.cpu_share import CpuShare
from runx.linux.signals import signal


def become(control: int, directory: str, name: str, title: str, cpu_percent: int) -> None:
    """Serve the shares of a container, by its directory. Never returns.

    control: a socket to the supervisor, which gets `ready`, or `error MESSAGE` with the hint on the next line. name: of the
    file that has the shares there. title: the command line that ps(1) shows. cpu_percent: what the container may use of one
    processor, and so have this process use.
    """
    try:
        confine.end_with_parent(signal.SIGKILL)
        confine.die_at(confinement.OOM_SERVER)
        (control,) = jail.keep_descriptors([control])
        server = _confined(control, directory, name, title, cpu_percent)
    except BaseException as error:
        _report(control, _words(error))
        os._exit(1)
    server.run()


def _words(error: BaseException) -> str:
    if isinstance(error, RunxError):
        return f"error {error.message}\n{error.hint}"
    return f"error the server of shares: {type(error).__name__}: {error}\n"


def _confined(control: int, directory: str, name: str, title: str, cpu_percent: int) -> Server:
    found = exports.load(f"{directory}/{name}")
    if any(bind.is_layer or bind.has_slots for export in found for bind in export.binds):
        # Other servers do without this memory. In the jail, nothing can be loaded.
        from runx.exec.ninep import changes, layer  # noqa: F401
    hypervisor = Hypervisor()
    confine.set_title(title)
    memory.one_heap(limits.MESSAGE_MAX)
    memory.find_code()
    os.umask(0)
    jail.enter(f"{directory}/shares", found, limits.descriptors(len(found)))
    shares = [Share(open_directory(f"/{export.tag}"), export.rules, export.entries) for export in found]
    server = Server(control, hypervisor, shares, CpuShare(cpu_percent))
    jail.lock()
    memory.trim()
    _report(control, "ready")
    return server


def _report(control: int, words: str) -> None:
    try:
        os.write(control, words.encode("utf-8", "replace")[:4096])
    except OSError:
        pass
