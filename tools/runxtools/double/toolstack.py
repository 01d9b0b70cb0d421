"""xl(1) of tools/xl-double: the subcommands, messages and exit statuses that runx and its tests use."""

import fcntl
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from runxtools.double import place

if TYPE_CHECKING:
    from runxtools.double.xlutil import XlConfig

_FAIL, _INVAL, _NOTFOUND = 3, 6, 21
"""libxl's error codes without their sign: exit statuses of `xl create`."""
_DEFAULT_WEIGHT = 256
_LETTERS = {"running": "-b----", "paused": "--p---", "poweroff": "---s--", "reboot": "---sr-", "crash": "---sc-"}


class XlError(Exception):
    """A message of xl, and its exit status."""

    def __init__(self, words: str, status: int = 1) -> None:
        super().__init__(words)
        self.status = status


class Xl:
    """One call of xl."""

    def __init__(self, state: str) -> None:
        self.state = state

    def call(self, argv: list[str]) -> int:
        """Run one command line: its exit status."""
        commands: dict[str, Callable[[list[str]], None]] = {
            "block-attach": self.block_attach,
            "block-detach": self.block_detach,
            "create": self.create,
            "destroy": self.destroy,
            "domid": self.domid,
            "domname": self.domname,
            "info": self.info,
            "list": self.list_domains,
            "mem-set": self.mem_set,
            "network-attach": self.network_attach,
            "network-detach": self.network_detach,
            "pause": lambda words: self.ask_one(words, "pause"),
            "sched-credit2": self.sched_credit2,
            "shutdown": lambda words: self.ask_one(words, "shutdown"),
            "unpause": self.unpause,
            "uptime": self.uptime,
            "vcpu-pin": self.vcpu_pin,
            "vcpu-set": self.vcpu_set,
        }
        if not argv or argv[0] not in commands:
            print(f"command not implemented by xl-double: {' '.join(argv)}", file=sys.stderr)
            return 1
        try:
            commands[argv[0]](argv[1:])
        except XlError as error:
            print(error, file=sys.stderr)
            return error.status
        return 0

    # -- domains by name or number -------------------------------------------------------------------------------------

    def records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for domid in place.domains(self.state):
            record = place.record(self.state, domid)
            if record:
                yield domid, record

    def find(self, word: str) -> int:
        """Number of a domain by number or name. Like xl, accepts the number of a domain that does not exist."""
        if word.isdigit():
            return int(word)
        for domid, record in self.records():
            if record["name"] == word:
                return domid
        raise XlError(f"{word} is an invalid domain identifier (rc=-6)")

    def ask(self, domid: int, words: str) -> None:
        """Send an order to a domain. Raises XlError when the domain does not exist, or refuses."""
        connection = socket.socket(socket.AF_UNIX)
        try:
            with connection:
                connection.connect(f"{place.domain_directory(self.state, domid)}/control")
                connection.sendall(words.encode())
                answer = connection.recv(4096).decode()
        except OSError:
            raise XlError(f"libxl: error: Domain {domid}:Non-existant domain", _NOTFOUND) from None
        if answer != "ok":
            raise XlError(f"libxl: error: Domain {domid}:{answer or 'it died'}", _FAIL)

    def ask_one(self, words: list[str], request: str) -> None:
        """Run `xl pause DOMAIN` and the like. Their status is 0, even if libxl fails."""
        try:
            self.ask(self.find(_one(words)), request)
        except XlError as error:
            if error.status == 1:
                raise
            print(error, file=sys.stderr)

    def unpause(self, words: list[str]) -> None:
        if (said := place.fault(self.state, "unpause-fails")) is not None:
            print(f"libxl: error: {said.strip()}", file=sys.stderr)
            return
        self.ask_one(words, "unpause")

    # -- create and destroy --------------------------------------------------------------------------------------------

    def create(self, words: list[str]) -> None:
        options = {word for word in words if word.startswith("-")}
        path = _one([word for word in words if not word.startswith("-")])
        if unknown := options - {"-p", "-e", "-q"}:
            raise XlError(f"xl-double: create: unknown option {unknown.pop()}")
        if place.fault(self.state, "create-hangs") is not None:
            self._hang()
        if (said := place.fault(self.state, "create-fails")) is not None:
            raise XlError(said.strip(), _FAIL)
        config = self._read(path)
        config["watched"] = "-e" not in options
        with self._locked():
            domid = self._claim(config)
            wrong = self._start(domid, config)
        if wrong:
            lines = (
                f"libxl: error: libxl_create.c:domcreate_devmodel_started: Domain {domid}:{wrong}",
                f"libxl: error: libxl_create.c:domcreate_complete: Domain {domid}:cannot create domain",
            )
            raise XlError("\n".join(lines), _FAIL)
        if "-p" not in options:
            self.ask(domid, "unpause")

    def _hang(self) -> None:
        """Hang until killed. The file `hung` has our pid."""
        with open(f"{self.state}/hung.tmp", "w") as file:
            file.write(str(os.getpid()))
        os.rename(file.name, f"{self.state}/hung")
        signal.pause()

    def _read(self, path: str) -> dict[str, Any]:
        """Read what the double needs of a configuration. Raises XlError with the parser's message."""
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                text = file.read()
        except OSError as error:
            raise XlError(f"Failed to read config file: {path}: {error.strerror}", _FAIL) from None
        import tempfile  # here alone, as this and the parser would cost other commands most of their time

        from runxtools.double.xlutil import NoParserError, SyntaxFault, XlConfig

        with tempfile.NamedTemporaryFile("r") as report:
            try:
                parsed = XlConfig(text, path, report.name)
            except SyntaxFault:
                raise XlError(f"{report.read()}Failed to parse config: Invalid argument") from None
            except NoParserError as error:
                raise XlError(f"xl-double: {error}") from None
        with parsed as config:
            return {
                "name": _required(config, "name"),
                "type": _string(config, "type", "pv"),
                "kernel": _string(config, "kernel", ""),
                "ramdisk": _string(config, "ramdisk", ""),
                "extra": _string(config, "extra", ""),
                "memory": _number(config, "memory", 128),
                "vcpus": _number(config, "vcpus", 1),
                "weight": _number(config, "cpu_weight", _DEFAULT_WEIGHT),
                "cap": _number(config, "cap", 0),
                "disks": [_disk(text) for text in _list(config, "disk")],
                "vif": _list(config, "vif"),
            }

    def _claim(self, config: dict[str, Any]) -> int:
        """Take the next number of a domain and make its directory. The caller holds the lock."""
        for _, record in self.records():
            if record["name"] == config["name"]:
                raise XlError(
                    f'libxl: error: libxl_domain.c:libxl__domain_rename: Domain with name "{config["name"]}" already exists.\n'
                    "libxl: error: libxl_create.c:initiate_domain_create: cannot make domain: -6",
                    _INVAL,
                )
        if config["memory"] > self._free_memory():
            raise XlError(
                "xc: error: panic: xg_dom_boot.c: xc_dom_boot_mem_init: can't allocate low memory for domain: Out of memory\n"
                "libxl: error: libxl_dom.c:libxl__build_dom: xc_dom_boot_mem_init failed: Operation not supported\n"
                "libxl: error: libxl_create.c:domcreate_rebuild_done: cannot (re-)build domain: -3",
                _FAIL,
            )
        if not os.path.isfile(config["kernel"]):
            raise XlError(
                f"xc: error: panic: xg_dom_core.c: failed to open file '{config['kernel']}': No such file or directory: "
                "Internal error\nlibxl: error: libxl_create.c:domcreate_rebuild_done: cannot (re-)build domain: -3",
                _FAIL,
            )
        counter = f"{self.state}/next-domid"
        with open(counter) as file:
            domid = int(file.read())
        with open(counter, "w") as file:
            file.write(str(domid + 1))
        os.mkdir(place.domain_directory(self.state, domid), 0o700)
        return domid

    def _start(self, domid: int, config: dict[str, Any]) -> str:
        from runxtools.double import domain

        return domain.start(self.state, domid, config)

    def destroy(self, words: list[str]) -> None:
        domid = self.find(_one([word for word in words if word != "-f"]))
        try:
            self.ask(domid, "destroy")
        except XlError as error:
            raise XlError(f"{error}\ndestroy failed (rc=-{error.status})") from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(f"{self.state}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    # -- what there is -------------------------------------------------------------------------------------------------

    def domid(self, words: list[str]) -> None:
        name = _one(words)
        for domid, record in self.records():
            if record["name"] == name:
                print(domid)
                return
        raise XlError(f"Can't get domid of domain name '{name}', maybe this domain does not exist.")

    def domname(self, words: list[str]) -> None:
        record = place.record(self.state, int(_one(words)))
        if record is None:
            raise XlError(f"Can't get domain name of domain id '{words[0]}', maybe this domain does not exist.")
        print(record["name"])

    def list_domains(self, words: list[str]) -> None:
        names = [word for word in words if not word.startswith("-")]
        shown = list(self.records())
        if names:
            domid = self.find(names[0])
            shown = [(number, record) for number, record in shown if number == domid]
            if not shown:
                raise XlError(f"Error: Domain '{names[0]}' does not exist.")
        if "-l" in words or "--long" in words:
            print(json.dumps([_long(number, record) for number, record in shown], indent=4))
            return
        print("Name                                        ID   Mem VCPUs\tState\tTime(s)")
        if not names:
            print(f"{'Domain-0':<40} {0:5d} {1024:5d} {os.cpu_count():5d}     r-----  {time.process_time():8.1f}")
        for number, record in shown:
            line = f"{record['name']:<40} {number:5d} {record['memory']:5d} {record['vcpus']:5d}     {_LETTERS[record['state']]}"
            print(f"{line}  {0.1:8.1f}")

    def uptime(self, words: list[str]) -> None:
        numbers = [self.find(word) for word in words if not word.startswith("-")]
        print("Name                                ID Uptime")
        for number, record in self.records():
            if not numbers or number in numbers:
                seconds = int(time.time() - record["created"])
                print(f"{record['name']:<32} {number:5d} {seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}")

    def info(self, _: list[str]) -> None:
        host = os.uname()
        rows = {
            "host": host.nodename,
            "release": host.release,
            "version": host.version,
            "machine": host.machine,
            "nr_cpus": os.cpu_count(),
            "total_memory": _total_memory(),
            "free_memory": self._free_memory(),
            "xen_major": 4,
            "xen_minor": 17,
            "xen_extra": ".0 (xl-double: no hypervisor)",
            "xen_version": "4.17.0",
            "virt_caps": "pv",
            "xen_caps": "xen-3.0-x86_64",
            "xen_scheduler": "credit2",
        }
        for name, value in rows.items():
            print(f"{name:<23}: {value}")

    def _free_memory(self) -> int:
        return _total_memory() - sum(int(record["memory"]) for _, record in self.records())

    # -- settings ------------------------------------------------------------------------------------------------------

    def mem_set(self, words: list[str]) -> None:
        name, value = _two(words)
        size = value.rstrip("mMbBgGkK")
        factor = {"g": 1024.0, "k": 1 / 1024}.get(value[len(size) :][:1].lower(), 1.0)
        if not size.isdigit():
            raise XlError("invalid memory size: " + value)
        self.ask(self.find(name), f"set memory {int(int(size) * factor)}")

    def vcpu_pin(self, words: list[str]) -> None:
        """Record the affinity of all virtual CPUs, which has no effect."""
        if len(words) != 3 or words[1] != "all" or words[2].strip("0123456789,-") not in ("", "all"):
            raise XlError(f"xl-double: vcpu-pin: not understood: {words}")
        self.ask(self.find(words[0]), f"set cpus {words[2]}")

    def network_attach(self, words: list[str]) -> None:
        self.ask(self.find(words[0]), f"network-attach {','.join(words[1:])}")

    def network_detach(self, words: list[str]) -> None:
        name, number = _two(words)
        if (said := place.fault(self.state, "network-detach-fails")) is not None:
            raise XlError(said.strip())
        self.ask(self.find(name), f"network-detach {number}")

    def block_attach(self, words: list[str]) -> None:
        name, *specs = words
        if (said := place.fault(self.state, "block-attach-fails")) is not None:
            raise XlError(f"libxl: error: {said.strip()}\nlibxl_device_disk_add failed.")
        disk = _disk(",".join(specs))
        try:
            self.ask(self.find(name), f"block-attach {json.dumps(disk, separators=(',', ':'))}")
        except XlError as error:
            raise XlError(f"{error}\nlibxl_device_disk_add failed.") from None

    def block_detach(self, words: list[str]) -> None:
        name, device = _two([word for word in words if word != "--force"])
        if (said := place.fault(self.state, "block-detach-fails")) is not None:
            raise XlError(f"libxl: error: {said.strip()}\nlibxl_device_disk_remove failed.")
        try:
            self.ask(self.find(name), f"block-detach {device}")
        except XlError as error:
            raise XlError(f"{error}\nlibxl_device_disk_remove failed.") from None

    def vcpu_set(self, words: list[str]) -> None:
        name, value = _two([word for word in words if word != "--ignore-host"])
        if not value.isdigit():
            raise XlError(f"Error: Invalid argument {value}.")
        self.ask(self.find(name), f"set vcpus {value}")

    def sched_credit2(self, words: list[str]) -> None:
        options = dict(zip(words[::2], words[1::2], strict=False))
        if "-d" not in options:
            raise XlError("Must specify a domain.")
        domid = self.find(options["-d"])
        for option, name in (("-w", "weight"), ("-c", "cap")):
            if option in options:
                self.ask(domid, f"set {name} {options[option]}")
        if len(options) == 1:
            record = place.record(self.state, domid)
            if record is None:
                raise XlError(f"libxl: error: Domain {domid}:Getting domain sched credit2")
            print(f"{'Name':<33} {'ID':>4} {'Weight':>6} {'Cap':>4}")
            print(f"{record['name']:<33} {domid:4d} {record['weight']:6d} {record['cap']:4d}")


def _one(words: list[str]) -> str:
    if len(words) != 1:
        raise XlError("xl-double: one argument is needed, not " + repr(words), 2)
    return words[0]


def _two(words: list[str]) -> tuple[str, str]:
    if len(words) != 2:
        raise XlError("xl-double: two arguments are needed, not " + repr(words), 2)
    return words[0], words[1]


def _required(config: "XlConfig", name: str) -> str:
    try:
        return config.string(name)
    except KeyError:
        raise XlError(f"Domain {name} must be specified.") from None


def _string(config: "XlConfig", name: str, default: str) -> str:
    try:
        return config.string(name)
    except KeyError:
        return default


def _number(config: "XlConfig", name: str, default: int) -> int:
    try:
        return config.number(name)
    except KeyError:
        return default


def _list(config: "XlConfig", name: str) -> list[str]:
    try:
        return config.list(name)
    except KeyError:
        return []


def _disk(text: str) -> dict[str, str]:
    """Names and values of an entry of `disk` (xl-disk-configuration(5)); `target` takes the rest of the entry."""
    words, _, target = text.partition("target=")
    disk = {"target": target, **dict(word.partition("=")[::2] for word in words.split(",") if word)}
    if disk.get("format") != "raw" or "script" not in disk:
        raise XlError(f"xl-double: disk: only format=raw with a script is served: {text}")
    return disk


def _long(domid: int, record: dict[str, Any]) -> dict[str, Any]:
    kib = record["memory"] * 1024
    return {
        "domid": domid,
        "config": {
            "c_info": {"type": record["type"], "name": record["name"]},
            "b_info": {"max_vcpus": record["vcpus"], "max_memkb": kib, "target_memkb": kib, "kernel": record["kernel"]},
        },
    }


def _total_memory() -> int:
    """Read an amount of memory: MiB."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return int(file.readline().split()[1]) // 1024
