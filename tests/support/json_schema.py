"""As much of JSON schema (draft 2020-12) as docs/plan.schema.json uses. A keyword that is not known here is an error."""

from collections.abc import Iterator
from typing import Any

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None),
}  # fmt: skip
_WITHOUT_MEANING = {"$schema", "$defs", "title", "description"}
_KNOWN = {
    "$ref", "anyOf", "type", "enum", "properties", "required", "additionalProperties", "items", "prefixItems", "minItems",
    "maxItems", "minimum",
}  # fmt: skip


def faults(value: Any, schema: dict[str, Any], root: dict[str, Any], path: str = "$") -> Iterator[str]:
    """Everything that is wrong with `value`, a line each. root: the whole schema, in which references are resolved."""
    assert set(schema) <= _WITHOUT_MEANING | _KNOWN, set(schema) - _WITHOUT_MEANING - _KNOWN
    if "$ref" in schema:
        yield from faults(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, path)
    if "anyOf" in schema:
        tried = [list(faults(value, one, root, path)) for one in schema["anyOf"]]
        yield from min(tried, key=len)
    if "type" in schema:
        known = _TYPES[schema["type"]]
        if not isinstance(value, known) or (isinstance(value, bool) and known is int):
            yield f"{path}: {value!r} is no {schema['type']}"
            return
    if isinstance(value, int) and value < schema.get("minimum", value):
        yield f"{path}: {value} is less than {schema['minimum']}"
    if value not in schema.get("enum", [value]):
        yield f"{path}: {value!r} is none of {schema['enum']}"
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        yield from (f"{path}: {name} is missing" for name in schema.get("required", ()) if name not in value)
        for name, member in value.items():
            if name in properties:
                yield from faults(member, properties[name], root, f"{path}.{name}")
            elif schema.get("additionalProperties") is False:
                yield f"{path}: {name} is too much"
    if isinstance(value, list):
        first = schema.get("prefixItems", [])
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            yield f"{path}: {len(value)} items"
        for index, item in enumerate(value):
            shape = first[index] if index < len(first) else schema.get("items", {})
            yield from faults(item, shape, root, f"{path}[{index}]")
