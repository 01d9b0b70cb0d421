"""The policy rules of a network namespace (ip-rule(8)), and the commands that make them in the guest.

Only a short-lived child of the supervisor loads this module.
"""

from collections.abc import Iterable
from typing import Any

from runx.exec.network.iproute import shown

_LOCAL, _MAIN, _DEFAULT = "255", "254", "253"
"""Numbers of the tables that every kernel has (rt_tables)."""
_KERNELS = {"-4": [(0, _LOCAL), (32766, _MAIN), (32767, _DEFAULT)], "-6": [(0, _LOCAL), (32766, _MAIN)]}
"""Priority and table of the rules that the kernel makes, for all addresses."""
_LAST_TABLE = 255
"""Highest number of a table that busybox's ip knows."""
_WORDS = {"tos": "tos", "iif": "iif", "suppress_prefixlen": "suppress_prefixlength", "table": "lookup"}
_CARRIED = {"priority", "src", "srclen", "dst", "dstlen", "fwmark", "fwmask", "protocol", *_WORDS}
"""Properties of a rule that the guest gets: those that busybox's ip knows, and the origin, which has no effect."""


class Rules:
    """The rules of one family (`-4` or `-6`), in the order in which they apply."""

    def __init__(self, family: str, names: Iterable[str]) -> None:
        """Read the rules of this process's network namespace. names: of the guest's interfaces."""
        rules = shown(["ip", "-N", "-json", family, "rule", "show"])
        self.commands: list[str] = []
        self.not_carried: list[str] = []
        """In words: rules that the guest cannot have, and rules of its kernel that the namespace does not have."""
        self.tables: set[str] = set()
        """Numbers of the tables of routes that the rules refer to, without the main and the local one."""
        kernels = list(_KERNELS[family])
        for rule in rules:
            of_kernel = (rule["priority"], rule.get("table"))
            known = not rule.keys() - _CARRIED and rule.get("iif", "lo") in ("lo", *names)
            if not known or int(rule.get("table", _LAST_TABLE + 1)) > _LAST_TABLE:
                self.not_carried.append(f"the rule {_in_words(rule)}")
                continue
            if of_kernel in kernels and rule["src"] == "all" and rule.keys() == {"priority", "src", "table"}:
                kernels.remove(of_kernel)
            else:
                self.commands.append(f"ip {family} rule add {_in_words(rule)}")
            self.tables.add(rule["table"])
        self.tables -= {_LOCAL, _MAIN}
        self.not_carried += [f"that there is no rule priority {priority} lookup {table}" for priority, table in kernels]


def _in_words(rule: dict[str, Any]) -> str:
    words = [f"priority {rule['priority']}"]
    for name, word in (("src", "from"), ("dst", "to")):
        if rule.get(name, "all") != "all":
            words.append(f"{word} {rule[name]}" + (f"/{rule[name + 'len']}" if name + "len" in rule else ""))
    if "fwmark" in rule:
        words.append(f"fwmark {rule['fwmark']}" + (f"/{rule['fwmask']}" if "fwmask" in rule else ""))
    words += [f"{word} {rule[name]}" for name, word in _WORDS.items() if name in rule]
    # Properties without a word here are of rules that the guest does not get.
    words += [name if rule[name] is None else f"{name} {rule[name]}" for name in sorted(rule.keys() - _CARRIED)]
    return " ".join(words)
