"""The memory of a process."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from runx.linux import memory

def code():
    kib = mapped = 0
    for line in open("/proc/self/smaps"):
        first, *rest = line.split()
        if "-" in first:
            mapped = rest[0] == "r-xp" and rest[-1].startswith("/")
        elif first == "Rss:" and mapped:
            kib += int(rest[0])
    return kib

memory.one_heap(1 << 20)
memory.find_code()
import json, decimal
before = code()
memory.trim()
after = code()
print(before, after, json.loads("[1]"), decimal.Decimal(2).sqrt())
"""


def test_code_that_was_needed_to_begin_goes_and_comes_back() -> None:
    top = Path(__file__).parents[3]
    argv = [sys.executable, "-I", "-S", "-c", SCRIPT, str(top)]
    before, after, *rest = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    assert 0 < int(after) < int(before)
    assert rest == ["[1]", "1.414213562373095048801688724"]
