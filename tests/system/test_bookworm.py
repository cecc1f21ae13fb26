# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookd from a wheel in a booted Debian 12: an older systemd, without notify-reload."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.box import Box
from tests.support.machine import TREE, debian
from tests.system.conftest import BASE, TOOLS
from tests.system.test_service import hook, results, start

# Debian 12 has all that hookd needs but msgspec, which is in the wheels.
PACKAGES = ["click", "pip", "prometheus-client", "psutil", "rich", "sdnotify", "systemd"]


def set_up(box: Box, wheels: list[Path]) -> None:
    """Install hookd from its wheel in a Debian 12 that has PACKAGES, and start it."""
    for file in wheels:
        box.copy(file, f"/root/{file.name}")
    box.run("pip install --no-index --no-deps --break-system-packages /root/*.whl")
    box.run("ln -s /usr/local/bin/hook* /usr/bin/")
    for unit in (TREE / "systemd").glob("hookd*"):
        box.write(f"/etc/systemd/system/{unit.name}", unit.read_text())
    for directory in ("sysusers.d", "tmpfiles.d"):
        text = (TREE / "systemd" / directory / "hookd.conf").read_text()
        box.write(f"/etc/{directory}/hookd.conf", text)
    # The packages bring it. Were it made by systemd, it would be the user hookd's.
    box.run("mkdir -p /etc/hookd/hooks.d")
    box.run("systemd-sysusers && systemd-tmpfiles --create hookd.conf")
    box.run("systemctl daemon-reload && systemctl start hookd.service")


@pytest.fixture(scope="module")
def bookworm(wheels: list[Path]) -> Iterator[Box]:
    packages = [f"python3-{name}" for name in PACKAGES]
    with Box(debian("bookworm", [*BASE, *TOOLS, *packages])) as box:
        set_up(box, wheels)
        yield box


def test_units_verify_but_for_what_is_newer(bookworm: Box) -> None:
    for service in ("hookd.service", "hookd-runner.service"):
        output = bookworm.run(f"systemd-analyze verify --man=no {service}", check=False)
        complaints = {
            line.partition(": ")[2]
            for line in output.stderr.splitlines()
            if "/hookd" in line.partition(": ")[0]
        }
        assert complaints <= {
            "Failed to parse service type, ignoring: notify-reload",
            "Unknown key 'ReloadSignal' in section [Service], ignoring.",
        }


def test_a_job_and_a_reload(bookworm: Box) -> None:
    hook(bookworm, "greet", "/bin/echo hello")
    assert results(bookworm, start(bookworm, "p", "--wait")) == {"greet": "success"}
    bookworm.write("/etc/hookd/hooks.d/bad.toml", "comand = 3\n")
    assert bookworm.run("systemctl reload hookd.service", check=False).status != 0
    bookworm.run("rm /etc/hookd/hooks.d/bad.toml && systemctl reload hookd.service")


def test_a_run_does_not_notice_a_restart_of_the_server(bookworm: Box) -> None:
    waits = "/bin/sh -c 'until [ -e /run/go ]; do sleep 0.1; done; exit 7'"
    hook(bookworm, "waits", waits, 'match.profile = "w"\n')
    job = start(bookworm, "w")
    bookworm.run("systemctl restart hookd.service && touch /run/go")
    bookworm.until(lambda: "waits" in results(bookworm, job))
    runs = json.loads(bookworm.read(f"hookctl --json job {job}"))["hooks"]
    assert {run["hook"]: run["exit_status"] for run in runs} == {"greet": 0, "waits": 7}
