"""Command lines: what engines write is understood, anything else is an error that says so."""

import json

import pytest

from runx import log
from runx.cli.main import GLOBAL_OPTIONS
from runx.cli.options import Option, parse
from runx.errors import RunxError

OPTIONS = (Option("-b", "--bundle", value="DIR", default="."), Option("-a", "--all"), Option("--pid-file", value="FILE"))


def test_forms_of_an_option() -> None:
    for argv in (["--bundle", "/x", "id"], ["--bundle=/x", "id"], ["-b", "/x", "id"], ["id", "-bundle", "/x"]):
        arguments, rest = parse(argv, OPTIONS)
        assert (arguments.values["bundle"], arguments.operands, rest) == ("/x", ["id"], [])


def test_empty_values() -> None:
    """Engines write some for nothing; `runx plan` takes none."""
    assert parse(["--pid-file", ""], OPTIONS)[0].values["pid_file"] == ""
    for argv in (["--pid-file", "", "id"], ["--pid-file="], ["-b", ""]):
        with pytest.raises(RunxError, match="needs a value that is not empty"):
            parse(argv, OPTIONS, allow_empty=False)


def test_defaults_switches_and_the_end_of_options() -> None:
    arguments, _ = parse(["--all", "--", "--pid-file"], OPTIONS)
    assert arguments.values == {"bundle": ".", "pid_file": ""}
    assert arguments.switches == {"all"}
    assert arguments.operands == ["--pid-file"]


def test_global_options_stop_at_the_command() -> None:
    arguments, rest = parse(["--all", "create", "--no-pivot", "x"], OPTIONS, stop_at_operand=True)
    assert arguments.switches == {"all"}
    assert rest == ["create", "--no-pivot", "x"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [(["--bundel", "x"], "unknown option --bundel"), (["--bundle"], "needs a value"), (["--all=3"], "no value")],
)
def test_errors(argv: list[str], message: str) -> None:
    with pytest.raises(RunxError, match=message):
        parse(argv, OPTIONS)


def test_an_unknown_option_is_answered_with_the_nearest() -> None:
    with pytest.raises(RunxError) as caught:
        parse(["--bundel", "x"], OPTIONS)
    assert caught.value.hint == "did you mean --bundle?"


@pytest.mark.parametrize("word", ["--foo", "--x", "--log-file-of-mine"])
def test_no_name_is_told_that_is_not_close(word: str) -> None:
    with pytest.raises(RunxError) as caught:
        parse([word], GLOBAL_OPTIONS)
    assert caught.value.hint == ""


@pytest.mark.parametrize("text", ["plain", 'quote " backslash \\ newline \n tab \t', "\x00\x1f\x7f", "ünïcode 🎉"])
def test_log_lines_are_json(text: str) -> None:
    line = log.line("error", text, as_json=True)
    assert line.count("\n") == 1
    parsed = json.loads(line)
    assert (parsed["msg"], parsed["level"]) == (text, "error")
    assert parsed["time"].endswith("Z")


def test_a_lone_surrogate_does_not_break_the_log() -> None:
    assert json.loads(log.line("error", "a\udc80b", as_json=True))["msg"] == "a?b"
