"""The exception whose message people see. Imports nothing: fast commands load this file."""


class RunxError(Exception):
    """A failure with a message for people, and a hint on what to do if there is one.

    `message` is written to standard error and, as the last line of level `error`, to --log. `hint` has a line of its own.
    `fault_id`: the ID of a fault that the compiler finds (docs/faults.md); "" for others.
    """

    def __init__(self, message: str, hint: str = "", fault_id: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.fault_id = fault_id
        self.shows_ids = False
        """Whether `for_people` tells the IDs of faults; engines match the texts that `create` and others print."""
        self.status = 1
        """The exit status of the program."""

    def for_people(self) -> str:
        """Text for standard error: the message, and what helps to read it. The log has the message alone."""
        return f"{self.message} [{self.fault_id}]" if self.shows_ids and self.fault_id else self.message

    @property
    def with_hint(self) -> str:
        """Message and hint in one line, where a hint has no line of its own."""
        return self.message + (f" ({self.hint})" if self.hint else "")


_WORD_MAX = 200


def bounded(text: str) -> str:
    """A message without the rest of a long word, such as a value of the command line."""
    if len(text) <= _WORD_MAX:
        return text
    lines = [
        [word if len(word) <= _WORD_MAX else f"{word[: _WORD_MAX - 3]}..." for word in line.split(" ")]
        for line in text.split("\n")
    ]
    return "\n".join(" ".join(words) for words in lines)


_FULL = (28, 122)
"""ENOSPC and EDQUOT; the errno module is one more to load."""


def of_full_disk(error: Exception, directory: str) -> RunxError | None:
    """The error for people if an exception says that a file system is full; None if not.

    directory: what runx writes to, if the exception does not name the file.
    """
    if not isinstance(error, OSError) or error.errno not in _FULL:
        return None
    path = error.filename or directory
    return RunxError(
        f"cannot write {path}: {reason(error)}", f"free some space there (df {directory}), or name another directory"
    )


def reason(error: OSError) -> str:
    """Why a system call failed, in the system's words. Lower case, for the end of a sentence that says what failed."""
    return (error.strerror or str(error)).lower()
