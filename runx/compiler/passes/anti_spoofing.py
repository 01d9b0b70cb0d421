"""What the host checks of the frames that a guest sends to a bridge."""

from typing import Literal

from runx.compiler.host.config import HostConfig
from runx.compiler.model.request import NetworkRequest


def anti_spoofing(request: NetworkRequest, host: HostConfig) -> Literal["mac", "addresses", ""]:
    """The stricter one of what the host and the network's file ask for."""
    return host.anti_spoofing or ("mac" if request.checks_mac else "")
