"""Lists of CPUs: `0-3,7` (cpuset(7), "List format")."""


def parse_cpuset(text: str) -> frozenset[int]:
    """The CPUs named by `text`. Raises ValueError with a message for what is not such a list."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        if not _is_number(first) or (dash and not _is_number(last)):
            raise ValueError('not a list of CPUs such as "0-3,7"')
        low, high = int(first), int(last if dash else first)
        if high < low:
            raise ValueError(f"the range {part} is backwards")
        if high >= 8192:
            raise ValueError(f"there is no CPU {high}")  # CONFIG_NR_CPUS of any Linux
        cpus.update(range(low, high + 1))
    return frozenset(cpus)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9
