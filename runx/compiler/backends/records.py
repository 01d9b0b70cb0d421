"""Files of records, which PID 1 of the guest reads (docs/guest.md, "Records")."""

import json
import re
from collections.abc import Iterator

from runx.errors import RunxError

_PLAIN = re.compile(r"[\w@%+=:,./|^~-]+", re.ASCII)


def record(name: str, *values: object) -> bytes:
    """One record: `name NUL count NUL`, and the values, each with a NUL behind it. Raises RunxError for NUL in a value."""
    words = [name, str(len(values)), *map(str, values)]
    for word in words:
        if "\0" in word:
            raise RunxError(f"{word!r} holds a NUL character, which a record for the guest cannot have", fault_id="RX904")
    return "".join(f"{word}\0" for word in words).encode()


def parse(records: bytes) -> Iterator[tuple[str, list[str]]]:
    """Name and values of each record."""
    fields = records.decode().split("\0")[:-1]
    at = 0
    while at < len(fields):
        name, count = fields[at], int(fields[at + 1])
        at += 2 + count
        yield name, fields[at - count : at]


def readable(path: str, content: bytes) -> str:
    """A file of the overlay for people: /runx/process has a value a line, /runx/setup a record a line. Others are text."""
    if path == "runx/process":
        lines = [line for name, values in parse(content) for line in (name, *(f"    {_quoted(value)}" for value in values))]
    elif path == "runx/setup":
        lines = [("" if name == "step" else "    ") + " ".join((name, *map(_word, values))) for name, values in parse(content)]
    else:
        return content.decode(errors="backslashreplace")
    return "\n".join(lines) + "\n"


def _word(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else _quoted(value)


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
