"""Twenty thousand damaged configurations: each becomes a machine or is explained. damage.py makes them.

Half a minute on two quiet processors. A failure begins with its number, and damaged(NUMBER) makes the same one again.
"""

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

from damage import CASES, damaged, failures

COUNT = 20_000
AT_ONCE = 500


def test_a_damaged_configuration_compiles_or_is_explained() -> None:
    """Nothing but CompileError ever comes out, on one printable line for each fault, whatever is put where."""
    numbers = [range(first, first + AT_ONCE) for first in range(0, COUNT, AT_ONCE)]
    # Not forked: a process with threads cannot be, safely.
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        found = [failure for some in pool.map(failures, numbers) for failure in some]
    assert not found, f"{len(found)} of {COUNT}, the first ones:\n" + "\n\n".join(found[:5])


def test_damage_is_varied_and_the_same_every_time() -> None:
    """Texts that are no JSON, JSON that is changed, and configurations of every case."""
    some = [damaged(number) for number in range(1000)]
    assert [one.raw for one in some] == [damaged(number).raw for number in range(1000)]
    assert len({one.raw for one in some}) > 950
    assert {one.directory for one in some} == {case.directory for case in CASES}

    def is_json(raw: bytes) -> bool:
        try:
            json.loads(raw)
        except (ValueError, RecursionError):
            return False
        return True

    assert 500 < sum(is_json(one.raw) for one in some) < 950
