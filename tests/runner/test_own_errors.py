# SPDX-License-Identifier: LGPL-2.1-or-later
"""An error of hookd's own ends the run that it befell, and nothing else."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from hookd.link import Cancel, Ended, Message, Start, Started
from hookd.model import Receipt, Result
from hookd.runner.launch import process
from hookd.runner.launch.abi import PR_SET_CHILD_SUBREAPER, prctl
from hookd.runner.launch.pool import Launcher
from hookd.runner.launch.slices import Slices
from hookd.runner.run.outcome import Observed
from hookd.runner.run.output import Output
from hookd.runner.run.phases import UNLAUNCHED, P, Phase, RunState
from hookd.runner.run.termination import Termination
from hookd.runner.runner import Runner
from hookd.system import faults
from hookd.system.journal import Journal
from tests.support.eventually import eventually
from tests.support.leftovers import alive
from tests.support.runner import event


def test_an_error_at_the_start_ends_the_run(scratch: Path) -> None:
    hooks = scratch / "hooks.d"
    hooks.mkdir()
    (scratch / "hookd.toml").touch()
    (hooks / "hook.toml").write_text('command = "/bin/true $PROFILE"\n')
    account = pwd.getpwuid(os.geteuid()).pw_name
    told: list[Message] = []
    recorded: list[str] = []

    async def begin() -> None:
        faults.Faults(lambda fields, detail: recorded.append(detail))
        runner = Runner(scratch / "hookd.toml", account, Journal(), None, told.append)
        await runner.configuration.load()
        # No link lets that through, and nothing behind it expects it.
        runner.take(Start(1, "hook", 1, event(profile="\ud800")))
        while not told:
            await asyncio.sleep(0.01)
        runner.take(Start(1, "hook", 1, event()))  # it has ended, and is known
        runner.close()

    asyncio.run(begin())
    [ended] = told
    assert isinstance(ended, Ended)
    [detail] = recorded
    assert detail.startswith("an error of hookd's own: UnicodeEncodeError"), detail
    assert ended.receipt.result is Result.SPAWN_FAILED
    assert ended.receipt.reason is not None
    assert ended.receipt.reason.startswith("an error of hookd's own: UnicodeEncodeError")


def receipt(scratch: Path, script: str, on_started: Callable[[Runner], object]) -> Receipt:
    """Run a hook of an sh script; `on_started` is called with the runner when it has started."""
    hooks = scratch / "hooks.d"
    hooks.mkdir()
    (scratch / "hookd.toml").touch()
    program = scratch / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    (hooks / "hook.toml").write_text(f'command = "{program}"\n')
    account = pwd.getpwuid(os.geteuid()).pw_name
    recorded: list[str] = []

    async def begin() -> Receipt:
        met = faults.Faults(lambda fields, detail: recorded.append(str(fields["HOOKD_TRACEBACK"])))
        over: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()

        def send(message: Message) -> None:
            if isinstance(message, Started):
                on_started(runner)
            if isinstance(message, Ended):
                over.set_result(message.receipt)

        journal = Journal()
        runner = Runner(scratch / "hookd.toml", account, journal, None, send)
        runner.start()
        await runner.configuration.load()
        runner.take(Start(1, "hook", 1, event()))
        try:
            found = await asyncio.wait_for(over, 20)
            await asyncio.wait_for(until_only_launchers_are_left(children), 20)
            return found
        finally:
            runner.close()
            journal.close(0)
            await asyncio.sleep(0.01)  # what was cancelled ends
            assert met.count >= 1

    prctl(PR_SET_CHILD_SUBREAPER, 1)  # as the runner's main does
    children = set(process.children(os.getpid()))
    try:
        found = asyncio.run(begin())
    finally:
        for pid in set(process.children(os.getpid())) - children:
            os.waitpid(pid, 0)  # launchers, whose zygote has ended first
    assert recorded[0].endswith("RuntimeError: nobody expects that\n")
    return found


async def until_only_launchers_are_left(others: set[int]) -> None:
    """Return when no process of a hook is there: nothing but a zygote and what it has forked."""
    while True:
        own = set(process.children(os.getpid())) - others
        launchers = [pid for zygote in own for pid in process.children(zygote)]
        if len(own) == 1 and not any(process.children(pid) for pid in launchers):
            return
        await asyncio.sleep(0.01)


def fail(*_: object) -> NoReturn:
    """Be what nobody expects."""
    raise RuntimeError("nobody expects that")


OWN_ERROR = "an error of hookd's own: RuntimeError('nobody expects that')"


def test_an_error_while_reports_are_read_loses_none_of_them(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Launcher._readable

    def fail_when_all_is_reported(launcher: Launcher) -> NoReturn:
        monkeypatch.setattr(Launcher, "_readable", usual)
        eventually(lambda: not process.children(launcher.pid))
        fail()

    monkeypatch.setattr(Launcher, "_readable", fail_when_all_is_reported)
    found = receipt(scratch, "exit 3", lambda _: None)
    assert (found.result, found.exit_status) == (Result.FAILED, 3)


SCRIPTS = {
    P.RESOLVING: "exit 3",
    P.FORKING: "exit 3",
    P.ORDERED: "exec sleep 1000",
    P.RUNNING: "exec sleep 1000",
    P.TERMINATING: "exec sleep 1000",
    P.CLEARING: "sleep 1000 & exit 3",
    P.ORPHANED: "exec sleep 1000",
    P.FLUSHING: "exit 3",
    P.ENDED: "exit 3",
}
"""The phases that are entered in these tests, and a program that gets there."""


@pytest.mark.parametrize("phase", SCRIPTS)
def test_an_error_on_entering_any_phase_ends_the_run(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, phase: Phase
) -> None:
    usual = RunState.enter

    def enter(state: RunState, entered: Phase, *work: Any) -> None:
        usual(state, entered, *work)
        if entered is phase:
            monkeypatch.setattr(RunState, "enter", usual)
            fail()

    monkeypatch.setattr(RunState, "enter", enter)

    def go_on(runner: Runner) -> None:
        if phase is P.TERMINATING:
            runner.take(Cancel(1, "the test says so"))
        if phase is P.ORPHANED:
            [launcher] = process.children(process.children(os.getpid())[0])
            os.kill(launcher, signal.SIGKILL)

    found = receipt(scratch, SCRIPTS[phase], go_on)
    if phase in UNLAUNCHED:
        assert (found.result, found.started_usec) == (Result.SPAWN_FAILED, None)
    else:
        assert found.result is not Result.SPAWN_FAILED
    if SCRIPTS[phase].endswith("exit 3") and phase not in UNLAUNCHED:
        assert (found.result, found.exit_status) == (Result.FAILED, 3)


def test_an_error_while_it_runs_interrupts_the_run(scratch: Path) -> None:
    found = receipt(scratch, f"echo $$ >{scratch}/pid; exec sleep 1000", fail)
    assert (found.result, found.reason) == (Result.INTERRUPTED, OWN_ERROR)
    assert found.started_usec is not None
    assert found.survivors == 0
    pid = scratch / "pid"
    assert not pid.exists() or not alive(int(pid.read_text()))


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (Termination, "take_stock"),
        (Termination, "kill"),
        (Slices, "gather"),
        (Output, "finish"),
    ],
)
def test_an_error_after_its_end_leaves_the_program_its_result(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, where: type, name: str
) -> None:
    usual = getattr(where, name)

    def fail_once(*_: object) -> NoReturn:
        monkeypatch.setattr(where, name, usual)
        fail()

    found = receipt(
        scratch, "sleep 1000 & exit 3", lambda _: monkeypatch.setattr(where, name, fail_once)
    )
    assert (found.result, found.exit_status) == (Result.FAILED, 3)
    assert (found.reason, found.survivors) == (OWN_ERROR, 0)


def test_an_error_at_the_very_end_is_no_second_end(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = receipt(scratch, "exit 3", lambda _: monkeypatch.setattr(Observed, "receipt", fail))
    assert (found.result, found.reason) == (Result.INTERRUPTED, OWN_ERROR)
