"""Write a small OCI image for tests, without any container tool.

The image is an OCI layout (image-spec, image-layout.md) in one tar file, for `ctr image import` and `podman load`. It also has
the manifest that `docker load` reads. The same input gives the same bytes.
"""

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NAME = "localhost/runx-test:latest"
"""No registry has this image: an engine that tries to pull it fails."""

_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n",
    "etc/group": "root:x:0:\nstaff:x:50:user\nuser:x:1000:\n",
    "etc/motd": "runx test image\n",
}
_DIRECTORIES = {  # name: mode, owner
    "bin": (0o755, 0), "dev": (0o755, 0), "etc": (0o755, 0), "home": (0o755, 0), "home/user": (0o755, 1000),
    "proc": (0o755, 0), "root": (0o700, 0), "sys": (0o755, 0), "tmp": (0o1777, 0), "usr": (0o755, 0),
    "usr/bin": (0o755, 0), "var": (0o755, 0), "var/tmp": (0o1777, 0),
}  # fmt: skip


def write(target: Path, busybox: Path, name: str = NAME, user: str = "", more: Sequence[dict[str, bytes]] = ()) -> None:
    """Write the image with this busybox, a static executable of this machine's architecture.

    `user` is the user of its process (image-spec, config.md, "User"; default: root). `more` are layers on top of the first one:
    the content of their files by name.
    """
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    target.write_bytes(image(busybox.read_bytes(), applets, name, user, more))


def image(
    busybox: bytes, applets: Sequence[str], name: str = NAME, user: str = "", more: Sequence[dict[str, bytes]] = ()
) -> bytes:
    """Bytes of the image's tar file, for a busybox with these applets."""
    layers = [_layer(busybox, applets), *map(_layer_of, more)]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin:/usr/bin"], "Cmd": ["/bin/sh"], "WorkingDir": "/", "User": user},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in layers]},
        "history": [{"created_by": "runx's tests"} for _ in layers],  # buildah compares it with the layers
    }
    config_blob = _json(config)
    manifest_blob = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config_blob),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer) for layer in layers],
        }
    )
    entry = _descriptor("application/vnd.oci.image.manifest.v1+json", manifest_blob)
    # containerd reads the first annotation, podman the second, which is the image-spec's.
    entry["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", _json({"schemaVersion": 2, "manifests": [entry]}))
        dockers = {"Config": _path(config_blob), "RepoTags": [name], "Layers": [_path(layer) for layer in layers]}
        _add(archive, "manifest.json", _json([dockers]))
        for blob in (config_blob, manifest_blob, *layers):
            _add(archive, _path(blob), blob)
    return buffer.getvalue()


def _path(blob: bytes) -> str:
    return f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}"


def _layer(busybox: bytes, applets: Sequence[str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, (mode, owner) in sorted(_DIRECTORIES.items()):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.uid, member.gid = tarfile.DIRTYPE, mode, owner, owner
            archive.addfile(member)
        _add(archive, "bin/busybox", busybox, 0o755)
        for applet in sorted(set(applets) - {"busybox"}):
            member = tarfile.TarInfo(f"bin/{applet}")
            member.type, member.linkname, member.mode = tarfile.SYMTYPE, "busybox", 0o777
            archive.addfile(member)
        for name, text in sorted(_FILES.items()):
            _add(archive, name, text.encode())
    return buffer.getvalue()


def _layer_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            _add(archive, name, content)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), mode
    archive.addfile(member, io.BytesIO(data))


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}
