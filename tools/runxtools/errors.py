"""The error that tools show to their user."""


class ToolError(Exception):
    """A fault that the user can mend: one sentence, and perhaps a hint what to do."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}\n  {self.hint}" if self.hint else message
