"""What ip(8) and tc(8) show of a network namespace."""

import json
from typing import Any

from runx.exec import spawn


def shown(argv: list[str]) -> list[dict[str, Any]]:
    """What ip(8) or tc(8), asked for JSON, shows of this process's network namespace. Raises RunxError when it fails."""
    found: list[dict[str, Any]] = json.loads(spawn.checked(argv, " ".join(argv)) or "[]")
    return found
