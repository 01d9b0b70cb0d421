"""The options of one mount: parsed with grammars/mount_options.lark, then sorted into flags, data and propagation."""

from functools import cache, lru_cache
from typing import NamedTuple

from runx.compiler.diagnostics import Path, Report, did_you_mean, quote
from runx.compiler.frontends.oci import mount_data
from runx.compiler.frontends.oci.mount_flags import (
    BIND,
    COPIED,
    ENGINES,
    FLAGS,
    FSTAB,
    FSTAB_IGNORED,
    IGNORED,
    IMPLIED,
    KNOWN,
    LABELS,
    LABELS_IGNORED,
    MEANT,
    OF_OLD_RUNC,
    OLD_IGNORED,
    PROPAGATION,
    RECURSIVE,
    REFUSED,
    USERSPACE,
    USERSPACE_IGNORED,
    USERSPACE_REFUSED,
)
from runx.compiler.grammar import Lark, Token, Tree, UnexpectedInput, UnexpectedToken, load_grammar
from runx.compiler.model.request import MountOptions


class Option(NamedTuple):
    """`word`, or `word=value` if `value` is not None, and its place."""

    word: str
    value: str | None
    path: Path


class DataWords(NamedTuple):
    """The options of a file system itself. `any_setting`: other `key=value` pairs are for the guest's kernel, about which
    the frontends know nothing."""

    words: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    any_setting: bool = False


def parse_options(elements: list[str], path: Path, report: Report) -> list[Option]:
    """The options of the array at `path`, in order. Joined options are separated. Malformed ones are reported and left out."""
    options: list[Option] = []
    for index, text in enumerate(elements):
        place = (*path, index)
        try:
            options.extend(Option(word, value, place) for word, value in _parsed(text))
        except UnexpectedInput as error:
            report.error("RX310", place, _malformed(text, error))
    return options


@lru_cache(512)
def _parsed(text: str) -> tuple[tuple[str, str | None], ...]:
    """Words and values. Thousands of mounts often have the same options. Raises UnexpectedInput."""
    return tuple(_option(item) for item in _parser().parse(text).children if isinstance(item, Tree))


def sort_options(options: list[Option], kind: str, known_data: DataWords, report: Report) -> MountOptions:
    """Sort options into flags, data and propagation. Of words that exclude one another the last one counts, as in mount(8).

    `kind` (`bind`, `tmpfs`) is for messages. A word that is neither a flag nor in `known_data` is reported.
    """
    flags: dict[str, str] = {}
    data: list[str] = []
    propagation: list[str] = []
    binds: list[str] = []
    for option in options:
        word = RECURSIVE.get(option.word, option.word)
        if refusal := REFUSED.get(option.word) or USERSPACE_REFUSED.get(option.word):
            report.error("RX311", option.path, f"option {quote(word)}: {refusal[0]}", refusal[1])
        elif option.word.startswith(USERSPACE):
            report.ignore("RX312", option.path, f"{quote(word)}: {USERSPACE_IGNORED}")
        elif option.value is not None:
            if option.word in KNOWN or option.word in known_data.words:
                report.error("RX313", option.path, f"the option {quote(word)} takes no value")
            elif option.word in LABELS:
                report.ignore("RX314", option.path, f"{quote(word)}: {LABELS_IGNORED}")
            elif option.word in known_data.settings or known_data.any_setting:
                if wrong := mount_data.wrong_value(kind, word, option.value):
                    report.error("RX321", option.path, f"{quote(f'{word}={option.value}')}: {wrong}")
                data.append(f"{option.word}={option.value}")
            else:
                _unknown(option, kind, known_data, report)
        elif word == COPIED and kind != "tmpfs":
            report.ignore("RX314", option.path, f"{quote(word)}: only a tmpfs begins with the content of its mount point")
        elif word in FLAGS or word in IMPLIED:
            for flag in IMPLIED.get(word, (word,)):
                family, undoes = FLAGS[flag]
                if not undoes or flags.get(family, undoes) == undoes:
                    flags[family] = flag
        elif word in PROPAGATION:
            propagation.append(word)
            if kind == "bind" and word.removeprefix("r") in ("shared", "slave"):
                report.ignore("RX320", option.path, f"{quote(word)}: no mount propagates between host and guest")
        elif word in BIND:
            binds.append(word)
        elif word in IGNORED:
            report.ignore("RX314", option.path, f"{quote(word)}: {IGNORED[word]}")
        elif word in OF_OLD_RUNC:
            report.ignore("RX314", option.path, f"{quote(word)}: {OLD_IGNORED}")
        elif word in FSTAB:
            report.ignore("RX312", option.path, f"{quote(word)}: {FSTAB_IGNORED}")
        elif word in known_data.words:
            data.append(word)
        elif word in ENGINES and kind == "bind":
            report.ignore("RX312", option.path, f"{quote(word)}: {ENGINES[word]}")
        elif word in known_data.settings or word in LABELS:
            report.error("RX325", option.path, f"the option {quote(word)} needs a value", f"{word}=VALUE")
        else:
            _unknown(option, kind, known_data, report)
    recursive = any(BIND[word] for word in binds)
    return MountOptions(tuple(sorted(flags.values())), tuple(data), tuple(propagation), bool(binds), recursive)


def _unknown(option: Option, kind: str, known_data: DataWords, report: Report) -> None:
    text = option.word if option.value is None else f"{option.word}={option.value}"
    known = (*KNOWN, *known_data.words, *known_data.settings)
    what = "a bind mount" if kind == "bind" else f"a mount of type {kind}"
    hint = "a bind mount has no file system of its own to take it" if kind == "bind" and option.value is not None else ""
    if option.word == "O":
        hint = "podman's O is a mount of type overlay, which podman itself writes"
    meant = did_you_mean(MEANT.get(option.word, option.word), known)
    report.error("RX315", option.path, f"unknown option {quote(text)} for {what}{meant}", hint)


@cache
def _parser() -> Lark:
    return load_grammar("mount_options")


def _option(tree: Tree[Token]) -> tuple[str, str | None]:
    word, *value = (str(child) if child is not None else "" for child in tree.children)
    return word, value[0] if tree.data == "setting" else None


def _malformed(text: str, error: UnexpectedInput) -> str:
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return f"{quote(text)} ends too early"
    at = error.pos_in_stream or 0
    return f"{quote(text)}: unexpected {quote(text[at])} at character {at + 1}"
