"""Output of ip(8) and tc(8)."""

import json
from typing import Any

from runx.exec import spawn


def shown(argv: list[str]) -> list[dict[str, Any]]:
    """The JSON that a command of ip(8) or tc(8) prints. Raises RunxError when the command fails."""
    found: list[dict[str, Any]] = json.loads(spawn.checked(argv, " ".join(argv)) or "[]")
    return found
