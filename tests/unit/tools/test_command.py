"""How a tool ends: its status, and what it says."""

import io
import signal
import subprocess
import sys

import pytest

from runxtools.checkout import CHECKOUT
from runxtools.progress import Progress

PROGRAM = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs us in the background ignores it
sys.path.insert(0, {tools!r})
from runxtools.command import main_of
from runxtools.errors import ToolError

def main():
    try:
        {body}
    finally:
        print("ended")

main_of("tool", main, {trouble})
"""


@pytest.mark.parametrize(
    ("body", "trouble", "status", "said"),
    [
        ("return 0", 1, 0, ""),
        ("return 3", 1, 3, ""),
        ("raise ToolError('no', 'do')", 1, 1, "tool: no\n  do\n"),
        ("raise ToolError('no')", 125, 125, "tool: no\n"),
        (f"os.kill(os.getpid(), {signal.SIGINT:d}); time.sleep(60)", 1, 130, ""),
        (f"os.kill(os.getpid(), {signal.SIGTERM:d}); time.sleep(60)", 1, 143, ""),
    ],
)
def test_the_end_of_a_tool(body: str, trouble: int, status: int, said: str) -> None:
    program = PROGRAM.format(tools=str(CHECKOUT / "tools"), body=body, trouble=trouble)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (status, "ended\n", said)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (SystemExit(128 + signal.SIGTERM), "ended by a signal after 0.0 s"),
        (KeyboardInterrupt(), "ended by a signal after 0.0 s"),
        (OSError(), "failed after 0.0 s"),
    ],
)
def test_a_step_says_whether_it_failed_or_was_ended(end: BaseException, said: str) -> None:
    out = io.StringIO()
    with pytest.raises(type(end)), Progress(1, out).step("a step"):
        raise end
    assert out.getvalue() == f"[1/1] a step ... {said}\n"
