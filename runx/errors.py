"""The one exception that people see. Imports nothing: the fast commands load it."""


class RunxError(Exception):
    """A failure with a message for people and, where one helps, a hint on what to do.

    `message` is what goes to standard error and, as the last `error` line, to --log. `hint` is shown on a line of its own.
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
        """What a terminal is shown: the message, and more where there is more to see. The log gets the message alone."""
        return f"{self.message} [{self.fault_id}]" if self.shows_ids and self.fault_id else self.message


def reason(error: OSError) -> str:
    """Why a system call failed, in the system's words and in lower case: they end a sentence that says what failed."""
    return (error.strerror or str(error)).lower()
