"""The processes of a container as PID 1 of its guest sees them, for `runx ps`."""

from runx.exec.commands import guest_question

TYPE_CHECKING = False  # as typing's, which takes longer to import than a fast command has
if TYPE_CHECKING:
    from runx.exec.container.record import Record


def rows(record: "Record") -> list[list[str]]:
    """Number, number of the parent, user and command of each process, from a container that allows exec and runs.

    Raises RunxError if the guest does not answer.
    """
    # A session without a record (docs/console-link.md, "Sessions").
    text = guest_question.ask(record, b"", "list its processes").decode("utf-8", "replace")
    found = []
    for line in text.split("\n"):
        *numbers, command = line.split(" ", 3)
        if len(numbers) == 3 and all(number.isascii() and number.isdigit() for number in numbers):
            found.append([*numbers, "".join(c if c.isprintable() else "?" for c in command)])
    return sorted(found, key=lambda row: int(row[0]))
