"""What the containers of a pod share out: names of disks, and entries of the pod's share."""

from pathlib import Path

import pytest

from runx.errors import RunxError
from runx.exec.ninep.exports import Bind
from runx.exec.supervisor.attachment import Names, vdev


class Server:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.offers: dict[str, list[str]] = {}

    def offer(self, name: str, words: list[str]) -> None:
        self.offers[name] = words

    def withdraw(self, name: str) -> None:
        del self.offers[name]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def names(server: Server) -> Names:
    return Names(server)  # type: ignore[arg-type]


def bind(path: Path, words: str = "recursive") -> Bind:
    return Bind("mounts", "0", str(path), "mounts[0]", words)


def test_names_of_disks_are_the_kernels() -> None:
    assert [vdev(number) for number in (0, 25, 26, 51, 52, 701, 702)] == [
        "xvda", "xvdz", "xvdaa", "xvdaz", "xvdba", "xvdzz", "xvdaaa",
    ]  # fmt: skip


def test_a_name_that_was_given_back_is_the_last_to_be_taken(names: Names) -> None:
    first = names.take_vdev()
    names.give_vdev(first)
    taken = [names.take_vdev() for _ in range(200)]
    assert len(set(taken)) == 200 and taken[0] != first and taken[-1] == first and 0 not in taken
    with pytest.raises(RunxError, match="as many as there may be"):
        names.take_vdev()


def test_containers_with_one_directory_have_one_entry(names: Names, server: Server, tmp_path: Path) -> None:
    """And together the rights that any of them has, as long as it is there."""
    (tmp_path / "other").mkdir()
    reader, is_new = names.take_entry(bind(tmp_path, "recursive read-only"))
    assert is_new
    reader.users["reader"] = {"read-only", "no-devices"}
    names.offer(reader)
    assert server.offers == {"d0": ["no-devices", "read-only"]}
    writer, is_new = names.take_entry(bind(tmp_path))
    assert writer is reader and not is_new
    writer.users["writer"] = {"no-devices"}
    names.offer(writer)
    assert server.offers == {"d0": ["no-devices"]}
    other, is_new = names.take_entry(bind(tmp_path / "other"))
    assert is_new and other.name == "d1"
    assert not names.leave(writer, "writer")
    assert server.offers == {"d0": ["no-devices", "read-only"]}
    assert names.leave(reader, "reader")
    assert server.offers == {}
    names.forget(reader)
    assert names.take_entry(bind(tmp_path))[0].name == "d0"


def test_what_does_not_exist_has_no_entry(names: Names, tmp_path: Path) -> None:
    with pytest.raises(RunxError, match=r"mounts\[0\]: .*/none: No such file"):
        names.take_entry(bind(tmp_path / "none"))
