"""Import pydantic and lark without modules that runx does not use: they take longer to load than a container to compile.

Inside `without()`, an import of such a module gives a stand-in. The names in a stand-in are placeholders, which can be passed
around, compared and used in annotations. A call of a placeholder loads the real module and calls the real object. After
`without()`, the real modules are imported as usual.

If a field of the plan has a type from one of these modules, remove the module from the list: pydantic would not know the type.
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
    # JSON schemas, and the search for plugins.
    "importlib.metadata", "pydantic.json_schema",
)  # fmt: skip
LARK = (
    # The making of parsers: an installation has their tables.
    "getpass", "hashlib", "lark.load_grammar", "tempfile",
    # Other kinds of parsers.
    "lark.parsers.cyk", "lark.parsers.earley", "lark.parsers.xearley",
)  # fmt: skip

# runx uses no plugins of pydantic, and the search for them takes 12 ms.
os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"


@contextmanager
def without(unused: tuple[str, ...]) -> Iterator[None]:
    """Put stand-ins in the places of the modules `unused` that are not loaded yet."""
    standing = {name: _StandIn(name) for name in unused if name not in sys.modules}
    typed_dict = typing_extensions.TypedDict
    sys.modules |= standing
    # pydantic_core defines a hundred of them for type checkers, and each compiles its annotations.
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
    """The stand-in of TypedDict: a dictionary, whatever keys a subclass names."""

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
