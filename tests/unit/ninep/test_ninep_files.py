"""Operations of 9P2000.L on real files, by a client of our own."""

import ctypes
import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from runx.exec.ninep import limits, wire
from runx.exec.ninep.nodes import Rules
from runxtools.ninep.client import NOFID, ROOT, Client
from runxtools.testing.nineclient import served

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files of other users are made")

ANY_BYTES = bytes(set(range(1, 256)) - {ord("/")})[:255]
SET_MODE, SET_UID, SET_GID, SET_SIZE, SET_ATIME, SET_MTIME, THAT_ATIME, THAT_MTIME = 1, 2, 4, 8, 16, 32, 128, 256


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "share"
    place.mkdir()
    place.chmod(0o755)
    return place


@pytest.fixture
def client(place: Path) -> Iterator[Client]:
    with served(place) as client:
        yield client.begin()


def refused(code: int) -> "pytest.RaisesContext[OSError]":  # type: ignore[name-defined]
    return pytest.raises(OSError, match=rf"\[Errno {code}\]")


# -- the session -----------------------------------------------------------------------------------------------------------


def test_version_and_attach(place: Path) -> None:
    with served(place) as client:
        assert client.version(1 << 30) == (65536, b"9P2000.L")
        assert client.version(8192) == (8192, b"9P2000.L")
        assert client.version(name=b"9P2000.u")[1] == b"unknown"
        with refused(errno.EPROTO):
            client.attach(ROOT)
        assert client.version(100)[1] == b"unknown"
        client.version()
        with refused(errno.EPERM):
            client.attach(ROOT, authenticated=5)
        qid = client.attach(ROOT)
        assert qid == struct.pack("<BIQ", 0x80, 0, place.stat().st_ino)
        with refused(errno.EBADF):
            client.attach(ROOT)


def test_another_version_begins_again(place: Path, client: Client) -> None:
    file = client.create(b"file")
    client.lock(file, 1)
    client.begin()
    with refused(errno.EBADF):
        client.getattr(file)
    assert client.lock(client.open(b"file", flags=os.O_RDWR), 1, process=2)


def test_what_is_no_request(client: Client) -> None:
    for kind in (0, 6, 10, 20, 99, 102, 112, 114, 122, 126, 255):
        with refused(errno.EOPNOTSUPP):
            client.ask(kind, bytes(40))
    for kind in (8, 12, 14, 24, 26, 30, 40, 52, 70, 104, 110, 116, 118):
        with refused(errno.EINVAL):
            client.ask(kind, b"\1")
    with refused(errno.EINVAL):  # a string that is longer than the message
        client.ask(wire.TMKDIR, struct.pack("<IH", ROOT, 5000) + b"x" * 50)


def test_walk(place: Path, client: Client) -> None:
    (place / "a/b").mkdir(parents=True)
    (place / "a/b/file").write_text("content")
    fid = client.walk(b"a", b"b", b"file")
    assert client.getattr(fid)["size"] == 7
    assert client.read(client.lopen(client.walk(fid=fid))) == b"content"
    client.walk(b"a", fid=client.walk(), new=1000)
    client.walk(b"b", fid=1000, new=1000)
    with refused(errno.ENOENT):
        client.walk(b"none")
    with pytest.raises(FileNotFoundError):
        client.walk(b"a", b"none")
    with pytest.raises(FileNotFoundError):
        client.walk(b"a", b"b", b"file", b"none")
    with refused(errno.EBADF):
        client.walk(new=ROOT + 1000)
    with refused(errno.EBADF):
        client.walk(new=NOFID)
    with refused(errno.EBADF):
        client.walk(fid=77777)
    with refused(errno.EINVAL):
        client.walk(*[b"a"] * 17)
    opened = client.open(b"a")
    with refused(errno.EBADF):
        client.walk(b"b", fid=opened)


def test_names_of_one_entry_only(place: Path, client: Client) -> None:
    for name in (b"", b".", b"..", b"a/b", b"/", b"a\0b", b"../x"):
        for request in (client.walk, client.create, client.mkdir, client.unlink):
            with refused(errno.EINVAL):
                request(name)
        with refused(errno.EINVAL):
            client.rename(b"x", name)
        with refused(errno.EINVAL):
            client.symlink(name, b"target")
    with refused(errno.ENAMETOOLONG):
        client.mkdir(b"x" * 256)


def test_any_byte_in_names(place: Path, client: Client) -> None:
    client.clunk(client.create(ANY_BYTES))
    assert os.listdir(os.fsencode(place)) == [ANY_BYTES]
    assert ANY_BYTES in client.names(client.open())
    client.rename(ANY_BYTES, b"\xff" * 255)
    assert os.listdir(os.fsencode(place)) == [b"\xff" * 255]


# -- files -----------------------------------------------------------------------------------------------------------------


def test_create_write_read(place: Path) -> None:
    with served(place) as client:
        client.begin(uid=1000)
        fid = client.create(b"file", mode=0o4640, gid=1001)
        status = (place / "file").stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1000, 1001, 0o4640)
        assert client.write(fid, b"hello", 3) == 5
        assert client.read(fid) == b"\0\0\0hello"
        assert client.read(fid, 5) == b"llo"
        assert client.read(fid, 100) == b""
        client.fsync(fid)
        client.fsync(fid, 1)
        with refused(errno.EBADF):
            client.lopen(fid)
        with refused(errno.EEXIST):
            client.create(b"file", os.O_RDWR | os.O_EXCL)
        assert client.read(client.create(b"file")) == b"\0\0\0hello", "without O_EXCL, it is opened"
        client.create(b"file", os.O_WRONLY | os.O_TRUNC)
        assert (place / "file").read_bytes() == b""


def test_open_flags(place: Path, client: Client) -> None:
    (place / "file").write_bytes(b"12345")
    reads, writes = client.open(b"file"), client.open(b"file", flags=os.O_WRONLY)
    with refused(errno.EBADF):
        client.write(reads, b"x")
    with refused(errno.EBADF):
        client.read(writes)
    appends = client.open(b"file", flags=os.O_WRONLY | os.O_APPEND)
    client.write(appends, b"6", 0)
    assert (place / "file").read_bytes() == b"123456"
    client.open(b"file", flags=os.O_RDWR | os.O_TRUNC)
    assert (place / "file").read_bytes() == b""


def test_large_counts_and_offsets(place: Path, client: Client) -> None:
    (place / "file").write_bytes(b"x" * 100000)
    fid = client.open(b"file", flags=os.O_RDWR)
    assert len(client.read(fid, 0, 0xFFFFFFFF)) == 65536 - 11, "as much as a message holds"
    for offset in (1 << 63, (1 << 64) - 1):
        with refused(errno.EINVAL):
            client.read(fid, offset)
        with refused(errno.EINVAL):
            client.write(fid, b"x", offset)
    with refused(errno.EINVAL):  # its count says something else
        client.ask(wire.TWRITE, struct.pack("<IQI", fid, 0, 100) + b"x" * 5)


def test_open_and_unlinked(place: Path, client: Client) -> None:
    fid = client.create(b"file")
    client.write(fid, b"12345")
    client.unlink(b"file")
    assert client.getattr(fid)["nlink"] == 0
    client.setattr(fid, SET_SIZE | SET_MODE, 0o600, 0, 0, 3)
    client.setattr(fid, SET_UID, 0, 5)
    client.setxattr(fid, b"user.name", b"value")
    attributes = client.getattr(fid)
    assert (attributes["size"], attributes["mode"], attributes["uid"]) == (3, stat.S_IFREG | 0o600, 5)
    assert client.read(fid) == b"123"
    other = client.walk(fid=fid)
    client.lopen(other, os.O_RDWR)
    client.write(other, b"abc")
    assert client.read(fid) == b"abc"


def test_directories_are_read_only_opened(place: Path, client: Client) -> None:
    with refused(errno.EISDIR):
        client.lopen(client.walk(), os.O_RDWR)
    with refused(errno.EBADF):
        client.read(client.open())


@pytest.mark.parametrize("count", [300, 4000, 60000])
def test_listing(place: Path, client: Client, count: int) -> None:
    wanted = {b"%d" % number + b"x" * (number % 200) for number in range(1500)}
    for name in wanted:
        (place / os.fsdecode(name)).touch()
    fid = client.open()
    for _ in range(2):
        found = client.names(fid, count)
        assert sorted(found) == sorted(wanted | {b".", b".."}), "each once"
    with refused(errno.EINVAL):
        client.names(fid, 20)
    for offset in (1 << 63, (1 << 64) - 1):
        with pytest.raises(OSError, match="Errno"):
            client.ask(wire.TREADDIR, struct.pack("<IQI", fid, offset, 4096))


# -- attributes ------------------------------------------------------------------------------------------------------------


def test_getattr(place: Path, client: Client) -> None:
    (place / "file").write_bytes(b"12345")
    os.chown(place / "file", 7, 8)
    os.utime(place / "file", ns=(1_000_000_005, 2_000_000_007))
    found = client.getattr(client.walk(b"file"))
    assert found["valid"] == 0x7FF
    assert (found["uid"], found["gid"], found["nlink"], found["size"]) == (7, 8, 1, 5)
    assert (found["atime"], found["atime_ns"], found["mtime"], found["mtime_ns"]) == (1, 5, 2, 7)


def test_setattr(place: Path, client: Client) -> None:
    file = place / "file"
    file.write_bytes(b"12345")
    fid = client.walk(b"file")
    client.setattr(fid, SET_MODE, 0o6755)
    assert stat.S_IMODE(file.stat().st_mode) == 0o6755
    client.setattr(fid, SET_UID | SET_GID, 0, 3, 0xFFFFFFFF)
    assert (file.stat().st_uid, file.stat().st_gid) == (3, 0)
    client.setattr(fid, SET_SIZE, 0, 0, 0, 2)
    assert file.read_bytes() == b"12"
    client.setattr(fid, SET_ATIME | SET_MTIME | THAT_ATIME | THAT_MTIME, 0, 0, 0, 0, 11, 12, 13, 14)
    assert (file.stat().st_atime_ns, file.stat().st_mtime_ns) == (11_000_000_012, 13_000_000_014)
    client.setattr(fid, SET_MTIME)
    assert (file.stat().st_atime_ns, file.stat().st_mtime > 1000) == (11_000_000_012, True)
    with refused(errno.EINVAL):
        client.setattr(ROOT, SET_SIZE)


def test_set_id_bits_go_as_at_a_local_write(place: Path) -> None:
    for uid, mode, wanted in ((1, 0o6775, 0o775), (1, 0o2664, 0o2664), (1, 0o4644, 0o644), (0, 0o6775, 0o6775)):
        file = place / "file"
        file.write_text("x")
        file.chmod(mode)
        with served(place) as client:
            client.begin(uid)
            client.write(client.open(b"file", flags=os.O_WRONLY), b"y")
        assert stat.S_IMODE(file.stat().st_mode) == wanted


def test_statfs(place: Path, client: Client) -> None:
    found, real = client.statfs(), os.statvfs(place)
    assert (found[0], found[1], found[2], found[8]) == (0x01021997, real.f_bsize, real.f_blocks, real.f_namemax)


def test_extended_attributes(place: Path, client: Client) -> None:
    (place / "file").touch()
    fid = client.walk(b"file")
    client.setxattr(fid, b"user.one", b"1" * 3000)
    client.setxattr(fid, b"user.two", b"")
    assert os.getxattr(place / "file", "user.one") == b"1" * 3000
    assert sorted(client.getxattr(fid).split(b"\0")) == [b"", b"user.one", b"user.two"]
    assert client.getxattr(fid, b"user.one") == b"1" * 3000
    with refused(errno.EEXIST):
        client.setxattr(fid, b"user.one", b"x", os.XATTR_CREATE)
    client.setxattr(fid, b"user.one", b"", os.XATTR_REPLACE)
    assert os.listxattr(place / "file") == ["user.two"]
    with refused(errno.ENODATA):
        client.getxattr(fid, b"user.one")
    with refused(errno.E2BIG):
        client.ask(
            wire.TXATTRCREATE, struct.pack("<I", client.walk(b"file")) + wire.text(b"user.x") + struct.pack("<QI", 65537, 0)
        )


def test_attributes_that_steer_the_host(place: Path, client: Client) -> None:
    (place / "dir").mkdir()
    os.setxattr(place / "dir", "trusted.overlay.opaque", b"y")
    fid = client.walk(b"dir")
    assert client.getxattr(fid) == b""
    for name in (b"trusted.overlay.opaque", b"security.selinux", b"security.ima", b"system.nfs4_acl", b"user.x\0y"):
        with refused(errno.EOPNOTSUPP):
            client.getxattr(fid, name)
        with refused(errno.EOPNOTSUPP):
            client.setxattr(fid, name, b"value")


def test_capabilities_of_files_and_acls(place: Path, client: Client) -> None:
    (place / "file").touch()
    fid = client.walk(b"file")
    value = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    client.setxattr(fid, b"security.capability", value)
    assert os.getxattr(place / "file", "security.capability") == value
    assert client.getxattr(fid) == b"security.capability\0"
    client.write(client.open(b"file", flags=os.O_WRONLY), b"x")
    assert not os.listxattr(place / "file"), "a write takes them away"
    entries = ((1, 6, NOFID), (2, 4, 1000), (4, 4, NOFID), (16, 4, NOFID), (32, 4, NOFID))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    client.setxattr(fid, b"system.posix_acl_access", acl)
    assert client.getxattr(fid, b"system.posix_acl_access") == acl
    assert os.getxattr(place / "file", "system.posix_acl_access") == acl


def test_an_access_list_is_removed_as_old_kernels_do_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client asks for an empty list, without XATTR_REPLACE. Linux 6.1's setxattr(2) refuses that."""
    set_attribute = os.setxattr

    def as_linux_6_1(path: object, name: bytes, value: bytes, *rest: object) -> None:
        if not value:
            raise OSError(errno.EINVAL, "Invalid argument")
        set_attribute(path, name, value, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "setxattr", as_linux_6_1)
    (place / "dir").mkdir()
    entries = ((1, 7, NOFID), (2, 4, 1000), (4, 5, NOFID), (16, 5, NOFID), (32, 5, NOFID))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    with served(place, Rules()) as client:
        client.begin()
        fid = client.walk(b"dir")
        for name in (b"system.posix_acl_default", b"system.posix_acl_access"):
            client.setxattr(fid, name, acl)
            assert name.decode() in os.listxattr(place / "dir")
            client.setxattr(fid, name, b"")
            client.setxattr(fid, name, b"")
    assert not os.listxattr(place / "dir")


def test_attributes_have_a_limit_together(place: Path, client: Client) -> None:
    (place / "file").touch()
    begun = []
    with refused(errno.ENOMEM):
        for _ in range(limits.ATTRIBUTES_MAX // 65536 + 1):
            begun.append(client.walk(b"file"))
            body = struct.pack("<I", begun[-1]) + wire.text(b"user.x") + struct.pack("<QI", 65536, 0)
            client.ask(wire.TXATTRCREATE, body)
    with refused(errno.EINVAL):  # it was not written whole
        client.clunk(begun[0])
    client.ask(wire.TXATTRCREATE, struct.pack("<I", begun[-1]) + wire.text(b"user.x") + struct.pack("<QI", 65536, 0))


# -- entries ---------------------------------------------------------------------------------------------------------------


def test_directories(place: Path) -> None:
    with served(place) as client:
        client.begin(uid=9)
        client.mkdir(b"dir", 0o3777, gid=4)
        status = (place / "dir").stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (9, 4, 0o3777)
        with refused(errno.EEXIST):
            client.mkdir(b"dir")
        with refused(errno.EISDIR):
            client.unlink(b"dir")
        client.clunk(client.create(b"file", fid=client.walk(b"dir")))
        with refused(errno.ENOTEMPTY):
            client.unlink(b"dir", 0x200)
        with refused(errno.ENOTDIR):
            client.unlink(b"file", 0x200, fid=client.walk(b"dir"))
        client.unlink(b"file", fid=client.walk(b"dir"))
        with refused(errno.EINVAL):
            client.unlink(b"dir", 1)
        client.unlink(b"dir", 0x200)
        assert not list(place.iterdir())


def test_nodes(place: Path, client: Client) -> None:
    client.mknod(b"fifo", stat.S_IFIFO | 0o620)
    client.mknod(b"socket", stat.S_IFSOCK | 0o777)
    client.mknod(b"null", stat.S_IFCHR | 0o666, 1, 3)
    client.mknod(b"disk", stat.S_IFBLK | 0o600, 259, 70000)
    client.mknod(b"file", stat.S_IFREG | 0o600)
    kinds = {path.name: stat.S_IFMT(path.lstat().st_mode) for path in place.iterdir()}
    wanted = {"fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK, "null": stat.S_IFCHR, "disk": stat.S_IFBLK, "file": stat.S_IFREG}
    assert kinds == wanted
    assert (place / "disk").stat().st_rdev == os.makedev(259, 70000)
    device = client.getattr(client.walk(b"disk"))["rdev"]
    assert device == (70000 & 0xFF) | 259 << 8 | (70000 & ~0xFF) << 12
    assert client.getattr(client.walk(b"null"))["rdev"] == 1 << 8 | 3
    for name in (b"fifo", b"socket", b"null", b"disk"):
        with refused(errno.ENXIO):
            client.open(name)
        with refused(errno.ENXIO):
            client.create(name, os.O_WRONLY)
        with refused(errno.EINVAL):
            client.setattr(client.walk(name), SET_SIZE)
    for mode in (stat.S_IFDIR, stat.S_IFLNK, 0):
        with refused(errno.EINVAL):
            client.mknod(b"other", mode)
    with refused(errno.EINVAL):
        client.mknod(b"other", stat.S_IFCHR, 0x1000)


def test_no_devices_where_there_are_none_to_be(place: Path) -> None:
    with served(place, Rules(no_devices=True)) as client:
        client.begin()
        for kind in (stat.S_IFCHR, stat.S_IFBLK):
            with refused(errno.EPERM):
                client.mknod(b"node", kind, 1, 3)
        client.mknod(b"fifo", stat.S_IFIFO)


def test_no_rights_where_the_process_has_none_to_give(place: Path) -> None:
    """Whoever is root in the guest. Modes without effect on rights, and those that the host has given, stay."""
    (place / "hosts").touch()
    (place / "hosts").chmod(0o4755)
    with served(place, Rules(no_set_id=True, no_capabilities=True)) as client:
        client.begin()
        client.clunk(client.create(b"file", mode=0o1755))
        fid = client.walk(b"file")
        for mode in (0o4755, 0o2755, 0o6000):
            with refused(errno.EPERM):
                client.clunk(client.create(b"new", mode=mode))
            with refused(errno.EPERM):
                client.mknod(b"new", stat.S_IFREG | mode)
            with refused(errno.EPERM):
                client.setattr(fid, SET_MODE, mode)
        with refused(errno.EPERM):
            client.setxattr(fid, b"security.capability", bytes.fromhex("0100000200000000") * 2 + bytes(4))
        assert stat.S_IMODE((place / "file").stat().st_mode) == 0o1755
        assert not (place / "new").exists()
        client.setxattr(fid, b"user.name", b"value")
        client.mkdir(b"directory", 0o2770)
        client.setattr(client.walk(b"directory"), SET_MODE, 0o3770)
        client.setattr(client.walk(b"hosts"), SET_MODE, 0o4755)
        for mode in (0o4700, 0o6755):
            with refused(errno.EPERM):
                client.setattr(client.walk(b"hosts"), SET_MODE, mode)
        assert stat.S_IMODE((place / "hosts").stat().st_mode) == 0o4755
        # chown(2) takes the bits away, and the same message does not bring them back.
        with refused(errno.EPERM):
            client.setattr(client.walk(b"hosts"), SET_MODE | SET_UID, 0o4755, 12345)
        assert stat.S_IMODE((place / "hosts").stat().st_mode) & 0o6000 == 0


@pytest.mark.parametrize("how", ["write", "truncate", "shorten", "create"])
@pytest.mark.parametrize("withheld", [True, False])
def test_what_a_guest_writes_has_no_rights_that_the_host_gave(place: Path, how: str, withheld: bool) -> None:
    """Root's program with set-id bits on a volume: its content would run as root on the host. A guest that was taken over says
    that it is root; what may set the bits itself keeps them, as with runc."""
    (place / "program").write_text("of the host")
    (place / "program").chmod(0o6755)
    with served(place, Rules(no_set_id=withheld)) as client:
        client.begin(0)
        if how == "write":
            client.write(client.open(b"program", flags=os.O_WRONLY), b"mine")
        elif how == "truncate":
            client.clunk(client.open(b"program", flags=os.O_WRONLY | os.O_TRUNC))
        elif how == "shorten":
            client.setattr(client.walk(b"program"), SET_SIZE, 0, 0, 0, 3)
        else:
            client.clunk(client.create(b"program", os.O_WRONLY | os.O_TRUNC))
    assert stat.S_IMODE((place / "program").stat().st_mode) == (0o755 if withheld else 0o6755)


def test_links(place: Path, client: Client) -> None:
    client.clunk(client.create(b"file"))
    client.link(client.walk(b"file"), b"hard")
    assert (place / "hard").stat().st_ino == (place / "file").stat().st_ino
    client.symlink(b"soft", b"/etc/passwd\xff" * 100)
    assert client.readlink(client.walk(b"soft")) == b"/etc/passwd\xff" * 100
    with refused(errno.EINVAL):
        client.readlink(client.walk(b"file"))
    with refused(errno.EINVAL):
        client.symlink(b"other", b"a\0b")
    client.link(client.walk(b"soft"), b"soft2")
    assert os.readlink(os.fsencode(place) + b"/soft2") == b"/etc/passwd\xff" * 100, "the link itself"
    client.mkdir(b"dir")
    with refused(errno.EPERM):
        client.link(client.walk(b"dir"), b"dir2")


def test_rename(place: Path, client: Client) -> None:
    client.mkdir(b"dir")
    client.clunk(client.create(b"file"))
    directory = client.walk(b"dir")
    client.rename(b"file", b"moved", new=directory)
    assert (place / "dir/moved").exists()
    client.clunk(client.create(b"other"))
    client.rename(b"other", b"moved", new=directory)
    client.rename(b"dir", b"named")
    assert [path.name for path in place.rglob("*")] == ["named", "moved"]
    with refused(errno.ENOENT):
        client.rename(b"none", b"x")


def test_owners_that_are_none(place: Path) -> None:
    with served(place) as client:
        client.begin(uid=0xFFFFFFFF)
        for request in (client.create, client.mkdir, lambda name: client.symlink(name, b"x")):
            with refused(errno.EINVAL):
                request(b"name")
        assert not list(place.iterdir())
        client.getattr(ROOT)


# -- read-only, entries ----------------------------------------------------------------------------------------------------


def test_read_only(place: Path) -> None:
    (place / "dir").mkdir()
    (place / "file").write_text("content")
    before = place.stat().st_mtime_ns
    with served(place, Rules(read_only=True)) as client:
        client.begin()
        file, directory = client.walk(b"file"), client.walk(b"dir")
        for request in (
            lambda: client.create(b"new"),
            lambda: client.create(b"new", fid=directory),
            lambda: client.mkdir(b"new"),
            lambda: client.mknod(b"new", stat.S_IFIFO),
            lambda: client.symlink(b"new", b"x"),
            lambda: client.link(file, b"new"),
            lambda: client.rename(b"file", b"new"),
            lambda: client.unlink(b"file"),
            lambda: client.unlink(b"dir", 0x200),
            lambda: client.setattr(file, SET_MODE, 0o777),
            lambda: client.setattr(file, SET_SIZE),
            lambda: client.setxattr(file, b"user.x", b"y"),
            lambda: client.open(b"file", flags=os.O_RDWR),
            lambda: client.open(b"file", flags=os.O_WRONLY),
            lambda: client.open(b"file", flags=os.O_TRUNC),
        ):
            with refused(errno.EROFS):
                request()
        assert client.read(client.lopen(file)) == b"content"
    assert place.stat().st_mtime_ns == before


def test_entries_with_rules_of_their_own(place: Path) -> None:
    for name in ("0", "1", "secret"):
        (place / name).mkdir()
    (place / "2").write_text("a single file")
    entries = {b"0": Rules(), b"1": Rules(read_only=True), b"2": Rules(read_only=True)}
    with served(place, entries=entries) as client:
        client.begin()
        assert sorted(client.names(client.open())) == [b"0", b"1", b"2"]
        with refused(errno.ENOENT):
            client.walk(b"secret")
        client.clunk(client.create(b"new", fid=client.walk(b"0")))
        with refused(errno.EROFS):
            client.create(b"new", fid=client.walk(b"1"))
        with refused(errno.EROFS):
            client.create(b"new")
        with refused(errno.EROFS):
            client.open(b"2", flags=os.O_RDWR)
        with refused(errno.EXDEV):
            client.link(client.walk(b"2"), b"stolen", fid=client.walk(b"0"))
        assert client.read(client.open(b"2")) == b"a single file"


# -- limits ----------------------------------------------------------------------------------------------------------------


def test_limits(place: Path, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIDS_MAX", 50)
    with served(place) as limited:
        limited.begin()
        with refused(errno.ENFILE):
            for _ in range(60):
                limited.walk()
        limited.clunk(1)
        limited.walk()
    monkeypatch.setattr(limits, "FIDS_MAX", 5000)
    monkeypatch.setattr(limits, "OPEN_MAX", 20)
    monkeypatch.setattr(limits, "LOCKS_MAX", 5)
    with served(place) as limited:
        limited.begin()
        first = limited.create(b"file")
        opened = []
        with refused(errno.ENFILE):
            for _ in range(60):
                opened.append(limited.open(b"file"))
        assert len(opened) == 19
        limited.clunk(opened[0])
        limited.open(b"file")
        with refused(errno.ENOLCK):
            for process in range(60):
                limited.lock(first, 0, process, 1, process)
        limited.clunk(first)
        limited.lock(limited.open(b"file"), 0)


def test_a_message_without_end_is_not_read_by_session(client: Client) -> None:
    """Strings of a message end with it, whatever their lengths say."""
    for count in range(16):
        with refused(errno.EINVAL):
            client.ask(wire.TWALK, struct.pack("<IIH", ROOT, 5, count + 1) + b"\xff\xff" * count)


def test_sockets_of_the_host_are_not_connected(place: Path, client: Client) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "socket"))
        with refused(errno.ENXIO):
            client.open(b"socket")
    assert ctypes.get_errno() >= 0
