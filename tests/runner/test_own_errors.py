# SPDX-License-Identifier: LGPL-2.1-or-later
"""An error of hookd's own ends the run that it befell, and nothing else."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from hookd.link import Ended, Message, Start, Started
from hookd.model import Receipt, Result
from hookd.runner.launch.abi import PR_SET_CHILD_SUBREAPER, prctl
from hookd.runner.launch.slices import Slices
from hookd.runner.run.outcome import Course
from hookd.runner.run.output import Output
from hookd.runner.run.termination import Termination
from hookd.runner.runner import Runner
from hookd.system import faults
from hookd.system.journal import Journal
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


def receipt(scratch: Path, script: str, on_started: Callable[[], None]) -> Receipt:
    """Run a hook of an sh script; `on_started` is called in the runner as it has started."""
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
                on_started()
            if isinstance(message, Ended):
                over.set_result(message.receipt)

        runner = Runner(scratch / "hookd.toml", account, Journal(), None, send)
        runner.start()
        await runner.configuration.load()
        runner.take(Start(1, "hook", 1, event()))
        try:
            return await asyncio.wait_for(over, 20)
        finally:
            runner.close()
            assert met.count >= 1

    prctl(PR_SET_CHILD_SUBREAPER, 1)  # as the runner's main does
    found = asyncio.run(begin())
    assert recorded[0].endswith("RuntimeError: nobody expects that\n")
    return found


def fail(*_: object) -> NoReturn:
    """Be what nobody expects."""
    raise RuntimeError("nobody expects that")


OWN_ERROR = "an error of hookd's own: RuntimeError('nobody expects that')"


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
        scratch, "sleep 1000 & exit 3", lambda: monkeypatch.setattr(where, name, fail_once)
    )
    assert (found.result, found.exit_status) == (Result.FAILED, 3)
    assert (found.reason, found.survivors) == (OWN_ERROR, 0)


def test_an_error_at_the_very_end_is_no_second_end(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = receipt(scratch, "exit 3", lambda: monkeypatch.setattr(Course, "receipt", fail))
    assert (found.result, found.reason) == (Result.INTERRUPTED, OWN_ERROR)
