"""Lists of CPUs: `0-3,7,^2`, parsed with grammars/cpuset.lark."""

from functools import cache

from runx.compiler.grammar import Lark, Token, Tree, UnexpectedInput, UnexpectedToken, load_grammar

CPU_LIMIT = 8192
"""The most CPUs of any Linux kernel (CONFIG_NR_CPUS)."""


def parse_cpuset(text: str) -> frozenset[int]:
    """The CPUs named by `text`, read from left to right. Raises ValueError with a message if it is not such a list."""
    text = text.strip()
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
        place = "ends too early" if at_end else f"wrong at character {(error.pos_in_stream or 0) + 1}"
        raise ValueError(f'not a list of CPUs such as "0-3,7": {place}') from None
    cpus: set[int] = set()
    for part in tree.children:
        assert isinstance(part, Tree)
        numbers = _range(part.children[0])
        cpus = cpus - numbers if part.data == "excluded" else cpus | numbers
    if not cpus:
        raise ValueError("leaves no CPU")
    return frozenset(cpus)


def _range(tree: Tree[Token] | Token) -> set[int]:
    assert isinstance(tree, Tree)
    low, high = (str(child) if child is not None else None for child in tree.children)
    first, last = (_number(text) for text in (low or "", high or low or ""))
    if last < first:
        raise ValueError(f"the range {low}-{high} is backwards")
    return set(range(first, last + 1))


def _number(text: str) -> int:
    if len(text.lstrip("0")) > 4 or int(text) >= CPU_LIMIT:
        raise ValueError(f"there is no CPU {text[:20]}")
    return int(text)


@cache
def _parser() -> Lark:
    return load_grammar("cpuset")
