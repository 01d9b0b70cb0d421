"""`runx features`: the features of this runtime, as a document of the OCI runtime-spec (features.md, features-linux.md)."""

import json
from typing import Any

from runx import __version__, paths
from runx.compiler.frontends.oci.mount_flags import KNOWN
from runx.compiler.frontends.oci.schema import LINUX
from runx.compiler.frontends.oci.seccomp import FLAGS
from runx.compiler.host.config import ANNOTATIONS, read_host_config
from runx.compiler.host.host_facts import HostFacts
from runx.compiler.host.libseccomp import ACTIONS, ARCHITECTURES, OPERATORS
from runx.compiler.host.seccomp_cache import find_library
from runx.compiler.model.plan import HOOK_KINDS
from runx.compiler.passes.guest_type import guest_type
from runx.errors import RunxError
from runx.exec.xen import xl
from runx.linux.process_words import CAPABILITIES

OCI_VERSION_MIN = "1.0.0"
OCI_VERSION_MAX = "1.3.0"


def features() -> dict[str, Any]:
    """The document. `enabled` and similar members tell what runx does on this host. Engines read it before they use a setting."""
    return {
        "ociVersionMin": OCI_VERSION_MIN,
        "ociVersionMax": OCI_VERSION_MAX,
        "hooks": list(HOOK_KINDS),
        "mountOptions": sorted(KNOWN),
        "linux": {
            # All are known. A virtual machine is a namespace of each kind, and joins none.
            "namespaces": sorted(LINUX["namespaces"][0]["type!"].words),
            "capabilities": list(CAPABILITIES),
            # The supervisor joins linux.cgroupsPath. Nothing is limited there.
            "cgroup": dict.fromkeys(("v1", "v2", "systemd"), True) | dict.fromkeys(("systemdUser", "rdma"), False),
            "seccomp": {
                "enabled": bool(find_library()),
                "actions": sorted(ACTIONS),
                "operators": sorted(OPERATORS),
                "archs": sorted(ARCHITECTURES.get(paths.machine(), ())),
                "knownFlags": sorted(FLAGS),
                # The fourth flag needs a listener.
                "supportedFlags": sorted(FLAGS[:3]),
            },
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": False}},
            "netDevices": {"enabled": True},
        },
        "annotations": {"runx.version": __version__, **_guest_type()},
        "potentiallyUnsafeConfigAnnotations": list(ANNOTATIONS),
    }


def _guest_type() -> dict[str, str]:
    """The type of virtual machines with runx's own kernel on this host, and why. Nothing where runx.toml is wrong: `create` says
    what is."""
    facts = HostFacts()
    facts.xl_info = xl.info
    try:
        found = guest_type(read_host_config(facts.host_config()), facts)
    except RunxError:
        return {}
    return {"runx.guest.type": found.type, "runx.guest.type.reason": found.reason}


def text() -> str:
    """As JSON, for people as well as for engines."""
    return json.dumps(features(), indent=2) + "\n"
