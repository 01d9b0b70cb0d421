"""The one error the tools show to their user."""


class ToolError(Exception):
    """Something a user can act on: one sentence, and a hint on what to do where there is one."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}\n  {self.hint}" if self.hint else message
