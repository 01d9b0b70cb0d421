"""tools/bench: what a guest that floods its supervisor costs dom0, with the allowance of a hundredth of a processor and without.

The supervisor's parts are the real ones; the ring is a list of bytes that is always full (runxtools/testing/hostile.py).
"""

import os
import tempfile
import time
from pathlib import Path

from runx.exec.console import frames as link
from runx.exec.supervisor import loop
from runx.exec.supervisor.allowance import Allowance
from runxtools.bench.figures import Figure
from runxtools.errors import ToolError
from runxtools.testing.hostile import HELLO, Conversation

FLOODS = {
    "events without anything": b"",
    "empty frames": link.frame(link.STDERR),
    "frames of a byte": link.frame(link.LOG, b"x"),
}
LIMIT_PERCENT = 20.0
"""A tenth of a processor, and what the measurement itself takes."""
_BURST_LIMIT_S, _MEASURED_S = 30.0, 2.0


def measure_floods(rounds: int) -> list[Figure]:
    """Processor time of the supervisor, in percent of one processor, for each flood."""
    figures = []
    for what, piece in FLOODS.items():
        bounded = [_percent(piece, Allowance(1)) for _ in range(rounds)]
        free = [_percent(piece, None)]
        figures += [
            Figure(f"supervisor in a flood of {what}, from a guest of 1 %", "%", bounded, limit=LIMIT_PERCENT),
            Figure(f"supervisor in a flood of {what}, without a bound", "%", free),
        ]
    return figures


def _percent(piece: bytes, allowance: Allowance | None) -> float:
    with tempfile.TemporaryDirectory(prefix="runx-bench-") as name, Conversation(Path(name), "reads", allowance) as conversation:
        if conversation.hear(HELLO + link.frame(link.STARTED)) is not None:
            raise ToolError("the supervisor ended the container of a guest that had only greeted")
        limit = time.monotonic() + _BURST_LIMIT_S
        while allowance and not allowance.rests_until() and time.monotonic() < limit:
            _flood(conversation, piece, 0)  # one turn: what it may cause at once
        before, begin = _used_s(), time.monotonic()
        _flood(conversation, piece, _MEASURED_S)
        return 100 * (_used_s() - before) / (time.monotonic() - begin)


def _flood(conversation: Conversation, piece: bytes, seconds: float) -> None:
    parts = (*conversation.guest.first_parts, *conversation.guest.last_parts, conversation.allowance)
    ring = piece * (2048 // len(piece)) if piece else b""
    end = time.monotonic() + seconds
    while True:
        conversation.ring.unread = ring
        loop.turn(parts)
        if time.monotonic() >= end:
            return


def _used_s() -> float:
    times = os.times()
    return times.user + times.system
