# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the end of a run means: from a wait status and what hookd did to a result. Pure."""

from __future__ import annotations

import errno
import os
import signal

import msgspec

from hookd.config import Limits
from hookd.model import Result
from hookd.runner import launcher
from hookd.runner.invocation import Plan
from hookd.runner.profile import Report

SKIP = 75  # the exit status by which a hook says that it had nothing to do (EX_TEMPFAIL)


class Cause(msgspec.Struct, frozen=True):
    """Why hookd itself ended a run."""

    result: Result
    limit: str | None = None
    reason: str | None = None


class Ending(msgspec.Struct, frozen=True):
    """The part of a receipt that is judged."""

    result: Result
    exit_status: int | None = None
    signal: str | None = None
    limit: str | None = None
    reason: str | None = None


def judge(cause: Cause | None, last: Report | None, limits: Limits, hit: str | None) -> Ending:
    """Return how a run ended.

    `cause` is hookd's own doing and decides where there is one; `last` is the main process's end,
    None where it was never reaped; `hit` is a limit that the kernel says the run met.
    """
    if last is None:
        return _caused(cause or Cause(Result.SIGNALLED, reason="its end was not seen"), None, None)
    code = os.waitstatus_to_exitcode(last.status)
    status = code if code >= 0 else None
    name = signal_name(-code) if code < 0 else None
    if cause is not None:
        return _caused(cause, status, name)
    limit = _limit(code, last.cpu_usec, limits) or (hit if code not in (0, SKIP) else None)
    if limit is not None:
        return Ending(Result.LIMIT, status, name, limit)
    if name is not None:
        return Ending(Result.SIGNALLED, None, name)
    result = {0: Result.SUCCESS, SKIP: Result.SKIPPED}.get(code, Result.FAILED)
    return Ending(result, status)


def _caused(cause: Cause, status: int | None, name: str | None) -> Ending:
    return Ending(cause.result, status, name, cause.limit, cause.reason)


def _limit(code: int, cpu_usec: int, limits: Limits) -> str | None:
    """Return the limit that a fatal signal tells of, see setrlimit(2)."""
    if limits.file_size is not None and code == -signal.SIGXFSZ:
        return "file_size"
    if limits.cpu_time is not None:
        if code == -signal.SIGXCPU:
            return "cpu_time"
        if code == -signal.SIGKILL and cpu_usec >= limits.cpu_time * 1e6:
            return "cpu_time"
    return None


def signal_name(number: int) -> str:
    """Return a signal's name as in signal(7), "SIGRTMIN+3" included."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


def spawn_words(report: Report, plan: Plan) -> str:
    """Return in words why a launcher could not start the program."""
    code, program, user = report.status, plan.hook.command.program, plan.account.name
    if report.kind == launcher.NO_DIRECTORY:
        return f"working_directory {plan.hook.run.working_directory}: {os.strerror(code)}"
    words = {
        errno.E2BIG: "its arguments and environment are larger than the kernel takes "
        "(execve(2): together at most a quarter of the stack limit)",
        errno.ETXTBSY: f"{program} is open for writing: somebody is still changing it",
        errno.EACCES: f"user {user} may not execute {program}",
        errno.ENOENT: f"{program} or its interpreter does not exist",
        errno.ENOEXEC: f"{program} is no program for this machine",
        errno.EAGAIN: f"user {user} has too many processes already",
        errno.ENOMEM: "there is no memory for a process",
        errno.EMFILE: "limits.open_files is too small to start a program",
    }
    return words.get(code, f"{program}: {os.strerror(code)}")
