"""The parser of xl's configurations: Xen's libxlutil (package libxenmisc4.17 or 4.20) by ctypes. It needs no Xen.

tools/libs/util/libxlutil.h has the functions' declarations.
"""

import ctypes
import ctypes.util
import glob
from typing import Union

_PATHS = sorted(glob.glob("/usr/lib/*/libxlutil.so.4.*"))
AVAILABLE = bool(_PATHS)


Value = Union[str, "tuple[Value, ...]"]


class SyntaxFault(Exception):
    """xl refuses the file."""


class NoParserError(Exception):
    """libxlutil is not installed."""


class _Disk(ctypes.Structure):
    """First members of libxl_device_disk (libxl_types.idl), and room for the others."""

    _fields_ = (
        ("backend_domid", ctypes.c_uint32),
        ("backend_domname", ctypes.c_char_p),
        ("pdev_path", ctypes.c_char_p),
        ("vdev", ctypes.c_char_p),
        ("backend", ctypes.c_int),
        ("format", ctypes.c_int),
        ("script", ctypes.c_char_p),
        ("removable", ctypes.c_int),
        ("readwrite", ctypes.c_int),
        ("rest", ctypes.c_char * 512),
    )


DISK_FORMATS = {"qcow2": 2, "vhd": 3, "raw": 4}
"""enum libxl_disk_format."""


class XlConfig:
    """A parsed configuration. Raises SyntaxFault, or NoParserError."""

    def __init__(self, text: str, name: str = "test", report: str = "/dev/null") -> None:
        """Parse a text. The messages name it `name`, and go to the file `report`."""
        if not AVAILABLE:
            raise NoParserError("libxlutil.so.4 is missing: install libxenmisc4.17 or 4.20")
        self._library = ctypes.CDLL(_PATHS[-1])
        for function in ("xlu_cfg_init", "xlu_cfg_get_listitem2"):
            getattr(self._library, function).restype = ctypes.c_void_p
        self._library.xlu_cfg_get_listitem.restype = ctypes.c_char_p
        self._libc = ctypes.CDLL(None)
        self._libc.fopen.restype = ctypes.c_void_p
        self._report = ctypes.c_void_p(self._libc.fopen(report.encode(), b"a"))
        self._config = ctypes.c_void_p(self._library.xlu_cfg_init(self._report, name.encode()))
        raw = text.encode()
        if self._library.xlu_cfg_readdata(self._config, raw, len(raw)):
            self.close()
            raise SyntaxFault(text)

    def __enter__(self) -> "XlConfig":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._library.xlu_cfg_destroy(self._config)
        self._libc.fclose(self._report)

    def disk(self, specification: str) -> tuple[str, str, int, bool]:
        """An entry of `disk` as xl parses it: target, vdev, format (enum libxl_disk_format), and whether it is writable."""
        disk = _Disk()
        specifications = (ctypes.c_char_p * 1)(specification.encode())
        if self._library.xlu_disk_parse(self._config, 1, specifications, ctypes.byref(disk)):
            raise SyntaxFault(specification)
        return disk.pdev_path.decode(), disk.vdev.decode(), disk.format, disk.readwrite != 0

    def string(self, name: str) -> str:
        value = ctypes.c_char_p()
        if self._library.xlu_cfg_get_string(self._config, name.encode(), ctypes.byref(value), 1):
            raise KeyError(name)
        assert value.value is not None
        return value.value.decode()

    def number(self, name: str) -> int:
        value = ctypes.c_long()
        if self._library.xlu_cfg_get_long(self._config, name.encode(), ctypes.byref(value), 1):
            raise KeyError(name)
        return int(value.value)

    def list(self, name: str) -> list[str]:
        items = ctypes.c_void_p()
        count = ctypes.c_int()
        if self._library.xlu_cfg_get_list(self._config, name.encode(), ctypes.byref(items), ctypes.byref(count), 1):
            raise KeyError(name)
        return [self._library.xlu_cfg_get_listitem(items, index).decode() for index in range(count.value)]

    def value(self, name: str) -> "Value":
        """Value of a setting: a string or a list. Numbers are strings."""
        try:
            return self.string(name)
        except KeyError:
            items = ctypes.c_void_p()
            if self._library.xlu_cfg_get_list(self._config, name.encode(), ctypes.byref(items), None, 1):
                raise
            return self._items(items)

    def _items(self, items: ctypes.c_void_p) -> "tuple[Value, ...]":
        found: list[Value] = []
        while item := self._library.xlu_cfg_get_listitem2(items, len(found)):
            found.append(self._value(ctypes.c_void_p(item)))
        return tuple(found)

    def _value(self, value: ctypes.c_void_p) -> "Value":
        text, items = ctypes.c_char_p(), ctypes.c_void_p()
        if not self._library.xlu_cfg_value_get_string(self._config, value, ctypes.byref(text), 1):
            assert text.value is not None
            return text.value.decode()
        assert not self._library.xlu_cfg_value_get_list(self._config, value, ctypes.byref(items), 1)
        return self._items(items)
