# SPDX-License-Identifier: LGPL-2.1-or-later
"""The packages, built once, and booted systems that have them installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.box import Box
from tests.support.machine import TREE, CannotBoot, debian
from tests.support.vm import PACKAGES, Vm

BASE = ["dbus", "python3", "systemd", "systemd-sysv"]
# Debian 12 has all that hookd needs but this.
MSGSPEC = "--only-binary=:all: --python-version=3.11 --platform=manylinux_2_17_x86_64 msgspec"
TOOLS = ["curl", "procps", "socat"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark this tier; hold no test to the time that suffices for one without a machine."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.system)
            item.add_marker(pytest.mark.timeout(900))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Say what is missing where no machine can be had; in CI that is a failure."""
    try:
        yield
    except CannotBoot as e:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(e))


def build(entry: str) -> list[Path]:
    """Run one of packaging's build entries and return what it made."""
    if os.geteuid() != 0:
        raise CannotBoot("packages are built in a Debian 13, which wants root")
    made = subprocess.run(
        [TREE / "packaging" / entry], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return [TREE / line for line in made.stdout.splitlines()]


@pytest.fixture(scope="session")
def deb() -> Path:
    """Return the Debian package of the last commit."""
    (package,) = build("build-deb")
    return package


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return hookd's wheel, and that of what Debian 12 lacks."""
    directory = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    for job in (["wheel", TREE], ["download", *MSGSPEC.split()]):
        where = "--wheel-dir" if job[0] == "wheel" else "--dest"
        subprocess.run([*pip, *job, "--no-deps", where, directory], check=True)
    return sorted(directory.glob("*.whl"))


def depends(deb: Path) -> list[str]:
    """Return the names of the packages that a Debian package depends on."""
    field = subprocess.check_output(["dpkg-deb", "-f", deb, "Depends"], text=True)
    return re.findall(r"(?:^|, )([a-z0-9.+-]+)", field)


@pytest.fixture(scope="session")
def root(deb: Path) -> Path:
    """Return a Debian 13 that has all that hookd depends on, but not hookd."""
    return debian("trixie", [*BASE, *TOOLS, *depends(deb)])


@pytest.fixture(scope="session")
def vm(deb: Path) -> Iterator[Vm]:
    """Return a machine of its own kernel with hookd: one for all, it takes long to boot."""
    root = debian("trixie", [*BASE, *TOOLS, *PACKAGES, "lvm2", *depends(deb)])
    install = f"dpkg --install /build/{deb.name} && systemctl enable hookd.service hookd.socket"
    with Vm(root, [deb], install) as machine:
        machine.until(lambda: machine.run("hookctl status", check=False).status == 0)
        yield machine


@pytest.fixture(scope="module")
def empty_box(root: Path) -> Iterator[Box]:
    """Return a booted Debian 13 without hookd."""
    with Box(root) as box:
        yield box


@pytest.fixture(scope="module")
def box(empty_box: Box, deb: Path) -> Box:
    """Return a booted Debian 13 in which hookd has been installed as an administrator does."""
    install(empty_box, deb)
    empty_box.run("useradd --system alice && usermod --append --groups hookd alice")
    empty_box.run("useradd --system mallory")
    return empty_box


def install(box: Box, deb: Path) -> None:
    """Copy a Debian package into a booted system and install it there."""
    box.copy(deb, f"/root/{deb.name}")
    box.run(f"apt-get install -y --allow-downgrades /root/{deb.name}", seconds=120)
