"""What the guest's C code and runx's Python code both have to know is the same in both, and in the documents."""

import itertools
import math
import re

import pytest

from compiler_cases import good_cases
from guestbox import CHECKOUT, INIT_SOURCES
from runx.compiler.backends.records import parse
from runx.compiler.frontends.oci.mount_flags import FLAGS, PROPAGATION
from runx.compiler.frontends.oci.process import RLIMITS
from runx.exec.console import frames as link
from runx.exec.ninep import export_names
from runx.exec.supervisor.session import STATUS_INCOMPLETE

LINK = (CHECKOUT / "docs/console-link.md").read_text()
GUEST = (CHECKOUT / "docs/guest.md").read_text()
SNAPSHOTS = CHECKOUT / "tests/snapshots"

FROM_HOST = 0x40
"""Types of frames from the host are above, those of the guest below."""


# Readers of C and of the documents.


def c_text(name: str) -> str:
    """A file of the guest, without comments."""
    return re.sub(r"/\*.*?\*/", "", (INIT_SOURCES / name).read_text(), flags=re.DOTALL)


def c_constants(name: str, prefix: str = "") -> dict[str, int]:
    """The constants of a header's enums whose names begin with `prefix`, by the rest of their names."""
    found = {}
    for body in re.findall(r"\benum\s*\w*\s*\{(.*?)\}", c_text(name), re.DOTALL):
        for constant, value in re.findall(r"(\w+)\s*=\s*([\w *]+)", body):
            found[constant] = math.prod(int(factor, 0) for factor in value.split("*"))
    return {constant.removeprefix(prefix): value for constant, value in found.items() if constant.startswith(prefix)}


def c_table(name: str, table: str) -> list[list[str]]:
    """The rows of an array of structures in a source: the words of each, quotes taken off."""
    body = re.search(rf"\b{table}\[\]\s*=\s*\{{(.*?)\n\}};", c_text(name), re.DOTALL)
    assert body, f"{name} has no table {table}"
    rows = [[cell.strip().strip('"') for cell in row.split(",")] for row in re.findall(r"\{([^{}]*)\}", body[1])]
    assert rows
    return rows


def table(text: str, heading: str) -> list[list[str]]:
    """The rows of the first table after a line of a document."""
    (rows,) = re.findall(rf"^{re.escape(heading)}\n(?:(?!\|).*\n)*?((?:\|.*\n)+)", text, re.MULTILINE)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in rows.splitlines()]
    assert len(cells) > 2 and set("".join(cells[1])) == {"-"}, f"{heading} has no table"
    return cells[2:]


def size(text: str) -> int:
    """Bytes: `128 KiB`."""
    number, unit = text.split()
    return int(number) * {"KiB": 1024, "MiB": 1024**2}[unit]


# The console link.


def frames_of_the_document() -> dict[tuple[str, str], int]:
    """Direction and name of each type of frame."""
    return {
        (direction, row[1]): int(row[0], 16)
        for direction in ("Guest to host", "Host to guest")
        for row in table(LINK, f"{direction}:")
    }


def test_types_of_frames_are_the_same() -> None:
    document = frames_of_the_document()
    assert len(set(document.values())) == len(document)
    numbers = c_constants("pid1/frames.h", "FRAME_")
    types = {name: number for name, number in numbers.items() if name not in ("HEADER", "PAYLOAD_MAX")}
    guest = {
        ("Host to guest" if name.startswith("HOST_") else "Guest to host", name.removeprefix("HOST_")): number
        for name, number in types.items()
    }
    assert guest == document
    # Python names a CREDIT by its direction.
    known = {name: value for name, value in vars(link).items() if name.isupper() and isinstance(value, int)}
    others = {
        "VERSION", "PAYLOAD_LIMIT", "OUTPUT_WINDOW", "INPUT_WINDOW", "SESSIONS_MOST", "RECORD_LIMIT", "_HEADER_SIZE",
        "_TIME_MOST", "CONNECTIONS_MOST", "PROCESSES_MOST", "QUESTIONS_MOST", "REMAINDERS_MOST",
    }  # fmt: skip
    assert {
        ("Guest to host" if number < FROM_HOST else "Host to guest", re.sub("^CREDIT_(IN|OUT)$", "CREDIT", name)): number
        for name, number in known.items()
        if name not in others
    } == document


def test_the_header_and_the_longest_payload_are_the_same() -> None:
    rows = table(LINK, "A frame is a header of four bytes and a payload:")
    sizes = [int(row[1]) for row in rows]
    longest = re.search(r"at most (\d+)", rows[-1][2])
    assert longest
    numbers = c_constants("pid1/frames.h")
    assert sum(sizes) == numbers["FRAME_HEADER"] == len(link.frame(link.STARTED)) == 4
    assert int(longest[1]) == numbers["FRAME_PAYLOAD_MAX"] == link.PAYLOAD_LIMIT


def test_the_version_is_the_same() -> None:
    (meaning,) = (row[3] for row in table(LINK, "Guest to host:") if row[1] == "HELLO")
    said = re.search(r"The version is (\d+)", meaning)
    assert said and int(said[1]) == c_constants("pid1/frames.h")["LINK_VERSION"] == link.VERSION


def test_sessions_are_the_same() -> None:
    said = re.search(r"a number from 1 to (\d+)\s+that is free\. The record .*?, at most (\d+ MiB)\.", LINK, re.DOTALL)
    numbers = c_constants("pid1/frames.h")
    assert said and int(said[1]) == numbers["SESSIONS_MOST"] == link.SESSIONS_MOST
    assert size(said[2]) == numbers["RECORD_LIMIT"] == link.RECORD_LIMIT
    assert export_names.LAYERS == link.SESSIONS_MOST
    limits = re.search(r"At most (\d+)\s+sessions\s+are\s+processes,\s+and\s+(\d+)\s+are\s+connections", LINK)
    assert limits and (int(limits[1]), int(limits[2])) == (link.PROCESSES_MOST, link.CONNECTIONS_MOST)
    questions = re.search(r"is\s+a\s+question,\s+of\s+which\s+there\s+may\s+be\s+(\d+)", LINK)
    assert questions and int(questions[1]) == link.QUESTIONS_MOST
    remainders = re.search(r"At\s+most\s+(\d+)\s+sessions\s+have\s+no\s+process", LINK)
    assert remainders and int(remainders[1]) == link.REMAINDERS_MOST
    listed = re.search(r"These types\s+are\s+of\s+any\s+session: (.*?)\s+of\s+the\s+guest;", LINK, re.DOTALL)
    assert listed
    of_guest = set(re.findall(r"[A-Z_]{4,}", listed[1]))
    for number, name, *_ in table(LINK, "Guest to host:"):
        kind = int(number, 16)
        taken = accepts(kind, 5 if name == "CREDIT" else 0 if name in ("STARTED", "STDIN_CLOSED", "LAYER") else 1, session=1)
        assert taken == (name in of_guest), name


def test_numbers_of_streams_are_the_same() -> None:
    said = re.search(r"Streams have numbers: (.*?)\.", LINK)
    assert said
    numbers = c_constants("pid1/frames.h", "STREAM_")
    assert dict(re.findall(r"(\d) is (\w+)", said[1])) == {str(number): name.lower() for name, number in numbers.items()}


def test_windows_are_the_same() -> None:
    limits = {row[0]: size(row[1]) for row in table(LINK, "## Flow control")}
    numbers = c_constants("pid1/frames.h")
    assert limits["STDOUT without credit"] == numbers["OUTPUT_WINDOW"] == link.OUTPUT_WINDOW
    assert limits["STDERR without credit"] == numbers["OUTPUT_WINDOW"] == link.OUTPUT_WINDOW
    assert limits["STDIN without credit"] == numbers["INPUT_WINDOW"] == link.INPUT_WINDOW
    assert limits["all LOG frames of a guest"] == numbers["LOG_LIMIT"]


def test_the_host_accepts_payloads_of_the_sizes_that_the_document_gives() -> None:
    smallest_dns = re.search(r"A DNS message has (\d+) to (\d+) bytes", LINK)
    assert smallest_dns
    assert int(smallest_dns[1]) == c_constants("pid1/frames.h")["DNS_HEADER"]
    assert int(smallest_dns[2]) == link.PAYLOAD_LIMIT
    for number, name, payload, _ in table(LINK, "Guest to host:"):
        least = sum(int(bits) // 8 for bits in re.findall(r"(?<!\w)u(\d+)", payload))
        open_ended = "text" in payload or payload == "bytes"
        if payload == "a DNS message":
            least, open_ended = int(smallest_dns[1]), True
        most = link.PAYLOAD_LIMIT if open_ended else least
        accepted = {length for length in range(link.PAYLOAD_LIMIT + 1) if accepts(int(number, 16), length)}
        assert accepted == set(range(least, most + 1)), name


def accepts(kind: int, length: int, session: int = 0) -> bool:
    """Whether the host takes a frame of this type with so many bytes."""
    decoder = link.Decoder(sessions=session > 0)
    if kind != link.HELLO:
        decoder.feed(link.frame(link.HELLO, bytes((link.VERSION,))))
    try:
        decoder.feed(link.frame(kind, bytes((link.VERSION,)) * length, session))
    except link.LinkError:
        return False
    return True


def test_exit_statuses_of_a_process_that_never_ran_are_the_same() -> None:
    statuses = c_constants("common/common.h", "STATUS_")
    document = [int(row[0]) for row in table(LINK, "A container whose process never ran has one of these exit statuses:")]
    assert document == [statuses["SETUP_FAILED"], statuses["NOT_EXECUTABLE"], statuses["NOT_FOUND"]]
    assert len(statuses) == 3


# Words of mount options.


def c_flags() -> dict[str, tuple[str, str]]:
    """Word → the flags of mount(2) that it sets and that it clears, "0" for none."""
    return {word: (sets, clears) for word, sets, clears in c_table("inroot/options.c", "FLAGS")}


def test_flag_words_are_the_same() -> None:
    said = re.search(r"^Flag words: (.*?)\.", GUEST, re.DOTALL | re.MULTILINE)
    assert said
    # tmpcopyup is no flag of mount(2), and inroot handles it by itself.
    assert 'strcmp(word, "tmpcopyup")' in c_text("inroot/options.c") and "`tmpcopyup`" in GUEST
    assert set(said[1].split()) == set(c_flags()) == set(FLAGS) - {"tmpcopyup"}


@pytest.mark.parametrize("word", sorted(set(FLAGS) - {"tmpcopyup"}))
def test_a_flag_word_undoes_the_same_word(word: str) -> None:
    flags = c_flags()
    sets, clears = flags[word]
    if undone := FLAGS[word].undoes:
        assert (sets, clears) == ("0", flags[undone][0])
    else:
        assert sets.startswith("MS_") and clears == "0"


def test_propagation_words_are_the_same() -> None:
    (words,) = (row[2] for row in table(GUEST, "## /runx/setup") if row[0] == "`propagation`")
    document = set(words.removeprefix("sets ").split(", "))
    guest = dict(c_table("inroot/options.c", "PROPAGATION"))
    assert document == set(guest) == set(PROPAGATION)
    for word, flags in guest.items():
        recursive = word.startswith("r")
        assert flags == f"MS_{word.removeprefix('r').upper()}" + " | MS_REC" * recursive


# /runx/process.


def test_names_of_records_are_the_same() -> None:
    """Snapshots have every record that the compiler writes. `exec` alone writes one more."""
    document = [row[0].strip("`") for row in table(GUEST, "## /runx/process")]
    written: set[str] = set()
    for path in SNAPSHOTS.glob("*/overlay/runx/process"):
        written |= {line for line in path.read_text().splitlines() if not line.startswith(" ")}
    assert document == [name for name, _ in c_table("child/process_file.c", "RECORDS")]
    assert set(document) - {"null"} == written


# /runx/setup.


def commands() -> list[tuple[str, int]]:
    """Name and number of values of each record that the child knows."""
    rows = [c_table(source, "COMMANDS") for source in ("child/setup.c", "child/ramdisk.c", "inroot/commands.c")]
    return [(name, int(count)) for name, count, _, _ in itertools.chain(*rows)]


def test_records_of_the_set_up_are_the_same() -> None:
    """Snapshots have every record that the compiler writes."""
    document = [(row[0].strip("`"), 0 if row[1] == "none" else len(row[1].split())) for row in table(GUEST, "## /runx/setup")]
    written: set[tuple[str, int]] = set()
    for case in good_cases():
        for file in case.compile().artifacts.overlay:
            if file.path == "runx/setup":
                written |= {(name, len(values)) for name, values in parse(file.content)}
    assert document == commands()
    assert set(document) == written


# Words of /runx/process.


def test_names_of_limits_are_the_same() -> None:
    guest = c_table("child/process_file.c", "RESOURCES")
    assert all(constant == f"RLIMIT_{name.upper()}" for name, constant in guest)
    assert [constant for _, constant in guest] == list(RLIMITS)


def test_sets_of_capabilities_have_the_same_order() -> None:
    (values,) = (row[1] for row in table(GUEST, "## /runx/process") if row[0] == "`capabilities`")
    order = re.search(r"enum capability_set \{(.*?)\}", c_text("child/process.h"))
    assert order
    names = [name.strip().removeprefix("CAP_").lower() for name in order[1].split(",")]
    assert names.pop() == "sets"
    assert values.removeprefix("five bit masks: ").split(", ") == names


def test_the_status_of_what_is_incomplete_is_the_same() -> None:
    """Engines see one number, whoever finds that something is missing."""
    found = re.search(r"STATUS_SETUP_FAILED = (\d+)", c_text("common/common.h"))
    assert found and int(found[1]) == STATUS_INCOMPLETE
