"""`runx config`: the settings of the host in effect, and the source of each."""

import json
import sys
from typing import Any

from runx.compiler.host.config import SETTINGS, HostConfig, Setting, read_host_config
from runx.compiler.host.host_facts import HostFacts
from runx.errors import RunxError
from runx.paths import assets_dir


def config(file: str = "") -> None:
    """Print the settings as a runx.toml, with the source of each. file: read instead of /etc/runx/runx.toml. Raises RunxError."""
    try:
        settings = read_host_config(HostFacts(host_config=file).host_config())
    except RunxError as error:
        error.shows_ids = True
        raise
    section = ""
    lines: list[str] = []
    for setting in SETTINGS:
        if setting.section != section:
            section = setting.section
            lines += ["", f"[{section}]"]
        text = f"{setting.name} = {_value(setting, settings)}"
        lines.append(f"{text:<50} # {settings.where(setting.key)}: {setting.about}")
    sys.stdout.write("\n".join(lines[1:]) + "\n")


def _value(setting: Setting, settings: HostConfig) -> str:
    value: Any = getattr(settings, setting.field)
    if setting.kind in ("size", "part"):
        return f'"{value}MiB"'
    if setting.kind == "path" and not value:
        value = f"{assets_dir()}/{setting.name}"
    if setting.kind == "spoofing" and not value:
        value = False
    # A list, a string of printable characters or a boolean: TOML writes them as JSON does.
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
