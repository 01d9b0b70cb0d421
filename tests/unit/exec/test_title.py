"""What ps(1) shows for processes of the host that stand for those of a guest."""

import subprocess
import sys
from pathlib import Path

from runx.compiler.backends.records import record
from runx.exec.container import process_record, title

CHECKOUT = Path(__file__).parents[3]


def test_arguments_that_are_hostile() -> None:
    shown = title.of([b"sh", b"-c", b"echo \x1b[2J\n", b"", "ü".encode(), b"\xff", b"x" * 5000])
    assert shown.startswith("runx: sh -c echo ?[2J?  ü ? xxx")
    assert len(shown) == len("runx: ") + 1024


def shown_by(call: str) -> bytes:
    """The command line of a process that has called a function of the module."""
    program = f"from runx.exec.container import title\n{call}\nprint(open('/proc/self/cmdline', 'rb').read().hex())"
    environment = {"PYTHONPATH": str(CHECKOUT)}
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, env=environment).stdout
    return bytes.fromhex(said.decode()).rstrip(b"\0")


def test_the_command_line_is_that(tmp_path: Path) -> None:
    process_record.keep(str(tmp_path), record("args", "sleep", "5"))
    assert shown_by("title.show([b'cat', b'x y'])") == b"runx: cat x y"
    assert shown_by(f"title.show_container({str(tmp_path)!r})") == b"runx: sleep 5"


def test_a_container_that_keeps_no_record(tmp_path: Path) -> None:
    """Nothing ends for the sake of a title."""
    assert b"title" in shown_by(f"title.show_container({str(tmp_path)!r})")
