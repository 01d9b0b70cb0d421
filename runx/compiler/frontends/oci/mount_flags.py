"""The words of mount(8) that are flags of a mount rather than data of a file system, and their effects.

They are runc's words without those in REFUSED, and those of mount(8) that ask a kernel for nothing else.
"""

from typing import NamedTuple


class Flag(NamedTuple):
    """Words of one `family` exclude one another. A word that only undoes another one names that in `undoes`."""

    family: str
    undoes: str = ""


FLAGS = {
    "ro": Flag("writing"), "rw": Flag("writing", "ro"),
    "nosuid": Flag("suid"), "suid": Flag("suid", "nosuid"),
    "nodev": Flag("dev"), "dev": Flag("dev", "nodev"),
    "noexec": Flag("exec"), "exec": Flag("exec", "noexec"),
    "sync": Flag("sync"), "async": Flag("sync", "sync"),
    "dirsync": Flag("dirsync"),
    "mand": Flag("mand"), "nomand": Flag("mand", "mand"),
    # mount(2): at most one of noatime, relatime and strictatime is in effect, and relatime is the default.
    "noatime": Flag("atime"), "atime": Flag("atime", "noatime"),
    "relatime": Flag("atime"), "norelatime": Flag("atime", "relatime"),
    "strictatime": Flag("atime"), "nostrictatime": Flag("atime", "strictatime"),
    "nodiratime": Flag("diratime"), "diratime": Flag("diratime", "nodiratime"),
    "nosymfollow": Flag("symfollow"), "symfollow": Flag("symfollow", "nosymfollow"),
    "lazytime": Flag("lazytime"), "nolazytime": Flag("lazytime", "lazytime"),
    # Not a flag of mount(2): runc's extension for a tmpfs that begins with the content of its mount point.
    "tmpcopyup": Flag("tmpcopyup"),
}  # fmt: skip

PROPAGATION = (
    "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable",
)  # fmt: skip

BIND = {"bind": False, "rbind": True}
"""Whether the word includes the mounts below the source."""

# mount_setattr(2) with AT_RECURSIVE. In the guest a bind mount is one file system, whatever is mounted below its source, so a
# flag holds for everything below anyway.
RECURSIVE = {
    f"r{word}": word
    for word in (
        "ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "nodiratime", "diratime", "relatime", "norelatime",
        "noatime", "atime", "strictatime", "nostrictatime", "nosymfollow", "symfollow",
    )
}  # fmt: skip

COPIED = "tmpcopyup"
"""runc acts on it for a tmpfs alone."""

IMPLIED = {
    "user": ("nosuid", "nodev", "noexec"),
    "users": ("nosuid", "nodev", "noexec"),
    "owner": ("nosuid", "nodev"),
    "group": ("nosuid", "nodev"),
}
"""mount(8): words that let users mount, with the flags that they imply. A later word (`user,exec`) undoes one."""

IGNORED = {
    "defaults": "the defaults hold anyway",
    "silent": "the guest's kernel is quiet anyway",
    "loud": "the guest's kernel is quiet anyway",
    "iversion": "inode versions are the file system's own business",
    "noiversion": "inode versions are the file system's own business",
}

FSTAB = ("auto", "noauto", "nofail", "_netdev", "nouser", "nousers", "noowner", "nogroup")
"""mount(8): words for a machine that mounts its /etc/fstab."""

FSTAB_IGNORED = "for a machine that mounts its fstab(5), not for the mount of a container"

OF_OLD_RUNC = ("acl", "noacl")
"""Words of runc 1.1, for a flag that mount(2) does not pass on."""

OLD_IGNORED = "lists of access rights are the file system's own business"

_OF_DOCKER = "for docker on other systems; on Linux it has no effect"
_OF_VOLUMES = "engines act on it when they make a volume; a runtime copies nothing"
ENGINES = {
    "z": "labels of SELinux: the virtual machine confines the process; its kernel has no SELinux",
    "Z": "labels of SELinux: the virtual machine confines the process; its kernel has no SELinux",
    "cached": _OF_DOCKER,
    "delegated": _OF_DOCKER,
    "consistent": _OF_DOCKER,
    "copy": _OF_VOLUMES,
    "nocopy": _OF_VOLUMES,
    "U": "podman acts on it before the runtime; the owners of the files stay as they are",
}
"""Words of the command lines of docker and podman, which no kernel knows. Below runc, a bind mount may have any word."""

MEANT = {
    "readonly": "ro",
    "read-only": "ro",
    "read_only": "ro",
    "readwrite": "rw",
    "read-write": "rw",
    "recursive": "rbind",
}
"""Words that people write for others."""

LABELS = ("context", "fscontext", "defcontext", "rootcontext")
"""mount(8): labels for SELinux."""

LABELS_IGNORED = "the virtual machine confines the process; its kernel has no SELinux"

REFUSED = {
    "remount": ("cannot change a mount that the container does not have yet", "give the options to the mount itself"),
    "idmap": ("id-mapped mounts are not supported", "change the owner of the source, or mount it without idmap"),
    "ridmap": ("id-mapped mounts are not supported", "change the owner of the source, or mount it without ridmap"),
}

USERSPACE = ("x-", "X-")
"""mount(8): words that begin so are comments, or for programs that read the options. The kernel does not get them."""

USERSPACE_IGNORED = "for programs that read the options (mount(8)), not for a kernel"

# mount(8) itself acts on these words: with them it would make another mount.
USERSPACE_REFUSED = {
    "X-mount.subdir": ("is not supported", "give the directory as the mount's source"),
    **dict.fromkeys(
        ("X-mount.owner", "X-mount.group", "X-mount.mode"),
        ("is not supported", "a tmpfs takes uid=, gid= and mode=; for a bind mount change the source itself"),
    ),
    "X-mount.idmap": REFUSED["idmap"],
}

KNOWN = (*FLAGS, *PROPAGATION, *BIND, *RECURSIVE, *IGNORED)
"""runc's words, which `runx features` lists."""
