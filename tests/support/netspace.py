"""Network namespaces of this machine, in which its shell runs scripts of guests."""

import subprocess
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "guest-assets" / "network"


class Namespace:
    """A network namespace with an interface for each of these MAC addresses."""

    def __init__(self, directory: Path, macs: list[str]) -> None:
        self.process = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", "echo ready; read line"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"
        self.directory = directory
        (directory / "bin").mkdir()
        for name in ("await-interface", "collect-dns"):
            text = (SCRIPTS / name).read_text().replace("/run/network", f"{directory}/network")
            (directory / "bin" / name).write_text(text)
            (directory / "bin" / name).chmod(0o755)
        self.run("mount -t sysfs sysfs /sys; ip link set lo up")
        for number, mac in enumerate(reversed(macs)):
            self.run(f"ip link add eth{number} address {mac} type veth peer name peer{number}; ip link set peer{number} up")

    def run(self, script: str) -> str:
        enter = ["nsenter", "--net", "--mount", f"--target={self.process.pid}", "sh", "-eu"]
        environment = {"PATH": f"{self.directory}/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        done = subprocess.run(enter, input=script, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def close(self) -> None:
        self.process.communicate(b"\n")
