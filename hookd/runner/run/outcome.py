# SPDX-License-Identifier: LGPL-2.1-or-later
"""The result of a run, derived from its wait status and from what hookd did to it."""

from __future__ import annotations

import errno
import os
import signal
import time

import msgspec

from hookd.config.parse import Limits
from hookd.model import Receipt, Result
from hookd.runner.launch import abi
from hookd.runner.launch.profile import Report
from hookd.runner.run.invocation import HookSpec
from hookd.runner.run.output import Output

SKIP = 75  # exit status of a hook that had nothing to do (EX_TEMPFAIL)


class Cause(msgspec.Struct, frozen=True):
    """Why hookd itself ended a run."""

    result: Result
    limit: str | None = None
    reason: str | None = None


class Observed(msgspec.Struct):
    """What is known of a run: the launcher's reports, measurements, and what hookd did to it.

    `cause` is why hookd ended it; `first` and `last` are the reports of its start and its end.
    `hit` is a limit that was hit according to the kernel. `group_peak` (bytes) and
    `group_cpu_usec` are what its control group has used, None if there is no group or it does not
    know. `outside` means that there is a group and that processes have left it. `peak` is the
    most memory (bytes) that polls found in use, if processes are outside a group. `weighed` is
    the largest sum that counted shared memory once for each process. `orphaned` means that the
    launcher died, so that what it reaped is unknown. `own_error` is a fault during the run.
    """

    cause: Cause | None = None
    first: Report | None = None
    last: Report | None = None
    hit: str | None = None
    group_peak: int | None = None
    group_cpu_usec: int | None = None
    peak: int = 0
    weighed: int = 0
    outside: bool = False
    orphaned: bool = False
    leftovers: int = 0
    survivors: int = 0
    own_error: str | None = None

    @property
    def pid(self) -> int | None:
        """The PID of the main process, None before the start."""
        return self.first.pid if self.first is not None else None

    def excuse(self, timeout: float) -> None:
        """Take back a timeout if the run has ended within `timeout` seconds after all.

        The timer and the end can be ready in the same turn of the loop; the clock decides.
        """
        if self.cause is None or self.cause.result is not Result.TIMEOUT:
            return
        if self.first is None or self.last is None:
            return
        if self.last.monotonic_ns - self.first.monotonic_ns <= timeout * 1e9:
            self.cause = None

    @property
    def _cpu_usec(self) -> int | None:
        """The CPU time of all processes of the run, in microseconds; None if unknown.

        The group also counts processes that nobody waited for. The launcher also counts processes
        outside the group.
        """
        told = self.last.cpu_usec if self.last is not None and not self.orphaned else None
        if self.first is None:
            return 0
        return max((n for n in (told, self.group_cpu_usec) if n is not None), default=None)

    @property
    def _memory_peak(self) -> int | None:
        """The most memory in use at a time, in bytes; None if unknown.

        This is the group's peak, or the largest sum that a poll found. If processes are not in a
        group, it is at least the peak of the largest one that the launcher reaped (getrusage(2)).
        """
        peaks = [self.group_peak or 0, self.peak]
        if self.group_peak is None or self.outside:
            peaks.append(1024 * self.last.peak_kib if self.last is not None else 0)
        return max(peaks) or None

    def receipt(self, limits: Limits, output: Output) -> Receipt:
        """Return the receipt. If the main process was never reaped, the run ends now."""
        first, last = self.first, self.last
        now, clock = time.time_ns(), time.monotonic_ns()
        began = first.monotonic_ns if first is not None else clock
        ended = last.monotonic_ns if last is not None else clock
        ending = classify(self.cause, last, limits, self.hit)
        return Receipt(
            result=ending.result,
            exit_status=ending.exit_status,
            signal=ending.signal,
            limit=ending.limit,
            reason=ending.reason or self.own_error,
            last_line=output.last_line,
            started_usec=first.realtime_ns // 1000 if first is not None else None,
            ended_usec=(last.realtime_ns if last is not None else now) // 1000,
            duration_usec=max(0, ended - began) // 1000,
            cpu_usec=self._cpu_usec,
            memory_peak=self._memory_peak,
            output_bytes=output.total,
            output_dropped=output.dropped,
            leftovers=self.leftovers,
            survivors=self.survivors,
        )


class ProcessOutcome(msgspec.Struct, frozen=True):
    """The part of a receipt that follows from the cause and the wait status."""

    result: Result
    exit_status: int | None = None
    signal: str | None = None
    limit: str | None = None
    reason: str | None = None


def classify(
    cause: Cause | None, last: Report | None, limits: Limits, hit: str | None
) -> ProcessOutcome:
    """Return how a run ended.

    `cause` is why hookd ended the run; if there is one, it decides. `last` is the report of the
    main process's end, None if it was never reaped. `hit` is a limit that the run hit according
    to the kernel.
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
        return ProcessOutcome(Result.LIMIT, status, name, limit)
    if name is not None:
        return ProcessOutcome(Result.SIGNALLED, None, name)
    return ProcessOutcome(
        {0: Result.SUCCESS, SKIP: Result.SKIPPED}.get(code, Result.FAILED), status
    )


def _caused(cause: Cause, status: int | None, name: str | None) -> ProcessOutcome:
    return ProcessOutcome(cause.result, status, name, cause.limit, cause.reason)


def _limit(code: int, cpu_usec: int, limits: Limits) -> str | None:
    """Return the limit that a fatal signal shows was exceeded, see setrlimit(2), or None."""
    if limits.file_size is not None and code == -signal.SIGXFSZ:
        return "file_size"
    if limits.cpu_time is not None:
        if code == -signal.SIGXCPU:
            return "cpu_time"
        if code == -signal.SIGKILL and cpu_usec >= limits.cpu_time * 1e6:
            return "cpu_time"
    return None


def signal_name(number: int) -> str:
    """Return a signal's name as in signal(7), such as "SIGTERM" or "SIGRTMIN+3"."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


CANNOT_RUN = frozenset({errno.EACCES, errno.ENOENT, errno.ENOEXEC})
"""Errors of execve(2) that every run of the hook would get."""


def unstarted_words(spec: HookSpec) -> str:
    """Return the reason, in words, why a launcher was killed before it started the program."""
    hook = spec.hook
    return (
        f"it was not started within {hook.limits.timeout:g} s: {hook.run.working_directory} or "
        f"{hook.command.program} does not answer, or its launcher was stopped"
    )


def spawn_words(report: Report, spec: HookSpec, user: str) -> str:
    """Return the reason, in words, why a launcher could not start the program as this user."""
    code, program = report.status, spec.hook.command.program
    if report.kind == abi.NO_DIRECTORY:
        return f"working_directory {spec.hook.run.working_directory}: {os.strerror(code)}"
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
