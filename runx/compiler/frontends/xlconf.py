"""XLCONF in process.env, and the annotation of the same meaning: settings of xl.cfg(5), parsed with grammars/xlconf.lark.

passes/policy.py decides which keys a container may set. This module knows the language alone. It is xl's own with one exception:
numeric escapes in strings (`\\x41`, `\\101`) are errors, since xl drops them or fails.
"""

import re
from functools import cache

from runx.compiler.diagnostics import Path, Report, quote
from runx.compiler.grammar import Lark, Token, Tree, UnexpectedInput, load_grammar
from runx.compiler.model.plan import XlValue
from runx.compiler.model.request import XlRequest, XlStatement

LENGTH_LIMIT = 65536
"""Characters. Linux does not execute a program with a variable of more than 128 KiB."""
DEPTH_LIMIT = 8
"""Levels of lists. xl itself reads no more than two (`vnuma`)."""

_ESCAPES = {
    "\\": "\\", "'": "'", '"': '"', "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
}  # fmt: skip

_EXPECTED = {
    "KEY": "a key",
    "OPERATOR": '"=" or "+="',
    "STRING": "a string in quotes",
    "NUMBER": "a number",
    "LSQB": '"["',
    "COMMA": '","',
    "RSQB": '"]"',
    "SEMICOLON": '";"',
    "_NEWLINE": "a new line",
}


class XlSyntaxError(Exception):
    """`at`: the character of the text, counted from 0; `expected` may be empty."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(message)
        self.at = at


def read_xlconf(text: str, origin: Path, start: int, report: Report) -> XlRequest | None:
    """The settings of `text`; None if it has none, or has a fault, which goes to `report`.

    origin: the place of the string that holds the text, from its character `start` on.
    """
    try:
        statements = parse_xlconf(text)
    except XlSyntaxError as error:
        hint = 'write KEY = "VALUE" or KEY += ["VALUE", …], separated by ; or new lines, as in xl.cfg(5)'
        if text.lstrip().startswith(("/", "./")) or ("=" not in text and ("/" in text or "." in text)):
            hint = f"XLCONF holds the settings themselves, not the name of a file that has them; {hint}"
        report.error("RX710", origin, f"{label(origin)}{error}", hint, start + error.at)
        return None
    placed = tuple(statement._replace(at=start + statement.at) for statement in statements)
    return XlRequest(placed, origin) if placed else None


def label(origin: Path) -> str:
    """The beginning of a message: a path into process.env does not name the variable."""
    return "XLCONF: " if origin[0] == "process" else ""


def parse_xlconf(text: str) -> tuple[XlStatement, ...]:
    """The settings of the text, one statement for each key, in the order of their first appearance.

    As in xl, a later `=` replaces, and `+=` joins strings and adds to lists. Raises XlSyntaxError.
    """
    if len(text) > LENGTH_LIMIT:
        raise XlSyntaxError(0, f"longer than {LENGTH_LIMIT} characters")
    settings: dict[str, XlStatement] = {}
    try:
        # The end of the text ends its last line, which may be a comment.
        trees = _parser().parse(text + "\n").children
    except UnexpectedInput as error:
        raise _syntax_error(text, error) from None
    for tree in trees:
        if isinstance(tree, Tree):
            statement = _statement(tree)
            before = settings.get(statement.key)
            settings[statement.key] = _added(before, statement) if before and statement.adds else statement
    return tuple(settings.values())


def _statement(tree: Tree[Token]) -> XlStatement:
    key, operator, value = tree.children
    assert isinstance(key, Token)
    return XlStatement(str(key), operator == "+=", _value(value, key.start_pos or 0, 0), key.start_pos or 0)


def _added(before: XlStatement, after: XlStatement) -> XlStatement:
    if isinstance(before.value, str) and isinstance(after.value, str):
        return before._replace(value=before.value + after.value)
    if isinstance(before.value, tuple) and isinstance(after.value, tuple):
        return before._replace(value=before.value + after.value)
    kinds = [("a list" if isinstance(value, tuple) else "a single value") for value in (before.value, after.value)]
    raise XlSyntaxError(after.at, f"{after.key} is {kinds[0]} already, to which {kinds[1]} cannot be added")


def _value(node: Tree[Token] | Token, at: int, depth: int) -> XlValue:
    if isinstance(node, Tree):
        if depth == DEPTH_LIMIT:
            raise XlSyntaxError(at, f"lists are nested more than {DEPTH_LIMIT} deep")
        return tuple(_value(child, at, depth + 1) for child in node.children if child is not None)
    if node.type == "NUMBER":
        return str(node)

    def unescaped(match: re.Match[str]) -> str:
        if match[1] not in _ESCAPES:
            what = f"xl does not have the escape {quote(match[0])}, only " + " ".join(f"\\{name}" for name in _ESCAPES)
            raise XlSyntaxError((node.start_pos or 0) + 1 + match.start(), what)
        return _ESCAPES[match[1]]

    return re.sub(r"\\(.)", unescaped, node[1:-1])


@cache
def _parser() -> Lark:
    return load_grammar("xlconf")


def _syntax_error(text: str, error: UnexpectedInput) -> XlSyntaxError:
    # error.expected would also have words that cannot follow in this place.
    state = getattr(error, "interactive_parser", None)
    names: set[str] = state.accepts() if state else set()
    at = min(error.pos_in_stream or 0, len(text))
    if at < len(text) and text[at] in "\"'" and names & {"STRING"}:
        return XlSyntaxError(at, f"the string that begins with {text[at]} does not end in its line")
    phrases = [phrase for name, phrase in _EXPECTED.items() if name in names]
    expected = " or ".join(filter(None, [", ".join(phrases[:-1]), *phrases[-1:]]))
    found = {"": "the end", "\n": "the end of the line"}.get(text[at : at + 1], quote(text[at : at + 1]))
    return XlSyntaxError(at, f"expected {expected}, not {found}")
