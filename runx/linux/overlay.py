"""The text of an overlay's options (Linux, filesystems/overlayfs.rst). A comma or a colon in a path has a backslash before it.

No module re here: the server of shares loads this file.
"""

DIRECTORIES = ("lowerdir", "upperdir", "workdir")


def split_options(text: str) -> list[str]:
    """The options that commas separate, with their backslashes."""
    return _split(text, ",")


def paths(word: str, value: str) -> list[str]:
    """The directories in the value of one of DIRECTORIES, without the backslashes."""
    parts = _split(value, ":") if word == "lowerdir" else [value]
    return [_plain(part) for part in parts if part]


def _split(text: str, separator: str) -> list[str]:
    parts = [""]
    escaped = False
    for character in text:
        if character == separator and not escaped:
            parts.append("")
        else:
            parts[-1] += character
        escaped = character == "\\" and not escaped
    return parts


def _plain(text: str) -> str:
    plain = ""
    escaped = False
    for character in text:
        escaped = character == "\\" and not escaped
        if not escaped:
            plain += character
    return plain
