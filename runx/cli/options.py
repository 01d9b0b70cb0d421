"""Command lines, from tables. argparse costs more than a whole fast command may take, so this is a small parser of our own.

An `Option` table drives both the parser and the help. Options may stand before or after operands, as `--name value` or
`--name=value`; `--` ends them.
"""

from runx.errors import RunxError

TYPE_CHECKING = False  # as typing's, which takes longer to import than a fast command has
if TYPE_CHECKING:
    from collections.abc import Callable


class Option:
    """One option: its names, its value and its help. It is stored under its last name.

    value: what the help calls the value; "" for a switch, which has none. default: the value when the option is not given.
    repeats: it may be given several times; its values are in `Arguments.lists`.
    """

    __slots__ = ("default", "help", "key", "names", "repeats", "value")

    def __init__(self, *names: str, value: str = "", default: str = "", help: str = "", repeats: bool = False) -> None:
        self.names = names
        self.value = value
        self.default = default
        self.help = help
        self.repeats = repeats
        self.key = names[-1].lstrip("-").replace("-", "_")


class Arguments:
    """Parsed options by key, and the operands in order."""

    __slots__ = ("lists", "operands", "switches", "values")

    def __init__(self) -> None:
        self.lists: dict[str, list[str]] = {}
        self.values: dict[str, str] = {}
        self.switches: set[str] = set()
        self.operands: list[str] = []


def parse(
    argv: list[str],
    options: tuple[Option, ...],
    *,
    stop_at_operand: bool = False,
    allow_empty: bool = True,
    hint: "Callable[[str], str] | None" = None,
) -> tuple[Arguments, list[str]]:
    """Parse `argv`. With stop_at_operand, the first operand and all words after it are returned unparsed as the second value.

    allow_empty: an empty value means that the option is not given, since engines write some options so. hint: what to say of an
    unknown option of this name; "" for nothing, and then a known name that is close is told. Raises RunxError for an unknown
    option, a missing value, or a value given to a switch.
    """
    table = {name: option for option in options for name in option.names}
    result = Arguments()
    result.values = {option.key: option.default for option in options if option.value and not option.repeats}
    i = 0
    while i < len(argv):
        word = argv[i]
        i += 1
        if word == "--":
            result.operands += argv[i:]
            break
        if not word.startswith("-") or word == "-":
            if stop_at_operand:
                return result, argv[i - 1 :]
            result.operands.append(word)
            continue
        name, equals, value = word.partition("=")
        option = table.get(name) or table.get("-" + name)  # Go's flag packages take -root for --root
        if option is None:
            raise RunxError(f"unknown option {name}", (hint(name) if hint else "") or did_you_mean(name, list(table)))
        if not option.value:
            if equals and value not in ("true", "false"):
                raise RunxError(f"option {name} takes no value")
            if value != "false":
                result.switches.add(option.key)
            continue
        if not equals:
            if i == len(argv):
                raise RunxError(f"option {name} needs a value: {name} {option.value}")
            value = argv[i]
            i += 1
        if not value and not allow_empty:
            raise RunxError(f"option {name} needs a value that is not empty: {name} {option.value}")
        if option.repeats:
            result.lists.setdefault(option.key, []).append(value)
        else:
            result.values[option.key] = value
    return result, []


def did_you_mean(name: str, known: list[str]) -> str:
    """A guess at the option or command that was meant; "" when none is close."""
    import difflib  # only on the way to an error

    words = {word.lstrip("-"): word for word in known}  # dashes would make all options alike
    close = difflib.get_close_matches(name.lstrip("-"), words, 1, 0.75)
    return f"did you mean {words[close[0]]}?" if close else ""


def help_lines(options: tuple[Option, ...]) -> list[str]:
    """The options for --help, one a line."""
    rows = []
    for option in options:
        names = ", ".join(option.names) + (f" {option.value}" if option.value else "")
        rows.append(f"  {names:<30} {option.help}".rstrip())
    return rows
