"""Damaged configurations for test_damage.py, made from the good ones of tests/cases.

Each depends on its number only, so `damaged(NUMBER)` repeats a failure.
"""

import copy
import io
import json
import random
import traceback
from typing import Any

from compiler_cases import Case, good_cases
from runx.cli.plan_text import show
from runx.compiler.diagnostics import CompileError
from runx.compiler.model.plan import VmPlan
from runx.compiler.pipeline import Inputs, compile

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 7, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400, 0.5, -0.0, 1e308,
    float("inf"), float("-inf"), float("nan"), "", " ", "\0", "a\0b", "\ud800", "\udfffx", "\U0001f600", "\u202e", "a" * 5000,
    "/", "//", "..", "/../..", "/a,b", "/a b", "/x\ny", '"', "'", "\\", "$(id)", "%s", "=", "A=b", "NETCONF=", "NETCONF=/etc",
    "RUNX_KERNEL=/boot/vmlinuz", "RUNX_KERNEL=", "RUNX_KERNEL=../x", "rbind", "ro:noexec,,", "size=", "mode=9", "idmap",
    "X-mount.mkdir", "0-", "0-3,^1", "^0", "0-99999999", "1,1", "-1", "\u0663", "\u00b2", "1.2.0", "1..", "9.9.9", "1.3.0-rc.1",
    "SCMP_ACT_NOTIFY", "SCMP_ACT_ALLOW", "CAP_CHOWN", "RLIMIT_NOFILE", "SCHED_DEADLINE", "SCHED_FIFO", "IOPRIO_CLASS_RT",
    "network", "pid", "cgroup", "tmpfs", "bind", "none", [], {}, [[]], [{}], [None], {"": None}, {"\0": 1}, {"a.b": {}},
    ["x", 1], {"path": "/x"}, {"type": "pid"}, {"limit": 0}, {"names": [], "action": "SCMP_ACT_LOG"},
    {"hwConfig": {}, "hwconfig": {}}, {"policy": "SCHED_RR"}, "SPECIAL-DEEP",
)  # fmt: skip
"""Values at some limit."""

MARKS = (
    b"", b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b'"', b"\\", b"\\u0000", b"\\ud800", b"{", b"}", b"[", b"]", b",", b":", b"-",
    b"1e999", b"NaN", b"-Infinity", b"9" * 5000, b"null", b"//", b"\xef\xbb\xbf", b"\r", b"\t", b"[" * 3000,
)  # fmt: skip
"""Bytes that are inserted into the text."""

SHOWN_EVERY = 50
"""One plan in so many is shown as text, which takes longer than everything else."""

CASES = good_cases()
_DOCUMENTS = [json.loads((case.directory / "config.json").read_text()) for case in CASES]

Place = tuple[Any, Any]
"""An object or array, and the name or index of a value in it."""


class Damaged(Case):
    """A case with another configuration; a `strange` host has none of its paths."""

    def __init__(self, case: Case, raw: bytes, strange: str) -> None:
        super().__init__(case.directory)
        self.raw = raw
        self.strange = strange

    def config(self, bundle: str) -> bytes:  # noqa: ARG002
        return self.raw

    def kind(self, path: str) -> str:
        return self.strange or super().kind(path)


def damaged(number: int) -> Damaged:
    """The configuration of this number."""
    dice = random.Random(number)
    which = dice.randrange(len(CASES))
    document = copy.deepcopy(_DOCUMENTS[which])
    in_text = dice.random() < 0.25
    if not in_text or dice.random() < 0.5:
        for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
            _change(document, dice)
    raw = _text(document, dice)
    if in_text:
        for _ in range(dice.choice((1, 1, 2, 4))):
            raw = _edit(raw, dice)
    strange = dice.choice(("missing", "file", "socket", "unreadable")) if dice.random() < 0.1 else ""
    return Damaged(CASES[which], raw, strange)


def _text(document: Any, dice: random.Random) -> bytes:
    text = json.dumps(document, indent=dice.choice((None, 2)), ensure_ascii=dice.random() < 0.8)
    return text.replace('"SPECIAL-DEEP"', "[" * 70 + "]" * 70).encode("utf-8", "surrogatepass")


def _places(value: Any) -> list[Place]:
    found: list[Place] = []
    todo = [value]
    while todo:
        holder = todo.pop()
        for key in holder if isinstance(holder, dict) else range(len(holder)):
            found.append((holder, key))
            if isinstance(holder[key], (dict, list)):
                todo.append(holder[key])
    return found


def _change(document: dict[str, Any], dice: random.Random) -> None:
    places = _places(document)
    if not places:
        document["x"] = copy.deepcopy(dice.choice(VALUES))
        return
    holder, key = dice.choice(places)
    what = dice.randrange(7)
    if what == 0:
        del holder[key]
    elif what == 1:
        holder[key] = copy.deepcopy(dice.choice(VALUES))
    elif what == 2:
        holder[key] = _other_type(holder[key], dice)
    elif what == 3:  # any value of another configuration
        theirs, name = dice.choice(_places(dice.choice(_DOCUMENTS)))
        holder[key] = copy.deepcopy(theirs[name])
    elif what == 4:  # another configuration's value of the same name
        donors = [(theirs, name) for theirs, name in _places(dice.choice(_DOCUMENTS)) if name == key]
        if donors:
            theirs, name = dice.choice(donors)
            holder[key] = copy.deepcopy(theirs[name])
    elif what == 5:  # once more
        if isinstance(holder, list):
            holder.insert(dice.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
        else:
            holder[dice.choice((f"{key}x", key.upper(), "", "\0", "ü"))] = copy.deepcopy(holder[key])
    else:
        there, name = dice.choice(places)
        if not _holds(holder[key], there):  # a copy, so that no value contains itself
            there[name] = copy.deepcopy(holder[key])


def _holds(value: Any, other: Any) -> bool:
    return value is other or any(
        holder[key] is other for holder, key in (_places(value) if isinstance(value, (dict, list)) else ())
    )


def _other_type(value: Any, dice: random.Random) -> Any:
    if isinstance(value, str):
        return dice.choice((len(value), [value], {value: value}, list(value[:9]), value + dice.choice(",:=\0 \n/"), value[::-1]))
    if isinstance(value, (int, float)):
        return dice.choice((str(value), [value], -value, value * 1000 + 1, value % 1000 + 0.5, bool(value)))
    if isinstance(value, list):
        return dice.choice(
            ({str(index): item for index, item in enumerate(value)}, value * 2, value[:1], json.dumps(value)[:99], len(value))
        )
    return dice.choice(([value], json.dumps(value)[:99], 0, None))


def _edit(raw: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(raw) + 1)
    until = min(len(raw), at + dice.choice((0, 1, 1, 2, 10, 300)))
    middle = dice.choice((dice.choice(MARKS), raw[at:until] * 2, bytes([dice.randrange(256)]), raw[at:until][::-1]))
    return raw[:at] + middle + raw[until:]


def failures(numbers: range) -> list[str]:
    """Faults of the configurations of these numbers: anything but a plan or a CompileError with a message."""
    return [f"{number}: {fault}" for number in numbers if (fault := _failure(number))]


def _failure(number: int) -> str:
    facts = damaged(number)
    try:
        result = compile(Inputs("/bundle", container_id="c", state_root="/run/runx", assets="/usr/share/runx", facts=facts))
        if number % SHOWN_EVERY == 0:
            show(result, io.StringIO())
    except CompileError as error:
        shown = error.for_people()
        if not error.diagnostics or not all(character.isprintable() or character == "\n" for character in error.message + shown):
            return f"{error.message!r}\n{shown!r}"
    except BaseException:  # a BaseException also is a failure of this number only
        return f"{traceback.format_exc()}\n{facts.raw!r}"
    else:
        plan = result.plan
        if VmPlan.model_validate_json(result.artifacts.plan_json) != plan or plan.id != "c":
            return "the plan is not what its file says"
        if plan.domain is None:
            return "" if plan.pod and result.artifacts.domain_cfg == "" else "no domain, and no reason"
        # One value a line: text of the configuration must not begin another line.
        lines = result.artifacts.domain_cfg.splitlines()
        names = [line.split(" = ")[0] for line in lines if not line.startswith((" ", "]"))]
        if names != list(dict.fromkeys(names)) or names[:2] != ["name", "type"]:
            return result.artifacts.domain_cfg
    return ""
