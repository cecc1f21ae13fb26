# SPDX-License-Identifier: LGPL-2.1-or-later
"""The RPM package in a booted Debian that has rpm: a real Fedora is not to be had here."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.box import Box
from tests.support.machine import TREE, debian
from tests.system.conftest import BASE, TOOLS, build, depends


@pytest.fixture(scope="module")
def rpm() -> Path:
    (package,) = (path for path in build("build-rpm") if not path.name.endswith(".src.rpm"))
    return package


@pytest.fixture(scope="module")
def rpm_box(rpm: Path, deb: Path) -> Iterator[Box]:
    with Box(debian("trixie", [*BASE, *TOOLS, "rpm", *depends(deb)])) as box:
        box.copy(rpm, "/root/hookd.rpm")
        yield box


def test_rpmlint_has_nothing_to_say(rpm: Path) -> None:
    settings = shutil.copy(TREE / "packaging/rpm/rpmlint.toml", rpm.parent)
    root = debian("trixie", ["lintian", "rpm", "rpmlint"])
    check = ["sh", "-c", "rpmlint -c rpmlint.toml *.rpm"]
    output = subprocess.run(
        [TREE / "packaging/in-root", root, rpm.parent, *check],
        capture_output=True,
        text=True,
    )
    Path(settings).unlink()
    assert "0 errors, 0 warnings" in output.stdout, output.stdout + output.stderr


def test_installed_driven_upgraded_and_erased(rpm_box: Box) -> None:
    # Debian's rpm does not know what dpkg has installed.
    rpm_box.run("rpm --install --nodeps /root/hookd.rpm")
    assert rpm_box.read("rpm --verify --nodeps hookd") == ""
    rpm_box.run("getent passwd hookd hookd-hooks")
    assert rpm_box.read("stat -c '%U:%G %a' ~hookd-hooks") == "hookd-hooks:hookd-hooks 700"
    rpm_box.run("systemctl is-enabled hookd.socket hookd-runner.socket hookd.service")
    rpm_box.write("/etc/hookd/hooks.d/greet.toml", 'command = "/bin/echo hello"\n')
    rpm_box.run("systemctl start hookd.service")
    start = "hookctl start --profile p --user u --client-ip 192.0.2.1 --wait"
    first = rpm_box.read(start)
    assert [r["MESSAGE"] for r in rpm_box.records("-t greet", f"HOOKD_JOB_ID={first}")] == [
        "hello"
    ]
    server = rpm_box.read("systemctl show -P MainPID hookd.service")
    runner = rpm_box.read("systemctl show -P MainPID hookd-runner.service")
    rpm_box.run("rpm --upgrade --force --nodeps /root/hookd.rpm")
    assert int(rpm_box.read(start)) > int(first)
    assert rpm_box.read("systemctl show -P MainPID hookd.service") != server
    assert rpm_box.read("systemctl show -P MainPID hookd-runner.service") == runner
    rpm_box.run("rpm --erase hookd")
    assert rpm_box.read("systemctl list-units --state=active --plain --no-legend 'hookd*'") == ""
    rpm_box.run("test -s /var/lib/hookd/hookd.db")
