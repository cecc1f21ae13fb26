# SPDX-License-Identifier: LGPL-2.1-or-later
"""The profile that a launcher is made with, and the reports that it sends."""

from __future__ import annotations

import time

import msgspec

from hookd.config.parse import Limits
from hookd.runner.launch.accounts import Account


class SpawnError(Exception):
    """A launcher or a program could not be started; the text says why."""


class Profile(msgspec.Struct, frozen=True):
    """Everything that a launcher has before its first run. Runs of equal profiles share launchers.

    `confine` limits its processes to signalling each other. `cpu_time` is in seconds; `file_size`
    and `memory` are in bytes.
    """

    account: Account
    confine: bool
    nice: int
    io_class: str
    cpu_affinity: tuple[int, ...] | None
    cpu_time: int | None
    open_files: int | None
    file_size: int | None
    memory: int | None
    processes: int | None
    cpu_weight: int | None

    @classmethod
    def of(cls, account: Account, limits: Limits, confine: bool) -> Profile:
        """Return the profile of a hook's runs. RLIMIT_CPU counts whole seconds."""
        cpu_time = None if limits.cpu_time is None else max(1, -int(-limits.cpu_time // 1))
        return cls(
            account, confine, limits.nice, limits.io_class, limits.cpu_affinity, cpu_time,
            limits.open_files, limits.file_size, limits.memory, limits.processes,
            limits.cpu_weight,
        )  # fmt: skip


class Report(msgspec.Struct, frozen=True):
    """A report of a launcher on its run, see `abi.REPORT`."""

    kind: int
    left: bool
    pid: int
    status: int
    realtime_ns: int
    monotonic_ns: int
    cpu_usec: int
    peak_kib: int

    @classmethod
    def now(cls, kind: int, pid: int, status: int = 0, cpu: int = 0, peak: int = 0) -> Report:
        """Return a report as a launcher would send it now. `cpu` is in microseconds."""
        return cls(kind, False, pid, status, time.time_ns(), time.monotonic_ns(), cpu, peak)
