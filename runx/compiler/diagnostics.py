"""The faults of a configuration: all at once, each with its place and, where it helps, a hint.

A fault keeps a path into the document (`("mounts", 3, "options", 1)`). Its line and column are computed only when the error is
shown.
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from runx.errors import RunxError

Path = tuple[str | int, ...]
"""Members and indices from the document's root; or from another source, if the first part is an Elsewhere."""


class Elsewhere(str):
    """The source of a value that config.json does not have: an option, or a line of another file. The first part of a path."""

    file: str
    line: int | None

    def __new__(cls, file: str, line: int | None = None) -> "Elsewhere":
        self = super().__new__(cls, f"{file}:{line}" if line else file)
        self.file, self.line = file, line
        return self


def source_of(path: Path) -> Elsewhere | None:
    """The source of the value at `path`; None for the document itself."""
    return path[0] if path and isinstance(path[0], Elsewhere) else None


class Location(NamedTuple):
    """A place in a text, both numbers from 1. The column counts characters."""

    line: int
    column: int


class Diagnostic(NamedTuple):
    """One fault or notice. `id`: of docs/faults.md. `hint` says what to do about it and may be empty. `character`: the character
    of the string at `path`, from 0."""

    id: str
    path: Path
    message: str
    hint: str = ""
    character: int | None = None


class CompileError(RunxError):
    """The configuration cannot become a virtual machine. `located`: the faults, sorted by their place in the file.

    `text`: of the file, to show the line of each fault. `ignored`: the notices that were known by then.
    """

    def __init__(
        self,
        located: Iterable[tuple[Location | None, Diagnostic]],
        file_name: str = "config.json",
        text: str = "",
        ignored: Iterable[tuple[Location | None, Diagnostic]] = (),
    ) -> None:
        self.located = _sorted(located)
        self.ignored = _sorted(ignored)
        self.file_name = file_name
        self.others: tuple[CompileError, ...] = ()
        """The faults of other files, which are shown after these."""
        self._text = text
        super().__init__("\n".join(_show(place, diagnostic, file_name) for place, diagnostic in self.located))

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """The faults without their places, those of all files."""
        return tuple(diagnostic for part in (self, *self.others) for _, diagnostic in part.located)

    def followed_by(self, other: "CompileError") -> "CompileError":
        """This error, with the faults of another file too."""
        self.others = (*self.others, other)
        self.message += f"\n{other.message}"
        return self

    def for_people(self) -> str:
        """Each fault with the line it is in, and a caret below its column."""
        return "\n".join(part._shown(self.shows_ids) for part in (self, *self.others))

    def _shown(self, with_ids: bool) -> str:
        lines = self._text.split("\n")
        return "\n".join(
            _show(place, diagnostic, self.file_name, lines[place.line - 1] if place and self._text else "", with_ids)
            for place, diagnostic in self.located
        )


_MORE = "; and more"
"""The end of a notice about more settings in one string than are shown."""


class Report:
    """Collects faults and notices while the frontends and the passes run."""

    def __init__(self) -> None:
        self.errors: dict[Path, Diagnostic] = {}
        self._above: set[Path] = set()
        """The paths of the faults, and all paths above them."""
        self.notices: dict[Path, Diagnostic] = {}
        self._given: dict[Path, Path] = {}

    def given_at(self, place: Path, path: Path) -> None:
        """Say that the value at `path` comes from `place`: faults and notices of it belong there from now on."""
        self._given[path] = place

    @property
    def ignored(self) -> dict[Path, str]:
        """The reasons, by the paths of the settings that are ignored."""
        return {path: notice.message for path, notice in self.notices.items()}

    def error(self, fault_id: str, path: Path, message: str, hint: str = "", character: int | None = None) -> None:
        """Record a fault. Later ones at the same path or below it are dropped: a missing object has no wrong members."""
        path = self._given.get(path, path)
        if not any(path[:length] in self.errors for length in range(len(path) + 1)):
            self.errors[path] = Diagnostic(fault_id, path, _bounded(message), _bounded(hint), character)
            self._above.update(path[:length] for length in range(len(path) + 1))

    def error_within(self, fault_id: str, path: Path, within: Path, message: str, hint: str = "") -> None:
        """Record one of several faults of a file that the value at `path` names. within: tells them apart."""
        self.error(fault_id, (*path, *within), message, hint)
        if recorded := self.errors.get((*path, *within)):
            self.errors[*path, *within] = recorded._replace(path=path)

    def has_errors_below(self, path: Path) -> bool:
        """Whether there is a fault at `path` or below it, so that a message about the whole could be wrong."""
        return path in self._above

    def forget(self, fault_id: str) -> None:
        """Drop the faults with an ID, as what they rest on is not known."""
        self.errors = {path: fault for path, fault in self.errors.items() if fault.id != fault_id}
        self._above = {path[:length] for path in self.errors for length in range(len(path) + 1)}

    def honour(self, path: Path) -> None:
        """Drop the notices about a setting, as the plan honours it after all."""
        self.notices.pop(path, None)

    def ignore(self, fault_id: str, path: Path, reason: str) -> None:
        """Record a setting that the plan does not honour, and why. One string may hold several."""
        path = self._given.get(path, path)
        known = self.notices.get(path)
        if known is None:
            self.notices[path] = Diagnostic(fault_id, path, _bounded(reason))
        elif reason not in known.message and not known.message.endswith(_MORE):
            ids = known.id if fault_id in known.id else f"{known.id}, {fault_id}"
            reasons = f"{known.message}; {_bounded(reason)}" if len(known.message) < 1000 else known.message + _MORE
            self.notices[path] = Diagnostic(ids, path, reasons)

    def raise_errors(
        self, locate: Callable[[Path, int | None], Location | None], file_name: str = "config.json", text: str = ""
    ) -> None:
        """Raise CompileError with everything recorded, if anything is. locate: as Source.locate."""
        if self.errors:
            ignored = [(locate(path, None), notice) for path, notice in self.notices.items()]
            located = [(locate(path, diagnostic.character), diagnostic) for path, diagnostic in self.errors.items()]
            raise CompileError(located, file_name, text, ignored)


def path_text(path: Path) -> str:
    """`mounts[3].options[1]`; a member that is not a plain word is written as in `annotations["a.b"]`. The source is left out."""
    text = ""
    for part in path[1:] if source_of(path) else path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif len(part) <= 120 and part.replace("_", "a").isalnum():
            text += f".{part}" if text else part
        else:
            text += f"[{quote(part)}]"
    return text


def quote(text: str) -> str:
    """`text` in double quotes, on one line and cut when long, for a message."""
    import json

    return json.dumps(text if len(text) <= 120 else text[:117] + "...", ensure_ascii=False)


def _bounded(text: str) -> str:
    """A message without the rest of a long path or number of the configuration."""
    if len(text) <= 200:
        return text
    text = re.sub(r"\S{201,}", lambda match: match[0][:197] + "...", text)
    return text if len(text) <= 1000 else text[:997] + "..."


def visible(text: str) -> str:
    """`text` on one line, with control characters of terminals escaped."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean "noexec"?)`, or nothing when no known word is close. So is one that differs in case alone, or that has the
    word behind a prefix (`SCMP_ACT_ALLOW` for `allow`)."""
    import difflib

    words = list(known)
    folded = word.casefold()
    close = [each for each in words if each.casefold() == folded]
    close = close or [each for each in words if folded and each.casefold().endswith(f"_{folded}")]
    close = close or difflib.get_close_matches(word, words, n=1, cutoff=0.75)
    return f" (did you mean {quote(close[0])}?)" if close else ""


LINE_WIDTH = 100
"""The most columns of a source line that are shown with a fault."""


def excerpt(line: str, column: int, width: int = LINE_WIDTH) -> tuple[str, str]:
    """The source line for people, cut around `column` if it is longer than `width`, and the line with the caret.

    Each tab becomes a space, and each other control character U+FFFD, so that the caret is in the right column.
    """
    at = column - 1
    start = max(0, min(at - width // 2, len(line) - width))
    end = min(len(line), start + width)
    # Columns of a terminal are counted, not characters: wide ones take two.
    shown = "".join(" " if c == "\t" else c if c.isprintable() else "\ufffd" for c in line[start:end])
    before, after = "..." if start else "", "..." if end < len(line) else ""
    return before + shown + after, " " * (len(before) + _columns(shown[: at - start])) + "^"


def _columns(text: str) -> int:
    if text.isascii():
        return len(text)
    import unicodedata

    wide = sum(unicodedata.east_asian_width(character) in ("W", "F") for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) != 0 for character in text)


def _sorted(located: Iterable[tuple[Location | None, Diagnostic]]) -> tuple[tuple[Location | None, Diagnostic], ...]:
    """By place. At one place, what is missing comes first, as other faults may follow from it."""

    def key(pair: tuple[Location | None, Diagnostic]) -> tuple[Location, bool, str]:
        place, diagnostic = pair
        return place or Location(0, 0), diagnostic.id != "RX010", path_text(diagnostic.path)

    return tuple(sorted(located, key=key))


def _show(place: Location | None, diagnostic: Diagnostic, file_name: str, line: str = "", with_id: bool = False) -> str:
    text = source_of(diagnostic.path) or file_name
    if place:
        text += f":{place.line}:{place.column}"
    if path := path_text(diagnostic.path):
        text += f": {visible(path)}"
    # A message repeats words of the configuration, and these may come from an image.
    text += f": {visible(diagnostic.message)}"
    if with_id:
        text += f" [{diagnostic.id}]"
    if place and line:
        source, caret = excerpt(line, place.column)
        margin = f"{place.line:5} | "
        if source.strip():
            text += f"\n{margin}{source}\n{' ' * (len(margin) - 2)}| {caret}"
    if diagnostic.hint:
        text += f"\n    hint: {diagnostic.hint}"
    return text
