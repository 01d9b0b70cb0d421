"""Make docs/plan.schema.json, which `make docs` writes.

The page is the JSON schema (draft 2020-12) of plan.json, for programs that read a plan. It is made from the models of
runx/compiler/model/plan.py, and the documentation of their fields.
"""

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runx.compiler.model import plan

_SIGNED = ("nice", "oom_score_adj")
"""The numbers of a plan that may be negative. All others count or measure something."""


def page() -> str:
    """The text of docs/plan.schema.json."""
    # slim_imports.py has left stand-ins in the places of the default arguments.
    from pydantic.json_schema import DEFAULT_REF_TEMPLATE, GenerateJsonSchema

    made = plan.VmPlan.model_json_schema(
        mode="serialization", ref_template=DEFAULT_REF_TEMPLATE, schema_generator=GenerateJsonSchema
    )
    for name, fields in _documentation():
        members = (made if name == "VmPlan" else made["$defs"].get(name, {})).get("properties", {})
        for field, text in fields.items():
            if field in members:
                members[field]["description"] = re.sub(r"\bNone\b", "null", text)
        for field, member in (made if name == "VmPlan" else made["$defs"].get(name, {})).get("properties", {}).items():
            if field not in _SIGNED:
                _count_from_zero(member)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **_as_written(made), "title": "plan.json of runx"}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _count_from_zero(schema: dict[str, Any]) -> None:
    for one in (schema, *schema.get("anyOf", ())):
        if one.get("type") == "integer":
            one["minimum"] = 0


def _documentation() -> Iterator[tuple[str, dict[str, str]]]:
    """Each model, and the strings below its fields."""
    for node in ast.parse(Path(plan.__file__).read_text()).body:
        if isinstance(node, ast.ClassDef):
            fields: dict[str, str] = {}
            before = ""
            for statement in node.body:
                if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and before:
                    fields[before] = " ".join(str(statement.value.value).split())
                before = ast.unparse(statement.target) if isinstance(statement, ast.AnnAssign) else ""
            yield node.name, fields


def _as_written(schema: Any) -> Any:
    """A schema of what runx writes: every property is there. Titles, which pydantic makes of names, say nothing."""
    if isinstance(schema, list):
        return [_as_written(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: _as_written(value) for name, value in schema.items() if name not in ("title", "default", "required")}
    # A property may be called so, too.
    kept |= {name: _as_written(value) for name, value in schema.items() if name not in kept and isinstance(value, dict)}
    return {**kept, "required": list(kept["properties"])} if kept.get("type") == "object" and "properties" in kept else kept


if __name__ == "__main__":
    sys.stdout.write(page())
