"""The domain's configuration for `xl create` (xl.cfg(5))."""

from collections.abc import Iterator

from runx.compiler.plan import Domain, Interface
from runx.errors import RunxError


def xl_config(domain: Domain, cmdline: str) -> str:
    """The text of domain.cfg. Raises RunxError when a value cannot be written in it."""
    shares = [_share(share.tag, share.path) for share in domain.shares]
    settings = [
        ("name", quote(domain.name)),
        ("type", quote(domain.type)),
        ("kernel", quote(domain.kernel)),
        ("ramdisk", quote(domain.ramdisk)),
        ("extra", quote(cmdline)),
        ("memory", str(domain.memory_mib)),
        ("vcpus", str(domain.vcpus)),
        *([("cpus", quote(domain.cpus))] if domain.cpus else []),
        *([("cap", str(domain.cap_percent))] if domain.cap_percent else []),
        *([("cpu_weight", str(domain.cpu_weight))] if domain.cpu_weight else []),
        ("p9", _list(shares)),
        *([("vif", _list([_vif(interface) for interface in domain.interfaces]))] if domain.interfaces else []),
        *_hardware(domain),
        # The supervisor learns the exit status from the console; a domain that stays after its end only holds memory.
        *((f"on_{event}", quote("destroy")) for event in ("poweroff", "reboot", "watchdog", "crash", "soft_reset")),
    ]
    return "".join(f"{name} = {value}\n" for name, value in settings)


def quote(text: str) -> str:
    """`text` as a string of xl's language.

    Its parser (tools/libs/util/libxlu_cfg_l.l) knows the escapes \\\\ \\" \\' \\n \\t and takes other characters as they are.
    It has none for NUL: RunxError.
    """
    if "\0" in text:
        raise RunxError(f"{text!r} holds a NUL character, which xl's configuration cannot")
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t")):
        text = text.replace(plain, escaped)
    return f'"{text}"'


def _share(tag: str, path: str) -> str:
    """One 9pfs specification (xl.cfg(5), `p9`): key=value pairs, separated by commas that nothing can escape."""
    if "," in tag or "," in path:
        raise RunxError(f"{path}: a shared path cannot hold a comma")
    # none: the guest's root acts on files as the host's root does; the trees belong to the container alone.
    return f"tag={tag},security_model=none,path={path}"


def _vif(interface: Interface) -> str:
    """One network device (xl-network-configuration(5)); the default script attaches it to the bridge."""
    # vif-bridge gives the backend the bridge's MTU, or this one; what the guest takes is set in the guest.
    mtu = f",mtu={interface.mtu}" if interface.mtu else ""
    return f"mac={interface.mac},bridge={interface.bridge}{mtu}"


def _hardware(domain: Domain) -> Iterator[tuple[str, str]]:
    """What of the host is passed through (xl.cfg(5)), present only when asked for."""
    if domain.device_tree:
        yield "device_tree", quote(domain.device_tree)
    if domain.dtdevs:
        yield "dtdev", _list(list(domain.dtdevs))
    if domain.iomems:
        # IOMEM_START,NUM_PAGES[@GFN], all in hexadecimal.
        gfns = ["" if memory.first_gfn is None else f"@{memory.first_gfn:x}" for memory in domain.iomems]
        yield (
            "iomem",
            _list([f"{memory.first_mfn:x},{memory.pages:x}{gfn}" for memory, gfn in zip(domain.iomems, gfns, strict=True)]),
        )
    if domain.irqs:
        yield "irqs", f"[{', '.join(map(str, domain.irqs))}]"


def _list(items: list[str]) -> str:
    return "[\n" + "".join(f"    {quote(item)},\n" for item in items) + "]"
