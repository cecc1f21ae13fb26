# SPDX-License-Identifier: LGPL-2.1-or-later
"""The end of a run is told only when the journal has taken its record, or takes nothing."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from hookd.link import Ended, Message, Start, Started
from hookd.model import Result
from hookd.runner.launch.abi import PR_SET_CHILD_SUBREAPER, prctl
from hookd.runner.run import closing
from hookd.runner.runner import Runner
from hookd.system import faults
from hookd.system.journal import Journal
from hookd.system.records import RUN_ENDED
from tests.support.journald import Journald
from tests.support.runner import event


def end_while_stuck(
    scratch: Path, journald: Journald, when_queued: Callable[[], None]
) -> tuple[Ended, list[str]]:
    """Run a hook that ends while the journal takes nothing.

    `when_queued` is called when the record of its end waits for the journal. Return the end, and
    the kinds of records that the journal had when it was told.
    """
    (scratch / "hookd.toml").touch()
    (scratch / "hooks.d").mkdir()
    os.mkfifo(scratch / "fifo")
    hook = f"command = \"/bin/sh -c 'read line <{scratch}/fifo'\"\n"
    (scratch / "hooks.d" / "hook.toml").write_text(hook)
    account = pwd.getpwuid(os.geteuid()).pw_name
    fifo = os.open(scratch / "fifo", os.O_RDWR)
    had: list[str] = []

    async def work() -> Ended:
        faults.Faults(lambda fields, detail: None)
        over: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

        def send(message: Message) -> None:
            if isinstance(message, Started):
                journald.fill()
                os.write(fifo, b"go on\n")
            if isinstance(message, Ended):
                had.extend(record["MESSAGE_ID"] for record in journald.taken())
                over.set_result(message)

        journal = Journal(str(journald.path))
        runner = Runner(scratch / "hookd.toml", account, journal, None, send)
        runner.start()
        await runner.configuration.load()
        runner.take(Start(1, "hook", 1, event()))
        while journal.flushed and not over.done():
            await asyncio.sleep(0.001)
        when_queued()
        try:
            return await asyncio.wait_for(over, 20)
        finally:
            runner.close()
            journal.close(0)

    prctl(PR_SET_CHILD_SUBREAPER, 1)  # as the runner's main does
    try:
        return asyncio.run(work()), had
    finally:
        os.close(fifo)
        journald.end()


def test_an_end_is_told_only_when_the_journal_has_its_record(scratch: Path) -> None:
    journald = Journald(scratch / "socket")
    ended, had = end_while_stuck(scratch, journald, journald.empty)
    assert ended.receipt.result is Result.SUCCESS
    assert RUN_ENDED.message_id in had


def test_an_end_is_told_in_bounded_time_where_the_journal_takes_nothing(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "JOURNAL_WAIT_SEC", 0.1)
    ended, had = end_while_stuck(scratch, Journald(scratch / "socket"), lambda: None)
    assert ended.receipt.result is Result.SUCCESS
    assert RUN_ENDED.message_id not in had
