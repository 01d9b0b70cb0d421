"""Make parsers from the grammars."""

import os

from runx.compiler import slim_imports
from runx.errors import RunxError, reason
from runx.paths import data_dir

with slim_imports.without(slim_imports.LARK):
    import lark
    from lark import Lark, Token, Tree
    from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

__all__ = ("Lark", "Token", "Tree", "UnexpectedCharacters", "UnexpectedInput", "UnexpectedToken", "load_grammar", "write_tables")

GRAMMAR_DIR = data_dir("grammars")


def load_grammar(name: str) -> Lark:
    """The LALR parser of grammars/NAME.lark. Raises RunxError when the installation lacks it.

    An installation has the parser's tables in NAME.tables (`write_tables`), which saves 20 ms. Without them, or if they were made
    from another text, they are built anew. Lark's own cache is not used: it unpickles a predictable file in the temp directory.
    """
    path = os.path.join(GRAMMAR_DIR, f"{name}.lark")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise RunxError(f"{path}: {reason(error)}", "the installation of runx is incomplete", "RX905") from None
    try:
        with open(os.path.join(GRAMMAR_DIR, f"{name}.tables"), "rb") as tables:
            mark = _mark(text)
            if tables.read(len(mark)) == mark:
                return Lark.load(tables)
    except OSError:
        pass
    return _build(text)


def write_tables() -> None:
    """Write the tables of every grammar beside it, for `./build install`. Raises OSError."""
    for name in os.listdir(GRAMMAR_DIR):
        stem, extension = os.path.splitext(name)
        if extension == ".lark":
            with open(os.path.join(GRAMMAR_DIR, name), encoding="utf-8") as file:
                text = file.read()
            with open(os.path.join(GRAMMAR_DIR, f"{stem}.tables"), "wb") as tables:
                tables.write(_mark(text))
                _build(text).save(tables)


def _build(text: str) -> Lark:
    return Lark(text, parser="lalr", maybe_placeholders=True)


def _mark(text: str) -> bytes:
    """The beginning of a file of tables: everything that the tables depend on."""
    return f"{lark.__version__}\n{text}\0".encode()
