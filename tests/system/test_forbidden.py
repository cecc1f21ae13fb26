# SPDX-License-Identifier: LGPL-2.1-or-later
"""The table of hookd(8): what the runner's unit forbids, as programs say it, and what allows it.

In a virtual machine, because hooks here set the clock, load modules and the like.
"""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.machine import TREE, debian
from tests.support.vm import PACKAGES, Vm
from tests.system.conftest import BASE, TOOLS, depends

PAGE = TREE / "docs/man/hookd.8.scd"
UNIT = TREE / "systemd/hookd-runner.service"
DROP_IN = "/etc/systemd/system/hookd-runner.service.d/allow.conf"
START = "hookctl start --profile {} --user u --client-ip 192.0.2.1 --wait"
PROGRAMS = [
    *["apparmor", "auditd", "bubblewrap", "cryptsetup-bin", "etherwake", "hdparm", "iproute2"],
    *["iptables", "kmod", "nftables", "strace", "tcpdump", "util-linux-extra"],
]

# For the first word of each row: what a hook runs, which ends with 0 where it is allowed.
COMMANDS = {
    "nft": "nft list ruleset",
    "iptables": "iptables -L -n",
    "ip": "ip link set lo up",
    "sysctl": "sysctl -w net.ipv4.ip_forward=0",
    "etherwake": "etherwake -i lo 00:11:22:33:44:55",
    "tcpdump": "tcpdump -i lo -L",
    "unshare": "unshare --net true",
    "nsenter": "nsenter --target 1 --mount true",
    "bwrap": "bwrap --bind / / true",
    "chrt": "chrt -f 1 true",
    "dmesg": "dmesg >/dev/null",
    "date": "date -s @$(date +%s)",
    "hwclock": "hwclock -w",
    "modprobe": "modprobe dummy && modprobe -r dummy",
    "swapon": "swapon /swap",
    "strace": "strace -o /dev/null true",
    "setarch": "setarch linux32 true",
    "32-bit": "/usr/local/bin/32-bit || exit 1",
    "ctrlaltdel": "ctrlaltdel hard",
    "auditctl": "auditctl -s",
    "apparmor_parser": "apparmor_parser --replace --skip-cache /etc/apparmor.d/lsb_release",
}

# What hooks of a backup server do with its disks, which the unit must not forbid.
DISKS = {
    "encrypted": "printf p | cryptsetup open --key-file - /luks backup && "
    "mkfs.ext4 -q /dev/mapper/backup && mount /dev/mapper/backup /mnt && umount /mnt && "
    "cryptsetup close backup",
    "standby": "hdparm -y /dev/sda",
    "identity": "hdparm -I /dev/sda | grep -q Capabilities",
}


class Row(NamedTuple):
    """A row of the table."""

    program: str
    message: str
    lines: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the first word, by which it is known."""
        return re.split("[ ,]", self.program)[0]


def sandbox_section() -> str:
    """Return the page's section, without the escapes of scdoc."""
    section = PAGE.read_text().partition("# SANDBOX\n")[2].partition("\n# ")[0]
    return section.replace("\\_", "_")


def table() -> list[Row]:
    """Return the rows: a program, below it its message, below that the lines that allow it."""
    (block,) = re.findall(r"(?s)```\n(.*?)```\n", sandbox_section())
    rows = []
    for row in block.strip("\n").split("\n\n"):
        match = re.fullmatch(r"(\S.*)\n {2}(\S.*)((?:\n {4}\w+=\S+)+)", row)
        assert match, f"not a program, a message and lines:\n{row}"
        rows.append(Row(match[1], match[2], tuple(match[3].split())))
    return rows


def program_of_32_bit() -> bytes:
    """Return an i386 program that ends with 0, an ELF file of one segment: exit(2) by int 0x80."""
    code = bytes.fromhex("b801000000 bb00000000 cd80")
    base, headers = 0x08048000, 52 + 32
    size = headers + len(code)
    ident = b"\x7fELF\1\1\1".ljust(16, b"\0")
    file = struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, base + headers, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    segment = struct.pack("<IIIIIIII", 1, 0, base, base, size, size, 5, 4096)
    return ident + file + segment + code


class WithDisk(Vm):
    """A virtual machine with a SCSI disk, /dev/sda."""

    def _make_disk(self, work: Path) -> None:
        super()._make_disk(work)
        (work / "scsi").write_bytes(bytes(8 << 20))

    def _qemu(self, work: Path) -> list[str]:
        disk = f"if=none,id=scsi,format=raw,file={work / 'scsi'}"
        controller = ["-device", "virtio-scsi-pci", "-drive", disk]
        return [*super()._qemu(work), *controller, "-device", "scsi-hd,drive=scsi"]


@pytest.fixture(scope="module")
def machine(deb: Path) -> Iterator[Vm]:
    """Return a machine with hookd, the programs of the table, and a hook of root for each."""
    root = debian("trixie", [*BASE, *TOOLS, *PACKAGES, *PROGRAMS, *depends(deb)])
    install = f"dpkg --install /build/{deb.name} && systemctl enable hookd.service hookd.socket"
    with WithDisk(root, [deb], install) as vm:
        vm.until(lambda: vm.run("hookctl status", check=False).status == 0)
        program = base64.b64encode(program_of_32_bit()).decode()
        vm.run("base64 -d >/usr/local/bin/32-bit", stdin=program)
        vm.run("chmod +x /usr/local/bin/32-bit && fallocate -l 1M /swap && mkswap /swap")
        vm.run("chmod 600 /swap && truncate -s 40M /luks")
        cheap = "--type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000"
        vm.run(f"cryptsetup luksFormat -q {cheap} /luks -", stdin="p")
        for name, command in {**COMMANDS, **DISKS}.items():
            vm.write(f"/root/{name}", f"#!/bin/sh\n{command}\n", "0755")
            text = f'command = "/root/{name}"\nrun.user = "root"\nmatch.profile = "{name}"\n'
            vm.write(f"/etc/hookd/hooks.d/{name}.toml", text)
        vm.run("systemctl reload hookd.service")
        yield vm


def ran(vm: Vm, name: str) -> tuple[str, str]:
    """Run the hook of this name, and return the run's result and what it printed."""
    job = vm.run(START.format(name), check=False).stdout.strip()
    (run,) = json.loads(vm.read(f"hookctl --json job {job}"))["hooks"]
    output = vm.records(f"-t {name}", f"HOOKD_JOB_ID={job}", "_TRANSPORT=journal")
    return run["result"], "\n".join(str(record["MESSAGE"]) for record in output)


def says(output: str, message: str) -> bool:
    """Tell whether a line of the output has the message, in which `...` stands for anything."""
    pattern = ".*".join(map(re.escape, message.split("...")))
    return re.search(pattern, output) is not None


def allow(vm: Vm, lines: tuple[str, ...]) -> None:
    """Restart the runner with a drop-in of these lines, or with none."""
    vm.run(f"rm -f {DROP_IN}")
    if lines:
        vm.write(DROP_IN, "\n".join(["[Service]", *lines, ""]))
    vm.run("systemctl daemon-reload && systemctl restart hookd-runner.service")


def test_the_table_has_all_that_the_unit_forbids() -> None:
    assert [row.name for row in table()] == list(COMMANDS)
    section = sandbox_section()
    forbids = r"(?m)^(?:CapabilityBoundingSet|SystemCallFilter)=~(.*)$"
    denied = " ".join(re.findall(forbids, UNIT.read_text())).split()
    others = re.findall(
        r"(?m)^(?:KeyringMode|Lock\w+|Restrict\w+|SystemCallA\w+)=", UNIT.read_text()
    )
    assert len(denied) > 20
    assert len(others) > 4
    assert [word for word in denied + others if not re.search(rf"{word}(?!_)", section)] == []


def test_each_message_is_seen_under_the_packaged_unit(machine: Vm) -> None:
    allow(machine, ())
    seen = {row: ran(machine, row.name) for row in table()}
    assert {
        row.name: (result, output)
        for row, (result, output) in seen.items()
        if result != "failed" or not says(output, row.message)
    } == {}


def test_the_lines_of_each_row_allow_it_and_no_fewer_do(machine: Vm) -> None:
    wrong = {}
    for lines, rows in groupby(sorted(table(), key=lambda row: row.lines), lambda row: row.lines):
        names = {row.name: row for row in rows}
        for given in [lines, *([(line,) for line in lines] if len(lines) > 1 else [])]:
            allow(machine, given)
            for name, row in names.items():
                result, output = ran(machine, name)
                allowed = result == "success" and not says(output, row.message)
                if allowed != (given == lines):
                    wrong[name, given] = (result, output)
    allow(machine, ())
    assert wrong == {}


@pytest.mark.parametrize("case", DISKS)
def test_a_hook_can_use_the_disks_of_a_backup_server(machine: Vm, case: str) -> None:
    allow(machine, ())
    assert ran(machine, case)[0] == "success"


def test_a_program_outside_the_unit_is_not_restricted(machine: Vm) -> None:
    command = "systemd-run --wait --pipe --quiet dmesg >/dev/null"
    machine.write("/root/dmesg", f"#!/bin/sh\n{command}\n", "0755")
    assert ran(machine, "dmesg")[0] == "success"
