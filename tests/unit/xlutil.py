"""The parser that xl reads its configurations with: Xen's libxlutil (package libxenmisc4.17), through ctypes. It needs no Xen.

tools/libs/util/libxlutil.h has the functions' declarations.
"""

import ctypes
import ctypes.util
import glob

_PATHS = sorted(glob.glob("/usr/lib/*/libxlutil.so.4.*"))
AVAILABLE = bool(_PATHS)


class SyntaxFault(Exception):
    """xl would refuse the file."""


class XlConfig:
    """A parsed configuration. Raises SyntaxFault."""

    def __init__(self, text: str) -> None:
        self._library = ctypes.CDLL(_PATHS[-1])
        for name in ("xlu_cfg_init", "xlu_cfg_get_listitem"):
            getattr(self._library, name).restype = ctypes.c_void_p
        self._library.xlu_cfg_get_listitem.restype = ctypes.c_char_p
        self._libc = ctypes.CDLL(None)
        self._libc.fopen.restype = ctypes.c_void_p
        self._report = ctypes.c_void_p(self._libc.fopen(b"/dev/null", b"w"))
        self._config = ctypes.c_void_p(self._library.xlu_cfg_init(self._report, b"test"))
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
        return value.value

    def list(self, name: str) -> list[str]:
        items = ctypes.c_void_p()
        count = ctypes.c_int()
        if self._library.xlu_cfg_get_list(self._config, name.encode(), ctypes.byref(items), ctypes.byref(count), 1):
            raise KeyError(name)
        return [self._library.xlu_cfg_get_listitem(items, index).decode() for index in range(count.value)]
