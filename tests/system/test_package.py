# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Debian package: as it is built, installed, upgraded, removed and purged."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.box import Box
from tests.support.machine import TREE, debian
from tests.system.conftest import install

UNITS = ["hookd.service", "hookd.socket", "hookd-runner.service", "hookd-runner.socket"]


@pytest.fixture
def fresh(root: Path) -> Iterator[Box]:
    with Box(root) as box:
        yield box


def test_an_installed_package_runs(box: Box) -> None:
    assert box.read("systemctl is-active hookd.service hookd.socket hookd-runner.socket") == (
        "active\nactive\nactive"
    )
    assert box.read("systemctl is-enabled hookd.service hookd.socket hookd-runner.socket") == (
        "enabled\nenabled\nenabled"
    )
    assert box.read("systemctl --failed --plain --no-legend") == ""
    assert box.read("stat -c '%U:%G %a' /run/hookd/hookd.sock") == "hookd:hookd 660"
    assert box.read("stat -c '%U %a' /run/hookd/runner.sock") == "hookd 600"
    assert box.read("stat -c '%U %a' /var/lib/hookd") == "hookd 700"
    assert box.read("stat -c '%U:%G %a' ~hookd-hooks") == "hookd-hooks:hookd-hooks 700"
    assert box.read("hookd --version").split()[-1] == box.read(
        "dpkg-query -f '${Version}' -W hookd"
    )


def test_units_verify(box: Box) -> None:
    for unit in UNITS:
        output = box.run(f"systemd-analyze verify --man=no {unit}")
        assert output.stdout + output.stderr == ""


def test_drop_ins_verify(box: Box) -> None:
    for drop_in in ("runner-wide", "runner-tight"):
        box.run("mkdir -p /etc/systemd/system/hookd-runner.service.d")
        path = f"/etc/systemd/system/hookd-runner.service.d/{drop_in}.conf"
        box.run(f"cp /usr/share/doc/hookd/examples/drop-ins/{drop_in}.conf {path}")
        output = box.run("systemd-analyze verify --man=no hookd-runner.service")
        box.run(f"rm {path}")
        assert output.stdout + output.stderr == ""


def test_a_removed_package_keeps_its_state_and_a_purged_one_nothing(fresh: Box, deb: Path) -> None:
    before = fresh.read("find /etc /usr /var/lib /run -xdev | sort")
    install(fresh, deb)
    fresh.write("/etc/hookd/hooks.d/mine.toml", 'command = "/bin/true"\n')
    fresh.run("echo '# a word of mine' >>/etc/hookd/hookd.toml")
    fresh.run("dpkg --remove hookd")
    fresh.run("test -s /var/lib/hookd/hookd.db && grep -q mine /etc/hookd/hookd.toml")
    fresh.run("test -e /etc/hookd/hooks.d/mine.toml")
    assert fresh.read("systemctl list-units --state=active --plain --no-legend 'hookd*'") == ""
    assert fresh.run("pgrep hookd", check=False).stdout == ""
    fresh.run("dpkg --purge hookd")
    left = set(fresh.read("find /etc /usr /var/lib /run -xdev | sort").splitlines())
    new = {path for path in left - set(before.splitlines()) if "hookd" in path}
    assert new == set()


def test_an_upgrade_keeps_what_the_administrator_changed(box: Box, deb: Path) -> None:
    box.run("echo '# a word of mine' >>/etc/hookd/hookd.toml")
    install(box, deb)
    assert box.read("tail -n 1 /etc/hookd/hookd.toml") == "# a word of mine"


def test_the_same_commit_gives_the_same_bytes(deb: Path) -> None:
    first = deb.read_bytes()
    subprocess.run([TREE / "packaging/build-deb"], check=True, capture_output=True)
    assert deb.read_bytes() == first


def test_lintian_has_nothing_to_say(deb: Path) -> None:
    root = debian("trixie", ["lintian", "rpm", "rpmlint"])
    check = "lintian --allow-root --display-info --pedantic --tag-display-limit 0 *.changes"
    output = subprocess.run(
        [TREE / "packaging/in-root", root, deb.parent, "sh", "-c", check],
        capture_output=True,
        text=True,
    )
    assert (output.returncode, output.stdout + output.stderr) == (0, "")


def test_what_debian_would_test(box: Box) -> None:
    box.write("/root/job", (TREE / "packaging/debian/tests/job").read_text(), "0755")
    box.run("/root/job")
