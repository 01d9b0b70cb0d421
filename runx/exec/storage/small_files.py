"""Small files that an engine mounts into the container travel in the ramdisk. Engines write them until the container starts:
docker its resolv.conf, nerdctl its hosts, in hooks that run when the ramdisk has been made. What has changed follows then.
"""

import binascii
import os
import stat

_NAME = "copies"
_SIZE_LIMIT = 64 * 1024
"""Bytes of one file, as the compiler has it for those that travel so."""


def keep(directory: str, copies: list[tuple[str, str, bytes]]) -> None:
    """Remember what was read when the ramdisk was made, in the container's directory.

    copies: of each file its path in the guest, its path on the host, and its content then.
    """
    fields = [field for inside, path, content in copies for field in (inside, path, str(binascii.crc32(content)))]
    with open(f"{directory}/{_NAME}", "xb") as file:
        file.write("\0".join(fields).encode("utf-8", "surrogateescape"))


def changed(directory: str) -> list[tuple[str, bytes]]:
    """The files that have changed: the path on the host, and the command of a shell that makes the guest's copy what is there
    now. The command is empty for what cannot follow so: no such small file any more, or one with bytes that no word has."""
    try:
        with open(f"{directory}/{_NAME}", "rb") as file:
            fields = file.read().decode("utf-8", "surrogateescape").split("\0")
    except FileNotFoundError:
        return []
    found = []
    for at in range(0, len(fields), 3):
        inside, path, crc = fields[at : at + 3]
        content = _read(path)
        if content is None or b"\0" in content:
            found.append((path, b""))
        elif str(binascii.crc32(content)) != crc:
            found.append((path, b"printf %s '" + content.replace(b"'", b"'\\''") + f"' > {inside}\n".encode()))
    return found


def _read(path: str) -> bytes | None:
    """A file's content; None when it is no regular file of such a size."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        content = os.read(fd, _SIZE_LIMIT + 1) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    except OSError:
        return None
    finally:
        os.close(fd)
    return content if content is not None and len(content) <= _SIZE_LIMIT else None
