# SPDX-License-Identifier: LGPL-2.1-or-later
"""Starts, stops, crashes and upgrades of the services, while hooks run and clients come."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support.box import Box
from tests.system.conftest import install
from tests.system.test_service import LOAD, hook, results, start

WAITING = "/bin/sh -c 'until [ -e /run/go-$PROFILE ]; do sleep 0.1; done; exit 7'"


@pytest.fixture(scope="module")
def waiting(box: Box) -> Box:
    """A box with a hook that runs until the file /run/go-PROFILE is there, and fails with 7."""
    hook(box, "waits", WAITING, '[match]\nprofile = "w-*"\n[run]\noverlap = "serial"\n')
    hook(box, "short", "/bin/true", '[match]\nprofile = "load"\n')
    return box


def run_of(box: Box, job: int) -> dict[str, object]:
    """Return the one run of a job."""
    (run,) = json.loads(box.read(f"hookctl --json job {job}"))["hooks"]
    assert isinstance(run, dict)
    return run


def main_pid(box: Box, unit: str) -> str:
    """Return the PID of a service, "0" where it does not run."""
    return box.read(f"systemctl show -P MainPID {unit}")


def becomes(box: Box, unit: str, state: str) -> None:
    """Wait until a unit is in this state."""
    box.until(lambda: box.read(f"systemctl is-active {unit}", check=False) == state)


def started(box: Box, profile: str) -> int:
    """Start a job and wait until its hook runs."""
    job = start(box, profile)
    box.until(lambda: run_of(box, job)["state"] == "running")
    return job


def ended(box: Box, job: int) -> dict[str, object]:
    """Wait until a job's run has ended, and return it."""
    box.until(lambda: run_of(box, job)["state"] == "ended")
    return run_of(box, job)


def finished(box: Box, job: int, profile: str) -> dict[str, object]:
    """Let a waiting hook go, and return its run at its end."""
    box.run(f"touch /run/go-{profile}")
    return ended(box, job)


@pytest.mark.parametrize(
    "blow",
    [
        "systemctl restart hookd.service",
        "systemctl kill --signal=KILL hookd.service",
        "systemctl stop hookd.service && systemctl start hookd.service",
    ],
    ids=["restart", "kill", "stop"],
)
def test_a_run_does_not_notice_what_happens_to_the_server(waiting: Box, blow: str) -> None:
    profile = f"w-{blow.split()[1]}"
    job = started(waiting, profile)
    waiting.run(blow)
    waiting.until(lambda: waiting.run("hookctl status", check=False).status == 0)
    run = finished(waiting, job, profile)
    assert (run["result"], run["exit_status"], run["attempt"]) == ("failed", 7, 1)


def test_a_hang_is_caught_and_the_queue_is_intact(waiting: Box) -> None:
    drop_in = "/run/systemd/system/hookd.service.d/watchdog.conf"
    waiting.write(drop_in, "[Service]\nWatchdogSec=2s\n")
    waiting.run("systemctl daemon-reload && systemctl restart hookd.service")
    jobs = [started(waiting, "w-hang"), start(waiting, "w-hang"), start(waiting, "w-hang")]
    before = waiting.read("systemctl show -P MainPID hookd.service")
    waiting.run(f"kill -STOP {before}")
    waiting.until(
        lambda: waiting.read("systemctl show -P MainPID hookd.service") not in (before, "0")
    )
    assert "watchdog" in waiting.read("journalctl -u hookd.service -g 'watchdog' -n 5").lower()
    assert [finished(waiting, job, "w-hang")["exit_status"] for job in jobs] == [7, 7, 7]
    waiting.run(f"rm {drop_in} && systemctl daemon-reload && systemctl restart hookd.service")


def test_a_killed_runner_leaves_no_process_and_its_run_is_interrupted(waiting: Box) -> None:
    job = started(waiting, "w-runner")
    waiting.run("systemctl kill --kill-whom=main --signal=KILL hookd-runner.service")
    assert ended(waiting, job)["result"] == "interrupted"
    waiting.until(lambda: waiting.run("pgrep -f '[g]o-w-runner'", check=False).status == 1)
    second = started(waiting, "w-after")
    assert finished(waiting, second, "w-after")["exit_status"] == 7


RUNNER_FIRST = "hookd-runner.service hookd-runner.socket hookd.service hookd.socket"
SERVER_FIRST = "hookd.socket hookd.service hookd-runner.socket hookd-runner.service"


@pytest.mark.parametrize("units", [RUNNER_FIRST, SERVER_FIRST], ids=["runner", "server"])
def test_a_stop_in_any_order_lets_a_hook_finish_and_keeps_its_result(
    waiting: Box, units: str
) -> None:
    profile = f"w-{units.partition('.')[0]}"
    job = started(waiting, profile)
    waiting.run(f"systemd-run --quiet systemctl stop {units}")
    becomes(waiting, "hookd-runner.service", "deactivating")
    waiting.run(f"touch /run/go-{profile}")
    becomes(waiting, "hookd-runner.service", "inactive")
    becomes(waiting, "hookd.service", "inactive")
    waiting.run("systemctl start hookd.socket hookd-runner.socket hookd.service")
    assert ended(waiting, job)["exit_status"] == 7


def test_a_stop_has_the_time_that_the_configuration_says(waiting: Box) -> None:
    drop_in = "/run/systemd/system/hookd-runner.service.d/stop.conf"
    waiting.write(drop_in, "[Service]\nTimeoutStopSec=1s\n")
    waiting.run("systemctl daemon-reload")
    slow = "/bin/sh -c 'sleep 4; exit 9'"
    hook(waiting, "slow", slow, 'match.profile = "slow"\n')
    job = started(waiting, "slow")
    waiting.run("systemctl stop hookd-runner.service")
    assert ended(waiting, job)["exit_status"] == 9
    waiting.run(f"rm {drop_in} && systemctl daemon-reload")


def test_a_package_upgrade_under_load(waiting: Box, deb: Path) -> None:
    job = started(waiting, "w-upgrade")
    runner = main_pid(waiting, "hookd-runner.service")
    server = main_pid(waiting, "hookd.service")
    waiting.run("cat >/root/load.py", stdin=LOAD)
    load = "python3 /root/load.py 8 20 load /run/stop-load >/root/jobs 2>/root/errors"
    waiting.run(f"systemd-run --quiet --unit=load sh -c '{load}'")
    waiting.until(lambda: int(waiting.read("hookctl --json jobs --limit 1 | wc -c")) > 20)
    install(waiting, _newer(waiting, deb))
    waiting.run("systemctl restart hookd.service")
    waiting.run("touch /run/stop-load")
    waiting.until(lambda: waiting.read("systemctl is-active load", check=False) != "active")
    assert waiting.read("cat /root/errors") == ""
    jobs = json.loads(waiting.read("cat /root/jobs"))
    assert len(jobs) == len(set(jobs)) >= 160
    run = finished(waiting, job, "w-upgrade")
    assert (run["result"], run["exit_status"], run["attempt"]) == ("failed", 7, 1)
    assert main_pid(waiting, "hookd-runner.service") == runner
    assert main_pid(waiting, "hookd.service") != server
    waiting.until(lambda: all(len(results(waiting, j)) == 1 for j in jobs[-8:]))
    count = "journalctl -q -o cat MESSAGE_ID=09e3561a475a479db2e0a0b14bb8fd5f HOOKD_HOOK=short"
    waiting.run("journalctl --sync")
    assert int(waiting.read(f"{count} | wc -l")) == 2 * len(jobs)


def _newer(box: Box, deb: Path) -> Path:
    """Return the same package with a later version."""
    build = f"dpkg-deb -R {deb.name} x && sed -i 's/^Version: .*/&+1/' x/DEBIAN/control"
    newer = deb.with_name("hookd_newer.deb")
    command = f"cp {deb} . && {build} && dpkg-deb -b x {newer}"
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(["sh", "-c", command], check=True, capture_output=True, cwd=directory)
    return newer


def test_after_a_reboot_ids_go_on_and_nothing_is_forgotten(waiting: Box) -> None:
    waiting.write("/etc/hookd/hookd.toml", '[daemon]\ndrain = "1s"\n')
    waiting.run("systemctl reload hookd.service")
    cut_short = started(waiting, "w-reboot")
    open_job = start(waiting, "plain")
    waiting.reboot()
    waiting.run("systemctl is-active hookd.service")
    assert start(waiting, "plain") > open_job
    assert json.loads(waiting.read(f"hookctl --json job {open_job}"))["state"] == "running"
    assert ended(waiting, cut_short)["result"] == "interrupted"
