"""Where the grammars are, and how they become parsers."""

import os

from lark import Lark

from runx.errors import RunxError
from runx.paths import LIBRARY_DIR

GRAMMAR_DIR = os.path.join(LIBRARY_DIR, "grammars")
"""Beside the package, in the checkout and when installed."""


def load_grammar(name: str) -> Lark:
    """The LALR parser of grammars/NAME.lark. Raises RunxError when the installation lacks it.

    Built anew in each process: Lark's own cache is a predictable file in the temp directory that it unpickles.
    """
    path = os.path.join(GRAMMAR_DIR, f"{name}.lark")
    try:
        with open(path, encoding="utf-8") as file:
            return Lark(file.read(), parser="lalr", maybe_placeholders=True)
    except OSError as error:
        raise RunxError(f"{path}: {(error.strerror or '').lower()}", "the installation of runx is incomplete") from None
