"""`runx plan --explain`: the causes of a value in the plan.

This module knows nothing about single settings. The compiler is a pure function and takes about two milliseconds. So each value
of the configuration, each fact of the host and each argument is changed in turn, with everything else unchanged. If a change
affects the value in question, it is a cause. In the same way the value is changed in the plan, to see which lines of the
artifacts follow.
"""

import copy
import difflib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from runx.cli.plan_diff import changes
from runx.compiler.backends.records import readable
from runx.compiler.diagnostics import Location, Path, did_you_mean, path_text
from runx.compiler.host.config import ANNOTATIONS, read_host_config
from runx.compiler.host.config import SETTINGS as HOST_SETTINGS
from runx.compiler.host.facts import Facts, Kind
from runx.compiler.model.plan import VmPlan
from runx.compiler.model.settings import SETTINGS, path_of
from runx.compiler.pipeline import Artifacts, Compilation, Inputs, artifacts, compile
from runx.compiler.source import Source
from runx.errors import RunxError

_ABSENT = object()
LONG = 40
"""A list with more values is first removed as a whole."""
_TOKEN = re.compile(r'\.?([A-Za-z_][A-Za-z_0-9]*)|\[([0-9]{1,9})\]|\[("(?:[^"\\]|\\.)*")\]')


class Cause(NamedTuple):
    """A cause of the value: `what` names it. With `instead` in its place, the value would be `value`.

    _ABSENT as `instead`: nothing is in its place. As `value`: the plan would not have the value.
    """

    place: Location | None
    what: str
    now: Any
    instead: Any
    value: Any


class Explanation(NamedTuple):
    """`shown_in`: lines of the artifacts that follow the value, as `domain.cfg:6: memory = 256`. `settings`: settings not
    given that would change the value, if it has no causes."""

    path: str
    value: Any
    causes: tuple[Cause, ...]
    shown_in: tuple[str, ...]
    settings: tuple[str, ...] = ()


class _Trial:
    """The host's facts, remembered, some of them changed. A trial must see no change but its own."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self.raw: bytes | None = None
        self.kinds: dict[str, Kind] = {}
        self.host: tuple[str, bytes] | None = None
        self.is_first = True
        self.filters_matter = False
        self._filter = b""

    def config(self, bundle: str) -> bytes:
        if self.raw is None:
            self.raw = self._facts.config(bundle)
        return self.raw

    def machine(self) -> str:
        return self._facts.machine()

    def host_config(self) -> tuple[str, bytes] | None:
        if self.is_first:
            self.host = self._facts.host_config()
        return self.host

    def kind(self, path: str) -> Kind:
        if path not in self.kinds:
            if not self.is_first:
                return "directory"  # a path made up by a trial
            self.kinds[path] = self._facts.kind(path)
        return self.kinds[path]

    def filter(self, profile: dict[str, Any]) -> bytes:
        # Building a filter takes ten times as long as everything else.
        if not self._filter or self.filters_matter:
            self._filter = self._facts.filter(profile)
        return self._filter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._facts, name)


def explain(inputs: Inputs, path_wanted: str) -> Explanation:
    """Explain the plan's value at a path such as `mounts[3].read_only`. Raises RunxError if the plan has none there."""
    facts = _Trial(inputs.facts)
    plan, made, _, _ = _compile(inputs, facts)
    facts.is_first = False
    source = Source(facts.config(inputs.bundle), inputs.name)
    document = json.loads(plan.model_dump_json())
    path = _parse(path_wanted, document)
    facts.filters_matter = path[:2] == ("process", "seccomp")
    value = _at(document, path)
    if value is _ABSENT:
        raise _unknown(path_wanted, document, source, inputs, facts)

    def with_changed(changed: Inputs) -> Any:
        try:
            return _at(json.loads(_compile(changed, facts)[0].model_dump_json()), path)
        except RunxError:
            return _ABSENT

    def attempt(changed: Any) -> Any:
        return _attempt(inputs, facts, changed)

    causes: list[Cause] = []
    vanishing: list[Cause] = []
    small = _without_long_lists(source.document, lambda changed: _at(attempt(changed), path) != value)
    for config_path, now, alternatives in _changeable(source.document, small, attempt):
        for instead, after in ((instead, _at(plan_then, path)) for instead, plan_then in alternatives):
            if after is not _ABSENT and after != value:
                causes.append(Cause(source.locate(config_path), path_text(config_path), now, instead, after))
                break  # one change that shows it is enough
            if after is _ABSENT:
                vanishing.append(Cause(source.locate(config_path), path_text(config_path), now, instead, _ABSENT))
    # A change that moves entries of a list removes values, too. It counts only if nothing else explains the value.
    causes = causes or vanishing
    causes.sort(key=lambda cause: cause.place or Location(0, 0))
    causes += _other_causes(inputs, facts, value, with_changed)
    settings: list[str] = []
    if not causes:
        for absent in (_absent_properties, _absent_words):
            settings += absent(source.document, lambda changed: _at(attempt(changed), path) not in (_ABSENT, value))
        carriers = () if inputs.root_carrier else ("disk", "9p")
        if any(with_changed(inputs._replace(root_carrier=name)) not in (_ABSENT, value) for name in carriers):
            settings.append("--root-carrier")
        settings += _absent_host_settings(facts, lambda: with_changed(inputs) not in (_ABSENT, value))
    return Explanation(path_text(path), value, tuple(causes), tuple(shown_in(document, path, made)), tuple(settings))


def _compile(inputs: Inputs, facts: Facts) -> Compilation:
    return compile(inputs._replace(facts=facts))


def _other_causes(inputs: Inputs, facts: _Trial, value: Any, with_changed: Callable[[Inputs], Any]) -> Iterator[Cause]:
    """The host and the command line."""
    for path in sorted(facts.kinds):
        now = facts.kinds[path]
        instead: Kind = "file" if now == "directory" else "directory"
        facts.kinds[path] = instead
        after = with_changed(inputs)
        facts.kinds[path] = now
        if after is not _ABSENT and after != value:
            yield Cause(None, f"the host: what is at {path}", now, instead, after)
    yield from _host_causes(inputs, facts, value, with_changed)
    if inputs.root_carrier:
        after = with_changed(inputs._replace(root_carrier=""))
        if after is not _ABSENT and after != value:
            yield Cause(None, "--root-carrier", inputs.root_carrier, _ABSENT, after)
    if inputs.pod_machine:
        after = with_changed(inputs._replace(pod_machine=""))
        if after is not _ABSENT and after != value:
            yield Cause(None, "--pod-machine", inputs.pod_machine, _ABSENT, after)
    for what, field in (
        ("the container's id", "container_id"),
        ("the bundle's directory", "bundle"),
        ("the state root", "state_root"),
        ("the directory of the guest's files", "assets"),
    ):
        now = getattr(inputs, field)
        after = with_changed(inputs._replace(**{field: now + "-other"}))
        if after is not _ABSENT and after != value:
            yield Cause(None, what, now, now + "-other", after)


def _host_causes(inputs: Inputs, facts: _Trial, value: Any, with_changed: Callable[[Inputs], Any]) -> Iterator[Cause]:
    """runx.toml: the plan without each of its settings."""
    if facts.host is None:
        return
    import tomllib

    name, raw = original = facts.host
    document = tomllib.loads(raw.decode())
    settings = read_host_config(original)
    for key in settings.lines:
        section, _, member = key.partition(".")
        left = {part: {k: v for k, v in members.items() if (part, k) != (section, member)} for part, members in document.items()}
        facts.host = name, _toml(left).encode()
        after = with_changed(inputs)
        facts.host = original
        if after is not _ABSENT and after != value:
            yield Cause(None, f"{settings.where(key)}: {key}", document[section][member], _ABSENT, after)


_GUESSES = (3, 2**29, True, "/x", "x", ["x"])
"""Values for a property that is not given. Its first one that makes a plan is enough."""
_HOST_GUESSES: tuple[Any, ...] = (3, "16383MiB", "1MiB", True, False, "/x", "x", [], ["x"], "pv", "pvh", "disk", "9p")
"""The same for a setting of runx.toml, where the words differ more."""


def _absent_properties(document: Any, changes_it: Callable[[Any], bool]) -> Iterator[str]:
    """Properties that the configuration does not have, and that change the value. Those in lists are left out."""
    for setting in SETTINGS:
        path = path_of(setting)
        if setting.fate != "carried" or "[]" in path or _at(document, path) is not _ABSENT:
            continue
        if any(changes_it(_added(document, path, guess)) for guess in _GUESSES):
            yield setting.path


_WORDS = ("ro", "rbind", "nosuid", "nodev", "noexec")
"""Words that are added to the options of each mount."""
_ANNOTATION_GUESSES = ("disk", "9p", "never", "/x", "cpu_weight=3")


def _absent_words(document: Any, changes_it: Callable[[Any], bool]) -> Iterator[str]:
    """Words that options of mounts do not have, and annotations, that change the value."""
    for index, mount in enumerate(document.get("mounts", ())):
        options = mount.get("options", [])
        for word in _WORDS:
            path: Path = ("mounts", index, "options")
            if word not in options and changes_it(_with(document, path, [*options, word])):
                yield f'{path_text(path)}: "{word}"'
    for name in ANNOTATIONS:
        if name in document.get("annotations", {}):
            continue
        if any(changes_it(_added(document, ("annotations", name), guess)) for guess in _ANNOTATION_GUESSES):
            yield path_text(("annotations", name))


def _absent_host_settings(facts: _Trial, changes_it: Callable[[], bool]) -> Iterator[str]:
    """The same for settings of runx.toml."""
    import tomllib

    original = facts.host
    name, raw = original or ("runx.toml", b"")
    document = tomllib.loads(raw.decode())
    for setting in HOST_SETTINGS:
        if setting.name in document.get(setting.section, {}):
            continue
        for guess in _HOST_GUESSES:
            facts.host = name, _toml(_added(document, (setting.section, setting.name), guess)).encode()
            if changes_it():
                yield f"{setting.key} of runx.toml"
                break
    facts.host = original


def _added(document: Any, path: Path, value: Any) -> Any:
    """A copy with a value at `path`, and with the objects on the way there."""
    if not path:
        return value
    members = document if isinstance(document, dict) else {}
    return {**members, path[0]: _added(members.get(path[0]), path[1:], value)}


def _toml(document: dict[str, dict[str, Any]]) -> str:
    """Strings, numbers, booleans and lists of strings are written as in JSON."""
    lines = []
    for section, members in document.items():
        lines += [f"[{section}]", *(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in members.items())]
    return "".join(f"{line}\n" for line in lines)


def _attempt(inputs: Inputs, facts: _Trial, document: Any) -> Any:
    """The plan of a changed configuration as of JSON, or None when it is refused."""
    original, facts.raw = facts.raw, json.dumps(document).encode()
    try:
        return json.loads(_compile(inputs, facts)[0].model_dump_json())
    except RunxError:
        return None
    finally:
        facts.raw = original


def _without_long_lists(document: Any, matters: Callable[[Any], bool]) -> list[tuple[Path, Any]]:
    """The configuration's values, without long lists (of system calls, for example) that do not matter."""
    leaves = list(_leaves(document))
    lengths: dict[Path, int] = {}
    for path, _ in leaves:
        if any(isinstance(part, int) for part in path):
            top = path[: next(index for index, part in enumerate(path) if isinstance(part, int))]
            lengths[top] = lengths.get(top, 0) + 1
    skipped = [path for path, length in lengths.items() if length > LONG and not matters(_with(document, path, _ABSENT))]
    return [(path, leaf) for path, leaf in leaves if not any(path[: len(top)] == top for top in skipped)]


def _changeable(
    document: Any, leaves: list[tuple[Path, Any]], attempt: Callable[[Any], Any]
) -> Iterator[tuple[Path, Any, list[tuple[Any, Any]]]]:
    """Each value that can be changed, with the values that may be there instead (_ABSENT: nothing) and the plan of each.

    A word of a fixed set cannot become just any other word: words at the same place of other entries are tried. If no member of
    an entry of a list can change ({"type": "pid"}), the entry is removed as a whole.
    """

    def tried(path: Path, alternatives: list[Any]) -> list[tuple[Any, Any]]:
        plans = ((instead, attempt(_with(document, path, instead))) for instead in alternatives)
        return [(instead, plan) for instead, plan in plans if plan is not None]

    words: dict[Path, set[str]] = {}
    for path, leaf in leaves:
        if isinstance(leaf, str):
            words.setdefault(_pattern(path), set()).add(leaf)
    stuck: dict[Path, bool] = {}
    for path, leaf in leaves:
        found = tried(path, _alternatives(leaf))
        if not found and isinstance(leaf, str):
            found = tried(path, sorted(words[_pattern(path)] - {leaf})[:8])
        if len(path) > 1 and isinstance(path[-2], int):
            stuck[path[:-1]] = stuck.get(path[:-1], True) and not found
        if found:
            yield path, leaf, found
    for path, is_stuck in stuck.items():
        found = tried(path, [_ABSENT]) if is_stuck else []
        if found:
            yield path, _at(document, path), found


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for name, member in value.items():
            yield from _leaves(member, (*path, name))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    else:
        yield path, value


def _pattern(path: Path) -> Path:
    return tuple("" if isinstance(part, int) else part for part in path)


def _alternatives(value: Any) -> list[Any]:
    """Other values in place of one: similar ones, then nothing."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value * 2 + 2**20, _ABSENT]  # far enough for rounded values
    if not isinstance(value, str):
        return [_ABSENT]
    # A text in a language of its own may end with brackets or quotes: its last word is changed as well.
    inside = re.sub(r"""(["'\])}]\s*)+$""", r"x\g<0>", value)
    return [value + "x", *([inside] if inside != value else []), _ABSENT]


def _with(document: Any, path: Path, value: Any) -> Any:
    """A copy with another value at `path`. Values that are not on the way there are shared."""
    changed = copy.copy(document)
    if len(path) > 1:
        changed[path[0]] = _with(document[path[0]], path[1:], value)
    elif value is _ABSENT:
        del changed[path[0]]
    else:
        changed[path[0]] = value
    return changed


def shown_in(document: Any, path: Path, made: Artifacts) -> Iterator[str]:
    """The lines of the artifacts that follow the plan's value at `path`, as `domain.cfg:6: memory = 256`."""
    before = _texts(made)
    shown: dict[tuple[str, int], str] = {}
    added: dict[str, None] = {}
    for leaf_path, leaf in list(_leaves(_at(document, path), path))[:50]:
        for after in _changed_artifacts(document, leaf_path, leaf):
            for name, text in before.items():
                _changed_lines(name, text, _texts(after).get(name, ""), shown, added)
            break
    for (name, number), line in sorted(shown.items(), key=lambda item: (list(before).index(item[0][0]), item[0][1])):
        yield f"{name}:{number}: {line}"
    if not shown:
        yield from added


def _changed_artifacts(document: Any, path: Path, leaf: Any) -> Iterator[Artifacts]:
    """The artifacts of plans with another value at `path`, as far as the plan's types and the backends allow one."""
    alternatives = [*_alternatives(leaf), "x", 1]
    while alternatives:
        instead = alternatives.pop(0)
        try:
            yield artifacts(VmPlan.model_validate_json(json.dumps(_with(document, path, instead))))
        except (RunxError, LookupError):
            # Types alone do not make a plan that hangs together: this one may say `disk` and have no disks.
            continue
        except ValueError as error:  # pydantic's, which names the words it takes
            expected = re.search(r"Input should be ('.*) \[type=literal_error", str(error))
            if expected:
                alternatives[:0] = [word for word in re.findall(r"'([^']*)'", expected[1]) if word != leaf]


def _texts(made: Artifacts) -> dict[str, str]:
    files = {file.path: file.content for file in made.overlay if file.path != "runx/seccomp"}
    texts = {"domain.cfg": made.domain_cfg, "cmdline": made.cmdline}
    for name, content in files.items():
        texts[f"overlay/{name}"] = readable(name, content)
    return texts


def _changed_lines(name: str, before: str, after: str, shown: dict[tuple[str, int], str], added: dict[str, None]) -> None:
    old, new = before.splitlines(), after.splitlines()
    for what, low, high, new_low, new_high in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if what in ("replace", "delete"):
            shown.update({(name, number + 1): old[number] for number in range(low, high)})
        elif what == "insert":
            added.update(dict.fromkeys(f"{name}: with another value also: {line}" for line in new[new_low:new_high] if line))


def _parse(text: str, document: Any) -> Path:
    """`mounts[3].read_only`, or `mounts["/data"].read_only` with the name of an entry as --diff writes it."""
    path: list[str | int] = []
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if not token or (at == 0) == token[0].startswith((".", "[")):
            raise RunxError(f"--explain {text}: not a place in a plan", "write it as in mounts[3].read_only")
        if token[1]:
            path.append(token[1])
        elif token[2]:
            path.append(int(token[2]))
        else:
            path.append(_index(_at(document, tuple(path)), json.loads(token[3])))
        at = token.end()
    return tuple(path)


def _index(entries: Any, name: str) -> str | int:
    if isinstance(entries, list):
        for index, entry in enumerate(entries):
            names = [entry.get(key) for key in ("destination", "tag", "name", "path")] if isinstance(entry, dict) else entry[:1]
            if name in names:
                return index
    return name


def _at(value: Any, path: Path) -> Any:
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return _ABSENT
    return value


def _unknown(wanted: str, document: Any, source: Source, inputs: Inputs, facts: _Trial) -> RunxError:
    known: dict[str, None] = {}
    for path, _ in _leaves(document):
        known.update({path_text(path[:length]): None for length in range(1, len(path) + 1)})
    hint = did_you_mean(wanted, known).strip(" ()")
    decided = _decided(wanted, document, source, inputs, facts)
    if decided is not None:
        what = ", ".join(decided[:8]) or "nothing in the plan"
        hint = f"it is a place in the configuration, and decides {what}"
    if not hint:
        near = [name for name in known if name.rpartition(".")[2] == wanted.rpartition(".")[2]]
        hint = f"there is {', '.join((near or list(document))[:12])}"
    return RunxError(f"--explain {wanted}: the plan has no such value", hint)


def _decided(wanted: str, plan: Any, source: Source, inputs: Inputs, facts: _Trial) -> list[str] | None:
    """The plan's values that the configuration's value at a path decides; None if the configuration has no value there."""
    path = next((path for path, _ in _leaves(source.document) if path_text(path) == wanted), None)
    if path is None:
        return None
    found: dict[str, None] = {}
    leaves = list(_leaves(source.document))
    for at, _, alternatives in _changeable(
        source.document,
        [leaf for leaf in leaves if _pattern(leaf[0]) == _pattern(path)],
        lambda changed: _attempt(inputs, facts, changed),
    ):
        if at == path:
            found.update(dict.fromkeys(change.path for _, after in alternatives for change in changes(plan, after)))
    return list(found)


def text(explanation: Explanation, file_name: str) -> str:
    """The explanation for people."""
    lines = [f"{explanation.path} = {_json(explanation.value)}", "", "comes from"]
    for cause in explanation.causes:
        where = f"{file_name}:{cause.place.line}:{cause.place.column}: " if cause.place else ""
        change = "without it" if cause.instead is _ABSENT else f"with {_json(cause.instead)} instead"
        lines.append(f"  {where}{cause.what} = {_json(cause.now)}")
        lines.append(f"      {change}: {'no such value' if cause.value is _ABSENT else _json(cause.value)}")
    if not explanation.causes:
        lines.append("  runx itself: no value that is given changes it")
        lines += [f"      not given, but would change it: {', '.join(explanation.settings)}"] if explanation.settings else []
    lines += ["", "shows in", "  plan.json"]
    lines += [f"  {line}" for line in explanation.shown_in]
    return "".join(f"{line}\n" for line in lines)


def as_json(explanation: Explanation) -> dict[str, Any]:
    """The explanation for tools. `instead` is null for a value that was removed."""
    return {
        "path": explanation.path,
        "value": explanation.value,
        "causes": [
            {
                "line": cause.place.line if cause.place else None,
                "column": cause.place.column if cause.place else None,
                "what": cause.what,
                "now": cause.now,
                "instead": None if cause.instead is _ABSENT else cause.instead,
                "value": None if cause.value is _ABSENT else cause.value,
            }
            for cause in explanation.causes
        ],
        "settings": list(explanation.settings),
        "shown_in": ["plan.json", *explanation.shown_in],
    }


def _json(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= 160 else shown[:157] + "..."
