"""The `hooks` object (OCI config.md, "POSIX-platform Hooks")."""

from typing import Any, Literal, cast

from runx.compiler.diagnostics import Path, Report, path_text, quote
from runx.compiler.model.plan import HOOK_KINDS, Hook


def read_hooks(hooks: dict[str, Any], oci_version: str, report: Report) -> tuple[Hook, ...]:
    """All hooks, in the order in which they run."""
    return tuple(
        _hook(kind, hook, ("hooks", kind, index), oci_version, report)
        for kind in HOOK_KINDS
        for index, hook in enumerate(hooks.get(kind, ()))
    )


def _hook(kind: str, hook: dict[str, Any], place: Path, oci_version: str, report: Report) -> Hook:
    path, timeout = hook.get("path", "/"), hook.get("timeout")
    if not path.startswith("/"):
        report.error("RX801", (*place, "path"), f"must be an absolute path, not {quote(path)}")
    if timeout is not None and timeout <= 0:
        report.error("RX802", (*place, "timeout"), f"must be greater than zero, not {timeout}", "leave it out for no limit")
    env = tuple(hook["env"]) if "env" in hook else None
    for index, entry in enumerate(env or ()):
        if "=" not in entry[1:]:
            report.error("RX803", (*place, "env", index), f"must be NAME=value, not {quote(entry)}")
    return Hook(
        kind=cast(Any, kind),  # one of HOOK_KINDS
        path=path,
        # As in Go's os/exec, with which runc starts hooks.
        args=tuple(hook.get("args", ())) or (path,),
        env=env,
        timeout_s=timeout,
        failure=_failure(kind, oci_version),
        origin=path_text(place),
    )


def _failure(kind: str, oci_version: str) -> Literal["ends", "warns"]:
    """Version 1.3 made a failing poststart hook end the container (runtime.md, "Lifecycle", step 9)."""
    if kind != "poststart":
        return "warns" if kind == "poststop" else "ends"
    minor = oci_version.split(".")[1:2]
    return "ends" if minor and minor[0].isdigit() and int(minor[0]) >= 3 else "warns"
