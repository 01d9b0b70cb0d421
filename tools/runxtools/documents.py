"""Write the documents that are generated from code: `tools/python -m runxtools.documents`."""

from runxtools import fault_table, plan_schema, support_table
from runxtools.checkout import CHECKOUT
from runxtools.command import main_of

DOCUMENTS = {
    "docs/faults.md": fault_table.page,
    "docs/plan.schema.json": plan_schema.page,
    "docs/support.md": support_table.page,
}
"""Path of each document, and the function that makes its text."""


def main() -> int:
    """Write each document whose text has changed, and print its name."""
    for name, page in DOCUMENTS.items():
        path, text = CHECKOUT / name, page()
        if path.read_text() != text:
            path.write_text(text)
            print(f"{name}: written")
    return 0


if __name__ == "__main__":
    main_of("documents", main)
