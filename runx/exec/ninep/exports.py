"""What a plan shares with its guest: the share `root`, the share `mounts` with an entry for each bind mount, and the share
`layer` for the end.

`create` keeps that in files of the container's directory, as fields that end with NUL: reading the plan's JSON would cost the
server of the shares more memory than all else that it does.
"""

import os

from runx.exec.ninep.export_names import JOINED, LAYER, LAYER_ROOT, LAYER_TAG, POD_TAG, SHARES
from runx.exec.ninep.nodes import Rules

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from runx.exec.plan_json import VmPlan

_FIELDS = 6
"""Tag, name of the entry in the share, source, origin, words, options of an overlay."""


class Bind:
    """A file or directory of the host in the server's own tree."""

    __slots__ = (
        "has_slots",
        "is_file",
        "is_layer",
        "name",
        "no_capabilities",
        "no_devices",
        "no_set_id",
        "origin",
        "overlay",
        "read_only",
        "recursive",
        "source",
        "tag",
        "words",
    )

    def __init__(self, tag: str, name: str, source: str, origin: str, words: str, overlay: str = "") -> None:
        """tag: the share that it is in. name: of the entry there; "" if it is the share itself. origin: its name in config.json,
        for messages. words: `file`, `recursive`, `read-only`, `no-devices`, `no-set-id`, `no-capabilities`, `layer` and `slots`,
        separated by spaces. overlay: options of an overlay that is mounted in place of the source, separated by commas; "" for a
        bind."""
        self.tag = tag
        self.name = name
        self.source = source
        self.origin = origin
        self.overlay = overlay
        self.words = words.split(" ")
        flags = words.split(" ")
        self.is_file = "file" in flags
        self.recursive = "recursive" in flags
        self.read_only = "read-only" in flags
        self.no_devices = "no-devices" in flags
        self.is_layer = "layer" in flags
        self.has_slots = "slots" in flags
        self.no_set_id = "no-set-id" in flags
        self.no_capabilities = "no-capabilities" in flags

    def at(self, tag: str, name: str) -> "Bind":
        """The same in another share, or by another name."""
        return Bind(tag, name, self.source, self.origin, " ".join(self.words), self.overlay)

    @property
    def place(self) -> str:
        """Its path in the tree."""
        return f"{self.tag}/{self.name}" if self.name else self.tag

    @property
    def rules(self) -> Rules:
        return Rules(
            read_only=self.read_only,
            no_devices=self.no_devices,
            no_set_id=self.no_set_id,
            no_capabilities=self.no_capabilities,
        )


class Export:
    """One share."""

    __slots__ = ("binds", "tag")

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.binds: list[Bind] = []

    @property
    def rules(self) -> Rules:
        """Of the share's own directory."""
        first = self.binds[0]
        return first.rules if not first.name and not first.has_slots else Rules(read_only=True)

    @property
    def is_layer(self) -> bool:
        """It takes what a container has written. The guest sees the file CHANGES there, and not the root filesystem."""
        return self.binds[0].is_layer

    @property
    def entries(self) -> "dict[bytes, Rules] | None":
        """See share.Share."""
        if self.binds[0].has_slots or self.is_layer:
            return {}
        return {bind.name.encode(): bind.rules for bind in self.binds} if self.binds[0].name else None


def keep_pod(directory: str) -> None:
    """Keep the share of a pod's machine, which has no entries yet."""
    _keep(f"{directory}/{SHARES}", [POD_TAG, "", "", "pods.machine", "slots", ""])


def keep(directory: str, plan: "VmPlan", name: str = SHARES) -> None:
    """Keep the shares of a plan in the container's directory. name: of the file; JOINED for entries of the share of a pod."""
    fields: list[str] = []
    root = plan["root"]
    if root["carrier"] == "9p":
        fields += ["root", "", root["path"], "root.path", _words(recursive=True, read_only=root["served_read_only"]), ""]
    for entry in plan["mounts"]:
        if entry["carrier"] == "9p":
            words = _words(
                file=entry["is_file"],
                recursive=entry["recursive"],
                read_only=entry["read_only"],
                no_devices="nodev" in entry["flags"] or "devices" in entry["withheld"],
                no_set_id="set-id" in entry["withheld"],
                no_capabilities="capabilities" in entry["withheld"],
            )
            fields += ["mounts", str(entry["slot"]), entry["source"], entry["origin"], words, ",".join(entry["data"])]
    _keep(f"{directory}/{name}", fields)
    # What is mounted below the root filesystem is none of it.
    of_the_layer = [LAYER_TAG, LAYER_ROOT, root["path"], "root.path", "layer", ""]
    _keep(f"{directory}/{LAYER}", of_the_layer if root["write_back"] == "exit" else [])


def _keep(path: str, fields: list[str]) -> None:
    if fields:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write("".join(field + "\0" for field in fields).encode("utf-8", "surrogateescape"))


def load_joined(directory: str) -> list[Bind]:
    """The entries of a container that joins its pod's machine. Their names are those of its own plan: `root` for the root."""
    path = f"{directory}/{JOINED}"
    if not os.path.exists(path):
        return []
    binds = [bind for export in load(path) for bind in export.binds]
    for bind in binds:
        bind.name = bind.name or bind.tag
    return binds


def _words(**flags: bool) -> str:
    return " ".join(name.replace("_", "-") for name, holds in flags.items() if holds)


def load(path: str) -> list[Export]:
    """The shares in such a file."""
    with open(path, "rb") as file:
        fields = file.read().decode("utf-8", "surrogateescape").split("\0")
    found: dict[str, Export] = {}
    for at in range(0, len(fields) - 1, _FIELDS):
        bind = Bind(*fields[at : at + _FIELDS])
        found.setdefault(bind.tag, Export(bind.tag)).binds.append(bind)
    return list(found.values())
