"""The shapes of JSON values, and the one function that checks a document against them.

A shape is plain data: `object` for anything, `str`, `bool`, an `Int`, `OneOf`, `Matching`, `[shape]` for an array,
`Map(shape)` for an object with free names, and a dict for an object with known ones, where `name!` marks a required member.
"""

import re
from typing import Any, NamedTuple

from runx.compiler.diagnostics import Path, Report, did_you_mean, quote


class Int(NamedTuple):
    """A whole number between two bounds, both included."""

    low: int
    high: int


class OneOf(NamedTuple):
    """One of a few words, or with `or_empty` none."""

    words: tuple[str, ...]
    or_empty: bool = False


class Matching(NamedTuple):
    """A string that matches a regular expression as a whole; `what` completes "must be …"."""

    pattern: str
    what: str


class Map(NamedTuple):
    """An object with free names."""

    values: Any


ABSENT = object()
"""The result of checked() for a value that is missing, null or of the wrong shape."""


def checked(value: Any, shape: Any, path: Path, report: Report) -> Any:
    """A copy of `value` that certainly has `shape`, or ABSENT.

    A value that does not fit is reported and left out, so that one fault does not hide the next. A null counts as absent, as for
    Go's decoder, on which every engine relies. Members that the shape does not name are reported as ignored (OCI config.md,
    "Extensibility": a runtime must not fail because of them).
    """
    if value is None:
        return ABSENT
    if isinstance(shape, dict):
        return _object(value, shape, path, report)
    if isinstance(shape, list):
        return _array(value, shape[0], path, report)
    if isinstance(shape, Map):
        return _map(value, shape.values, path, report)
    fault_id, message = _scalar_fault(value, shape)
    if not fault_id:
        return value
    report.error(fault_id, path, message)
    return ABSENT


def _scalar_fault(value: Any, shape: Any) -> tuple[str, str]:
    """ID and message; both "" for a value that fits."""
    if shape is object:
        return "", ""
    if shape is bool:
        return ("", "") if isinstance(value, bool) else ("RX011", f"must be true or false, not {_name(value)}")
    if isinstance(shape, Int):
        if isinstance(value, bool) or not isinstance(value, int):
            return "RX011", f"must be a whole number, not {_name(value)}"
        if not shape.low <= value <= shape.high:
            return "RX012", f"must be a number from {shape.low} to {shape.high}, not {value}"
        return "", ""
    if not isinstance(value, str):
        return "RX011", f"must be a string, not {_name(value)}"
    if isinstance(shape, OneOf) and value not in shape.words and (value or not shape.or_empty):
        known = ", ".join(shape.words)
        return "RX013", f"must be one of {known}, not {quote(value)}{did_you_mean(value, shape.words)}"
    if isinstance(shape, Matching) and not re.fullmatch(shape.pattern, value):
        return "RX014", f"must be {shape.what}, not {quote(value)}"
    return "", ""


def _object(value: Any, shape: dict[str, Any], path: Path, report: Report) -> Any:
    if not isinstance(value, dict):
        report.error("RX011", path, f"must be an object, not {_name(value)}")
        return ABSENT
    result: dict[str, Any] = {}
    for name, member_shape in shape.items():
        plain = name.removesuffix("!")
        member = checked(value.get(plain), member_shape, (*path, plain), report)
        if member is not ABSENT:
            result[plain] = member
        elif name != plain:
            report.error("RX010", (*path, plain), "missing")
    for name in value:
        if name not in shape and f"{name}!" not in shape:
            known = [known.removesuffix("!") for known in shape]
            report.ignore("RX015", (*path, name), f"unknown property{did_you_mean(name, known)}")
    return result


def _array(value: Any, item_shape: Any, path: Path, report: Report) -> Any:
    if not isinstance(value, list):
        report.error("RX011", path, f"must be an array, not {_name(value)}")
        return ABSENT
    items: list[Any] = []
    for index, item in enumerate(value):
        item_path = (*path, index)
        copy = checked(item, item_shape, item_path, report)
        if copy is ABSENT:
            # A placeholder keeps the paths of later items right.
            report.error("RX011", item_path, "must not be null")
            copy = _placeholder(item_shape)
        items.append(copy)
    return items


def _map(value: Any, member_shape: Any, path: Path, report: Report) -> Any:
    if not isinstance(value, dict):
        report.error("RX011", path, f"must be an object, not {_name(value)}")
        return ABSENT
    members = {name: checked(member, member_shape, (*path, name), report) for name, member in value.items()}
    return {name: member for name, member in members.items() if member is not ABSENT}


def _placeholder(shape: Any) -> Any:
    if isinstance(shape, (dict, Map)):
        return {}
    if isinstance(shape, list):
        return []
    if isinstance(shape, Int):
        return shape.low
    return False if shape is bool else ""


def _name(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        # Python reads a number such as 1e999 as infinity.
        return f"the number {value}" if abs(value) != float("inf") else "a number without end"
    if isinstance(value, str):
        return f"the string {quote(value)}"
    return "an array" if isinstance(value, list) else "an object"
