# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl test: runs one hook for an operator."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from hookd.cli.arguments import OF_A_START, OF_AN_END, REQUEST_ID, WAIT, WHO
from hookd.cli.base import DONE, Settings, note
from hookd.cli.command import command, options
from hookd.cli.submit import judge
from hookd.cli.words import ended
from hookd.client import Client
from hookd.manager_api import TestHook, TestHookReply, TestPlan
from hookd.model import HookRun, Phase, RunState
from hookd.system.terminal import print_json, say

METHOD = "io.hookd.Manager.TestHook"


@command()
@click.argument("hook")
@click.option(
    "--phase",
    type=click.Choice([phase.value for phase in Phase]),
    default=Phase.START.value,
    show_default=True,
    help="Event that the hook is run for.",
)
@options(*WHO, *OF_A_START, *(one for one in OF_AN_END if one.name != "message"))
@options(
    msgspec.structs.replace(
        REQUEST_ID, help="ID of this request. A repeated ID shows the earlier run."
    ),
    msgspec.structs.replace(
        WAIT, help="Accepted as for start and end; this command always waits."
    ),
)
@click.option("--dry-run", is_flag=True, help="Print what would be started, but start nothing.")
def test(settings: Settings, hook: str, wait: bool, **asked: Any) -> int:
    """Run one hook as if for a job.

    The hook runs with its own user, limits and environment, and with HOOKD_TEST=1, even if it is
    parked. Its output is printed here and goes to the journal.
    """
    call = TestHook(**(asked | {"hook": hook, "attributes": asked["attributes"] or None}))
    with settings.client() as hookd:
        if call.dry_run or settings.json:
            reply = hookd.call(METHOD, call, TestHookReply)
            run = reply.run
            if settings.json:
                print_json(reply)
            elif reply.plan:
                _explain(reply.plan)
        else:
            run = _watch(hookd, call)
    if run is None:
        return DONE
    code = judge([run])
    if code == DONE and not settings.json:
        note(f"hook {run.hook} (run {run.run_id}): {ended(run)}")
    return code


def _watch(hookd: Client, call: TestHook) -> HookRun | None:
    """Print the output as it arrives; return the run when it has ended."""
    run: HookRun | None = None
    try:
        for reply in hookd.stream(METHOD, call, TestHookReply):
            run = reply.run or run
            for line in reply.output:
                say(line.text, error=line.stream == "stderr", at_once=True)
    except KeyboardInterrupt:
        if run and run.state is not RunState.ENDED:
            note(f"run {run.run_id} goes on (hookctl cancel --run {run.run_id} ends it)")
        raise
    return run


def _explain(plan: TestPlan) -> None:
    verdict = "would run" if plan.matched else "would not run"
    say(f"{verdict} for such a job: {plan.rule}: {plan.reason}")
    say(f"user: {plan.user or 'the default'}")
    say(f"directory: {plan.working_directory}")
    say("arguments:")
    for argument in plan.argv:
        say(f"  {argument}")
    say("environment:")
    for name, value in sorted(plan.environment.items()):
        say(f"  {name}={value}")
