"""XLCONF: its grammar against xl's own parser, the host's policy, and the way of a value to domain.cfg."""

import io
import json
import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from compiler_cases import TextFacts
from runx.cli.plan_explain import explain
from runx.cli.plan_text import show
from runx.compiler.diagnostics import CompileError, Report
from runx.compiler.frontends.xlconf import DEPTH_LIMIT, LENGTH_LIMIT, XlSyntaxError, parse_xlconf, read_xlconf
from runx.compiler.host.config import read_host_config
from runx.compiler.model.plan import XlValue
from runx.compiler.model.xl_keys import OTHERS, RESERVED, RESERVED_PREFIXES, YIELDING, is_number, number, reserved
from runx.compiler.pipeline import Compilation, Inputs, compile
from runxtools.double.xlutil import AVAILABLE, SyntaxFault, XlConfig

needs_parser = pytest.mark.skipif(not AVAILABLE, reason="libxlutil is not installed (package libxenmisc4.17)")

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VALUES = st.recursive(
    TEXT | st.from_regex(r"[0-9][0-9a-fx]{0,9}", fullmatch=True),
    lambda values: st.lists(values, max_size=4).map(tuple),
    max_leaves=8,
)
KEYS = st.sampled_from(sorted(OTHERS - set(YIELDING)))


def ours(text: str) -> dict[str, XlValue] | None:
    """None: refused."""
    try:
        return {statement.key: statement.value for statement in parse_xlconf(text)}
    except XlSyntaxError:
        return None


def xls(text: str) -> dict[str, Any] | None:
    """What xl's parser makes of the same text; as in a file, its last line has an end."""
    found: dict[str, Any] = {}
    try:
        with XlConfig(text + "\n") as config:
            for key in re.findall(r"[a-z][_0-9a-z]*", text):
                try:
                    found[key] = config.value(key)
                except KeyError:
                    continue
    except SyntaxFault:
        return None
    return found


TRICKY = (
    "", "\n", ";", ";;\n;", "#", "# a=1", "a=1", " \ta\t=\t1 ", "A=1", "aB=1", "_a=1", "a_9=1", "9a=1", "a", "a=", "=1", "a=a",
    "a=b=1", "a=0x1f", "a=0x1F", "a=0X1f", "a=017", "a=09", "a=1fx", "a=9g", "a=-1", "a=+1", "a=1.5", "a=1_0", "a=1 2",
    "a=true", "a=00", "a=2f8", "a=99999999999999999999999", 'a="x"', "a='x'", "a=\"'\"", "a='\"'", 'a=""', "a=''", 'a="x""y"',
    'a="x" "y"', 'a="x', "a='x\"", 'a="x\n"', 'a="\\"', 'a="\\\\"', 'a="\\""', "a='\\''", 'a="\\a\\b\\f\\n\\r\\t\\v"',
    "a='\\n'", 'a="\\e"', 'a="\\q"', 'a="\\ "', 'a="\\é"', 'a="\\\n"', 'a="\t"', 'a="\r"', 'a="\x01\x7f"',
    'a="é\u2028\U0001f600"', "a=é", "é=1", "\ufeffa=1", "a=\u00a01", "a=1\r\nb=2", "a=\v1", "a=1\f", 'a="#"', 'a="[";b="]"',
    "a=1#", "a=1 # b=2", "a=1 # b=2\nc=3", "a=1;#\n", "#\n#\na=1", "a=1;b=2", "a=1;;b=2;", "a=1 b=2", "a=1,", "a=1,b=2",
    "a\n=1", "a=\n1", "a;=1", "a=(1)", "a=1:", "a={}", "a=$", "a=`x`", "a=x'1'", "a=1]", "a=]", "a=[]", "a=[ ]", "a=[\n]",
    "a=[1]", "a=[1,]", "a=[1,\n]", "a=[1\n,]", "a=[,]", "a=[,1]", "a=[1,,2]", "a=[1 2]", "a=[1\n2]", "a=[1;2]", "a=[1", "a=[1,",
    "a=[", "a=[\n\n1\n\n,\n\n2\n\n,\n\n]", "a=[1]\n", "a=[1] b=2", "a=[1];b=2", "a=[\n#\n1 # x\n, # ]\n2 ] # y", "a=[1 # 2]",
    "a=[b]", "a=[=]", "a=[[]]", "a=[[],[]]", "a=[[1],[2,],]", "a=[[[['x']]],1]", "a=[[1]", "a=[1]]", "a=[\n[\n1\n]\n]", "[1]",
    '"a"=1', "a=1;a=2", "a=1;a=[2]", "a=[1];a=2", "a=1;b=2;a=3", "a+=1", "a+=[1]", "a+=[]", "a += 'x'", "a+ =1", "a+=", "a==1",
    "a=+=1", "a+=+=1", "a-=1", "a='x';a+='y'", "a=1;a+=0x2", "a=[1];a+=[2,3]", "a=[1];a+=2", "a=1;a+=[2]", "a=[[1]];a+=[[2]]",
    "a=[1];a=[2];a+=[3]", "a+=[1];a+='x'", "a+=1;a=[2];a+=[3]", "a=1;a+=2;a=3", "a=[];a+='x'", "a=x\nb=1", "error\na=1",
)  # fmt: skip


@needs_parser
@pytest.mark.parametrize("text", TRICKY)
def test_xl_reads_the_same(text: str) -> None:
    assert ours(text) == xls(text)


def test_the_list_has_both_kinds() -> None:
    assert {ours(text) is None for text in TRICKY} == {True, False}


PIECES = st.sampled_from(
    [*"ab09x=[],;#'\"\\ \t\n", "=", "+=", "a=", "b+=", "=[", '"c"', "'d'", "0x1f", "[1,", "]\n", ";a=1;", "é", "-", "\\n", '\\"']
)  # fmt: skip


@needs_parser
@given(st.lists(PIECES, max_size=14).map("".join))
def test_xl_reads_the_same_of_anything(text: str) -> None:
    assume(not re.search(r"\\[0-7x]", text))  # below
    assert ours(text) == xls(text)


def nested(depth: int) -> tuple[Any, ...]:
    return (nested(depth - 1),) if depth > 1 else ()


@needs_parser
@pytest.mark.parametrize(
    ("text", "xl_reads"),
    [
        # Numeric escapes: xl has code for them that drops the character, or takes the next ones for digits that they are not.
        ('a="b\\101c"', {"a": "bc"}),
        ('a="\\777"', {"a": ""}),
        ('a="\\x41"', None),
        # Nothing that xl reads has so many levels.
        (f"a={'[' * (DEPTH_LIMIT + 1)}{']' * (DEPTH_LIMIT + 1)}", {"a": nested(DEPTH_LIMIT + 1)}),
    ],
)
def test_where_we_are_stricter(text: str, xl_reads: dict[str, Any] | None) -> None:
    assert xls(text) == xl_reads
    assert ours(text) is None


def test_limits() -> None:
    deepest = f"a={'[' * DEPTH_LIMIT}{']' * DEPTH_LIMIT}"
    assert ours(deepest)
    assert ours("a=1" + " " * (LENGTH_LIMIT - 3)) == {"a": "1"}
    assert ours("a=1" + " " * (LENGTH_LIMIT - 2)) is None
    assert ours("a=" + "[" * (LENGTH_LIMIT - 3)) is None
    assert ours("a=" + "[" * 20000 + "]" * 20000) is None


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("a=x", 2, 'expected a string in quotes, a number or "[", not "x"'),
        ("a=1 b=2", 4, 'expected ";" or a new line, not "b"'),
        ("a=[1", 4, 'expected ",", "]" or a new line, not the end'),
        ("a", 1, 'expected "=" or "+=", not the end'),
        ("a=\n1", 2, 'expected a string in quotes, a number or "[", not the end of the line'),
        ("b=1;a='x", 6, "the string that begins with ' does not end in its line"),
        ('a="b\\q"', 4, 'xl does not have the escape "\\\\q", only '),
        ("a=1\na+=[2]", 4, "a is a single value already, to which a list cannot be added"),
    ],
)
def test_an_error_says_what_was_expected_and_where(text: str, at: int, message: str) -> None:
    with pytest.raises(XlSyntaxError, match=re.escape(message)) as caught:
        parse_xlconf(text)
    assert caught.value.at == at


# A container with it.


class Facts(TextFacts):
    """A host whose runx.toml allows these keys."""

    def __init__(self, config: dict[str, Any], keys: list[str]) -> None:
        super().__init__(json.dumps(config))
        self.toml = f"[policy]\nxlconf_keys = {json.dumps(keys)}\n"

    def host_config(self) -> tuple[str, bytes]:  # type: ignore[override]
        return "runx.toml", self.toml.encode()


def config(*env: str, **members: Any) -> dict[str, Any]:
    return {
        "ociVersion": "1.2.0",
        "process": {"cwd": "/", "args": ["/x"], "env": list(env)},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "network"}]},
    } | members


def compiled(text: str, *keys: str, **members: Any) -> Compilation:
    facts = Facts(config(f"XLCONF={text}", **members), list(keys))
    return compile(Inputs("/bundle", container_id="box", state_root="/r", assets="/a", facts=facts))


def refused(text: str, *keys: str) -> str:
    with pytest.raises(CompileError) as caught:
        compiled(text, *keys)
    return caught.value.message


def text_of(value: XlValue, draw: Any) -> str:
    """One of the ways to write it."""
    if isinstance(value, tuple):
        items = [text_of(item, draw) for item in value]
        space = draw(st.sampled_from(["", " ", "\n", " # c\n"]))
        return "[" + space + f"{space},{space}".join(items) + space + (f",{space}" if items and draw(st.booleans()) else "") + "]"
    if re.fullmatch(r"[0-9][0-9a-fx]*", value) and draw(st.booleans()):
        return value
    mark = draw(st.sampled_from("'\""))
    escaped = value.replace("\\", "\\\\").replace(mark, f"\\{mark}").replace("\n", "\\n")
    return f"{mark}{escaped}{mark}"


@needs_parser
@given(st.dictionaries(KEYS, VALUES, max_size=4), st.data())
def test_what_is_written_arrives_at_xl(settings: dict[str, XlValue], data: st.DataObject) -> None:
    end = data.draw(st.sampled_from([";", "\n", " # c\n", " ;\n"]))
    text = end.join(f"{key} = {text_of(value, data.draw)}" for key, value in settings.items())
    result = compiled(text, *settings)
    assert {setting.name: setting.value for setting in result.plan.domain.xl_settings} == settings
    assert compiled(text, *settings).plan.model_validate_json(result.artifacts.plan_json) == result.plan
    with XlConfig(result.artifacts.domain_cfg) as read, XlConfig(compiled("").artifacts.domain_cfg) as without:
        assert {key: read.value(key) for key in settings} == settings
        for key in ("name", "kernel", "ramdisk", "extra", "memory", "on_crash"):
            assert read.value(key) == without.value(key)


@st.composite
def mutated(draw: Any) -> str:
    """One of the list with a piece of it taken away, doubled or replaced."""
    text: str = draw(st.sampled_from(TRICKY))
    start, end = sorted(draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
    middle: str = draw(st.sampled_from(["", text[start:end] * 2]) | TEXT | PIECES)
    return text[:start] + middle + text[end:]


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.lists(PIECES, max_size=14).map("".join) | mutated(), st.booleans())
def test_anything_is_compiled_or_refused(text: str, is_allowed: bool) -> None:
    text = re.sub(r"\b[ab]\b", lambda key: {"a": "pool", "b": "vga"}[key[0]], text)
    try:
        result = compiled(text, *(["pool", "vga"] if is_allowed else []))
    except CompileError as error:
        assert error.diagnostics[0].path[:2] == ("process", "env")
        assert error.for_people()
        return
    assert result.plan.process.env == (f"XLCONF={text}",)
    assert is_allowed or not result.plan.domain.xl_settings


def test_a_caret_shows_the_character() -> None:
    with pytest.raises(CompileError) as caught:
        compiled('\té"\U0001f600\\ = 1')
    place, _ = caught.value.located[0]
    assert place and place.line == 1
    line, caret = caught.value.for_people().split("\n")[1:3]
    assert line[caret.index("^") :].startswith("\\u00e9")


@pytest.mark.parametrize(
    ("text", "is_file"),
    [("/root/test.cfg", True), ("./a", True), ("root/test.cfg", True), ("test.cfg", True), ("maxvcpus 4", False)],
)
def test_the_name_of_a_file_has_a_hint(text: str, is_file: bool) -> None:
    """The original took a file."""
    report = Report()
    assert read_xlconf(text, ("process", "env", 0), 7, report) is None
    assert [("not the name of a file" in fault.hint) for fault in report.errors.values()] == [is_file]


def test_nothing_is_allowed_at_first() -> None:
    message = refused_without_toml("nomigrate=1;pool='x'")
    column = json.dumps(config("XLCONF=nomigrate=1;pool='x'")).index("nomigrate") + 1
    assert (
        f"config.json:1:{column}: process.env[0]: XLCONF: not allowed by policy.xlconf_keys (default): nomigrate, pool" in message
    )
    assert 'hint: xlconf_keys = ["nomigrate", "pool"] in [policy] of /etc/runx/runx.toml' in message


def refused_without_toml(text: str) -> str:
    facts = TextFacts(json.dumps(config(f"XLCONF={text}")))
    with pytest.raises(CompileError) as caught:
        compile(Inputs("/bundle", container_id="box", state_root="/r", assets="/a", facts=facts))
    return caught.value.message


@pytest.mark.parametrize("key", [*RESERVED, *(f"{prefix}x" for prefix in RESERVED_PREFIXES)])
def test_reserved_keys_are_neither_taken_nor_allowed(key: str) -> None:
    assert f"XLCONF: {key} cannot be set: {reserved(key)}" in refused(f"{key} += ['x']")
    with pytest.raises(CompileError) as caught:
        read_host_config(("runx.toml", f"[policy]\n\nxlconf_keys = ['pool', '{key}']\n".encode()))
    assert (
        f"runx.toml:3:1: policy.xlconf_keys[1]: must be a key that a container may set ({reserved(key)})" in caught.value.message
    )


def test_all_that_runx_always_writes_is_reserved() -> None:
    written = {line.partition(" ")[0] for line in compiled("").artifacts.domain_cfg.splitlines() if line[:1].isalpha()}
    assert {key for key in written if not reserved(key)} == set()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vif=['bridge=b']", "vif is a list that runx writes too: add to it with vif += […]"),
        ("vif+=['a'];vif=['b']", "vif is a list that runx writes too"),
        ("irqs+=1", "irqs is a list of strings"),
        ("irqs+=[[1]]", "irqs is a list of strings"),
        ("disk='phy:/dev/sda,xvda,w'", "disk is a list"),
        ("maxmem='1G'", "maxmem is a number"),
        ("maxmem=[1]", "maxmem is a number"),
        ("maxvcpus=08", "maxvcpus is a number"),
        ("vif+=['bridge=b, Script = /x']", "vif names a script, which the host would run as root"),
        ("disk=['script=/x,vdev=xvda,target=y']", "disk names a script, which the host would run as root"),
    ],
)
def test_values_that_xl_would_misread(text: str, message: str) -> None:
    assert f"XLCONF: {message}" in refused(text, "vif", "irqs", "maxmem", "maxvcpus", "disk")


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("1", 1), ("017", 15), ("0x1f", 31), ("0X1F", 31), ("-5", -5), ("+5", 5), ("9" * 18, 10**18 - 1)],
)
def test_numbers(text: str, value: int) -> None:
    assert is_number(text)
    assert number(text) == value
    assert compiled(f"maxmem='{text}'", "maxmem").artifacts.domain_cfg.endswith(f'maxmem = "{text}"\n')


def test_a_maximum_is_what_update_can_reach() -> None:
    kept = json.loads(compiled("maxmem='01000'; maxvcpus='0x4'", "maxmem", "maxvcpus").kept_limits)
    assert kept["most"] == {"memory_mib": 512, "vcpus": 4}


def test_a_list_of_runxs_is_added_to() -> None:
    vm = {"hwConfig": {"irqs": [5], "iomems": [{"firstMFN": 1, "nrMFNs": 2}]}}
    text = compiled("irqs+=[6];irqs+=['7'];iomem+=['f0,1'];dtdev+=['/soc']", "irqs", "iomem", "dtdev", vm=vm).artifacts.domain_cfg
    assert 'irqs = [\n    5,\n    "6",\n    "7",\n]\n' in text
    assert 'iomem = [\n    "1,2",\n    "f0,1",\n]\n' in text
    assert 'dtdev = [\n    "/soc",\n]\n' in text


def test_a_key_is_written_once() -> None:
    text = compiled("pool=1;vga=2;pool+=3", "pool", "vga").artifacts.domain_cfg
    assert text.endswith('pool = "13"\nvga = "2"\n')


def test_it_is_shown_to_people() -> None:
    shown = io.StringIO()
    show(compiled("pool='x\x1b';vnuma=[['a',\"b\"]]", "pool", "vnuma"), shown)
    text = shown.getvalue()
    assert re.search(r"pool +x\\x1b +process\.env\[0\]", text)
    assert re.search(r'vnuma +\[\["a", "b"\]\] +process\.env\[0\]', text)


@pytest.mark.parametrize("text", ["cpus = '0-1'", "cpus='0-1';pool='x'", "cpus='0-1';maxvcpus=2"])
def test_explain_finds_where_it_comes_from(text: str) -> None:
    facts = Facts(config("X=1", f"XLCONF={text}"), ["cpus", "pool", "maxvcpus"])
    inputs = Inputs("/bundle", container_id="c", state_root="/r", assets="/a", facts=facts, name="config.json")
    explanation = explain(inputs, "domain.xl_settings[0].value")
    assert "process.env[1]" in [cause.what for cause in explanation.causes]
    assert 'domain.cfg:13: cpus = "0-1"' in explanation.shown_in
