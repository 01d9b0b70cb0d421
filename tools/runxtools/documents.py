"""Documents that are made of the code: `tools/python -m runxtools.documents` writes them anew."""

from runxtools import support_table
from runxtools.checkout import CHECKOUT
from runxtools.command import main_of

DOCUMENTS = {"docs/support.md": support_table.page}
"""What makes the text of each, by its path."""


def main() -> int:
    """Write the documents that have changed, and name them."""
    for name, page in DOCUMENTS.items():
        path, text = CHECKOUT / name, page()
        if path.read_text() != text:
            path.write_text(text)
            print(f"{name}: written")
    return 0


if __name__ == "__main__":
    main_of("documents", main)
