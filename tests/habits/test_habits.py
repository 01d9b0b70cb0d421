"""Habits of docker's users under runc and under runx: they print the same, but for the lines that docs/differences.md lists
with a reason. A line that differs and is not listed fails, and so does a listed one that no case shows."""

import difflib
import fnmatch
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from engine_tests import IMAGE
from engines import start_dockerd
from exec_setting import PUT as PUT_EXEC
from runxtools import ociimage
from runxtools.checkout import CHECKOUT
from runxtools.double.host import Double
from runxtools.testing.bundles import BUSYBOX
from runxtools.testing.containers import LIMIT_S

TABLE = CHECKOUT / "docs/differences.md"
HEAD = "| habit | under runc | under runx | why |"
_TEXT = Path(__file__).with_name("cases.txt").read_text()
CASES: dict[str, str] = dict(re.findall(r"^### (.+)\n((?:(?!### ).*\n)*)", _TEXT, flags=re.MULTILINE))
NOTHING = "nothing"
"""What a cell of the table says in place of a line that is not there."""
_PRELUDE = """
image={image} RUNTIME={runtime}
run() {{ docker run --runtime $RUNTIME --network none "$@"; }}
cd {directory}
"""


class Row(NamedTuple):
    """A row of the table: lines of one case, each a pattern as of fnmatch(3) or NOTHING."""

    case: str
    under_runc: str
    under_runx: str


def rows() -> list[Row]:
    """The rows of the table, with the columns that are compared."""
    table = TABLE.read_text().partition(HEAD)[2].partition("\n\n")[0]
    found = re.findall(r"^\| ([^|`]+) \| (`[^`]+`|nothing) \| (`[^`]+`|nothing) \|", table, flags=re.MULTILINE)
    return [Row(case, under_runc.strip("`"), under_runx.strip("`")) for case, under_runc, under_runx in found]


pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")
shown: set[Row] = set()
ran: set[str] = set()


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    """With docker and the test image. Containers of runx allow exec, as all of runc's do."""
    with Double() as double:
        double.run(["sh", "-euc", PUT_EXEC], check=True)
        start_dockerd(double)
        image = tmp_path_factory.mktemp("habits") / "image.tar"
        ociimage.write(image, BUSYBOX, IMAGE)
        double.run(["docker", "load", "-i", str(image)], check=True, timeout=LIMIT_S)
        yield double


def printed(double: Double, script: str, runtime: str, directory: Path) -> list[str]:
    """The lines that a case prints, and its errors."""
    directory.mkdir()
    text = _PRELUDE.format(image=IMAGE, runtime=runtime, directory=directory) + script
    done = double.run(["sh", "-c", f"{{ {text}\n}} 2>&1 < /dev/null"], timeout=LIMIT_S)
    double.run(["sh", "-c", "docker ps -aq | xargs -r docker rm -f; docker network rm nett"], timeout=LIMIT_S)
    return [re.sub(r"\b([0-9a-f]{64}|[0-9a-f]{12})\b", "ID", line) for line in done.stdout.decode(errors="replace").splitlines()]


@pytest.mark.parametrize("case", CASES)
def test_the_same_but_for_what_is_listed(double: Double, tmp_path: Path, case: str) -> None:
    under_runc, under_runx = (printed(double, CASES[case], runtime, tmp_path / runtime) for runtime in ("runc", "runx"))
    print("\n".join(under_runx))
    assert under_runc, "the case prints nothing, so it compares nothing"
    ran.add(case)
    unlisted = []
    listed = [row for row in rows() if row.case == case]
    for line in difflib.ndiff(under_runc, under_runx):
        mark, text = line[0], line[2:]
        if mark not in "-+":
            continue
        found = [row for row in listed if fnmatch.fnmatchcase(text, row.under_runc if mark == "-" else row.under_runx)]
        shown.update(found)
        if not found:
            unlisted.append(f"{'runc' if mark == '-' else 'runx'}: {text}")
    assert not unlisted, "\n".join(["not in docs/differences.md:", *unlisted])


def test_every_listed_difference_is_one() -> None:
    if ran < set(CASES):
        pytest.skip("not all cases ran")
    assert [row for row in rows() if row not in shown] == []
