"""The facts of this machine now. Nothing else in the compiler looks at the host."""

import json
import os
import stat
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from runx import paths
from runx.compiler.host.facts import (
    SMALL,
    KernelFiles,
    Kind,
    NoAnswer,
    NoFilters,
    SandboxFacts,
    SmallFile,
    bridge_directory,
    not_a_network,
)
from runx.compiler.host.overlay_layers import RootFacts, look
from runx.compiler.source import SIZE_LIMIT
from runx.errors import RunxError, reason

if TYPE_CHECKING:
    from runx.linux.kernel_files import Mounts


class HostFacts:
    """The facts of this machine now.

    given: the configuration, instead of the bundle's. host_config: the runx.toml, which must exist, instead of the usual one.
    """

    def __init__(self, given: bytes | None = None, host_config: str = "", config_name: str = "config.json") -> None:
        self._given = given
        self._config_name = config_name
        self._host_config = host_config
        self._kernel_mounts: Mounts | None = None
        self._virt_caps: frozenset[str] | NoAnswer | None = None

    xl_info: Callable[[], str] | None = None
    """What `xl info` says, or RunxError; None where it is not to be asked. The compiler starts no program itself."""
    keeps_virt_caps = False
    """Whether an answer is kept until the host boots again. False changes nothing on the host."""
    filter_cache = ""
    """The directory where filters are kept; "" for none."""
    keeps_filters = False
    """Whether new filters are put there. False changes nothing on the host."""

    def config(self, bundle: str) -> bytes:
        if self._given is not None:
            return self._given
        path = os.path.join(bundle, self._config_name)
        try:
            return read_file(path)
        except OSError as error:
            if not os.path.isdir(bundle):
                raise RunxError(f"bundle {bundle}: no such directory", "name the directory of a config.json", "RX901") from None
            hint = "a bundle is a directory with a config.json and a root filesystem" if not os.path.exists(path) else ""
            raise RunxError(f"{path}: {reason(error)}", hint, "RX901") from None

    def kernel_files(self, path: str) -> KernelFiles:
        from runx.linux import kernel_files  # for few containers

        try:
            if self._kernel_mounts is None:
                self._kernel_mounts = kernel_files.Mounts()
            kind, is_whole = self._kernel_mounts.type_at(path)
        except OSError:
            return KernelFiles()  # there is nothing, which another check tells
        real = os.path.realpath(path).rstrip("/") + "/"
        below = tuple(dict.fromkeys(mount.point for mount in self._kernel_mounts.kernels if mount.point.startswith(real)))
        return KernelFiles(kind, is_whole, below)

    def has_address(self, interface: str, address: str) -> bool:
        from runx.compiler.host.addresses import addresses  # for few containers

        return address in addresses(interface)

    def mac_owner(self, mac: str) -> str:
        try:
            owner = os.readlink(f"{paths.MACS}/{mac}")
        except OSError:
            return ""
        return owner if os.path.isdir(owner) else ""

    def netconf(self, path: str, root: str, directories: tuple[str, ...]) -> bytes:
        from runx.linux import closed_path  # for few containers

        real = os.path.realpath(path)
        if _is_below(real, os.path.realpath(root)):
            raise RunxError(f"{path} is inside the container's root filesystem", "name a file that is the host's own", "RX502")
        listed = next((named for named in map(os.path.realpath, directories) if _is_below(real, named)), None)
        if listed is None:
            raise not_a_network(path, directories)  # as it was written: whoever did may not know where links lead
        try:
            found = closed_path.find(real, listed)
            try:
                # The very file that was checked, whatever is at its path by now.
                return read_file(f"/proc/self/fd/{found}", "RX502", path)
            finally:
                os.close(found)
        except closed_path.OpenToOthers as error:
            hint = "a file of policy.networks, and each directory on the way, must belong to root, and root alone may write to it"
            raise RunxError(f"{path} is no network of the host: {error}", hint, "RX705") from None
        except OSError as error:
            hint = "NETCONF=FILE,NAME: FILE is a CNI file of the host"
            raise RunxError(f"{path}: {reason(error)}", hint, "RX502") from None

    def root(self, path: str) -> RootFacts:
        try:
            return look(path)
        except OSError as error:
            raise RunxError(f"root.path: {path}: {reason(error)}", fault_id="RX216") from None

    def image_bytes(self, path: str, limit: int) -> int:
        from runx.compiler.host.erofs_size import image_bytes  # for few containers

        try:
            return image_bytes(path, limit)
        except RecursionError:
            raise RunxError(f"root.path: {path}: its directories lie too deep in one another", fault_id="RX216") from None
        except OSError as error:
            message = f"root.path: {error.filename or path}: {reason(error)}"
            raise RunxError(message, fault_id="RX216") from None

    def identity(self, path: str) -> str:
        from runx.linux.in_root import directory_identity  # ctypes, for few containers

        try:
            return directory_identity(path)
        except OSError:
            return ""

    def has_program(self, name: str) -> bool:
        return any(os.access(f"{directory}/{name}", os.X_OK) for directory in paths.PROGRAMS.split(":"))

    def small_file(self, path: str) -> SmallFile | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                content = file.read(SMALL + 1) if stat.S_ISREG(status.st_mode) else None
        except OSError:
            return None
        if content is None or len(content) > SMALL:
            return None
        return SmallFile(content, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)

    def size_kib(self, path: str) -> int:
        try:
            status = os.statvfs(path)
        except OSError:
            return 0
        return status.f_blocks * status.f_frsize // 1024

    def has_huge_pages(self, path: str) -> bool:
        try:
            return bool(self._hugetlbfs) and os.stat(path).st_dev in self._hugetlbfs
        except OSError:
            return False

    @cached_property
    def _hugetlbfs(self) -> frozenset[int]:
        """Device numbers of the file systems of huge pages."""
        from runx.linux import mountinfo  # for bind mounts

        try:
            return frozenset(os.stat(mount.point).st_dev for mount in mountinfo.read() if mount.kind == "hugetlbfs")
        except OSError:
            return frozenset()

    def sandbox(self, directory: str) -> SandboxFacts | None:
        try:
            plan = json.loads(read_file(f"{directory}/plan.json"))
        except (OSError, RunxError, ValueError):
            return None  # it belongs to another runtime, or has gone
        if (plan["pod"] or {}).get("part") != "sandbox":
            return None
        guest = plan["guest"]
        sysctl = tuple((name, value) for name, value in guest["sysctl"])
        return SandboxFacts(guest["hostname"], guest["domainname"], sysctl, plan["domain"] is not None)

    def host_config(self) -> tuple[str, bytes] | None:
        path = self._host_config or paths.HOST_CONFIG
        try:
            return path, read_file(path, "RX606")
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not self._host_config:
                return None
            raise RunxError(f"{path}: {reason(error)}", fault_id="RX606") from None

    def machine(self) -> str:
        return paths.machine()

    def virt_caps(self) -> frozenset[str]:
        from runx.compiler.host.virt_caps import virt_caps  # for x86 with `auto`

        if self._virt_caps is None:
            try:
                self._virt_caps = virt_caps(self.xl_info, keep=self.keeps_virt_caps)
            except NoAnswer as error:
                self._virt_caps = error
        if isinstance(self._virt_caps, NoAnswer):
            raise self._virt_caps
        return self._virt_caps

    def kind(self, path: str) -> Kind:
        return _kind(lambda: os.stat(path).st_mode)

    def kind_in_root(self, root: str, path: str) -> Kind:
        plain = _kind_without_links(root, path)
        if plain:
            return plain
        from runx.linux import in_root  # for few paths, and ctypes takes a while to load

        return _kind(lambda: in_root.mode(root, path))

    def filter(self, profile: dict[str, Any]) -> bytes:
        from runx.compiler.host.seccomp_cache import host_filter

        return host_filter(profile, self.filter_cache, self.keeps_filters)


class HostFactsWithBridges(HostFacts):
    """Facts for `runx plan`, which also works on hosts without the bridges: all bridges are taken to exist. `missing`: bridges
    that do not exist. `without_address`: bridges that lack an address, and the address. Nor does it need libseccomp.
    `no_filters`: why this host makes no filters; "" if it does, or was not asked."""

    def __init__(self, given: bytes | None = None, host_config: str = "") -> None:
        super().__init__(given, host_config)
        self.filter_cache = paths.FILTER_CACHE
        self.missing: list[str] = []
        self.without_address: list[tuple[str, str]] = []
        self.no_filters = ""

    def kind(self, path: str) -> Kind:
        kind = super().kind(path)
        name = path.removeprefix("/sys/class/net/").removesuffix("/bridge")
        if kind == "directory" or path != bridge_directory(name):
            return kind
        self.missing.append(name)
        return "directory"

    def has_address(self, interface: str, address: str) -> bool:
        if interface not in self.missing and not super().has_address(interface, address):
            self.without_address.append((interface, address))
        return True

    def filter(self, profile: dict[str, Any]) -> bytes:
        try:
            return super().filter(profile)
        except NoFilters as error:
            self.no_filters = str(error)
            error.is_elsewhere = True
            raise


def _is_below(path: str, directory: str) -> bool:
    return os.path.commonpath((path, directory)) == directory


def read_file(path: str, fault_id: str = "RX901", name: str = "") -> bytes:
    """The bytes of a file, at most SIZE_LIMIT + 1. name: in messages, if it is not `path`.

    Raises OSError, and RunxError with this ID if it is not a regular file.
    """
    # Without O_NONBLOCK, a fifo would hang the caller.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise RunxError(f"{name or path}: not a file", fault_id=fault_id)
        return file.read(SIZE_LIMIT + 1)


def _kind_without_links(root: str, path: str) -> Kind | None:
    """The kind of the file at `path` in `root`; None if a symbolic link or `..` is on the way."""
    place, mode = root, stat.S_IFDIR
    for part in path.split("/"):
        if part in ("", "."):
            continue
        place = f"{place}/{part}"
        try:
            mode = os.lstat(place).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return "missing"
        except OSError:
            return "unreadable"
        if part == ".." or stat.S_ISLNK(mode):
            return None
    return _kind(lambda: mode)


def _kind(mode_of: Callable[[], int]) -> Kind:
    try:
        mode = mode_of()
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError:
        return "unreadable"
    if stat.S_ISDIR(mode):
        return "directory"
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISSOCK(mode):
        return "socket"
    return "fifo" if stat.S_ISFIFO(mode) else "device"
