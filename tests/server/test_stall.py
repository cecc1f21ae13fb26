# SPDX-License-Identifier: LGPL-2.1-or-later
"""A path that does not answer holds up the hook that names it, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.durability.hooks import ended, noted, noting
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.records import Records
from tests.support.runner_unit import RunnerUnit
from tests.support.stall import Stall
from tests.support.wire import Wire

ANSWER_WITHIN = 3.0  # seconds: a stall is for ever, and a busy machine is not
STUCK = '[limits]\ntimeout = "2s"\nkill_grace = "1s"\n'


@contextmanager
def hookd(daemon: Daemon, runner: RunnerUnit, stall: Stall) -> Iterator[Wire]:
    """Run both processes where paths hang; neither's stop may be held up by one."""
    daemon.prefix = runner.prefix = stall.prefix
    with running(daemon, runner) as wire:
        yield wire


@contextmanager
def running(daemon: Daemon, runner: RunnerUnit) -> Iterator[Wire]:
    """Run both processes; what hangs must hold up the stop of neither."""
    runner.start()
    daemon.start(*runner.arguments)
    with Wire(daemon.socket) as wire:
        yield wire
    begun = time.monotonic()
    assert daemon.stop() == 0
    assert runner.stop() == 0
    assert time.monotonic() - begun < 10


def neighbours_go_on(daemon: Daemon, wire: Wire) -> None:
    """A neighbour is answered, its hook is started and ended by its limit, status answers."""
    begun = time.monotonic()
    job = wire.start(profile="neighbour")["job_id"]
    assert time.monotonic() - begun < ANSWER_WITHIN
    runs = {run["hook"]: run for run in ended(wire, job, 2)}
    assert runs["well"]["result"] == "success"
    assert runs["long"]["result"] == "timeout"
    assert runs["long"]["duration_usec"] < 4_000_000
    assert wire.status()["running"] >= 0


def neighbours(daemon: Daemon) -> None:
    """Write the hooks of somebody who has nothing to do with what hangs."""
    only = '[match]\nprofile = ["neighbour"]\n'
    noting(daemon, "well", f'phases = ["start"]\n{only}')
    daemon.hook(
        "long",
        f'command = "/bin/sleep 1000"\nphases = ["start"]\n{only}[limits]\ntimeout = "1s"\n',
    )


def the_program(daemon: Daemon, at: Path) -> str:
    program = at / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return f'command = "{program}"\n'


def the_interpreter(daemon: Daemon, at: Path) -> str:
    (at / "sh").symlink_to("/bin/sh")
    program = daemon.script("script", "")
    program.write_text(f"#!{at}/sh\n")
    return f'command = "{program}"\n'


def the_working_directory(daemon: Daemon, at: Path) -> str:
    (at / "work").mkdir()
    return f'command = "/bin/true"\nrun.working_directory = "{at}/work"\n'


PLACES = {f.__name__: f for f in (the_program, the_interpreter, the_working_directory)}


def stuck_hook(daemon: Daemon, text: str) -> None:
    only = '[match]\nprofile = ["stuck"]\n'
    daemon.hook("stuck", f'phases = ["start"]\n{text}{only}{STUCK}')


@pytest.mark.parametrize("place", PLACES)
def test_what_a_hook_names_hangs_after_the_load(
    daemon: Daemon, runner: RunnerUnit, stall: Stall, records: Records, place: str
) -> None:
    at = daemon.directory / "mount"
    at.mkdir()
    neighbours(daemon)
    stuck_hook(daemon, PLACES[place](daemon, at))
    with hookd(daemon, runner, stall) as wire:
        job = wire.start(profile="stuck")["job_id"]
        assert ended(wire, job, 1)[0]["result"] == "success"
        stall.hang(at)
        begun = time.monotonic()
        jobs = [wire.start(profile="stuck")["job_id"] for _ in range(3)]
        neighbours_go_on(daemon, wire)
        for job in jobs:
            [run] = ended(wire, job, 1)
            if place == "the_working_directory":  # a process hangs, which the launcher had made
                assert run["result"] == "timeout"
                continue
            assert run["result"] == "spawn-failed"
            assert "within 2 s" in run["reason"]
            assert str(daemon.directory) in run["reason"]
            assert "stuck" in wire.status()["unusable_hooks"]
        assert time.monotonic() - begun < 10
        waiting = wire.start(profile="stuck")["job_id"]  # it is looked at when they stop
        eventually(lambda: wire.job(waiting)["hooks"])
    said = records.find(SYSLOG_IDENTIFIER="hookd", HOOKD_HOOK="stuck")
    unusable = [r for r in said if "cannot be run" in r["MESSAGE"]]
    assert len(unusable) == (place != "the_working_directory")


@pytest.mark.parametrize("place", PLACES)
def test_what_a_hook_names_hangs_at_the_start(
    daemon: Daemon, runner: RunnerUnit, stall: Stall, place: str
) -> None:
    at = daemon.directory / "mount"
    at.mkdir()
    neighbours(daemon)
    stuck_hook(daemon, PLACES[place](daemon, at))
    stall.hang(at)
    with hookd(daemon, runner, stall) as wire:
        assert list(wire.status()["unusable_hooks"]) == ["stuck"]
        job = wire.start(profile="stuck")["job_id"]
        neighbours_go_on(daemon, wire)
        expected = "timeout" if place == "the_working_directory" else "spawn-failed"
        assert ended(wire, job, 1)[0]["result"] == expected


@pytest.fixture(scope="module")
def stuck_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a library that makes the look-up of the user and the group "stuck" hang."""
    made = tmp_path_factory.mktemp("names") / "names.so"
    source = Path(__file__).parents[1] / "support/stuck_names.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", made, source, "-ldl"], check=True)
    return made


@pytest.fixture
def hang(daemon: Daemon, runner: RunnerUnit, stuck_names: Path) -> Path:
    """Return the path of the file whose presence makes names hang in both processes."""
    path = daemon.directory / "hang"
    prefix = ["env", f"LD_PRELOAD={stuck_names}", f"STUCK={path}"]
    daemon.prefix = runner.prefix = prefix
    return path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs hooks as other users")
@pytest.mark.parametrize("at_the_start", [True, False])
@pytest.mark.parametrize("key", ["user", "group"])
def test_a_name_that_is_not_answered_costs_its_hook_alone(
    daemon: Daemon, runner: RunnerUnit, hang: Path, key: str, at_the_start: bool
) -> None:
    neighbours(daemon)
    more = "" if key == "user" else '\nrun.user = "root"'
    stuck_hook(daemon, f'command = "/bin/true"\nrun.{key} = "stuck"{more}\n')
    if at_the_start:
        hang.touch()
    with running(daemon, runner) as wire:
        hang.touch()
        job = wire.start(profile="stuck")["job_id"]
        neighbours_go_on(daemon, wire)
        [run] = ended(wire, job, 1)
        assert run["result"] == "spawn-failed"
        assert "stuck could not be looked up within 2 s: no answer" in run["reason"]
        assert list(wire.status()["unusable_hooks"]) == ["stuck"]
        waiting = wire.start(profile="stuck")["job_id"]  # it is looked up when they stop
        eventually(lambda: wire.job(waiting)["hooks"])


def test_a_name_of_access_that_is_not_answered_costs_the_reload_alone(
    daemon: Daemon, runner: RunnerUnit, hang: Path
) -> None:
    neighbours(daemon)
    with running(daemon, runner) as wire, Wire(daemon.socket) as other:
        hang.touch()
        (daemon.directory / "hookd.toml").write_text('[access]\nsubmit = ["stuck"]\n')
        wire.send("io.hookd.Manager.Reload")
        neighbours_go_on(daemon, other)


@pytest.mark.parametrize("place", ["hookd.toml", "hooks.d", "hooks.d/well.toml.d"])
def test_a_configuration_that_hangs_costs_the_reload_alone(
    daemon: Daemon, runner: RunnerUnit, stall: Stall, place: str
) -> None:
    neighbours(daemon)
    with hookd(daemon, runner, stall) as wire, Wire(daemon.socket) as other:
        if place == "hookd.toml":
            path = daemon.directory / "hookd.toml"
            path.unlink()
            path.symlink_to(stall.path / "hookd.toml")
        else:
            path = daemon.directory / place
            path.mkdir(exist_ok=True)
            stall.hang(path)
            path = path / "x.toml"
            path = path.parent
        wire.send("io.hookd.Manager.Reload")
        neighbours_go_on(daemon, other)
        if place != "hookd.toml":
            return  # and the stop is not held up by a reload under way
        said = json.dumps(wire.receive())
        assert f"{path}: no answer within" in said
        assert noted(daemon)
