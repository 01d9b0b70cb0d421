"""Keys of xl.cfg(5): which a host may let containers set by XLCONF, and which never (docs/pipeline.md)."""

import re

KEY = re.compile(r"[a-z][_0-9a-z]*")

_BOOT = "runx decides what the guest boots"
_DOM0 = "it makes dom0 run or serve something else for the guest"

RESERVED = {
    "name": "runx finds the domain by its name",
    "uuid": "each container needs another one",
    "type": "defaults.type in runx.toml sets it",
    "builder": "defaults.type in runx.toml sets the type",
    "memory": "linux.resources.memory.limit, vm.hwConfig.memory or defaults.memory in runx.toml sets it",
    "vcpus": "linux.resources.cpu, vm.hwConfig.vcpus or defaults.vcpus in runx.toml sets it",
    "kernel": "RUNX_KERNEL, vm.kernel.path or paths.kernel in runx.toml sets it",
    **dict.fromkeys(
        (
            "ramdisk", "bootloader", "bootloader_args", "firmware", "firmware_override", "bios", "bios_path_override", "boot",
        ),
        _BOOT,
    ),
    **dict.fromkeys(
        ("extra", "cmdline", "root"), "vm.kernel.parameters, or defaults.kernel_parameters in runx.toml, adds kernel parameters"
    ),
    "p9": "it would share a directory of the host; mounts of the configuration do that",
    "channel": "its console would take the place of the container's streams",
    "dm_restrict": _DOM0,
}  # fmt: skip
"""Keys that runx writes, or that would break the guest's link to the supervisor or its bounds. No policy allows them. Each has
the reason."""

RESERVED_PREFIXES = {
    "on_": "the supervisor waits for the domain's end and destroys it",
    "device_model_": _DOM0,
    "stubdomain_": _DOM0,
    "pvshim": _BOOT,
}

APPENDED = ("vif", "dtdev", "iomem", "irqs")
"""Lists that runx may write too: `+=` adds to them. `=` is refused, as it would remove runx's own items."""

YIELDING = ("cpus", "cap", "cpu_weight", "device_tree")
"""Keys that the configuration may set as well. It goes before XLCONF, which may be from the image."""

NUMBERS = frozenset(
    {
        "cap", "cpu_weight", "e820_host", "hap", "maxmem", "maxvcpus", "max_event_channels", "max_grant_frames",
        "max_maptrack_frames", "nestedhvm", "nomigrate", "oos", "driver_domain", "pci_msitranslate", "pci_permissive",
        "pci_power_mgmt", "pci_seize", "rtc_timeoffset", "shadow_memory", "localtime", "acpi", "apic", "pae", "nx",
        "period", "slice", "latency", "extratime", "videoram", "vmtrace_buf_kb",
    }
)  # fmt: skip
"""Keys with a number. xl ignores a value that it cannot read as one (tools/xl/xl_parse.c)."""

LISTS = frozenset(
    {
        *APPENDED, "disk", "ioports", "pci", "pvcalls", "usbctrl", "usbdev", "vdispl", "vfb", "vkb", "vnuma", "vsnd", "vtpm",
    }
)  # fmt: skip
"""Keys with a list. xl ignores a single value."""

OTHERS = frozenset(
    {
        *YIELDING, "acpi_firmware", "acpi_laptop_slate", "acpi_s3", "acpi_s4", "altp2m", "altp2mhvm", "arm_sci", "budget",
        "claim_mode", "cpuid", "cpus_soft", "gfx_passthru", "gic_version", "hdtype", "hpet", "init_seclabel", "keymap",
        "llc_colors", "max_grant_version", "mca_caps", "mmio_hole", "ms_vm_genid", "msr_relaxed", "nographic", "nr_spis",
        "opengl", "passthrough", "pool", "rdm", "rdm_mem_boundary", "sdl", "seclabel", "serial", "smbios", "smbios_firmware",
        "soundhw", "spice", "spice_clipboard_sharing", "spice_image_compression", "spice_streaming_video", "spiceagent_mouse",
        "spicedisable_ticketing", "spicehost", "spicepasswd", "spiceport", "spicetls_port", "spiceusbredirection",
        "spicevdagent", "stdvga", "sve", "tee", "timer_mode", "trap_unmapped_accesses", "tsc_mode", "usb", "usbdevice",
        "usbversion", "vendor_device", "vga", "virtio", "viridian", "vkb_device", "vnc",
        "vncdisplay", "vnclisten", "vncpasswd", "vncunused", "vpmu", "vpt_align", "vuart", "xauthority", "xen_platform_pci",
        "xend_suspend_evtchn_compat",
    }
)  # fmt: skip
"""The other keys of xl.cfg(5), of Xen 4.17 to 4.20."""

_NUMBER = re.compile(r"[+-]?(0x[0-9a-f]{1,15}|0[0-7]{0,20}|[1-9][0-9]{0,17})", re.IGNORECASE)

PROGRAMS = ("vif", "disk")
"""Keys in which `script=` names a program that the host runs as root."""


def reserved(key: str) -> str:
    """Why no policy allows this key; "" for one that may be allowed."""
    by_prefix = (why for prefix, why in RESERVED_PREFIXES.items() if key.startswith(prefix))
    return RESERVED.get(key) or next(by_prefix, "")


def known() -> frozenset[str]:
    """The keys that a policy may allow."""
    return NUMBERS | LISTS | OTHERS


def is_number(text: str) -> bool:
    """Whether xl reads `text` as a number: decimal, hexadecimal after 0x, octal after 0 (strtol(3) with base 0)."""
    return bool(_NUMBER.fullmatch(text))


def number(text: str) -> int:
    """The number that xl reads in such a text."""
    digits = text.lstrip("+-").lower()
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10
    return int(text, base)
