"""domain.cfg, read back with the parser of xl itself."""

import re
from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler_cases import Case, good_cases
from runx.compiler.backends.cmdline import command_line
from runx.compiler.backends.xl_config import quote, xl_config
from runx.compiler.model.plan import Domain, IoMemory, XlSetting
from runx.compiler.model.xl_keys import APPENDED
from runx.errors import RunxError
from runxtools.double.xlutil import AVAILABLE, DISK_FORMATS, SyntaxFault, XlConfig

needs_parser = pytest.mark.skipif(not AVAILABLE, reason="libxlutil is not installed (package libxenmisc4.17)")
CASES = [case for case in good_cases() if case.compile().plan.domain]
T = TypeVar("T")
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def domain(**changes: object) -> Domain:
    values: dict[str, object] = {
        "name": "d", "type": "pv", "type_reason": "", "machine": "x86_64", "kernel": "/k", "base_ramdisk": "/b", "ramdisk": "/r",
        "memory_mib": 64, "vcpus": 1, "cmdline": ("console=hvc0",), "shares": (),
    }  # fmt: skip
    return Domain.model_validate(values | changes)


@needs_parser
@given(TEXT)
def test_any_string_survives(text: str) -> None:
    with XlConfig(f"a = {quote(text)}\nb = [ {quote(text)}, {quote(text)} ]\n") as config:
        assert config.string("a") == text
        assert config.list("b") == [text, text]


@needs_parser
def test_the_parser_refuses_what_is_not_quoted() -> None:
    """The test above would prove nothing with a parser that takes everything."""
    for text in ('a = "x\ny"\n', "a = x\n", 'a = "x"y"\n', 'a = "\\x41"\n'):
        with pytest.raises(SyntaxFault):
            XlConfig(text)


@pytest.mark.parametrize(("machine", "said"), [("x86_64", None), ("aarch64", "0"), ("arm", "0")])
def test_acpi_is_said_on_arm(machine: str, said: str | None) -> None:
    """Without, `xl mem-set` of a guest on Arm aborts (seen with Xen 4.17). What XLCONF says of it goes before."""
    on = domain(type="pvh", machine=machine)
    asked = XlSetting(name="acpi", value="1", origin="process.env[0]")
    with_it = xl_config(on.model_copy(update={"xl_settings": (asked,)}), "")
    assert re.findall("^acpi = (.*)$", xl_config(on, ""), re.MULTILINE) == ([said] if said else [])
    assert re.findall("^acpi = (.*)$", with_it, re.MULTILINE) == ['"1"']


@needs_parser
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_a_domain_is_read_as_meant(case: Case) -> None:
    plan, artifacts, *_ = case.compile()
    with XlConfig(artifacts.domain_cfg) as config:
        for setting in plan.domain.xl_settings:
            value = config.value(setting.name)
            assert value == setting.value or (setting.name in APPENDED and value[-len(setting.value) :] == setting.value)
    # What follows is of runx's own.
    without = plan.domain.model_copy(update={"xl_settings": ()})
    with XlConfig(xl_config(without, artifacts.cmdline.rstrip("\n"))) as config:
        assert config.string("name") == plan.domain.name
        assert config.string("type") == plan.domain.type
        assert config.string("kernel") == plan.domain.kernel
        assert config.string("ramdisk") == plan.domain.ramdisk
        assert config.string("extra") == artifacts.cmdline.rstrip("\n")
        assert config.number("memory") == plan.domain.memory_mib
        assert config.number("vcpus") == plan.domain.vcpus
        for name, value in (("cap", plan.domain.cap_percent), ("cpu_weight", plan.domain.cpu_weight)):
            assert optional(config.number, name) == value
        assert optional(config.string, "cpus") == plan.domain.cpus
        assert optional(config.string, "device_tree") == plan.domain.device_tree
        assert tuple(optional(config.list, "dtdev") or ()) == plan.domain.dtdevs
        assert tuple(map(_iomem, optional(config.list, "iomem") or ())) == plan.domain.iomems
        assert tuple(map(int, optional(config.list, "irqs") or ())) == plan.domain.irqs
        assert optional(config.list, "p9") is None, "shares are served by runx"
        disks = config.list("disk") if plan.domain.disks else []
        assert list(map(config.disk, disks)) == [
            (disk.path, disk.vdev, DISK_FORMATS[disk.format], not disk.read_only) for disk in plan.domain.disks
        ]
        assert [dict(part.split("=", 1) for part in item.split(",")) for item in optional(config.list, "vif") or ()] == [
            {"mac": interface.mac, "bridge": interface.bridge, "script": interface.script}
            | ({"mtu": str(interface.mtu)} if interface.mtu else {})
            for interface in plan.domain.interfaces
        ]


def optional(get: Callable[[str], T], name: str) -> T | None:
    try:
        return get(name)
    except KeyError:
        return None


def _iomem(item: str) -> IoMemory:
    """As parse_config_data() of tools/xl/xl_parse.c reads it."""
    start, pages, gfn = re.fullmatch(r"([0-9a-f]+),([0-9a-f]+)(?:@([0-9a-f]+))?", item).groups()  # type: ignore[union-attr]
    return IoMemory(first_mfn=int(start, 16), pages=int(pages, 16), first_gfn=int(gfn, 16) if gfn else None)


@needs_parser
def test_a_hostile_path_stays_a_path() -> None:
    path = '/x"\nname = "other"\n# \\'
    with XlConfig(xl_config(domain(kernel=path), "c")) as config:
        assert config.string("kernel") == path
        assert config.string("name") == "d"


def test_what_cannot_be_written_is_an_error() -> None:
    with pytest.raises(RunxError, match="NUL"):
        quote("a\0b")


@pytest.mark.parametrize("parameter", ["", "a b", 'a="b"', "é", "a\nb"])
def test_a_parameter_that_the_kernel_would_take_apart(parameter: str) -> None:
    with pytest.raises(RunxError, match="kernel parameter"):
        command_line(domain(cmdline=("quiet", parameter)))


@pytest.mark.parametrize(
    ("kind", "machine", "limit"),
    [("pv", "x86_64", 1023), ("pvh", "x86_64", 2047), ("pvh", "aarch64", 2047), ("pvh", "arm", 1023)],
)
def test_the_command_line_has_a_limit(kind: str, machine: str, limit: int) -> None:
    longest = ("a" * limit,)
    assert command_line(domain(type=kind, machine=machine, cmdline=longest)) == longest[0]
    with pytest.raises(RunxError, match=f"{limit + 2} bytes"):
        command_line(domain(type=kind, machine=machine, cmdline=(*longest, "b")))


def test_a_command_line_that_is_too_long_names_what_is_long() -> None:
    with pytest.raises(RunxError) as caught:
        command_line(domain(type="pv", cmdline=("quiet", "x=" + "a" * 1498)))
    assert caught.value.message == (
        "the kernel command line has 1506 bytes; a pv guest takes 1023. "
        f"The longest of its 2 parameters is x={'a' * 35}..., with 1500 bytes"
    )
    assert caught.value.hint == (
        'shorten vm.kernel.parameters, or defaults.kernel_parameters of runx.toml; defaults.type = "pvh" of runx.toml takes 2047'
    )
    for kind, parameter in (("pv", "a" * 2048), ("pvh", "a" * 2048)):
        with pytest.raises(RunxError) as caught:
            command_line(domain(type=kind, cmdline=(parameter,)))
        assert "pvh" not in caught.value.hint
