"""Claims of MAC addresses."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runx import paths
from runx.compiler.host.host_facts import HostFacts
from runx.errors import RunxError
from runx.exec.network.macs import claim, release

A, B = "00:16:3e:00:00:0a", "00:16:3e:00:00:0b"


@pytest.fixture
def claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(paths, "MACS", str(tmp_path / "macs"))
    return paths.MACS


def container(tmp_path: Path, name: str) -> str:
    (tmp_path / name).mkdir()
    return str(tmp_path / name)


def test_an_address_has_one_owner(tmp_path: Path, claims: str) -> None:
    one, two = container(tmp_path, "one"), container(tmp_path, "two")
    assert HostFacts().mac_owner(A) == ""
    claim(one, [A])
    claim(one, [A, B])
    assert [HostFacts().mac_owner(mac) for mac in (A, B)] == [one, one]
    with pytest.raises(RunxError, match=f"the MAC address {B} was given to the container of {one} just now"):
        claim(two, [B])
    assert sorted(os.listdir(claims)) == [A, B]


def test_an_address_is_free_when_its_container_is_gone(tmp_path: Path, claims: str) -> None:
    one, two = container(tmp_path, "one"), container(tmp_path, "two")
    claim(one, [A, B])
    os.rmdir(one)
    assert HostFacts().mac_owner(A) == ""
    claim(two, [A])
    assert os.listdir(claims) == [A]
    assert HostFacts().mac_owner(A) == two


def test_a_container_takes_back_its_own_claims_alone(tmp_path: Path, claims: str) -> None:
    one, two = container(tmp_path, "one"), container(tmp_path, "two")
    claim(one, [A])
    claim(two, [B])
    release(one, [A, B])
    release(one, [A])
    assert os.listdir(claims) == [B]


def test_of_many_at_once_one_wins(tmp_path: Path, claims: str) -> None:
    directories = [container(tmp_path, f"c{number}") for number in range(16)]

    def try_it(directory: str) -> str:
        try:
            claim(directory, [A])
            return directory
        except RunxError:
            return ""

    with ThreadPoolExecutor(16) as pool:
        won = [directory for directory in pool.map(try_it, directories) if directory]
    assert won == [os.readlink(f"{claims}/{A}")]
