"""requirements.txt and requirements-dev.txt: exact versions, and a hash of each file that pip may take."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from runxtools import fuzz, hashes
from runxtools.checkout import CHECKOUT

FILES = (hashes.RUN_TIME, hashes.FOR_TESTS)


def name_in(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()  # type: ignore[index]


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_every_library_has_hashes(path: Path) -> None:
    text = path.read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith(("#", "-r "))]
    assert len(lines) > 5
    for line in lines:
        assert re.fullmatch(r"[\w.-]+==[\w.]+(\s+--hash=sha256:[0-9a-f]{64})+", line), line
    assert list(hashes.pins(path)) == [line.partition("==")[0] for line in lines]


def test_what_the_fuzzer_installs_has_hashes() -> None:
    assert re.fullmatch(r"[\w.-]+==[\w.]+(\s+--hash=sha256:[0-9a-f]{64})+\n", fuzz.requirement())


def test_what_runx_needs_is_all_there() -> None:
    """What the libraries need, too: pip takes nothing that has no hash."""
    pinned = {name_in(name) for name in hashes.pins(hashes.RUN_TIME)}
    found: set[str] = set()
    wanted = {name_in(text) for text in tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]}
    while new := wanted - found:
        found |= new
        needed = [text for name in new for text in metadata.requires(name) or () if "extra ==" not in text]
        wanted = found | {name_in(text) for text in needed if not re.search(r"python_version < .3\.(8|9|10|11)", text)}
    assert found == pinned


def test_the_tests_have_what_runx_has() -> None:
    assert "\n-r requirements.txt\n" in hashes.FOR_TESTS.read_text()
    assert not hashes.pins(hashes.RUN_TIME).keys() & hashes.pins(hashes.FOR_TESTS).keys()
    for path in FILES:
        for name, version in hashes.pins(path).items():
            assert metadata.version(name) == version, name


def test_lines() -> None:
    lines = "".join(hashes.pin_lines({"Some_Name": "1.2"}, {"some-name": {"b" * 64, "a" * 64}}))
    assert lines == f"Some_Name==1.2 \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}\n"
