"""The difference of two plans, value by value, for people."""

import difflib
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

# The first of these names that all entries of a list have, each with another value, tells the entries apart. So one more mount is
# one difference, and not one for each mount after it.
_NAMES = ("destination", "tag", "name", "path")


class Change(NamedTuple):
    """One value that differs. `before` is None if only the second plan has it, `after` if only the first has it."""

    path: str
    before: Any
    after: Any


def changes(before: Any, after: Any, path: str = "") -> Iterator[Change]:
    """The changes that make `after` of `before`, both as read from JSON. None if they are equal."""
    if before == after and type(before) is type(after):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _members(before, after, path)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _items(before, after, path)
    else:
        yield Change(path, before, after)


def _members(before: dict[str, Any], after: dict[str, Any], path: str) -> Iterator[Change]:
    for name in [*before, *(name for name in after if name not in before)]:
        # A null means the same as an absent member.
        yield from changes(before.get(name), after.get(name), f"{path}.{name}" if path else name)


def _items(before: list[Any], after: list[Any], path: str) -> Iterator[Change]:
    named = _named(before, after)
    if named is None:
        yield from _sequence(before, after, path)
        return
    left, right = named
    for name in [*left, *(name for name in right if name not in left)]:
        place = f"{path}[{json.dumps(name, ensure_ascii=False)}]"
        if name in left and name in right:
            yield from changes(left[name], right[name], place)
        else:
            yield Change(place, left.get(name), right.get(name))
    common_before, common_after = [name for name in left if name in right], [name for name in right if name in left]
    if common_before != common_after:
        yield Change(f"{path} (order)", common_before, common_after)


def _named(before: list[Any], after: list[Any]) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The entries by their names; None if they have no names."""
    entries = before + after
    if entries and all(isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) for entry in entries):
        left, right = ({entry[0]: entry[1] for entry in entries} for entries in (before, after))
        return (left, right) if len(left) == len(before) and len(right) == len(after) else None
    if not all(isinstance(entry, dict) for entry in entries):
        return None
    for key in _NAMES:
        if all(isinstance(entry.get(key), str) for entry in entries):
            left, right = ({entry[key]: entry for entry in entries} for entries in (before, after))
            if len(left) == len(before) and len(right) == len(after):
                return left, right
    return None


def _sequence(before: list[Any], after: list[Any], path: str) -> Iterator[Change]:
    left, right = ([json.dumps(entry, sort_keys=True) for entry in entries] for entries in (before, after))
    for what, low, high, new_low, new_high in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if what == "equal":
            continue
        for offset in range(max(high - low, new_high - new_low)):
            old, new = low + offset, new_low + offset
            yield Change(
                f"{path}[{old if old < high else new}]",
                before[old] if old < high else None,
                after[new] if new < new_high else None,
            )


def text(found: list[Change]) -> str:
    """Two lines a change, as diff(1) marks them."""
    lines: list[str] = []
    for change in found:
        lines.append(change.path)
        lines += [f"  - {_value(change.before)}"] if change.before is not None else []
        lines += [f"  + {_value(change.after)}"] if change.after is not None else []
    return "".join(f"{line}\n" for line in lines)


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
