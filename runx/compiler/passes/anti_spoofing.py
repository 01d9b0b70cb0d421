"""What the host checks of the frames that a guest sends to a bridge."""

from typing import Literal

from runx.compiler.diagnostics import Report
from runx.compiler.host.config import HostConfig
from runx.compiler.model.request import Container, NetworkRequest


def anti_spoofing(request: NetworkRequest, host: HostConfig) -> Literal["mac", "addresses", ""]:
    """The stricter one of what the host and the network's file ask for."""
    return host.anti_spoofing or ("mac" if request.checks_mac else "")


def check_anti_spoofing(container: Container, host: HostConfig, report: Report) -> None:
    """Report networks whose guests' addresses the host cannot know, if it is to check them."""
    for request in container.networks:
        if anti_spoofing(request, host) == "addresses" and request.address is None and not request.layer2:
            whose = "NETCONF: " if request.path[0] == "process" else ""
            message = f"{whose}network.anti_spoofing ({host.where('network.anti_spoofing')}) needs an address that the host knows"
            hint = (
                'a DHCP server tells it to the guest alone: give an address, NETCONF=FILE,NAME,IP, or use anti_spoofing = "mac"'
            )
            report.error("RX707", request.path, message, hint)
