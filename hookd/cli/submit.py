# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands that a backup job calls: start, end and syncrify.

Each function takes the settings, the given options and the other words, and returns the exit
code. Every backup imports this file, so it does not import click.
"""

from __future__ import annotations

from typing import Any

from hookd.cli.arguments import Call
from hookd.cli.base import DONE, GATE_REFUSED, REFUSED, Misuse, Settings, note, number
from hookd.client import Client
from hookd.errors import NoSuchJob
from hookd.jobs_api import StartJobReply
from hookd.model import FAILURES, HookRun, JobState, Result, last_attempts
from hookd.system.terminal import print_json, say

_BAD = FAILURES | {Result.CANCELLED, Result.INTERRUPTED}
_WHO = ("profile", "user", "client_ip")


def submit(call: Call) -> int:
    """Execute a plain call."""
    if call.command == "syncrify":
        return syncrify(call.settings, call.words)
    if call.command == "end":
        return end(call.settings, call.values, call.words)
    return start(call.settings, call.values, call.words)


def start(settings: Settings, values: dict[str, Any], words: list[str]) -> int:
    """Report the start of a job, and print its ID."""
    if words:
        raise Misuse("start", f"takes options only, but {words[0]!r} was given")
    for name in ("profile", "client_ip"):
        if not values.get(name):
            flag = "--" + name.replace("_", "-")
            raise Misuse("start", f"{flag} must be given")
    with settings.client() as hookd:
        answer = hookd.start_job(**{"user": "", **values})
    if settings.json:
        print_json(answer)
    elif answer.allowed:
        say(str(answer.job_id))
    if not answer.allowed:
        return refused(answer)
    return judge(answer.hooks) if values.get("wait") else DONE


def end(settings: Settings, values: dict[str, Any], words: list[str]) -> int:
    """Report the end of a job, given by its ID, its ID on the backup server, or its client."""
    values = dict(values)
    who = {name: values.pop(name) for name in _WHO if name in values}
    if len(words) > 1 or bool(words) + ("server_job_id" in values) + bool(who) != 1:
        raise Misuse(
            "end",
            "name the job in one way: JOB_ID, --server-job-id, or --profile --user --client-ip",
        )
    job_id = _number("end", "JOB_ID", words[0]) if words else None
    with settings.client() as hookd:
        if who:
            job_id = newest_running(hookd, **who)
        answer = hookd.end_job(job_id, **values)
    if settings.json:
        print_json(answer)
    return judge(answer.hooks) if values.get("wait") else DONE


SYNCRIFY = (
    "EVENT", "CLIENT_IP", "CLIENT_BUILD_NO", "PROFILE", "USER", "FILE_COUNT", "BYTE_COUNT",
    "JOB_ID",
)  # fmt: skip
"""The variables that Syncrify passes to its hook script; the last one may be missing."""


def syncrify(settings: Settings, words: list[str]) -> int:
    """Report an event of Syncrify. Every word is a value, even if it looks like an option."""
    if len(words) not in (len(SYNCRIFY) - 1, len(SYNCRIFY)):
        allowed = " ".join("$" + name for name in SYNCRIFY[:-1]) + " [$JOB_ID]"
        raise Misuse("syncrify", f"takes these arguments, not {len(words)}: {allowed}")
    event, client_ip, build, profile, user, files, size, *rest = words
    if event not in ("true", "false"):
        raise Misuse("syncrify", f"$EVENT: must be true or false, not {event!r}")
    file_count = _number("syncrify", "$FILE_COUNT", files)
    byte_count = _number("syncrify", "$BYTE_COUNT", size)
    who: dict[str, Any] = {"profile": profile, "user": user, "client_ip": client_ip}
    server_job_id = rest[0] if rest and rest[0] else None
    with settings.client() as hookd:
        if event == "true":
            answer = hookd.start_job(**who, client_build_no=build, server_job_id=server_job_id)
            return DONE if answer.allowed else refused(answer)
        hookd.end_job(
            None if server_job_id else newest_running(hookd, **who),
            server_job_id=server_job_id,
            file_count=file_count,
            byte_count=byte_count,
        )
    return DONE


def newest_running(hookd: Client, **who: Any) -> int:
    """Return the ID of the newest running job of this profile, user and client.

    An attribute that is not given may have any value. Raises NoSuchJob.
    """
    from hookd.manager_api import ListJobs, ListJobsReply  # not loaded at every start of a job

    asked = ListJobs(state=JobState.RUNNING, limit=1, **who)
    found = hookd.call("io.hookd.Manager.ListJobs", asked, ListJobsReply, repeat=True).jobs
    if not found:
        raise NoSuchJob(server_job_id=" ".join(f"{k}={v}" for k, v in who.items()))
    return found[0].job_id


def refused(answer: StartJobReply) -> int:
    """Print why a gate refused the job, and return the exit code."""
    note(f"job {answer.job_id} is refused: {answer.reason or 'no reason given'}")
    return GATE_REFUSED


def judge(runs: list[HookRun]) -> int:
    """Return the exit code of a command that waited, and print each hook that failed."""
    bad = [run for run in last_attempts(runs) if run.result in _BAD]
    if not bad:
        return DONE
    from hookd.cli.words import ended

    for run in bad:
        note(f"hook {run.hook} (run {run.run_id}): {ended(run)}")
    return REFUSED


def _number(command: str, name: str, word: str) -> int:
    try:
        return number(word)
    except ValueError as e:
        raise Misuse(command, f"{name}: {e}") from None
