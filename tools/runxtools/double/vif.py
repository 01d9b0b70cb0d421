"""Network devices of a domain: pairs of veth(4). One end, vifN.M, stands for netback's; the other is the guest's."""

import os
import subprocess
import time

from runxtools.double import place

_BOOT_LIMIT_S = 30


class Vifs:
    """Network devices of one domain, in the network namespace of dom0."""

    def __init__(self, store: place.Store, domid: int) -> None:
        self._store = store
        self._domid = domid
        self._specs: dict[int, dict[str, str]] = {}
        self._guest = -1
        """Descriptor of the guest's network namespace, after its boot."""

    def attach(self, spec: str) -> None:
        """Add the device of an entry of `vif` (xl-network-configuration(5)). Raises OSError."""
        words = dict(word.strip().partition("=")[::2] for word in spec.split(","))
        if "mac" not in words:
            raise OSError(f"xl-double: a vif without mac: {spec}")
        number = max(self._specs, default=-1) + 1
        self._specs[number] = words
        backend = self._backend(number)
        nodes = {"frontend": f"/local/domain/{self._domid}/device/vif/{number}", "frontend-id": str(self._domid)}
        nodes |= {"handle": str(number), "mac": words["mac"], "script": words.get("script", ""), "state": "2"}
        nodes |= {"bridge": words.get("bridge", "xenbr0")} | ({"mtu": words["mtu"]} if "mtu" in words else {})
        for name, value in nodes.items():
            self._store.write(f"{backend}/{name}", value)
        vif = f"vif{self._domid}.{number}"
        _ip("link", "add", vif, "type", "veth", "peer", "name", self._front(number), "address", words["mac"])
        if "script" in words:
            self._hotplug(number, "online")
            return
        # Xen's vif-bridge
        if "mtu" in words:
            _ip("link", "set", "dev", vif, "mtu", words["mtu"])
        _ip("link", "set", "dev", vif, "addrgenmode", "none", "master", words.get("bridge", "xenbr0"))
        _ip("link", "set", "dev", vif, "up")

    def detach(self, word: str) -> None:
        """Remove the device of this number, before the guest's boot. Raises OSError when there is none."""
        if not word.isdigit() or int(word) not in self._specs or self._guest >= 0:
            raise OSError(f"xl-double: no device {word} to detach")
        number = int(word)
        if "script" in self._specs[number]:
            self._hotplug(number, "offline")
        del self._specs[number]
        _ip("link", "delete", self._front(number))
        self._store.remove(self._backend(number))

    def boot(self, parent: int) -> None:
        """Move the guest's ends to its namespace; its PID 1 is the child of the process `parent`."""
        if not self._specs:
            return
        deadline = time.monotonic() + _BOOT_LIMIT_S
        children = ""
        while not children:
            if time.monotonic() > deadline:
                raise OSError("the guest has no PID 1")
            time.sleep(0.005)
            with open(f"/proc/{parent}/task/{parent}/children", encoding="ascii") as file:
                children = file.read().strip()
        init = children.split()[0]
        self._guest = os.open(f"/proc/{init}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        for number in self._specs:
            _ip("link", "set", "dev", self._front(number), "netns", init, "name", f"eth{number}")

    def remove(self) -> None:
        """Remove the pairs after the guest's end, and wait until they are gone."""
        for number, words in self._specs.items():
            if "script" in words:
                self._hotplug(number, "offline")
            if self._guest < 0:
                subprocess.run(["ip", "link", "delete", self._front(number)], check=False)
        if self._guest >= 0:
            script = "ip -o link show type veth | while IFS=': @' read -r _ name _; do ip link delete \"$name\"; done"
            subprocess.run(
                ["nsenter", f"--net=/proc/self/fd/{self._guest}", "sh", "-c", script], check=False, pass_fds=[self._guest]
            )
            os.close(self._guest)
            self._guest = -1
        if self._specs:
            self._store.remove(f"/local/domain/0/backend/vif/{self._domid}")

    def _backend(self, number: int) -> str:
        return f"/local/domain/0/backend/vif/{self._domid}/{number}"

    def _front(self, number: int) -> str:
        return f"front{self._domid}.{number}"

    def _hotplug(self, number: int, action: str) -> None:
        """Run a hotplug script like libxl (docs/misc/block-scripts.txt describes such scripts)."""
        environment = {**os.environ, "XENBUS_PATH": self._backend(number), "vif": f"vif{self._domid}.{number}"}
        argv = [self._specs[number]["script"], action, "type_if=vif"]
        status = subprocess.run(argv, env=environment, check=False).returncode
        if status and action == "online":
            raise OSError(f"{argv[0]} {action} exited with error status {status}")


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")
