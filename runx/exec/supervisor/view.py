"""The root directory of a supervisor whose container is created: programs of the host, and what belongs to the container.

/proc/PID/root leads there. Tools that take a supervisor for the container's process find no file of the host by it.
"""

import os

from runx import paths
from runx.exec import host_view
from runx.exec.ninep import export_names
from runx.exec.storage import small_files
from runx.exec.supervisor.space import layer_of

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from runx.exec.container.record import Record


def enter(record: "Record") -> None:
    """Move this process there, unless it needs what only the host's root directory has. Raises RunxError."""
    if record.sees_host:
        return
    directory = record.directory
    write = [directory, *_log(record)]
    read = [*host_view.own_files(), *small_files.sources(directory)]
    if record.domain:
        write += [*host_view.FILES_OF_XL, *host_view.xenstore(), paths.LOOPS]
        read += host_view.SETTINGS_OF_XL
    if record.writes_back:
        layer = layer_of(record.disks)
        write += [*([os.path.dirname(layer)] if layer else []), export_names.root_of_the_layer(directory)]
    # `podman cp` copies into the mount namespace of a container that runs: it must not succeed at a file that no guest sees.
    host_view.enter(f"{directory}/{host_view.PLACE}", read=read, write=write, has_tmp=False)


def _log(record: "Record") -> list[str]:
    """The file of --log, which is made now if it is not there yet."""
    if not record.log or record.log.startswith(("/dev/", "/proc/")):
        return []
    try:
        os.close(os.open(record.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644))
    except OSError:
        pass  # lines are lost
    return [record.log]
