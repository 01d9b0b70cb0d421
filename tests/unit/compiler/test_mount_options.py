"""The options of mounts: grammar, table, and conflicts."""

import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runx.compiler.diagnostics import Report
from runx.compiler.frontends.oci.mount_flags import (
    BIND,
    COPIED,
    ENGINES,
    FLAGS,
    FSTAB,
    FSTAB_IGNORED,
    IGNORED,
    KNOWN,
    MEANT,
    PROPAGATION,
    RECURSIVE,
    REFUSED,
    USERSPACE_IGNORED,
    USERSPACE_REFUSED,
)
from runx.compiler.frontends.oci.mount_options import DataWords, MountOptions, parse_options, sort_options
from runx.compiler.frontends.oci.mounts import GUEST_TYPES


def options(*elements: str, kind: str = "tmpfs") -> tuple[MountOptions, Report]:
    report = Report()
    parsed = parse_options(list(elements), ("options",), report)
    data = GUEST_TYPES.get(kind, DataWords())
    return sort_options(parsed, kind, data, report), report


def good(*elements: str, kind: str = "tmpfs") -> MountOptions:
    result, report = options(*elements, kind=kind)
    assert not report.errors
    return result


WORDS = st.sampled_from(sorted(set(KNOWN))) | st.sampled_from(["size=64m", "mode=1777", "uid=0", "inode64", "x=", "nr_inodes=1k"])


@given(st.lists(WORDS, min_size=1, max_size=8), st.sampled_from([",", ":"]), st.data())
def test_joined_options_mean_what_separate_ones_mean(words: list[str], separator: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(words) - 1))
    joined = [*words[:cut], separator.join(words[cut:])]
    assert good(*joined) == good(*words)


@given(st.lists(st.sampled_from(sorted(FLAGS)), max_size=12))
def test_flags_act_as_bits_set_and_cleared_in_order(words: list[str]) -> None:
    """The model is mount(8)'s and runc's: a word sets a bit or clears one. Of the atime words, the last one set stands."""
    bits: list[str] = []
    for word in words:
        family, undoes = FLAGS[word]
        cleared = [bit for bit in bits if bit != undoes and (undoes or FLAGS[bit].family != family)]
        bits = cleared if undoes else [*cleared, word]
    assert sorted(flag for flag in good(*words).flags if not FLAGS[flag].undoes) == sorted(bits)


@given(st.lists(st.sampled_from(sorted(FLAGS)), max_size=12))
def test_one_flag_of_a_family_stays(words: list[str]) -> None:
    flags = good(*words).flags
    assert len({FLAGS[flag].family for flag in flags}) == len(flags)
    assert list(flags) == sorted(flags)


@pytest.mark.parametrize(
    ("elements", "flags"),
    [
        (["ro", "rw"], ["rw"]),
        (["rw", "ro"], ["ro"]),
        (["ro:rw,ro"], ["ro"]),
        (["rro"], ["ro"]),
        (["noatime", "relatime"], ["relatime"]),
        (["noatime", "nostrictatime"], ["noatime"]),
        (["noatime", "atime"], ["atime"]),
        (["strictatime", "nodiratime"], ["nodiratime", "strictatime"]),
        (["strictatime", "noatime"], ["noatime"]),
        (["noatime", "relatime", "strictatime"], ["strictatime"]),
        (["noatime", "norelatime"], ["noatime"]),
        (["relatime", "norelatime"], ["norelatime"]),
        (["strictatime", "nostrictatime"], ["nostrictatime"]),
        (["relatime", "atime"], ["relatime"]),
        (["atime", "noatime"], ["noatime"]),
        (["noatime", "nodiratime", "diratime"], ["diratime", "noatime"]),
        (["diratime", "nodiratime"], ["nodiratime"]),
        (["lazytime", "noatime", "nolazytime"], ["noatime", "nolazytime"]),
        (["nolazytime", "lazytime"], ["lazytime"]),
        (["rnoatime", "rrelatime"], ["relatime"]),
        (["noexec,rexec", "noexec"], ["noexec"]),
        (["ro", "x-a", "rrw"], ["rw"]),
        (["defaults"], []),
    ],
)
def test_conflicts(elements: list[str], flags: list[str]) -> None:
    assert list(good(*elements).flags) == flags


@pytest.mark.parametrize("kind", ["bind", "tmpfs", "proc"])
@pytest.mark.parametrize(
    "word",
    ["x-systemd.automount", "x-gvfs-hide", "X-mount.mkdir", "x-a=b", "X-mount.mkdir=0755", "x-y='1", 'x-initrd.mount="a:b,c"'],
)
def test_what_is_for_programs_is_ignored_and_said_so(word: str, kind: str) -> None:
    result, report = options("ro", word, "nosuid", kind=kind)
    assert not report.errors
    assert report.ignored == {("options", 1): f'"{word.partition("=")[0]}": {USERSPACE_IGNORED}'}
    assert result == MountOptions(("nosuid", "ro"), (), (), False, False)


@pytest.mark.parametrize("word", [*REFUSED, *USERSPACE_REFUSED])
@pytest.mark.parametrize("value", ["", "=x"])
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_what_would_make_another_mount_is_refused(word: str, value: str, kind: str) -> None:
    result, report = options(word + value, kind=kind)
    refusal = (REFUSED | USERSPACE_REFUSED)[word]
    assert [(fault.message, fault.hint) for fault in report.errors.values()] == [(f'option "{word}": {refusal[0]}', refusal[1])]
    assert not result.data


@pytest.mark.parametrize("word", PROPAGATION)
def test_propagation_words_are_kept_and_take_no_value(word: str) -> None:
    assert good("bind", word, "rprivate", kind="bind").propagation == (word, "rprivate")
    _, report = options(f"{word}=1")
    assert report.errors[("options", 0)].message == f'the option "{word}" takes no value'


def test_each_ignored_word_of_a_joined_option_is_told() -> None:
    _, report = options("x-a,ro,x-b,silent,x-a")
    assert [part[:6] for part in report.ignored[("options", 0)].split("; ")] == ['"x-a":', '"x-b":', '"silen']


@pytest.mark.parametrize("kind", ["bind", "tmpfs", "proc"])
@pytest.mark.parametrize("word", FSTAB)
def test_words_of_fstab_are_ignored_and_said_so(word: str, kind: str) -> None:
    result, report = options("ro", word, kind=kind)
    assert not report.errors
    assert report.ignored == {("options", 1): f'"{word}": {FSTAB_IGNORED}'}
    assert result.flags == ("ro",)


@pytest.mark.parametrize(
    ("elements", "flags"),
    [
        (["user"], ["nodev", "noexec", "nosuid"]),
        (["users,exec"], ["exec", "nodev", "nosuid"]),
        (["dev", "owner"], ["nodev", "nosuid"]),
        (["group", "suid"], ["nodev", "suid"]),
    ],
)
def test_words_that_let_users_mount_imply_flags(elements: list[str], flags: list[str]) -> None:
    """As in mount(8): "unless overridden by subsequent options, as in the option line user,exec,dev,suid"."""
    assert list(good(*elements).flags) == flags


@pytest.mark.parametrize("kind", ["bind", "proc", "mqueue"])
def test_only_a_tmpfs_begins_with_a_copy(kind: str) -> None:
    """The guest's /init refuses the word for a bind mount; runc takes it, and does nothing."""
    result, report = options("ro", COPIED, kind=kind)
    assert not report.errors
    assert list(report.ignored) == [("options", 1)]
    assert result.flags == ("ro",)
    assert good(COPIED, kind="tmpfs").flags == (COPIED,)


@pytest.mark.parametrize(("element", "fault"), [("size", "RX325"), ("context", "RX325"), ("inode64=1", "RX313")])
def test_a_setting_has_a_value_and_a_word_has_none(element: str, fault: str) -> None:
    _, report = options(element, kind="tmpfs")
    assert [each.id for each in report.errors.values()] == [fault]
    assert "did you mean" not in report.errors[("options", 0)].message


@pytest.mark.parametrize("word", ENGINES)
def test_words_of_engines_are_ignored_in_bind_mounts(word: str) -> None:
    """Below runc they have no effect there. A tmpfs is not made with them under runc either."""
    result, report = options("ro", word, kind="bind")
    assert not report.errors
    assert report.ignored == {("options", 1): f'"{word}": {ENGINES[word]}'}
    assert result.flags == ("ro",)
    assert options(word, kind="tmpfs")[1].errors


@pytest.mark.parametrize(("word", "meant"), MEANT.items())
def test_words_that_people_write_for_others(word: str, meant: str) -> None:
    _, report = options(word, kind="bind")
    assert report.errors[("options", 0)].message.endswith(f'(did you mean "{meant}"?)')


@pytest.mark.parametrize(
    ("element", "is_taken"),
    [
        ("size=0x100000", True), ("size=0777k", True), ("size=08m", False), ("size=0x", False), ("nr_inodes=09", False),
        ("uid=010", True), ("uid=0xfffffffe", True), ("uid=0xffffffff", False), ("uid=4294967294", True), ("gid=08", False),
    ],
)  # fmt: skip
def test_numbers_are_read_as_the_kernel_reads_them(element: str, is_taken: bool) -> None:
    """Octal after 0, hexadecimal after 0x: runc says "invalid argument" for the others."""
    result, report = options(element, kind="tmpfs")
    assert bool(report.errors) != is_taken
    assert not is_taken or result.data == (element,)


@pytest.mark.parametrize(
    ("element", "is_taken"),
    [
        ("size=15e", True), ("size=16e", False), ("size=17179869183g", True), ("size=17179869184g", False), ("size=150%", True),
        ("size=99999999999%", False), ("nr_inodes=16e", False), ("nr_blocks=17179869184g", False),
    ],
)  # fmt: skip
def test_numbers_beyond_64_bits_are_refused(element: str, is_taken: bool) -> None:
    """To the kernel they are others: 16e is 0, and so no limit."""
    _, report = options(element, kind="tmpfs")
    assert bool(report.errors) != is_taken


def test_every_known_word_is_taken_and_sorted() -> None:
    for word in KNOWN:
        result = good(word, kind="bind")
        assert (word in PROPAGATION) == bool(result.propagation)
        assert (word in BIND) == result.bind
        assert (word in FLAGS or word in RECURSIVE) == bool(result.flags) or word == COPIED
        assert not result.data


def test_runc_knows_no_other_words() -> None:
    """The list in runc's libcontainer/specconv (initMaps); what we lack of it is refused with a reason."""
    runc = {
        "async", "atime", "bind", "defaults", "dev", "diratime", "dirsync", "exec", "idmap", "iversion", "lazytime", "loud",
        "mand", "noatime", "nodev", "nodiratime", "noexec", "noiversion", "nolazytime", "nomand", "norelatime", "nostrictatime",
        "nosuid", "nosymfollow", "private", "ratime", "rbind", "rdev", "rdiratime", "relatime", "remount", "rexec", "ridmap",
        "rnoatime", "rnodev", "rnodiratime", "rnoexec", "rnorelatime", "rnostrictatime", "rnosuid", "rnosymfollow", "ro",
        "rprivate", "rrelatime", "rro", "rrw", "rshared", "rslave", "rstrictatime", "rsuid", "rsymfollow", "runbindable",
        "rw", "shared", "silent", "slave", "strictatime", "suid", "symfollow", "sync", "tmpcopyup", "unbindable",
    }  # fmt: skip
    assert set(KNOWN) | set(REFUSED) == runc
    assert not set(KNOWN) & set(REFUSED)


def test_tables_do_not_overlap() -> None:
    for one, other in itertools.combinations((FLAGS, PROPAGATION, BIND, RECURSIVE, IGNORED, REFUSED), 2):
        assert not set(one) & set(other)
    for word, flag in FLAGS.items():
        assert not flag.undoes or FLAGS[flag.undoes].family == flag.family, word


@pytest.mark.parametrize(
    ("element", "kind", "message"),
    [
        ("noexce", "bind", 'unknown option "noexce" for a bind mount (did you mean "noexec"?)'),
        ("noexce", "tmpfs", 'unknown option "noexce" for a mount of type tmpfs (did you mean "noexec"?)'),
        ("ro,noexce", "bind", 'unknown option "noexce" for a bind mount (did you mean "noexec"?)'),
        ("RO", "bind", 'unknown option "RO" for a bind mount (did you mean "ro"?)'),
        ("mode=755", "bind", 'unknown option "mode=755" for a bind mount'),
        ("ro=yes", "tmpfs", 'the option "ro" takes no value'),
        ("ro rw", "bind", '"ro rw": unexpected " " at character 3'),
        ("ro\n", "bind", '"ro\\n": unexpected "\\n" at character 3'),
        ("rø", "bind", '"rø": unexpected "ø" at character 2'),
        ("idmap", "bind", 'option "idmap": id-mapped mounts are not supported'),
    ],
)
def test_messages(element: str, kind: str, message: str) -> None:
    result, report = options("nosuid", element, kind=kind)
    assert [(path, fault.message) for path, fault in report.errors.items()] == [(("options", 1), message)]
    assert "nosuid" in result.flags


def test_values_that_hold_separators() -> None:
    assert good("mpol=interleave:0,2-3,ro").data == ("mpol=interleave:0,2-3",)
    assert good("mpol=bind:0:ro").data == ("mpol=bind:0:ro",)
    assert good('context="system_u:object_r:x:s0:c1,c2",size=1m').data == ("size=1m",)
    assert good("size=1m:mode=1777:ro") == MountOptions(("ro",), ("size=1m", "mode=1777"), (), False, False)


def test_order_of_data_and_propagation_is_kept() -> None:
    assert good("size=2m", "rprivate", "size=1m", "shared") == MountOptions(
        (), ("size=2m", "size=1m"), ("rprivate", "shared"), False, False
    )


def test_rbind_wins_over_bind() -> None:
    assert good("rbind", "bind", kind="bind").recursive
    assert not good("bind", kind="bind").recursive


@given(st.text(max_size=20))
def test_any_text_is_taken_or_reported(text: str) -> None:
    result, report = options(text)
    nothing = not text.strip(",:")  # nor do empty options ask for anything
    assert report.errors or result != MountOptions((), (), (), False, False) or report.ignored or nothing


def test_the_grammar_names_its_source() -> None:
    for path in (Path(__file__).parents[3] / "grammars").glob("*.lark"):
        first_comment = re.match(r"(//.*\n)+", path.read_text())
        assert first_comment, path
        assert "mount(8)" in first_comment[0] or path.name != "mount_options.lark"
