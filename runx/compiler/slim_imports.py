"""pydantic and lark without the modules that nothing here uses, which take longer to load than a container takes to compile.

While `without()` lasts, whoever imports one of those modules gets a stand-in. Its names are placeholders, which can be passed
around, compared and named in annotations; one that is called loads the real module and calls what it stands for. Afterwards
the real modules are imported as ever.

A field of the plan whose type comes from one of these modules has to be taken off the list: pydantic would not know the type.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

import typing_extensions

PYDANTIC = (
    # Types that fields could have.
    "annotated_types", "fractions", "ipaddress", "pathlib", "pydantic.types", "secrets", "uuid", "zoneinfo",
    # JSON schemas, and what finds plugins.
    "importlib.metadata", "pydantic.json_schema",
)  # fmt: skip
LARK = (
    # What makes a parser of a grammar: an installation has the tables.
    "getpass", "hashlib", "lark.load_grammar", "tempfile",
    # Other kinds of parsers.
    "lark.parsers.cyk", "lark.parsers.earley", "lark.parsers.xearley",
)  # fmt: skip

# No plugin of pydantic has a place in this process, and to look for them takes 12 ms.
os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"


@contextmanager
def without(unused: tuple[str, ...]) -> Iterator[None]:
    """Let stand-ins take the place of the modules `unused`, but of those that are there already."""
    standing = {name: _StandIn(name) for name in unused if name not in sys.modules}
    typed_dict = typing_extensions.TypedDict
    sys.modules |= standing
    # pydantic_core has a hundred of them for type checkers, and each compiles its annotations.
    typing_extensions.TypedDict = _Dictionary  # type: ignore[assignment]
    try:
        yield
    finally:
        typing_extensions.TypedDict = typed_dict
        for name, module in standing.items():
            _remove(name, module)


def _remove(name: str, module: ModuleType) -> None:
    if sys.modules.get(name) is module:
        del sys.modules[name]


class _Dictionary(dict[str, Any]):
    """In the place of TypedDict: a dictionary, whatever keys a subclass names."""

    def __init_subclass__(cls, **_: object) -> None:
        pass


class _StandIn(ModuleType):
    """A module whose every name is a placeholder."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        placeholder = _Placeholder(name, (), {"__module__": self.__name__, "stand_in": self})
        setattr(self, name, placeholder)
        return placeholder


class _Placeholder(type):
    """A name of a module that has not been loaded."""

    stand_in: ModuleType

    def __call__(cls, *args: Any, **settings: Any) -> Any:
        _remove(cls.__module__, cls.stand_in)
        return getattr(import_module(cls.__module__), cls.__name__)(*args, **settings)
