"""What a plan shares with its guest: the share `root`, and the share `mounts` with an entry for each bind mount."""

from runx.exec.ninep.nodes import Rules

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from runx.exec.plan_json import VmPlan


class Bind:
    """A file or directory of the host in the server's own tree."""

    __slots__ = ("is_file", "origin", "place", "read_only", "recursive", "source")

    def __init__(self, place: str, source: str, origin: str, *, is_file: bool, recursive: bool, read_only: bool) -> None:
        """place: its path in the tree. origin: its name in config.json, for messages."""
        self.place = place
        self.source = source
        self.origin = origin
        self.is_file = is_file
        self.recursive = recursive
        self.read_only = read_only


class Export:
    """One share."""

    __slots__ = ("binds", "entries", "rules", "tag")

    def __init__(self, tag: str, rules: Rules, entries: "dict[bytes, Rules] | None", binds: "list[Bind]") -> None:
        """entries: see share.Share."""
        self.tag = tag
        self.rules = rules
        self.entries = entries
        self.binds = binds


def of_plan(plan: "VmPlan") -> list[Export]:
    """The shares of a plan."""
    found = []
    root = plan["root"]
    if root["carrier"] == "9p":
        read_only = root["served_read_only"]
        bind = Bind("root", root["path"], "root.path", is_file=False, recursive=True, read_only=read_only)
        found.append(Export("root", Rules(read_only=read_only), None, [bind]))
    binds: list[Bind] = []
    entries: dict[bytes, Rules] = {}
    for entry in plan["mounts"]:
        if entry["carrier"] != "9p":
            continue
        slot = entry["slot"]
        place = f"mounts/{slot}"
        read_only = entry["read_only"]
        flags = {"is_file": entry["is_file"], "recursive": entry["recursive"], "read_only": read_only}
        binds.append(Bind(place, entry["source"], entry["origin"], **flags))
        entries[str(slot).encode()] = Rules(read_only=read_only, no_devices="nodev" in entry["flags"])
    if binds:
        found.append(Export("mounts", Rules(read_only=True), entries, binds))
    return found
