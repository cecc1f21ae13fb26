# SPDX-License-Identifier: LGPL-2.1-or-later
"""A virtual machine with a kernel of its own, and so with all control group controllers.

The processor is emulated (qemu's TCG), which needs no privilege and works inside other virtual
machines, but is slow.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.support.machine import TREE, CannotBoot, Machine, Output, need

BOOT_SECONDS = 180
PACKAGES = ["e2fsprogs", "initramfs-tools", "linux-image-cloud-amd64", "udev"]
"""What a Debian for a virtual machine has beside the packages of any other."""

# The file system is copied from within, where the overlay is `/`; a bind mount shows it without
# what is mounted below it.
PREPARE = """
set -e
{install}
mkdir -p /opt/test /etc/systemd/system/multi-user.target.wants
cp /build/vm-agent /opt/test/
cat >/etc/systemd/system/test-agent.service <<END
[Unit]
After=multi-user.target
[Service]
ExecStart=/opt/test/vm-agent
END
ln -s ../test-agent.service /etc/systemd/system/multi-user.target.wants/
echo /dev/vda / ext4 >/etc/fstab
touch /etc/.updated /var/.updated
mount --bind / /mnt
mkfs.ext4 -q -O ^has_journal -E lazy_itable_init=1,nodiscard -d /mnt /build/disk 4G
"""


class Vm(Machine):
    """A booted machine with a Debian made for it (PACKAGES); a context manager.

    `files` lie in /build while the shell command `install` prepares the system, before it boots.
    """

    slowness = 6

    def __init__(self, root: Path, files: Sequence[Path] = (), install: str = "") -> None:
        need("qemu-system-x86_64")
        self._root = root
        self._files = files
        self._install = install

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="hookd-vm-")
        work = Path(self._directory.name)
        self._make_disk(work)
        self._console = work / "console"
        self._process = subprocess.Popen(self._qemu(work), stdin=subprocess.DEVNULL)
        try:
            self._agent = self._connect(work / "agent")
            self._replies = self._agent.makefile("rb")
            self._reply(BOOT_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        if hasattr(self, "_replies"):
            self._replies.close()
            self._agent.close()
        self._directory.cleanup()

    def execute(self, argv: Sequence[str], stdin: str, seconds: float) -> Output:
        """Have the agent in the machine run a program."""
        request = {"argv": list(argv), "stdin": stdin}
        self._agent.sendall(json.dumps(request).encode() + b"\n")
        status, stdout, stderr = json.loads(self._reply(seconds))
        return Output(status, stdout, stderr)

    def _make_disk(self, work: Path) -> None:
        for file in [*self._files, Path(__file__).with_name("vm-agent")]:
            shutil.copy2(file, work)
        script = PREPARE.format(install=self._install)
        made = subprocess.run(
            [TREE / "packaging/in-root", self._root, work, "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if made.returncode:
            raise CannotBoot(f"no disk for the machine:\n{made.stdout}{made.stderr}")

    def _qemu(self, work: Path) -> list[str]:
        (kernel,) = self._root.glob("boot/vmlinuz-*")
        (ramdisk,) = self._root.glob("boot/initrd.img-*")
        return [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
            "-no-reboot", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024",
            "-kernel", str(kernel), "-initrd", str(ramdisk),
            "-append", "root=/dev/vda rw console=ttyS0 panic=-1 mitigations=off nokaslr quiet",
            "-drive", f"file={work / 'disk'},format=raw,if=virtio,cache=unsafe",
            "-serial", f"file:{self._console}",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=agent,path={work / 'agent'},server=on,wait=off",
            "-device", "virtserialport,chardev=agent,name=agent",
        ]  # fmt: skip

    def _connect(self, path: Path) -> socket.socket:
        agent = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + 10
        while agent.connect_ex(str(path)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise CannotBoot("qemu did not start")
            time.sleep(0.02)
        return agent

    def _reply(self, seconds: float) -> bytes:
        self._agent.settimeout(seconds)
        try:
            line = self._replies.readline()
        except TimeoutError:
            line = b""
        if not line.endswith(b"\n"):
            console = self._console.read_text(errors="replace")[-3000:]
            raise AssertionError(f"no answer from the machine within {seconds:g} s:\n{console}")
        return line
