"""The control group of a container in its pod's machine, whose files PID 1 of the guest writes and reads."""

from runx.exec.commands import guest_question
from runx.exec.container import process_record

TYPE_CHECKING = False  # as typing's, which takes longer to import than a fast command has
if TYPE_CHECKING:
    from runx.exec.container.record import Record


def write(record: "Record", files: "tuple[tuple[str, str], ...]") -> None:
    """Write files of the group. Raises RunxError with the guest's words; some may be written then.

    files: names such as `memory.max`, and what is written to them.
    """
    if files:
        _ask(record, files, "change the limits", while_paused=False)


def freeze(record: "Record", *, frozen: bool) -> None:
    """Stop all processes of the container, or let them go on. Raises RunxError with the guest's words."""
    what = "stop the container's processes" if frozen else "let the container's processes go on"
    _ask(record, (("cgroup.freeze", "1" if frozen else "0"),), what, while_paused=True)


def read(record: "Record", names: "tuple[str, ...]") -> dict[str, str]:
    """The content of files of the group, by their names; a kernel may not have all. Raises RunxError with the guest's words."""
    told = _ask(record, tuple((name, "") for name in names), "tell what the container uses", while_paused=True)
    found: dict[str, str] = {}
    for line in told.decode("utf-8", "replace").splitlines():
        name, _, text = line.partition(" ")
        found[name] = found.get(name, "") + text + "\n"
    return found


def _ask(record: "Record", files: "tuple[tuple[str, str], ...]", what: str, *, while_paused: bool) -> bytes:
    words = [word.encode() for pair in files for word in pair]
    return guest_question.ask(record, process_record.limits(words), what, while_paused=while_paused)
