"""The way to an engine's server of names, in network namespaces of this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

CHECKOUT = Path(__file__).parents[3]
LOOK = """
import socket, sys
sys.path.insert(0, sys.argv[1])
from runx.errors import RunxError
from runx.exec.supervisor import dns
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND
if sys.argv[2]:
    server.bind((sys.argv[2], 53))
try:
    found = dns.find()
except RunxError as error:
    print(error.message, error.hint, sep="|")
else:
    if found:
        found.ask(b"question")
        message, who = server.recvfrom(100)
        server.sendto(b"x" * 4097, who)
        server.sendto(message[::-1], who)
    print([found.answer(), found.answer(), found.answer()] if found else None)
"""


def look(loopback: str, address: str) -> str:
    script = f'ip link set lo {loopback}; exec "$@"'
    argv = ["unshare", "--net", "sh", "-c", script, "sh", sys.executable, "-I", "-c", LOOK, str(CHECKOUT), address]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


@pytest.mark.parametrize("address", ["", "127.0.0.1", "127.0.0.12"])
def test_no_server(address: str) -> None:
    assert look("up", address) == "None"


def test_a_server_is_asked_and_answers() -> None:
    assert look("up", "127.0.0.11") == "[b'', b'noitseuq', None]", "one too large is lost"


def test_a_server_that_cannot_be_reached_is_told() -> None:
    message, _, hint = look("down", "127.0.0.11").partition("|")
    assert message == "the engine's server of names in the container's network namespace, 127.0.0.11: network is unreachable"
    assert "loopback" in hint
