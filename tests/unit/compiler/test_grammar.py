"""Parsers from tables written at installation are the parsers of the grammars."""

import shutil
from pathlib import Path

import pytest

from runx.compiler import grammar
from runx.errors import RunxError


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The grammars as an installation has them."""
    directory = tmp_path / "grammars"
    shutil.copytree(grammar.GRAMMAR_DIR, directory, ignore=shutil.ignore_patterns("*.tables"))
    monkeypatch.setattr(grammar, "GRAMMAR_DIR", str(directory))
    grammar.write_tables()
    return directory


def test_tables_are_used_and_parse_alike(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = grammar.load_grammar("mount_options").parse("ro,size=64m")
    monkeypatch.setattr(grammar, "_build", None)
    for path in installed.glob("*.lark"):
        grammar.load_grammar(path.stem)
    assert grammar.load_grammar("mount_options").parse("ro,size=64m") == built


def test_tables_of_another_text_are_not_used(installed: Path) -> None:
    (installed / "mount_options.lark").write_text('start: "x"\n')
    assert not grammar.load_grammar("mount_options").parse("x").children


def test_a_grammar_that_is_missing_is_a_broken_installation(installed: Path) -> None:
    (installed / "mount_options.lark").unlink()
    with pytest.raises(RunxError, match=r"mount_options\.lark: no such file"):
        grammar.load_grammar("mount_options")
