"""Small files that an engine mounts into the container travel in the ramdisk.

Engines write to them until the container starts: docker to resolv.conf, nerdctl to hosts, in hooks that run after the ramdisk was
made. Files that have changed by then are sent to the guest.
"""

import binascii
import os
import stat

_NAME = "copies"
_SIZE_LIMIT = 64 * 1024
"""Bytes of one file. The compiler has the same limit."""


def keep(directory: str, copies: list[tuple[str, str, bytes]]) -> None:
    """Keep checksums of the files in the container's directory, when the ramdisk is made.

    copies: path in the guest, path on the host and content of each file.
    """
    fields = [field for inside, path, content in copies for field in (inside, path, str(binascii.crc32(content)))]
    with open(f"{directory}/{_NAME}", "xb") as file:
        file.write("\0".join(fields).encode("utf-8", "surrogateescape"))


def changed(directory: str) -> list[tuple[str, bytes]]:
    """Files that have changed: path on the host, and the shell command that writes the new content in the guest.

    The command is empty for a file that cannot be sent: it is missing, too large, or has NUL bytes, which no command can have.
    """
    found = []
    for inside, path, content in contents_changed(directory):
        if content is None or b"\0" in content:
            found.append((path, b""))
        else:
            found.append((path, b"printf %s '" + content.replace(b"'", b"'\\''") + f"' > {inside}\n".encode()))
    return found


def sources(directory: str) -> list[str]:
    """The paths of all of them on the host."""
    return [path for _, path, _ in _kept(directory)]


def contents_changed(directory: str) -> list[tuple[str, str, bytes | None]]:
    """Files that have changed: path in the guest, path on the host, and content; None for one that is missing or too large."""
    found = []
    for inside, path, crc in _kept(directory):
        content = _read(path)
        if content is None or str(binascii.crc32(content)) != crc:
            found.append((inside, path, content))
    return found


def _kept(directory: str) -> "list[tuple[str, str, str]]":
    """Path in the guest, path on the host, and checksum."""
    try:
        with open(f"{directory}/{_NAME}", "rb") as file:
            fields = file.read().decode("utf-8", "surrogateescape").split("\0")
    except FileNotFoundError:
        return []
    return [(fields[at], fields[at + 1], fields[at + 2]) for at in range(0, len(fields), 3)]


def _read(path: str) -> bytes | None:
    """Content of a file; None when it is not regular, too large, or cannot be read."""
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
