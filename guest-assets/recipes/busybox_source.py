"""The source of busybox: the source package of the host's distribution."""

import shutil
from pathlib import Path

from recipes import pins
from recipes.settings import Settings
from runxtools import cache
from runxtools.apt import PrivateApt, machine_release, source_entries
from runxtools.errors import ToolError
from runxtools.runner import Log, say


def busybox_source(settings: Settings) -> Path:
    """Directory of Debian's source package of busybox, downloaded into the cache."""
    key = cache.key_of({"recipe": "1"})
    entry = cache.find(cache.root(), "guest-busybox-source", key)
    if entry and not settings.update:
        return entry
    if entry:
        shutil.rmtree(entry)

    def fill(directory: Path) -> None:
        say("busybox: downloading Debian's source package")
        log = Log("busybox-source")
        sources = source_entries()
        if not sources:
            raise ToolError("no package sources in /etc/apt", "busybox=PATH uses a static busybox of your own")
        apt = PrivateApt(directory / "apt", log, sources)
        # `update` fails for a repository without source packages. The download tells whether busybox was found.
        apt.run("update", cwd=directory, check=False)
        taken = pins.wanted(pins.pin("busybox", machine_release()), apt.versions("busybox", source=True))
        apt.run("source", "--download-only", f"busybox={taken}" if taken else "busybox", cwd=directory)
        shutil.rmtree(directory / "apt")
        if len(list(directory.glob("busybox_*.dsc"))) != 1:
            raise ToolError("apt-get source downloaded no busybox", f"the log: {log.path}")

    return cache.make(cache.root(), "guest-busybox-source", key, fill)
