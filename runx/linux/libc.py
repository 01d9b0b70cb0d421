"""Functions of the C library that Python has no name for.

The module ctypes would cost each server of shares 0.5 MiB of memory, most of it for types that nothing here needs. So this takes
what ctypes is made of.
"""

import os
import struct
from _ctypes import FUNCFLAG_CDECL, FUNCFLAG_USE_ERRNO, Array, CFuncPtr, _SimpleCData, dlopen, dlsym, get_errno

TYPE_CHECKING = False  # as typing's, which costs the server of shares memory
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Function = Callable[..., int]


class _Int(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "i"


class _Word(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "L"


class _SignedWord(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "l"


class _Text(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "z"


class _Address(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "P"


class _Byte(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "c"


_TYPES = {kind._type_: kind for kind in (_Int, _Word, _SignedWord, _Text, _Address)}


class _Function(CFuncPtr):
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
    _restype_ = _Int


class _FunctionOfSize(CFuncPtr):
    """One that returns ssize_t."""

    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
    _restype_ = _SignedWord


_itself = dlopen(None, 0)  # type: ignore[arg-type]


def function(name: str, arguments: str, *, of_size: bool = False) -> "Function":
    """A function of the C library. Raises OSError or AttributeError if there is none of this name.

    arguments: a letter for each: i int, l long, L unsigned long or size_t, z a string or None, P an address: bytes, a Buffer, a
    number or None. of_size: it returns ssize_t, not int. The function is called without Python's lock.
    """
    made = (_FunctionOfSize if of_size else _Function)(dlsym(_itself, name))
    made.argtypes = tuple(_TYPES[letter] for letter in arguments)
    return made


def buffer_type(size: int) -> "type[Array[Any]]":
    """The type of buffers of so many bytes, to be given as P; a new one is all zeros."""
    return type("Buffer", (Array,), {"_type_": _Byte, "_length_": size})


def address(data: bytes) -> int:
    """Where the bytes are in memory. They stay there as long as the caller keeps the object."""
    (found,) = struct.unpack("P", memoryview(_Text(data)).tobytes())
    return int(found)


def check(result: int, name: str) -> int:
    """The result of a function, unless it is negative: then raise OSError with errno, which names `name`."""
    if result < 0:
        raise failure(name)
    return result


def failure(name: str = "") -> OSError:
    """The error of the function that this thread called last."""
    number = get_errno()
    return OSError(number, os.strerror(number), name)
