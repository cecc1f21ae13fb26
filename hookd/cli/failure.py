# SPDX-License-Identifier: LGPL-2.1-or-later
"""Failures of commands: one line that says what to do next, or JSON, and the exit code.

An unexpected error is shown with its traceback, which a bug report needs.
"""

from __future__ import annotations

import traceback

import click

from hookd import errors
from hookd.cli.base import INTERRUPTED, NO_DAEMON, REFUSED, USAGE, Misuse, note
from hookd.client import Unreachable
from hookd.system.terminal import print_json

_NEXT: dict[type[BaseException], str] = {
    errors.PermissionDenied: "ask for the right in [access] of hookd.toml",
    errors.MethodNotFound: "the daemon is older than hookctl: restart it",
    errors.InterfaceNotFound: "the daemon is older than hookctl: restart it",
    errors.NoSuchJob: "hookctl jobs lists the known ones",
    errors.JobAlreadyEnded: "hookctl job shows how",
    errors.RequestIdConflict: "give each new request an ID of its own",
    errors.QueueFull: "hookctl status shows what fills it",
    errors.ShuttingDown: "nothing was accepted; try again when it has started",
    errors.StorageFailure: "nothing was accepted; look at the disk and at journalctl -u hookd",
    errors.NoSuchHook: "hookctl hooks lists the known ones",
    errors.NoSuchRun: "hookctl jobs --unfinished lists the jobs that have some",
    errors.RunnerUnavailable: "look at journalctl -u hookd-runner",
    Unreachable: "is hookd running? systemctl status hookd.socket, or name it by --socket",
    PermissionError: "are you in the group hookd?",
}
_SAYS: dict[type[BaseException], str] = {
    errors.PermissionDenied: "permission denied",
    errors.ExpectedMore: "the method must be called with more",
    errors.ShuttingDown: "hookd is stopping",
}
"""Texts for the errors whose class has none."""


def report(error: Exception, as_json: bool) -> int:
    """Write the error to standard error and return the exit code."""
    if isinstance(error, click.Abort):
        return INTERRUPTED
    if as_json:
        print_json(_as_json(error), error=True)
    else:
        for line in _lines(error):
            note(line)
    if isinstance(error, (click.UsageError, Misuse)) or isinstance(error.__cause__, UnicodeError):
        return USAGE  # the latter is an argument that cannot be sent
    return NO_DAEMON if isinstance(error, Unreachable) else REFUSED


def _lines(error: Exception) -> list[str]:
    """Return one line for the error; for a configuration, one for each error in it."""
    if not isinstance(error, (click.ClickException, Misuse, errors.HookdError, OSError)):
        return "".join(traceback.format_exception(error)).splitlines()
    if isinstance(error, errors.ConfigError):
        return list(error.errors)
    hint = _NEXT.get(type(error))
    text = _SAYS.get(type(error)) or str(error)
    if isinstance(error, click.ClickException):
        text = error.format_message()
        if isinstance(error, click.UsageError) and error.ctx:
            hint = f"{error.ctx.command_path} --help"
    if isinstance(error, Misuse):
        hint = f"hookctl {error.command} --help"
    return [f"{text} ({hint})" if hint else text]


def _as_json(error: Exception) -> dict[str, object]:
    message = "\n".join(_lines(error))
    if isinstance(error, errors.HookdError):
        code = getattr(error, "name", error.code)
        return {"error": code, "parameters": error.parameters(), "message": message}
    kinds = {click.UsageError: "usage", Misuse: "usage", Unreachable: "unreachable"}
    name = next((kinds[kind] for kind in kinds if isinstance(error, kind)), "failed")
    return {"error": name, "message": message}
