"""seccomp profiles for tests, and the filters that libseccomp makes of them."""

import json
from typing import Any

from compiler_cases import CASES, TextFacts
from runx.compiler.host import seccomp_cache
from runx.compiler.host.host_facts import HostFacts
from runx.compiler.host.libseccomp import build
from runx.compiler.pipeline import Inputs, compile

LIBRARY = seccomp_cache.find_library()


def profile(*rules: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(rules), **members}


def rule(*names: str, action: str = "SCMP_ACT_ALLOW", **members: Any) -> dict[str, Any]:
    return {"names": list(names), "action": action, **members}


def argument(index: int, op: str, value: int, value_two: int = 0) -> dict[str, Any]:
    return {"index": index, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": value_two}


def made(document: dict[str, Any], machine: str = "x86_64") -> bytes:
    return build(document, machine, LIBRARY)


def real_profile(case: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CASES / case / "config.json").read_text())["linux"]["seccomp"]
    return found


def compiled(seccomp: dict[str, Any], **process: Any) -> Any:
    """Facts with the real library in place of the cases' filter."""
    config = json.loads((CASES / "minimal/config.json").read_text())
    config["process"].update(process)
    config["linux"]["seccomp"] = seccomp
    facts = TextFacts(json.dumps(config))
    facts.filter = HostFacts().filter  # type: ignore[method-assign]
    return compile(Inputs("/bundle", container_id="box", state_root="/r", assets="/a", facts=facts))
