"""What a container's process cannot leave on the host, by its user and capabilities."""

import pytest

from runx.compiler.model.plan import Capabilities, Process
from runx.compiler.passes.shares import withheld

DOCKER = ("CAP_CHOWN", "CAP_FSETID", "CAP_SETGID", "CAP_SETUID", "CAP_MKNOD", "CAP_SETFCAP")


def of(uid: int, *, bounding: tuple[str, ...] = (), ambient: tuple[str, ...] = (), locked: bool = False) -> set[str]:
    capabilities = Capabilities(bounding=bounding, ambient=ambient, permitted=ambient, inheritable=ambient)
    process = Process(
        args=("x",), env=(), cwd="/", uid=uid, gid=uid, additional_gids=(), capabilities=capabilities, no_new_privileges=locked
    )
    return set(withheld(process))


@pytest.mark.parametrize(("uid", "locked"), [(0, False), (0, True), (1000, False)])
def test_a_process_that_may_be_root_is_held_to_the_bounding_set(uid: int, locked: bool) -> None:
    """A program of root's with set-id bits makes root of user 1000, unless no_new_privileges is set."""
    assert of(uid, bounding=DOCKER, locked=locked) == set()
    assert of(uid, bounding=("CAP_MKNOD",), locked=locked) == {"capabilities"}
    assert of(uid, bounding=("CAP_SETFCAP",), locked=locked) == {"devices"}
    assert of(uid, locked=locked) == {"devices", "capabilities"}


def test_a_process_that_is_never_root_is_held_to_what_it_has() -> None:
    assert of(1000, bounding=DOCKER, locked=True) == {"devices", "set-id", "capabilities"}
    assert of(1000, bounding=DOCKER, ambient=("CAP_MKNOD",), locked=True) == {"set-id", "capabilities"}
    assert of(1000, bounding=DOCKER, ambient=("CAP_SETUID",), locked=True) == {"devices", "capabilities"}


def test_without_capabilities_there_are_none() -> None:
    process = Process(args=("x",), env=(), cwd="/", uid=0, gid=0, additional_gids=())
    assert set(withheld(process)) == {"devices", "capabilities"}
