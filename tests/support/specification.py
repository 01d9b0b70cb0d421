"""The OCI runtime specification's schemas, and its examples of configurations."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from runxtools import specification

EXAMPLES = Path(__file__).parents[1] / "spec-examples"


@cache
def _directory() -> Path:
    return specification.find() or specification.make()


def newer() -> bool:
    """Whether the schemas are newer than the version that runx knows, and may have more fields."""
    return specification.version(_directory()) > specification.KNOWN


@cache
def schemas() -> dict[str, Any]:
    """The schemas by file name. Two faults of version 1.3.0 are mended."""
    # A reference in defs.json lacks its slash. In config-vm.json the schema of all entries is a list of one.
    texts = {path.name: path.read_text().replace('"#definitions/', '"#/definitions/') for path in _directory().glob("*.json")}
    return {name: json.loads(text, object_hook=_entries) for name, text in texts.items()}


def _entries(node: dict[str, Any]) -> dict[str, Any]:
    items = node.get("items")
    return {**node, "items": items[0]} if isinstance(items, list) and len(items) == 1 else node
