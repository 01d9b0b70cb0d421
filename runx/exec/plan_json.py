"""The types of plan.json, as far as the executor reads it; for type checkers alone, at run time nothing imports it.

The compiler writes the file from `runx.compiler.model.plan`, whose classes have the same names and say what each value means. A
test compares both. Every key is there: a value that is not set is null.
"""

from typing import Literal, TypedDict


class Share(TypedDict):
    """A tree of the host that runx serves to the guest over 9p."""

    tag: str


class Disk(TypedDict):
    """A file of the host as a disk of the guest."""

    source: str
    path: str
    read_only: bool
    holds: Literal["image", "base", "engine", "added", "layer"]
    script: str
    made_of: str


class Interface(TypedDict):
    """A network interface of the guest, attached to a bridge of the host."""

    mac: str
    bridge: str
    anti_spoofing: Literal["mac", "addresses", ""]
    isolated: bool
    mtu: int | None
    address: str | None
    layer2: bool


class Domain(TypedDict):
    """What xl needs to know."""

    memory_mib: int
    own_kernel: str | None
    ramdisk: str
    shares: list[Share]
    disks: list[Disk]
    interfaces: list[Interface]


class Joined(TypedDict):
    """What a container adds to the virtual machine of its pod."""

    sandbox: str
    disks: list[Disk]
    pid_namespace: str


class RootImage(TypedDict):
    """An EROFS image of a part of the root filesystem."""

    holds: Literal["base", "added"]
    source: str
    made_of: str


class Root(TypedDict):
    """The container's root filesystem and how it travels."""

    carrier: Literal["9p", "disk", "ram", "none"]
    path: str
    lower: list[str]
    lower_options: list[str]
    layer_mib: int | None
    cache_mib: int | None
    keep_free_mib: int | None
    layer_of: str
    write_back: Literal["exit", "never", ""]
    images: list[RootImage]
    images_mib: int
    served_read_only: bool


class Mount(TypedDict):
    """One entry of `mounts`."""

    destination: str
    carrier: Literal["9p", "value", "guest"]
    source: str
    slot: int | None
    is_file: bool
    recursive: bool
    read_only: bool
    withheld: list[Literal["devices", "set-id", "capabilities"]]
    flags: list[str]
    data: list[str]
    origin: str


class Hook(TypedDict):
    """A program of the engine's that runs at a certain time."""

    kind: Literal["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    path: str
    args: list[str]
    env: list[str] | None
    timeout_s: int | None
    failure: Literal["ends", "warns"]
    origin: str


class VmPlan(TypedDict):
    """Everything that will be done for one container."""

    bundle: str
    domain: Domain | None
    joined: Joined | None
    root: Root
    mounts: list[Mount]
    hooks: list[Hook]
