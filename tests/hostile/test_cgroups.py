# SPDX-License-Identifier: LGPL-2.1-or-later
"""The gallery once more where the kernel holds the limits: cgroup v2, delegated by systemd.

In a virtual machine, since a container has not all controllers. What differs is the means, not
what is promised: the same tests run, from the outside in a unit with `Delegate=yes`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machine import TREE, CannotBoot, debian
from tests.support.vm import PACKAGES, Vm

pytestmark = [pytest.mark.hostile, pytest.mark.timeout(900)]

NEEDS = ["dbus", "procps", "python3", "python3-psutil", "python3-pytest"]
NEEDS += ["python3-sdnotify", "python3-systemd", "systemd", "systemd-sysv"]
# Debian 12 (Linux 6.1) has all but msgspec, which is of a wheel there.
SUITES = {"trixie": [*NEEDS, "python3-msgspec"], "bookworm": NEEDS}
MSGSPEC = "--only-binary=:all: --python-version=3.11 --platform=manylinux_2_17_x86_64 msgspec"
CASES = {  # of the gallery; Debian 13 (Linux 6.12) measures the peak of memory in another way
    "bookworm": "MB or memory or bomb or setsid or every or kills or zombies or burns or leader"
    " or hops",
    "trixie": "MB or memory or kills",
}


@pytest.fixture(scope="module", params=SUITES)
def vm(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Vm, str]]:
    """Return a machine that has this tree in /opt/hookd, and its cases of the gallery."""
    directory = tmp_path_factory.mktemp("tree")
    archive = directory / "hookd.tar"
    subprocess.run(
        ["tar", "-C", TREE, "-cf", archive, "hookd", "tests", "pyproject.toml"], check=True
    )
    files = [archive]
    install = "mkdir /opt/hookd && tar -C /opt/hookd --no-same-owner -xf /build/hookd.tar"
    try:
        if os.geteuid() != 0:
            raise CannotBoot("a machine's disk is made by root")
        if "python3-msgspec" not in SUITES[request.param]:
            files.append(msgspec(directory))
            install += f" && python3 -m zipfile -e /build/{files[-1].name} /opt/hookd"
        with Vm(debian(request.param, [*SUITES[request.param], *PACKAGES]), files, install) as vm:
            yield vm, CASES[request.param]
    except CannotBoot as e:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(e))


def msgspec(directory: Path) -> Path:
    """Fetch the wheel of what Debian 12 lacks."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
    subprocess.run([*pip, *MSGSPEC.split(), "--no-deps", "--dest", directory], check=True)
    (wheel,) = directory.glob("*.whl")
    return wheel


def test_the_gallery_in_control_groups(vm: tuple[Vm, str]) -> None:
    machine, cases = vm
    unit = "systemd-run --quiet --pipe --wait --collect -p Delegate=yes -p TasksMax=infinity"
    unit += f" -p WorkingDirectory=/opt/hookd -E SLOWNESS={machine.slowness * 2}"
    tests = "tests/hostile/in_control_groups.py tests/hostile/test_gallery.py"
    tests += " tests/runner/test_tree.py"
    tests += f" -k 'in_control or test_tree or switched and ({cases})'"
    output = machine.run(
        f"{unit} python3 -m pytest -q -p no:cacheprovider -p no:timeout -o addopts= {tests}",
        seconds=120,
        check=False,
    )
    print(output.stdout)
    assert output.status == 0, output.stdout[-5000:] + output.stderr[-2000:]
    each = 1 + cases.count(" or ")  # of these words selects one test of the gallery or more
    assert int(re.findall(r"(\d+) passed", output.stdout)[0]) >= 19 + each
