"""A kernel that the container brings in its root filesystem."""

import subprocess

from runxtools.lab.lab import Lab
from runxtools.testing.containers import IMAGE, LIMIT_S, RUNX, new_id

_ROOT = """\
set -e
mkdir {top}/root {top}/image
ctr image mount {image} {top}/image
cp -a {top}/image/. {top}/root/
ctr image unmount {top}/image
mkdir -p {top}/root/boot
cp /usr/local/share/runx/x86_64/kernel {top}/root/boot/vmlinuz
ln -s /boot/vmlinuz {top}/root/inside
ln -s /usr/local/share/runx/x86_64/kernel {top}/root/outside
"""


def test_it_boots_from_a_copy(lab: Lab, scratch: str) -> None:
    lab.run(["sh", "-c", _ROOT.format(top=scratch, image=IMAGE)], check=True, timeout=LIMIT_S)

    def ctr(kernel: str, container: str) -> list[str]:
        options = ["--rm", "--runc-binary", RUNX, "--env", f"RUNX_KERNEL={kernel}", "--rootfs"]
        return ["ctr", "run", *options, f"{scratch}/root", container, "/bin/sh", "-c", "echo ready; cat; exit 7"]

    container = new_id()
    state = f"/run/containerd/runc/default/{container}"
    process = lab.popen(ctr("/inside", container), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    assert f'kernel = "{state}/kernel"'.encode() in lab.run(["cat", f"{state}/domain.cfg"]).stdout
    assert lab.run(["test", "-e", f"{state}/kernel"]).returncode == 1, "it takes memory of dom0 only until the domain has it"
    output, errors = process.communicate(b"bye\n", timeout=LIMIT_S)
    assert (process.returncode, output) == (7, b"bye\n"), errors

    # It unpacks to 1 GiB, in dom0's memory. The limit is half of that.
    lab.run(["sh", "-euc", f"head -c 1073741824 /dev/zero | gzip -1 > {scratch}/root/bomb"], check=True, timeout=LIMIT_S)
    result = lab.run(ctr("/bomb", new_id()), timeout=LIMIT_S)
    assert result.returncode == 1
    assert b"is the kernel for Xen, and of less than half a GiB when it is unpacked?" in result.stderr

    result = lab.run(ctr("/outside", new_id()), timeout=LIMIT_S)
    assert result.returncode == 1
    assert b'"/outside" does not exist in the root filesystem' in result.stderr
