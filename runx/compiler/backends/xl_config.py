"""The domain's configuration for `xl create` (xl.cfg(5))."""

from collections.abc import Iterator
from typing import TypeAlias, Union

from runx.compiler.model.plan import ARM, Disk, Domain, Interface, XlSetting
from runx.errors import RunxError

_Value: TypeAlias = Union[str, int, "tuple[_Value, ...]"]


def xl_config(domain: Domain, cmdline: str) -> str:
    """The text of domain.cfg. Raises RunxError when a value cannot be written in it."""
    settings: dict[str, _Value] = {
        "name": domain.name,
        "type": domain.type,
        "kernel": domain.kernel,
        "ramdisk": domain.ramdisk,
        "extra": cmdline,
        "memory": domain.memory_mib,
        "vcpus": domain.vcpus,
        **({"cpus": domain.cpus} if domain.cpus else {}),
        **({"cap": domain.cap_percent} if domain.cap_percent else {}),
        **({"cpu_weight": domain.cpu_weight} if domain.cpu_weight else {}),
        **({"disk": tuple(map(_disk, domain.disks))} if domain.disks else {}),
        **({"vif": tuple(map(_vif, domain.interfaces))} if domain.interfaces else {}),
        **dict(_hardware(domain)),
        # The supervisor gets the exit status from the console. A domain that stayed after its end would only hold memory.
        **{f"on_{event}": "destroy" for event in ("poweroff", "reboot", "watchdog", "crash", "soft_reset")},
    }
    for setting in domain.xl_settings:
        settings[setting.name] = _added(settings.get(setting.name), setting)
    if domain.machine in ARM:
        # This is the default. But `xl mem-set` aborts without it (tools/libs/light/libxl_arm.c, libxl__arch_extra_memory).
        settings.setdefault("acpi", 0)
    return "".join(f"{name} = {_written(value)}\n" for name, value in settings.items())


def _added(before: _Value | None, setting: XlSetting) -> _Value:
    """The value of a setting of XLCONF, added to runx's own list if there is one. It never replaces a value of runx."""
    if before is None:
        return setting.value
    if isinstance(before, tuple) and isinstance(setting.value, tuple):
        return before + setting.value
    raise RunxError(f"{setting.name} of {setting.origin} cannot be added to what runx writes", fault_id="RX904")


def _written(value: _Value) -> str:
    if isinstance(value, tuple):
        if all(isinstance(item, int) for item in value):
            return f"[{', '.join(map(str, value))}]"
        return "[\n" + "".join(f"    {_item(item)},\n" for item in value) + "]"
    return _item(value)


def _item(value: _Value) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_item, value))}]"
    return str(value) if isinstance(value, int) else quote(value)


def quote(text: str) -> str:
    """`text` as a string of xl's language.

    Its parser (tools/libs/util/libxlu_cfg_l.l) has the escapes \\\\ \\" \\' \\n \\t and takes other characters as they are.
    Raises RunxError for NUL, which has no escape.
    """
    if "\0" in text:
        raise RunxError(f"{text!r} holds a NUL character, which xl's configuration cannot have", fault_id="RX904")
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t")):
        text = text.replace(plain, escaped)
    return f'"{text}"'


def _disk(disk: Disk) -> str:
    """One disk (xl-disk-configuration(5)). `target` comes last, since it takes the rest of the text as it is.

    Raw disks are loop devices, which the kernel's own backend serves. For others, libxl starts QEMU.
    """
    access = "ro" if disk.read_only else "rw"
    script = f",script={_script(disk.script)}" if disk.script else ""
    return f"format={disk.format},vdev={disk.vdev},access={access}{script},target={disk.path}"


def _vif(interface: Interface) -> str:
    """One network device (xl-network-configuration(5))."""
    # The script gives the backend this MTU, or the bridge's. The guest sets its own.
    mtu = f",mtu={interface.mtu}" if interface.mtu else ""
    return f"mac={interface.mac},bridge={interface.bridge},script={_script(interface.script)}{mtu}"


def _script(path: str) -> str:
    if "," in path or not path.isprintable():
        raise RunxError(f"{path}: the path of a hotplug script cannot hold a comma", "install runx elsewhere", "RX904")
    return path


def _hardware(domain: Domain) -> Iterator[tuple[str, _Value]]:
    """The settings for hardware that is passed through (xl.cfg(5)), if there is any."""
    if domain.device_tree:
        yield "device_tree", domain.device_tree
    if domain.dtdevs:
        yield "dtdev", domain.dtdevs
    if domain.iomems:
        # IOMEM_START,NUM_PAGES[@GFN], all in hexadecimal.
        gfns = ["" if memory.first_gfn is None else f"@{memory.first_gfn:x}" for memory in domain.iomems]
        yield "iomem", tuple(f"{m.first_mfn:x},{m.pages:x}{gfn}" for m, gfn in zip(domain.iomems, gfns, strict=True))
    if domain.irqs:
        yield "irqs", domain.irqs
