# SPDX-License-Identifier: LGPL-2.1-or-later
"""An error of hookd's own ends the run that it befell, and nothing else."""

from __future__ import annotations

import asyncio
import os
import pwd
from pathlib import Path

from hookd import faults
from hookd.journal import Journal
from hookd.link import Ended, Message, Start, Started
from hookd.model import Result
from hookd.runner.runner import Runner
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
        assert runner.load()
        # No link lets that through, and nothing behind it expects it.
        runner.take(Start(1, "hook", 1, event(profile="\ud800")))
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


def test_an_error_while_it_runs_ends_the_run(scratch: Path) -> None:
    hooks = scratch / "hooks.d"
    hooks.mkdir()
    (scratch / "hookd.toml").touch()
    (hooks / "hook.toml").write_text('command = "/bin/sleep 1000"\n')
    account = pwd.getpwuid(os.geteuid()).pw_name
    recorded: list[str] = []

    async def begin() -> Ended:
        met = faults.Faults(lambda fields, detail: recorded.append(str(fields["HOOKD_TRACEBACK"])))
        over: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

        def send(message: Message) -> None:
            if isinstance(message, Started):
                raise RuntimeError("nobody expects that")
            if isinstance(message, Ended):
                over.set_result(message)

        runner = Runner(scratch / "hookd.toml", account, Journal(), None, send)
        runner.start()
        assert runner.load()
        runner.take(Start(1, "hook", 1, event()))
        try:
            return await asyncio.wait_for(over, 20)
        finally:
            runner.close()
            assert met.count == 1

    receipt = asyncio.run(begin()).receipt
    assert receipt.reason == "an error of hookd's own: RuntimeError('nobody expects that')"
    assert recorded[0].endswith("RuntimeError: nobody expects that\n")
