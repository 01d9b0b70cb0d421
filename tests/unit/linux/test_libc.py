"""Functions of the C library by their names."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runx.linux import libc


def test_arguments_and_results() -> None:
    assert libc.function("strlen", "z", of_size=True)(b"four") == 4
    assert libc.function("labs", "l", of_size=True)(-(1 << 40)) == 1 << 40
    assert libc.function("memcmp", "PPL")(b"one\0x", b"one\0y", 4) == 0
    buffer = libc.buffer_type(10)()
    assert libc.function("snprintf", "PLzi")(buffer, len(buffer), b"%d", -5) == 2
    assert bytes(memoryview(buffer)[:3]) == b"-5\0"


def test_arguments_of_another_kind() -> None:
    with pytest.raises(Exception, match="wrong type"):
        libc.function("close", "i")(b"1")


def test_addresses() -> None:
    data = b"where"
    assert libc.function("strlen", "L", of_size=True)(libc.address(data)) == len(data)


def test_failures() -> None:
    chdir = libc.function("chdir", "z")
    with pytest.raises(FileNotFoundError) as caught:
        libc.check(chdir(b"/no/such"), "/no/such")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, "/no/such")
    assert libc.check(chdir(os.getcwdb()), "here") == 0


def test_functions_that_do_not_exist() -> None:
    with pytest.raises(OSError, match="no_such_function"):
        libc.function("no_such_function", "")


def test_it_loads_no_ctypes() -> None:
    """Nor does the server of shares."""
    script = (
        "import sys; from runx.exec.ninep import process; print([n for n in ('ctypes', 'typing', 'json') if n in sys.modules])"
    )
    top = Path(__file__).parents[3]
    argv = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(top)!r}); {script}"]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "[]\n"
