"""The plan that the executor reads is the plan that the compiler writes: names, types, and which may be null."""

import json
import typing
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, is_typeddict

import pytest
from pydantic import BaseModel

from runx.compiler.model import plan as model
from runx.exec import plan_json

SNAPSHOTS = sorted((Path(__file__).parents[2] / "snapshots").glob("*/plan.json"))
TYPES = [value for value in vars(plan_json).values() if is_typeddict(value)]


def in_json(kind: Any) -> Any:
    """What a value of this type is in JSON, in a form that can be compared: a model is its name."""
    origin, words = get_origin(kind), get_args(kind)
    if is_typeddict(kind) or (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return kind.__name__
    if origin is Literal:
        return ("one of", frozenset(words))
    if origin in (Union, UnionType):
        return ("any of", frozenset(map(in_json, words)))
    if origin is list or (origin is tuple and words[1:] == (Ellipsis,)):
        return ("list", in_json(words[0]))
    assert kind in (str, int, bool, NoneType), f"{kind}: teach this test what it is in JSON"
    return kind


@pytest.mark.parametrize("read", TYPES, ids=lambda read: read.__name__)
def test_types_are_the_compilers(read: type) -> None:
    written = getattr(model, read.__name__).model_fields
    for name, kind in typing.get_type_hints(read).items():
        assert name in written, f"{read.__name__} has no {name}"
        assert in_json(written[name].annotation) == in_json(kind), f"{read.__name__}.{name}"


def keys(value: Any, kind: Any, place: str) -> list[str]:
    """Keys of TypedDicts that a document lacks."""
    origin, words = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        lacking = [f"{place}.{name}" for name in kind.__annotations__ if name not in value]
        return lacking + [
            fault
            for name, of in typing.get_type_hints(kind).items()
            if name in value
            for fault in keys(value[name], of, f"{place}.{name}")
        ]
    if origin is list:
        return [fault for one in value for fault in keys(one, words[0], place)]
    if origin is UnionType and value is not None:
        return keys(value, words[0], place)
    return []


@pytest.mark.parametrize("path", SNAPSHOTS, ids=lambda path: path.parent.name)
def test_every_key_is_written(path: Path) -> None:
    assert not keys(json.loads(path.read_text()), plan_json.VmPlan, "plan")


def test_differences_are_found() -> None:
    assert in_json(str | None) != in_json(str)
    assert in_json(Literal["a"]) != in_json(Literal["a", "b"])
    assert in_json(tuple[str, ...]) == in_json(list[str]) != in_json(list[int])
    assert keys(
        {"bundle": "", "domain": {"disks": [{}]}, "joined": None, "root": {}, "mounts": [], "hooks": []}, plan_json.VmPlan, ""
    )[:5] == [
        ".domain.memory_mib",
        ".domain.own_kernel",
        ".domain.ramdisk",
        ".domain.shares",
        ".domain.interfaces",
    ]
