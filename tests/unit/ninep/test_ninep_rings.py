"""The transport: rings in memory that a guest shares, with drivers that behave and drivers that do not."""

import contextlib
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runx.exec.ninep import session, wire
from runx.exec.ninep.share import Share
from runxtools.ninep.client import ROOT
from runxtools.ninep.frontend import IN_CONS, IN_PROD, ORDER, OUT_CONS, OUT_PROD, WORD, Frontend, GuestClient
from runxtools.testing.nineguest import machine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files of other users are made")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "share"
    place.mkdir()
    return place


# -- drivers that behave ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, WORD - 100, 12345, 300000, 500001])
def test_requests_and_answers_wrap_around(place: Path, start: int) -> None:
    ring = Frontend(1)
    ring.start_at(start)
    with machine([place], [ring]) as supervisor:
        assert supervisor.connect(0, ring) == "connected 0"
        client = GuestClient(ring)
        assert client.version(1 << 30) == (512 * 1024, b"9P2000.L")
        client.attach(ROOT)
        file = client.create(b"file")
        data = os.urandom(512 * 1024 - 23)
        for size in (1, 100, 4096, 100000, len(data), 300000, len(data)):
            assert client.write(file, data[:size]) == size
            assert client.read(file, 0, size) == data[: min(size, 512 * 1024 - 11)]
        assert len(client.read(file, 0, WORD)) == len(data)
        assert client.read(file, len(data) - 5, 100) == data[-5:]
        assert client.read(file, len(data) + 5, 100) == b""


def test_requests_before_the_driver_is_met(place: Path) -> None:
    ring = Frontend(1)
    with machine([place], [ring]) as supervisor:
        ring.send(struct.pack("<IBHI", 21, wire.TVERSION, 0xFFFF, 65536) + wire.text(b"9P2000.L"), silent=True)
        assert supervisor.connect(0, ring) == "connected 0"
        assert ring.receive()[4] == wire.TVERSION + 1


def test_many_requests_at_once(place: Path) -> None:
    """Answers come in order, as many as there is room for; the others when the guest has read those."""
    ring = Frontend(1, order=1)
    with machine([place], [ring]) as supervisor:
        supervisor.connect(0, ring)
        client = GuestClient(ring)
        client.version()
        assert client.version(1 << 30)[0] == 4096, "as much as the ring holds"
        client.attach(ROOT)
        client.clunk(client.create(b"file"))
        request = b"".join(struct.pack("<IBHIQ", 19, wire.TGETATTR, tag, ROOT, 0x7FF) for tag in range(200))
        ring.send(request)
        for tag in range(200):
            answer = ring.receive()
            assert struct.unpack_from("<IBH", answer) == (160, wire.TGETATTR + 1, tag)


def test_two_rings_of_a_share_and_two_shares(place: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "second").touch()
    rings = [Frontend(number) for number in (1, 2, 3)]
    with machine([place, other], rings) as supervisor:
        assert supervisor.connect(0, *rings[:2]) == "connected 0"
        assert supervisor.connect(1, rings[2]) == "connected 1"
        first, same, second = map(GuestClient, rings)
        first.begin()
        file = first.create(b"file")
        second.begin()
        assert same.write(file, b"by the other ring") == 17
        assert sorted(second.names(second.open())) == [b".", b"..", b"second"]
        first.walk(new=77)
        with pytest.raises(OSError, match="Bad file descriptor"):
            second.getattr(77)


def test_a_driver_that_goes_and_comes_again(place: Path) -> None:
    ring, again = Frontend(1), Frontend(2)
    with machine([place], [ring, again]) as supervisor:
        supervisor.connect(0, ring)
        client = GuestClient(ring).begin()
        file = client.create(b"file")
        assert client.lock(file, 1)
        supervisor.tell("close 0")
        assert supervisor.hear() == "closed 0 "
        assert supervisor.connect(0, again) == "connected 0"
        client = GuestClient(again).begin()
        with pytest.raises(OSError, match="Bad file descriptor"):
            client.getattr(file)
        assert client.lock(client.open(b"file", flags=os.O_RDWR), 1, process=2)


def test_the_end(place: Path) -> None:
    for words in ("end", ""):
        with machine([place], []) as supervisor:
            if words:
                supervisor.tell(words)
            else:
                supervisor.control.close()
            assert os.waitstatus_to_exitcode(os.waitpid(supervisor.pid, 0)[1]) == 0


# -- drivers that do not ---------------------------------------------------------------------------------------------------


def too_much(ring: Frontend) -> None:
    ring.words[OUT_PROD] = ring.size + 1
    ring.kick()


def too_little_room(ring: Frontend) -> None:
    ring.words[IN_CONS] = (ring.words[IN_PROD] + 5) & WORD
    ring.send(struct.pack("<IBHIQ", 19, wire.TGETATTR, 1, ROOT, 0))


def of_size(size: int) -> "Callable[[Frontend], None]":
    return lambda ring: ring.send(struct.pack("<IBHI", size, wire.TGETATTR, 1, ROOT) + bytes(100))


@pytest.mark.parametrize("act", [too_much, too_little_room, *map(of_size, (0, 6, 65537, WORD))])
def test_rules_that_are_broken_close_the_share(place: Path, tmp_path: Path, act: "Callable[[Frontend], None]") -> None:
    """That share alone."""
    other = tmp_path / "other"
    other.mkdir()
    ring, good = Frontend(1), Frontend(2)
    with machine([place, other], [ring, good]) as supervisor:
        supervisor.connect(0, ring)
        supervisor.connect(1, good)
        GuestClient(ring).begin()
        act(ring)
        assert supervisor.hear().startswith("closed 0 ")
        GuestClient(good).begin().getattr(ROOT)


@pytest.mark.parametrize("order", [0, 9, WORD])
def test_orders_that_were_not_offered(place: Path, order: int) -> None:
    ring = Frontend(1)
    ring.words[ORDER] = order
    with machine([place], [ring]) as supervisor:
        assert supervisor.connect(0, ring) == f"closed 0 ring order {order} is not 1 to 8"


def test_grants_and_channels_that_are_none(place: Path) -> None:
    ring = Frontend(1)
    with machine([place], [ring]) as supervisor:
        for words in ("7 1", "1 7"):
            supervisor.tell(f"connect 0 {words}")
            assert supervisor.hear().startswith("closed 0 cannot ")
        supervisor.tell("connect 0")
        assert supervisor.hear().startswith("closed 0 0 rings")
        assert supervisor.connect(0, ring) == "connected 0"


def test_a_large_message_before_a_size_is_agreed(place: Path) -> None:
    ring = Frontend(1)
    with machine([place], [ring]) as supervisor:
        supervisor.connect(0, ring)
        ring.send(struct.pack("<IBH", 5000, wire.TVERSION, 1) + bytes(4993))
        assert supervisor.hear() == "closed 0 a message of 5000 bytes"


# -- slow disks ------------------------------------------------------------------------------------------------------------


def slow_statfs() -> None:
    """In the server: Tstatfs waits for a file `go` in the share, as if its disk were slow."""
    answer = session._HANDLERS[wire.TSTATFS]

    def wait(share: object, message: bytes) -> bytes:
        while True:
            try:
                os.close(os.open("go", os.O_RDONLY, dir_fd=share.root.fd))  # type: ignore[attr-defined]
                return answer(share, message)  # type: ignore[arg-type]
            except FileNotFoundError:
                time.sleep(0.05)

    session._HANDLERS[wire.TSTATFS] = wait


def statfs(tag: int) -> bytes:
    return struct.pack("<IBHI", 11, wire.TSTATFS, tag, ROOT)


def test_a_slow_request_holds_up_no_other(place: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    ring, second = Frontend(1), Frontend(2)
    with machine([place, other], [ring, second], slow_statfs) as supervisor:
        supervisor.connect(0, ring)
        supervisor.connect(1, second)
        client, elsewhere = GuestClient(ring).begin(), GuestClient(second).begin()
        for tag in (100, 101, 102):
            ring.send(statfs(tag))
        elsewhere.getattr(ROOT)
        client.getattr(ROOT)
        file = client.create(b"file")
        client.write(file, b"x")
        assert ring.receive(limit_s=0.2) == b"", "none of them has an answer yet"
        (place / "go").touch()
        tags = sorted(struct.unpack_from("<IBH", ring.receive())[2] for _ in range(3))
        assert tags == [100, 101, 102]
        (place / "go").unlink()
        ring.send(statfs(103))
        client.getattr(ROOT)
        (place / "go").touch()
        assert struct.unpack_from("<IBH", ring.receive())[2] == 103


def slow_writes() -> None:
    """In the server: Twrite at offset 0 waits for a file `go` in the share."""
    answer = session._HANDLERS[wire.TWRITE]

    def wait(share: Share, message: bytes) -> bytes:
        while not wire.READ.unpack_from(message)[4] and not os.access("go", os.F_OK, dir_fd=share.root.fd):
            time.sleep(0.05)
        return answer(share, message)

    session._HANDLERS[wire.TWRITE] = wait


def test_data_of_a_slow_write_stays_what_it_was(place: Path) -> None:
    """Others write meanwhile."""
    rings = Frontend(1), Frontend(2)
    with machine([place], list(rings), slow_writes) as supervisor:
        supervisor.connect(0, *rings)
        client, other = map(GuestClient, rings)
        client.version(1 << 30)
        client.attach(ROOT)
        file = client.create(b"file")
        first, second = b"1" * 200000, b"2" * 200000
        head = struct.pack("<IBHIQI", 23 + len(first), wire.TWRITE, 7, file, 0, len(first))
        rings[0].send(head + first)
        for _ in range(3):
            assert other.write(file, second, len(first)) == len(second)
        (place / "go").touch()
        assert rings[0].receive() == struct.pack("<IBHI", 11, wire.TWRITE + 1, 7, len(first))
        assert (place / "file").read_bytes() == first + second


def test_more_slow_requests_than_threads(place: Path, tmp_path: Path) -> None:
    """The share waits then, and others do not."""
    other = tmp_path / "other"
    other.mkdir()
    ring, second = Frontend(1), Frontend(2)
    with machine([place, other], [ring, second], slow_statfs) as supervisor:
        supervisor.connect(0, ring)
        supervisor.connect(1, second)
        GuestClient(ring).begin()
        elsewhere = GuestClient(second).begin()
        ring.send(b"".join(statfs(tag) for tag in range(30)))
        for _ in range(5):
            elsewhere.getattr(ROOT)
            time.sleep(0.2)
        threads = len(os.listdir(f"/proc/{supervisor.pid}/task"))
        assert threads <= 12 + 2
        (place / "go").touch()
        assert {struct.unpack_from("<IBH", ring.receive())[2] for _ in range(30)} == set(range(30))
        end = time.monotonic() + 30
        while len(os.listdir(f"/proc/{supervisor.pid}/task")) > 2:
            assert time.monotonic() < end, "threads end when they are not needed"
            time.sleep(0.05)


def test_a_flush_is_answered_after_what_it_is_about(place: Path) -> None:
    ring = Frontend(1)
    with machine([place], [ring], slow_statfs) as supervisor:
        supervisor.connect(0, ring)
        client = GuestClient(ring).begin()
        client.ask(wire.TFLUSH, struct.pack("<H", 77))
        ring.send(statfs(50))
        client.getattr(ROOT)
        time.sleep(0.2)
        ring.send(struct.pack("<IBHH", 9, wire.TFLUSH, 60, 50))
        assert ring.receive(limit_s=0.2) == b""
        (place / "go").touch()
        kinds = [struct.unpack_from("<IBH", ring.receive())[1:] for _ in range(2)]
        assert kinds == [(wire.TSTATFS + 1, 50), (wire.TFLUSH + 1, 60)]


def test_answers_of_a_client_that_has_begun_again(place: Path) -> None:
    ring = Frontend(1)
    with machine([place], [ring], slow_statfs) as supervisor:
        supervisor.connect(0, ring)
        client = GuestClient(ring).begin()
        ring.send(statfs(50))
        time.sleep(0.2)
        client.begin()
        (place / "go").touch()
        assert ring.receive(limit_s=0.5) == b""
        client.getattr(ROOT)


def test_no_thread_looks_when_there_is_nothing_to_do(place: Path) -> None:
    ring = Frontend(1)
    with machine([place], [ring]) as supervisor:
        supervisor.connect(0, ring)
        GuestClient(ring).begin()
        time.sleep(2.5)
        before = switches(supervisor.pid)
        time.sleep(0.5)
        assert switches(supervisor.pid) == before


def switches(pid: int) -> int:
    """How often threads of a process have waited for something."""
    texts = [Path(f"/proc/{pid}/task/{task}/status").read_text() for task in os.listdir(f"/proc/{pid}/task")]
    return sum(int(text.split("\nvoluntary_ctxt_switches:\t")[1].split()[0]) for text in texts)


# -- drivers that flood ----------------------------------------------------------------------------------------------------


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def flooded(ring: Frontend, request: bytes, seconds: float) -> None:
    """Send requests without a pause, or events alone if there is none; take answers away unread."""
    for fd in (ring.to_server, ring.from_server):
        os.set_blocking(fd, False)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if request and (ring.words[OUT_PROD] - ring.words[OUT_CONS]) & WORD < ring.size - len(request):
            ring.send(request, silent=True)
        ring.words[IN_CONS] = ring.words[IN_PROD]
        with contextlib.suppress(BlockingIOError):
            ring.kick()
        with contextlib.suppress(BlockingIOError):
            os.read(ring.from_server, 65536)


@pytest.mark.parametrize(
    ("percent", "request_of", "most"),
    [(400, b"", 0.3), (1, b"", 0.3), (1, struct.pack("<IBHIQ", 19, wire.TGETATTR, 1, ROOT, 0x7FF), 0.3)],
    ids=["events alone", "events alone of a hundredth", "requests of a hundredth"],
)
def test_a_flood_costs_a_bounded_share(place: Path, percent: int, request_of: bytes, most: float) -> None:
    """A tenth of a processor, after half a second of it that a guest may cause at once."""
    ring = Frontend(1)
    with machine([place], [ring], cpu_percent=percent) as supervisor:
        supervisor.connect(0, ring)
        client = GuestClient(ring)
        client.version(1 << 30)
        client.attach(ROOT)
        limit = time.monotonic() + 20
        while processor_s(supervisor.pid) < 0.6 and time.monotonic() < limit:
            flooded(ring, request_of, 0.2)
        before = processor_s(supervisor.pid)
        flooded(ring, request_of, 2)
        assert processor_s(supervisor.pid) - before < 2 * most
        supervisor.tell("close 0")
        while not supervisor.hear().startswith("closed 0"):  # orders are heeded meanwhile
            pass


def test_requests_are_not_held_up_by_the_events_that_belong_to_them(place: Path) -> None:
    """Each has two: the request, and that its answer has been read. With no content in it, the second is no waste."""
    ring = Frontend(1)
    with machine([place], [ring], cpu_percent=400) as supervisor:
        supervisor.connect(0, ring)
        client = GuestClient(ring)
        client.version(1 << 30)
        client.attach(ROOT)
        request = struct.pack("<IBHIQ", 19, wire.TGETATTR, 1, ROOT, 0x7FF)
        begin, before = time.monotonic(), processor_s(supervisor.pid)
        while processor_s(supervisor.pid) - before < 1.0:
            assert time.monotonic() - begin < 20, "the server rests"
            for _ in range(100):
                ring.send(request)
                ring.receive()
                ring.kick()
