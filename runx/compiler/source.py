"""The text of a config.json: read once and parsed strictly. It finds the place of each value."""

import json
import re
from bisect import bisect_right
from typing import Any, NoReturn

from runx.compiler.diagnostics import CompileError, Diagnostic, Location, Path, quote, source_of

SIZE_LIMIT = 16 * 1024 * 1024
"""Bytes. The largest configurations in use (Kubernetes with many volumes) are below 1 MiB."""

DEPTH_LIMIT = 64
"""Levels of nesting. The specification needs eight."""


class Source:
    """A parsed configuration together with its text.

    Raises CompileError for text that is not UTF-8 or not JSON (RFC 8259), for a name given twice in one object, for NaN and
    infinity, and for strings with a NUL, which no system call takes, or with half of a surrogate pair.
    """

    def __init__(self, raw: bytes, name: str = "config.json") -> None:
        self.name = name
        """The file's name in messages."""
        self.text = ""
        if len(raw) > SIZE_LIMIT:
            self.fail("RX001", None, f"larger than {SIZE_LIMIT // 1024 // 1024} MiB")
        try:
            self.text = raw.decode()
        except UnicodeDecodeError as error:
            before = raw[: error.start].decode()
            self.fail("RX002", location(before, len(before)), f"not UTF-8: byte 0x{raw[error.start]:02x}")
        self._places: dict[Path, int] | None = None
        self._lines: list[int] = []
        self._suspicious = False
        try:
            self.document: Any = json.loads(self.text, object_pairs_hook=self._object, parse_constant=self._constant)
        except json.JSONDecodeError as error:
            at, message = _json_fault(error)
            self.fail("RX003", location(self.text, at), f"not JSON: {message}")
        except RecursionError:
            # How deep Python follows differs between its versions; newer ones leave such a text to the walk below.
            self.fail("RX004", location(self.text, _too_deep(self.text)), "not a configuration: nested too deeply")
        except ValueError:  # sys.set_int_max_str_digits
            digits = re.search("[0-9]{1000,}", self.text)
            place = location(self.text, digits.start()) if digits else None
            self.fail("RX004", place, "not a configuration: a number of thousands of digits")
        # Such characters need an escape, so most texts need no second pass.
        if self._suspicious or "\\u0000" in self.text or "\\ud" in self.text or "\\uD" in self.text:
            self._find_faults()
        if not isinstance(self.document, dict):
            self.fail("RX011", Location(1, 1), "must be an object")

    def locate(self, path: Path, character: int | None = None) -> Location | None:
        """The place where the value at `path` starts; of an absent value the place of the object that lacks it; of a value from
        another source None.

        character: the place of this character of the string at `path`, counted from 0, instead.
        """
        if source_of(path):
            return None
        if self._places is None:
            self._places = _Walk(self).places
        if character is not None and path in self._places:
            return self._location(_character(self.text, self._places[path], character))
        while path not in self._places:
            path = path[:-1]
        return self._location(self._places[path])

    def _location(self, offset: int) -> Location:
        """As location(), for many offsets of one text."""
        if not self._lines:
            self._lines = [0, *(match.end() for match in re.finditer("\n", self.text))]
        line = bisect_right(self._lines, offset)
        return Location(line, offset - self._lines[line - 1] + 1)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        self._suspicious |= len(members) != len(pairs)
        return members

    def _constant(self, _name: str) -> None:
        self._suspicious = True

    def _find_faults(self) -> None:
        walk = _Walk(self)
        if walk.faults:
            raise CompileError([(self._location(at), fault) for at, fault in walk.faults], self.name, self.text)

    def fail(self, fault_id: str, place: Location | None, message: str) -> NoReturn:
        """Raise CompileError about the text as a whole."""
        raise CompileError([(place, Diagnostic(fault_id, (), message))], self.name, self.text)


class _Walk:
    """One slow pass over valid JSON: the offset of every value, and the faults that json.loads does not see."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.text = source.text
        self.places: dict[Path, int] = {}
        self.faults: list[tuple[int, Diagnostic]] = []
        self._decoder = json.JSONDecoder()
        self._value((), self._blank(0))

    def _value(self, path: Path, at: int) -> int:
        """Record the value at offset `at` and return the offset after it."""
        if len(path) > DEPTH_LIMIT:
            self._source.fail("RX004", location(self.text, at), "not a configuration: nested too deeply")
        self.places[path] = at
        first = self.text[at]
        if first == "{":
            return self._members(path, at)
        if first == "[":
            return self._items(path, at)
        value, end = self._decoder.raw_decode(self.text, at)
        if isinstance(value, str):
            self._string(path, at, value)
        elif isinstance(value, float) and not self.text[at:end].strip("-").startswith(tuple("0123456789")):
            self.faults.append((at, Diagnostic("RX003", path, f"not JSON: {self.text[at:end]} is not a number")))
        return end

    def _members(self, path: Path, at: int) -> int:
        at = self._blank(at + 1)
        seen: set[str] = set()
        while self.text[at] != "}":
            start = at
            name, at = self._decoder.raw_decode(self.text, at)
            self._string(path, start, name)
            if name in seen:
                self.faults.append((start, Diagnostic("RX006", (*path, name), "given twice", "keep one of them")))
            seen.add(name)
            at = self._value((*path, name), self._blank(self._blank(at) + 1))
            at = self._blank(at)
            if self.text[at] == ",":
                at = self._blank(at + 1)
        return at + 1

    def _items(self, path: Path, at: int) -> int:
        at = self._blank(at + 1)
        index = 0
        while self.text[at] != "]":
            at = self._blank(self._value((*path, index), at))
            if self.text[at] == ",":
                at = self._blank(at + 1)
            index += 1
        return at + 1

    def _string(self, path: Path, at: int, value: str) -> None:
        if "\0" in value:
            self.faults.append((at, Diagnostic("RX007", path, f"{quote(value)} holds a NUL character")))
        elif not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            self.faults.append((at, Diagnostic("RX007", path, "holds half of a surrogate pair, which is not a character")))

    def _blank(self, at: int) -> int:
        while self.text[at] in " \t\r\n":
            at += 1
        return at


def _too_deep(text: str) -> int:
    """The offset of the first array or object that lies too deep; 0 if there is none."""
    depth = 0
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', text):
        if match[0] in "[{":
            depth += 1
            if depth > DEPTH_LIMIT + 1:
                return match.start()
        elif match[0] in "]}":
            depth -= 1
    return 0


def _character(text: str, start: int, character: int) -> int:
    """The offset of a character of the string that begins at `start`. After the last character comes the closing quote."""
    at = start + 1
    for _ in range(character):
        if text[at] == '"':
            break
        escape = re.match(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u....|\\.", text[at : at + 12])
        at += escape.end() if escape else 1
    return at


def _json_fault(error: json.JSONDecodeError) -> tuple[int, str]:
    """Offset and message of a fault that Python's decoder has found. Its own messages are about what the decoder does.

    The message repeats nothing of the text, which the author of NETCONF may not be allowed to read (frontends/netconf.py).
    """
    text, at = error.doc, error.pos
    before = text[:at].rstrip(" \t\r\n")
    if not before and at >= len(text.rstrip()):
        return at, "the text is empty"
    if error.msg.startswith("Invalid control character"):
        return at, "a string holds a control character, which JSON writes as an escape such as \\n"
    if error.msg.startswith("Invalid \\"):
        return at, "a string holds an escape that JSON does not have"
    if error.msg.startswith("Unterminated string"):
        return at, "a string has no closing quote"
    if error.msg.startswith("Unexpected UTF-8 BOM"):
        return at, "the text begins with a byte order mark"
    if at >= len(text.rstrip()):
        return at, "the text ends too early"
    if text[at] == "#" or text[at : at + 2] in ("//", "/*"):
        return at, "JSON has no comments"
    if word := re.compile(r"(?:None|(true|false|null))\b", re.IGNORECASE).match(text, at):
        return at, f"JSON writes {(word[1] or 'null').lower()} so, in small letters"
    if text[at].isdigit() and before == text[:at] and re.search(r"(?<![\w.+-])-?0$", before):
        return at, "a number begins with 0"
    if error.msg.startswith("Extra data"):
        return at, "nothing may follow the value"
    if error.msg.startswith("Illegal trailing comma"):  # since Python 3.13, at the comma
        at += re.search(r"[^ \t\r\n]|$", text[at + 1 :]).start() + 1  # type: ignore[union-attr]  # it always matches
        return at, "the last entry is followed by a comma"
    if before.endswith(",") and text[at] in "]}":
        return at, "the last entry is followed by a comma"
    if error.msg.startswith("Expecting property name"):
        return at, "a name in double quotes must stand here"
    if error.msg.startswith("Expecting ':'"):
        return at, "a colon must stand here"
    if error.msg.startswith("Expecting ','"):
        return at, "a comma or the closing bracket must stand here"
    return at, "a value must stand here"


def location(text: str, offset: int) -> Location:
    """The place of a character, given by its offset."""
    return Location(text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))
