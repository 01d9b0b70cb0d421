"""The process that makes the images of a root filesystem: a child of the supervisor, which goes on serving meanwhile.

Whoever ends, nothing goes on: when the supervisor ends, the kernel sends SIGTERM to this child, which removes what it has not
completed; and when this child ends, its mkfs.erofs is killed.
"""

import os
import select

from runx.errors import RunxError
from runx.exec import confinement, spawn
from runx.linux import descriptors, proc
from runx.linux.signals import signal

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from typing import NoReturn

_END_S = 10.0
"""How long the child may take to end: mkfs.erofs, or the kernel, may be writing to a slow disk."""


class Packer:
    """The child, from its start to its end. As a part of the supervisor's loop it waits for the images."""

    def __init__(self, directory: str) -> None:
        """Start it. directory: the container's, with its plan."""
        self.is_done = False
        """The images are there, or cannot be made."""
        self._made = False
        self._said = ""
        """The error that the child ended with, for spawn.reported."""
        self._output = os.memfd_create("output", os.MFD_CLOEXEC)
        self._done, done = os.pipe2(os.O_CLOEXEC)
        hold, self._hold = os.pipe2(os.O_CLOEXEC)
        supervisor = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            _become_packer(supervisor, directory, self._output, done, hold)
        os.close(done)
        os.close(hold)

    def watch(self, poller: select.poll) -> None:
        poller.register(self._done, select.POLLIN)

    def handle(self, ready: dict[int, int]) -> None:
        if self._done in ready:
            self.is_done = True
            self._made = bool(os.read(self._done, 1))

    def wait(self, timeout_s: float, caller: int) -> None:
        """Wait for the images for at most timeout_s. Raises RunxError if the descriptor `caller`, a pipe, is closed before."""
        poller = select.poll()
        self.watch(poller)
        poller.register(caller, select.POLLIN)
        ready = dict(poller.poll(int(timeout_s * 1000)))
        self.handle(ready)
        if caller in ready and not self.is_done:
            raise RunxError("`create` was ended")

    def check(self) -> None:
        """Raise the RunxError that the child ended with, if it could not make the images. It must have ended its work."""
        if not self._made:
            self.end()
            if self._said:
                raise spawn.reported(self._said)
            hint = "by the kernel, if the container's control group has too little memory: host.memory_limit of runx.toml"
            raise RunxError("root.path: the process that makes its images was killed", hint)

    def end(self) -> None:
        """End the child, which keeps the images until then. Raises RunxError if that is not possible."""
        if not self._pid:
            return
        pid, self._pid = self._pid, 0
        os.close(self._hold)
        try:
            if not self._made:
                os.kill(pid, signal.SIGTERM)
            if spawn.wait(pid, _END_S) is None:
                os.kill(pid, signal.SIGKILL)
                if spawn.wait(pid, _END_S) is None:
                    raise RunxError(f"the process {pid}, which makes images of the root filesystem, does not end")
            self._said = spawn.tail(self._output)
        finally:
            os.close(self._output)
            os.close(self._done)


def _become_packer(supervisor: int, directory: str, output: int, done: int, hold: int) -> "NoReturn":
    """In the child: make the images, and keep them until the supervisor, whose pid is given, has locked them."""
    try:
        signal.signal(signal.SIGTERM, _called_off)
        proc.die_with_parent(supervisor, signal.SIGTERM)
        spawn.stand_alone(output)
        # `create` waits for the end of a pipe, of which this process has a copy as well.
        descriptors.close_all_but((output, done, hold))
        confinement.packer()
        _make_and_keep(directory, done, hold)
        os._exit(0)
    except BaseException as error:
        spawn.report(output, "root.path: its images cannot be made", error)
    finally:
        os._exit(1)


def _make_and_keep(directory: str, done: int, hold: int) -> None:
    # Here alone, as these imports would cost the supervisor memory.
    import json
    import shutil

    from runx.exec import host_view
    from runx.exec.ninep import export_names
    from runx.exec.storage import disk_lock, image_cache, initrd_images
    from runx.linux import control_groups

    with open(f"{directory}/plan.json", encoding="utf-8") as file:
        plan = json.load(file)
    try:
        image_cache.collect(plan)  # looks at directories of other containers
        is_changed = plan["root"]["write_back"] == "exit"
        host_view.enter(
            f"{directory}/{host_view.PLACE}",
            read=[*host_view.own_files(), *image_cache.sources(plan), *(tree.mount_point for tree in control_groups.mounted())],
            write=[directory, *image_cache.directories(plan), *([plan["root"]["path"]] if is_changed else [])],
        )
        if is_changed:
            shutil.rmtree(f"{plan['root']['path']}/{export_names.SCRATCH}", ignore_errors=True)
        if plan["root"]["images"]:
            initrd_images.make(directory, plan)
        else:
            image_cache.make(directory, plan)  # what it returns stays open until this process ends
        os.write(done, b"m")
        os.read(hold, 1)
    except BaseException:
        for disk in (plan["domain"] or plan["joined"])["disks"]:
            disk_lock.forget_file(disk["source"])
        raise


def _called_off(*_: object) -> None:
    raise RunxError("the container was ended before the images of its root filesystem were made")
