"""The text of a configuration, where things stand in it, and what is not a configuration."""

import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runx.compiler.diagnostics import LINE_WIDTH, CompileError, Location, Report, excerpt, path_text
from runx.compiler.host.host_facts import HostFacts
from runx.compiler.source import SIZE_LIMIT, Source, location
from runx.errors import RunxError

KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | KEYS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def everything(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], object]]:
    found = [(path, value)]
    if isinstance(value, dict):
        found += [pair for key, item in value.items() for pair in everything(item, (*path, key))]
    elif isinstance(value, list):
        found += [pair for index, item in enumerate(value) for pair in everything(item, (*path, index))]
    return found


@given(st.dictionaries(KEYS, JSON, max_size=4), st.sampled_from([None, 0, 3]), st.booleans())
def test_every_value_is_found_in_the_text(document: dict[str, object], indent: int | None, ascii_only: bool) -> None:
    text = "\n \t" + json.dumps(document, indent=indent, ensure_ascii=ascii_only) + "\n"
    source = Source(text.encode())
    assert source.document == document
    for path, value in everything(document):
        place = source.locate(path)
        assert place is not None
        start = sum(len(line) for line in text.split("\n")[: place.line - 1]) + place.line - 1 + place.column - 1
        assert json.JSONDecoder().raw_decode(text, start)[0] == value


@given(KEYS, st.integers(0, 8), st.booleans())
def test_a_character_of_a_string_is_found_in_the_text(value: str, character: int, ascii_only: bool) -> None:
    text = json.dumps({"a": [value]}, ensure_ascii=ascii_only)
    place = Source(text.encode()).locate(("a", 0), character)
    assert place is not None
    assert json.loads('"' + text[place.column - 1 : -2]) == value[character:]


def test_an_absent_value_is_placed_where_it_is_missing() -> None:
    source = Source(b'{\n "a": [1, {}]\n}')
    assert source.locate(("a", 1, "b", "c")) == Location(2, 11)
    assert source.locate(("x",)) == Location(1, 1)


def test_lines_are_not_counted_for_a_good_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runx.compiler.source._Walk", None)
    Source(b'{"a": [1, 2, {"b": "\\u00e9"}]}')


@settings(max_examples=300)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_anything_else_is_an_error_with_a_message(raw: bytes) -> None:
    try:
        assert isinstance(Source(raw).document, dict)
    except CompileError as error:
        assert error.message.startswith("config.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 1}', 'config.json:1:10: a: given twice'),
        ('{"a": {"b": [{"c": 1, "d": 2, "c": 3}]}}', "config.json:1:31: a.b[0].c: given twice"),
        ('{"a": "\\u0000"}', 'config.json:1:7: a: "\\u0000" holds a NUL'),
        ('{"a\\u0000": 1}', "config.json:1:2: "),
        ('{"a": "\\udc00x"}', "config.json:1:7: a: holds half of a surrogate pair"),
        ('{"a": -Infinity}', "config.json:1:7: a: not JSON: -Infinity is not a number"),
        ("{" + '"a":{' * 100 + "}" * 101 + " ", "config.json"),
        ('{"a": ' + "[" * 5000 + "]" * 5000 + "}", "config.json:1:71: not a configuration: nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "config.json:1:7: not a configuration: a number of thousands of digits"),
        ("", "config.json:1:1: not JSON"),
        ("null", "config.json:1:1: must be an object"),
        ("\ufeff{}", "config.json:1:1: not JSON"),
    ],
)  # fmt: skip
def test_messages(text: str, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        source = Source(text.encode())
        report = Report()
        report.error("RX011", ("a",) * 100, "deep")
        report.raise_errors(source.locate)
    assert caught.value.message.startswith(message)


def test_a_message_is_one_line_that_no_terminal_obeys() -> None:
    """Much of it is what the configuration says."""
    source = Source('{"a": {"b\u202e": 1}}'.encode())
    report = Report()
    report.error("RX011", ("a", "b\u202e"), "/x\ny\x1b[2J\u009b: no such file")
    with pytest.raises(CompileError) as caught:
        report.raise_errors(source.locate, "config.json", source.text)
    assert caught.value.message == r'config.json:1:14: a["b\u202e"]: /x\ny\x1b[2J\x9b: no such file'
    assert caught.value.for_people().split("\n")[0] == caught.value.message


def test_a_backslash_before_u0000_is_no_nul() -> None:
    assert Source(b'{"a": "\\\\u0000"}').document == {"a": "\\u0000"}
    assert Source(b'{"a": "\\ud83d\\ude00"}').document == {"a": "\U0001f600"}


def test_the_size_has_a_limit() -> None:
    padding = b" " * (SIZE_LIMIT - 2)
    assert Source(b"{}" + padding).document == {}
    with pytest.raises(CompileError, match="larger than 16 MiB"):
        Source(b"{} " + padding)


def test_paths_are_written_as_people_write_them() -> None:
    assert path_text(("mounts", 3, "options", 1)) == "mounts[3].options[1]"
    assert path_text(("annotations", "a.b")) == 'annotations["a.b"]'
    assert path_text(("annotations", "")) == 'annotations[""]'
    assert path_text(("linux", "cpu_x")) == "linux.cpu_x"


@given(st.text(st.characters(codec="ascii", min_codepoint=9), min_size=1, max_size=400), st.data())
def test_the_caret_stands_below_its_column(line: str, data: st.DataObject) -> None:
    column = data.draw(st.integers(1, len(line)))
    shown, caret = excerpt(line, column)
    assert len(shown) <= LINE_WIDTH + 6
    assert shown.isprintable()
    wanted = line[column - 1]
    assert shown[caret.index("^")] == (" " if wanted == "\t" else wanted if wanted.isprintable() else "\ufffd")


def test_faults_are_sorted_by_their_place() -> None:
    source = Source(b'{"b": 1,\n "a": 2}')
    report = Report()
    for path in (("a",), ("b",), ("a",), ("a", "below")):
        report.error("RX011", path, f"wrong {path}")
    with pytest.raises(CompileError) as caught:
        report.raise_errors(source.locate)
    assert [fault.path for fault in caught.value.diagnostics] == [("b",), ("a",)]


def test_what_is_at_a_path(tmp_path: Path) -> None:
    facts = HostFacts()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    kinds = {name: facts.kind(f"{tmp_path}/{name}") for name in ("", "file", "link", "fifo", "socket", "none", "file/x", "loop")}
    assert kinds == {
        "": "directory", "file": "file", "link": "file", "fifo": "fifo", "socket": "socket", "none": "missing",
        "file/x": "missing", "loop": "unreadable",
    }  # fmt: skip
    assert facts.kind("/dev/null") == "device"


def test_what_is_at_a_path_of_a_root(tmp_path: Path) -> None:
    """Links lead nowhere but into the root."""
    root = tmp_path / "root"
    (root / "etc/below").mkdir(parents=True)
    (root / "etc/file").touch()
    (root / "outside").symlink_to(tmp_path)
    (root / "absolute").symlink_to("/etc/file")
    (root / "loop").symlink_to("loop")
    kinds = {
        "/": "directory", "/etc//./below/": "directory", "/etc/file": "file", "/etc/file/x": "missing", "/etc/none": "missing",
        "/absolute": "file", "/outside": "missing", "/etc/../etc/file": "file", "/../etc/file": "file", "/loop": "unreadable",
        "/" + "n" * 256: "unreadable",
    }  # fmt: skip
    assert {path: HostFacts().kind_in_root(str(root), path) for path in kinds} == kinds


def test_a_bundle_needs_a_configuration(tmp_path: Path) -> None:
    facts = HostFacts()
    with pytest.raises(RunxError, match="bundle /no/such/place: no such directory"):
        facts.config("/no/such/place")
    with pytest.raises(RunxError, match=r"config\.json: no such file or directory") as caught:
        facts.config(str(tmp_path))
    assert "a bundle is a directory" in caught.value.hint
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(RunxError, match=r"config\.json: not a file"):
        facts.config(str(tmp_path))
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").mkdir()
    with pytest.raises(RunxError, match=r"config\.json: "):
        facts.config(str(tmp_path))
    (tmp_path / "config.json").rmdir()
    (tmp_path / "config.json").write_bytes(b"{}" + b" " * SIZE_LIMIT)
    assert len(facts.config(str(tmp_path))) == SIZE_LIMIT + 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1:1: not JSON: the text is empty"),
        (" \n", "2:1: not JSON: the text is empty"),
        ("{", "1:2: not JSON: the text ends too early"),
        ('{"a": ', "1:7: not JSON: the text ends too early"),
        ('{"a"', "1:5: not JSON: the text ends too early"),
        ('{"a": 1', "1:8: not JSON: the text ends too early"),
        ('{"a" 1}', "1:6: not JSON: a colon must stand here"),
        ('{"a": 01}', "1:8: not JSON: a number begins with 0"),
        ('{"a": -01}', "1:9: not JSON: a number begins with 0"),
        ("[0, 00]", "1:6: not JSON: a number begins with 0"),
        ("01", "1:2: not JSON: a number begins with 0"),
        ('{"a": 10 1}', "1:10: not JSON: a comma or the closing bracket must stand here"),
        ('{"a": 1 "b": 2}', "1:9: not JSON: a comma or the closing bracket must stand here"),
        ("{a: 1}", "1:2: not JSON: a name in double quotes must stand here"),
        ("{'a': 1}", "1:2: not JSON: a name in double quotes must stand here"),
        ("{} {}", "1:4: not JSON: nothing may follow the value"),
        ('{"a": x}', "1:7: not JSON: a value must stand here"),
        ('{"a": "b}', "1:7: not JSON: a string has no closing quote"),
        ('{"a": "b\n"}', "1:9: not JSON: a string holds a control character, which JSON writes as an escape such as"),
        (r'{"a": "\q"}', "1:8: not JSON: a string holds an escape that JSON does not have"),
        (r'{"a": "\u12"}', "not JSON: a string holds an escape that JSON does not have"),
        ("\ufeff{}", "1:1: not JSON: the text begins with a byte order mark"),
        ("// a\n{}", "1:1: not JSON: JSON has no comments"),
        ('{"a": 1 /* b */}', "1:9: not JSON: JSON has no comments"),
        ('{"a": 1}\n# b\n', "2:1: not JSON: JSON has no comments"),
        ('{"a": True}', "1:7: not JSON: JSON writes true so, in small letters"),
        ('{"a": None}', "1:7: not JSON: JSON writes null so, in small letters"),
        ("[1, FALSE]", "1:5: not JSON: JSON writes false so, in small letters"),
        ("[Truest]", "1:2: not JSON: a value must stand here"),
    ],
)
def test_what_is_wrong_with_json_in_words_of_our_own(text: str, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        Source(text.encode())
    assert message in caught.value.message
    assert "xpecting" not in caught.value.message


@pytest.mark.parametrize("text", ['{"a": 1,}', '{"a": 1 , }', "[1,]", '{"a": [1,\n]}'])
def test_a_comma_after_the_last_entry(text: str) -> None:
    """Pythons differ in the place: the comma, or the bracket after it."""
    with pytest.raises(CompileError, match="not JSON: the last entry is followed by a comma"):
        Source(text.encode())


def test_the_places_of_thousands_of_values() -> None:
    """On lines of their own, and all on one."""
    members = {f"name{index}": index for index in range(5000)}
    for indent in (1, None):
        text = json.dumps(members, indent=indent)
        source = Source(text.encode())
        for name in ("name0", "name2500", "name4999"):
            at = text.index(": ", text.index(f'"{name}"')) + 2
            assert source.locate((name,)) == location(text, at)
