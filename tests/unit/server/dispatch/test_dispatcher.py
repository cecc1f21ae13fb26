# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs between the database, the scheduler and the runner, where these could disagree."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hookd.model import Result, RunState
from hookd.server.runs.run import RunPhase
from tests.unit.making import configuration
from tests.unit.server.dispatch.scene import scene
from tests.unit.server.storage.shelf import asynchronous

ONE_SLOT = configuration(
    "daemon.max_running = 1",
    **{name: f'[match]\nprofile = ["{name}"]\n' for name in ("a", "b", "c")},
)


@asynchronous
async def test_a_claim_whose_slot_a_new_event_takes_waits_and_starts_later(
    tmp_path: Path,
) -> None:
    async with scene(ONE_SLOT, tmp_path) as server:
        server.welcome()
        await server.start("a")
        await server.start("b")
        await server.flushed()
        assert server.started == [1]
        server.end(1)
        await asyncio.sleep(0)  # the result of 1 is being written: its slot is not free in memory
        await server.start("c")  # is written after the result, so that it gets the slot
        await server.flushed()
        waiting = server.dispatcher.registry[2]
        assert server.started == [1, 3]
        assert (waiting.phase, waiting.runner) == (RunPhase.READY, None)
        assert (server.dispatcher.scheduler.running, server.dispatcher.scheduler.waiting) == (1, 1)
        server.end(3)
        await server.flushed()
        assert server.started == [1, 3, 2]
        server.end(2)
        await server.flushed()
        runs = await server.runs([1, 2, 3])
    assert [(run.run_id, run.result) for run in runs] == [(n, Result.SUCCESS) for n in (1, 2, 3)]


@asynchronous
async def test_a_running_run_that_its_runner_has_forgotten_never_starts_again(
    tmp_path: Path,
) -> None:
    async with scene(ONE_SLOT, tmp_path) as server:
        server.welcome()
        await server.start("a")
        server.begin(1)
        server.welcome()
        await server.flushed()
        assert server.started == [1]
        (run,) = await server.runs([1])
        await server.start("b")  # its slot is free
        await server.flushed()
        assert server.started == [1, 2]
    assert (run.state, run.result) == (RunState.ENDED, Result.INTERRUPTED)
    assert run.reason == "the runner had started it and no longer knows it"


@asynchronous
async def test_a_run_that_never_arrived_is_sent_again(tmp_path: Path) -> None:
    async with scene(ONE_SLOT, tmp_path) as server:
        server.welcome()
        await server.start("a")
        server.welcome()
        await server.flushed()
        assert server.started == [1, 1]
        server.begin(1)
        server.end(1)
        await server.flushed()
        (run,) = await server.runs([1])
    assert run.result is Result.SUCCESS
