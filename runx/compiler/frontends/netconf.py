"""NETCONF in process.env: `/path,name[,IP[/PREFIX]]`, parsed with grammars/netconf.lark, and the CNI file it names.

docs/networking.md says which parts of a CNI configuration are followed.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from runx.compiler.diagnostics import CompileError, Path, Report, path_text, quote
from runx.compiler.frontends.cni import read_network
from runx.compiler.frontends.cni_ipam import Faults
from runx.compiler.grammar import Lark, Token, UnexpectedCharacters, UnexpectedInput, UnexpectedToken, load_grammar
from runx.compiler.model.request import NetworkRequest
from runx.compiler.source import Source
from runx.errors import RunxError

VARIABLE = "NETCONF="

_HINT = "write NETCONF=/path/of/file.conf,name or NETCONF=/path/of/file.conf,name,IP"

_EXPECTED = {
    "PATH": "the absolute path of a CNI file",
    "_COMMA": "a comma",
    "NAME": "the network's name",
    "ADDRESS": "an IP address",
    "SLASH": '"/" and a prefix length',
    "PREFIX": "a prefix length",
    "$END": "the end",
}


class Netconf(NamedTuple):
    """A parsed NETCONF. `address` and `prefix` are None if they were not given."""

    file: str
    name: str
    address: IPv4Address | IPv6Address | None
    prefix: int | None


def read_networks(env: Sequence[str], read: Callable[[str], bytes], report: Report) -> tuple[NetworkRequest, ...]:
    """The networks that the entries of process.env ask for, in their order; faults go to `report` under the entry's place.

    An empty entry takes back those before it, such as an image's.

    read: the bytes of a file of the host; raises RunxError.
    """
    return tuple(_read_all(env, read, report))


def _read_all(env: Sequence[str], read: Callable[[str], bytes], report: Report) -> Iterator[NetworkRequest]:
    empty = max((index for index, entry in enumerate(env) if entry == VARIABLE), default=-1)
    for index, entry in enumerate(env):
        if index <= empty or not entry.startswith(VARIABLE):
            continue
        place: Path = ("process", "env", index)
        try:
            netconf = parse_netconf(entry.removeprefix(VARIABLE))
        except ValueError as error:
            report.error("RX501", place, f"NETCONF: {error}", _HINT)
            continue
        try:
            source = Source(read(netconf.file))
        except CompileError as error:
            # The place, but no part of the text: the author of the variable may not be allowed to read the file.
            where = error.message.removeprefix("config.json")
            hint = error.diagnostics[0].hint or "a CNI configuration is an object of JSON"
            report.error("RX503", place, f"NETCONF: {netconf.file}{where.splitlines()[0]}", hint)
            continue
        except RunxError as error:
            report.error(error.fault_id, place, f"NETCONF: {error.message}", error.hint)
            continue
        try:
            yield read_network(source.document, *netconf, place, report)
        except Faults as faults:
            _tell(faults, source, netconf.file, place, report)


def _tell(faults: Faults, source: Source, file: str, place: Path, report: Report) -> None:
    """Report the faults of a file, in its order. place: of the entry that names the file."""
    located = [(source.locate(fault.path) if fault.path else None, fault) for fault in faults.found]
    for number, (at, fault) in enumerate(sorted(located, key=lambda pair: pair[0] or (0, 0))):
        where = f"{file}:{at.line}:{at.column}: {path_text(fault.path)}" if at else file
        report.error_within(fault.fault_id, place, (file, number), f"NETCONF: {where}: {fault}", fault.hint)


def parse_netconf(text: str) -> Netconf:
    """The parts of NETCONF's value. Raises ValueError with the expected word, and the character where it should be, from 1."""
    try:
        file, name, address, prefix = _parser().parse(text).children
    except UnexpectedInput as error:
        raise ValueError(_malformed(text, error)) from None
    assert isinstance(file, Token) and isinstance(name, Token)
    if address is None:
        return Netconf(str(file), str(name), None, None)
    assert isinstance(address, Token)
    try:
        value = ip_address(str(address))
    except ValueError:
        raise ValueError(f"{quote(address)} at character {_at(address)} is no IP address") from None
    if isinstance(prefix, Token) and int(prefix) > value.max_prefixlen:
        raise ValueError(f"the prefix length {prefix} at character {_at(prefix)} is more than {value.max_prefixlen}")
    return Netconf(str(file), str(name), value, int(prefix) if isinstance(prefix, Token) else None)


@cache
def _parser() -> Lark:
    return load_grammar("netconf")


def _at(token: Token) -> int:
    return (token.start_pos or 0) + 1


def _malformed(text: str, error: UnexpectedInput) -> str:
    names: set[str] = set()
    if isinstance(error, UnexpectedToken):
        names = set(error.expected)
    elif isinstance(error, UnexpectedCharacters):
        names = set(error.allowed or ())
    # Where the text may end, the lexer names nothing.
    expected = " or ".join(phrase for name, phrase in _EXPECTED.items() if name in names) or _EXPECTED["$END"]
    at = error.pos_in_stream or 0
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return f"{quote(text)} ends where {expected} should follow"
    return f"{quote(text)}: expected {expected} at character {at + 1}, not {quote(text[at])}"
