# SPDX-License-Identifier: LGPL-2.1-or-later
"""In a virtual machine with real control groups: limits of the whole tree; snapshots by LVM."""

from __future__ import annotations

import json

from tests.support.vm import Vm
from tests.system.test_service import hook

START = "hookctl start --profile {} --user u --client-ip 192.0.2.1 --wait"


def run_of(vm: Vm, name: str, command: str, limits: str) -> dict[str, object]:
    """Run a hook with these limits for a job of its own, and return what is known of the run."""
    hook(vm, name, command, f'match.profile = "{name}"\n[limits]\n{limits}\n')
    job = vm.run(START.format(name), check=False).stdout.strip()
    (run,) = json.loads(vm.read(f"hookctl --json job {job}"))["hooks"]
    assert isinstance(run, dict)
    return run


def test_memory_of_the_whole_tree(vm: Vm) -> None:
    grow = "/usr/bin/python3 -c 'x = bytearray(200 << 20)'"
    run = run_of(vm, "memory", grow, 'memory = "64M"')
    assert (run["result"], run["limit"]) == ("limit", "memory")
    assert run["survivors"] == 0


def test_processes_of_the_whole_tree(vm: Vm) -> None:
    fork = "/bin/sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 30 & done; wait'"
    run = run_of(vm, "processes", fork, "processes = 6")
    assert run["result"] in ("failed", "limit")
    assert run["survivors"] == 0


def test_cpu_weight_reaches_the_control_group(vm: Vm) -> None:
    show = "/bin/sh -c 'cat /sys/fs/cgroup$$(cut -d: -f3 /proc/self/cgroup)/cpu.weight'"
    more = 'match.profile = "weight"\nrun.user = "root"\nlimits.cpu_weight = 7\n'
    hook(vm, "weight", show, more)
    job = vm.read(START.format("weight"))
    (output,) = vm.records("-t weight", f"HOOKD_JOB_ID={job}")
    assert output["MESSAGE"] == "7"


def test_an_escaped_grandchild_is_killed(vm: Vm) -> None:
    escape = "/bin/sh -c 'setsid setsid sleep 12345 & exit 0'"
    run = run_of(vm, "escape", escape, 'kill_grace = "1s"')
    assert (run["result"], run["leftovers"], run["survivors"]) == ("success", 1, 0)
    assert vm.run("pgrep -f '[s]leep 12345'", check=False).status == 1


def test_no_control_group_of_a_run_is_left(vm: Vm) -> None:
    groups = "ls /sys/fs/cgroup/system.slice/hookd-runner.service/ | grep -v '[.]'"
    vm.run("hookctl reload")  # ends the launchers that wait for another run, and their groups
    vm.until(lambda: vm.read(groups) == "runner")


def test_a_hook_can_make_and_mount_an_lvm_snapshot(vm: Vm) -> None:
    vm.run("truncate -s 300M /disk && losetup /dev/loop0 /disk && vgcreate vg /dev/loop0")
    vm.run("lvcreate -y -L 100M -n data vg && mkfs.ext4 -q /dev/vg/data && mkdir /snapshot")
    vm.write(
        "/usr/local/libexec/snapshot",
        "#!/bin/sh -e\nlvcreate -y -s -L 50M -n snap vg/data\nmount /dev/vg/snap /snapshot\n",
        "0755",
    )
    hook(vm, "lvm", "/usr/local/libexec/snapshot", 'match.profile = "lvm"\nrun.user = "root"\n')
    job = vm.run(START.format("lvm"), check=False).stdout.strip()
    assert '"result":"success"' in vm.read(f"hookctl --json job {job}"), vm.read(
        f"hookctl job {job}"
    )
    assert vm.read("findmnt -n -o SOURCE /snapshot") == "/dev/mapper/vg-snap"
