"""The one exception that people see. Imports nothing: the fast commands load it."""


class RunxError(Exception):
    """A failure with a message for people and, where one helps, a hint on what to do.

    `message` is what goes to standard error and, as the last `error` line, to --log. `hint` is shown on a line of its own.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.status = 1
        """The exit status of the program."""

    def for_people(self) -> str:
        """What a terminal is shown: the message, and more where there is more to see. The log gets the message alone."""
        return self.message


def reason(error: OSError) -> str:
    """Why a system call failed, in the system's words and in lower case: they end a sentence that says what failed."""
    return (error.strerror or str(error)).lower()
