# SPDX-License-Identifier: LGPL-2.1-or-later
"""The arguments, environment and standard input of a run, made from its hook and event."""

from __future__ import annotations

import os
from collections.abc import Container

import msgspec

from hookd.config import template
from hookd.config.parse import Hook
from hookd.link import Start
from hookd.runner.launch.accounts import PATH, Account, Wanted
from hookd.runner.launch.profile import Profile, SpawnError
from hookd.system.journal import Context
from hookd.system.records import EVENT_VARIABLES

_EVENT_FIELDS = tuple(f"HOOKD_{name}" for name in EVENT_VARIABLES)
_encoder = msgspec.json.Encoder()


class HookSpec(msgspec.Struct, frozen=True):
    """A hook, and what must be looked up for each of its runs.

    `wanted` names the account that the hook runs as. `search` is the PATH in which env(1) looks
    for an interpreter.
    """

    hook: Hook
    wanted: Wanted
    search: str

    @classmethod
    def of(cls, hook: Hook, fallback: str | None) -> HookSpec:
        """Return the specification of a hook. `fallback` is the user of hooks that name none."""
        run = hook.run
        wanted = Wanted(run.user, run.group, None if run.user is not None else fallback)
        return cls(hook, wanted, run.environment.get("PATH", PATH))


class LaunchSettings(msgspec.Struct, frozen=True):
    """The settings that depend on a hook's account. They are kept until the account changes.

    `environment` holds the account's and the hook's own variables, encoded for execve(2). The
    hook's own take precedence over those of each run.
    """

    account: Account
    profile: Profile
    environment: tuple[bytes, ...]

    @classmethod
    def of(cls, hook: Hook, account: Account, confine: bool) -> LaunchSettings:
        """Return the settings of a hook that runs as this account.

        With `confine`, its processes can signal only each other.
        """
        environment = account.environment() | hook.run.environment
        return cls(account, Profile.of(account, hook.limits, confine), _encoded(environment))


class Invocation:
    """The arguments, environment and journal fields of one run. Raises SpawnError."""

    __slots__ = ("argv", "env", "fields")

    def __init__(self, spec: HookSpec, settings: LaunchSettings, start: Start) -> None:
        hook, event = spec.hook, start.event
        told = template.environment(event)
        own = {
            "HOOKD_HOOK": hook.name,
            "HOOKD_RUN_ID": str(start.run_id),
            "HOOKD_ATTEMPT": str(start.attempt),
        }
        self.argv = [arg.encode() for arg in hook.command.expand(event)]
        self.env = [*settings.environment, *_encoded(told | own, but=hook.run.environment)]
        for number, text in enumerate(self.argv):
            if len(text) > template.MAX_WORD or 0 in text:
                raise _refused(f"argument {number}", text)
        for text in self.env:
            if len(text) > template.MAX_WORD or 0 in text:  # the value may be a secret
                raise _refused(f"variable {text.partition(b'=')[0].decode()}", text)
        self.fields = Context({name: told[name] for name in _EVENT_FIELDS} | own)


def _encoded(values: dict[str, str], but: Container[str] = ()) -> tuple[bytes, ...]:
    return tuple([f"{name}={text}".encode() for name, text in values.items() if name not in but])


def _refused(what: str, text: bytes) -> SpawnError:
    """Return the error for a text that is too long for execve(2), or that a NUL would split."""
    if 0 in text:
        return SpawnError(f"{what} has a NUL in it")
    return SpawnError(
        f"{what} is too long: {len(text)} bytes; the kernel takes {template.MAX_WORD}"
    )


def stdin(spec: HookSpec, start: Start) -> int:
    """Return a descriptor for the program's standard input.

    It holds the event as one JSON document, or is /dev/null if the hook says so.
    """
    if spec.hook.run.stdin == "null":
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    document = {
        "hook": start.hook,
        "run_id": start.run_id,
        "attempt": start.attempt,
        **msgspec.structs.asdict(start.event),
    }
    fd = os.memfd_create("hookd-event")
    os.pwrite(fd, _encoder.encode(document) + b"\n", 0)  # leaves the offset at 0
    return fd


def line_fields(start: Start, stream: str) -> Context:
    """Return the journal fields of each line that a run prints.

    They suffice to find the other records of the run. journald indexes every field of every
    record, so the other fields of the job are only in the run's own records.
    """
    return Context(
        {
            "HOOKD_JOB_ID": str(start.event.job_id),
            "HOOKD_RUN_ID": str(start.run_id),
            "HOOKD_HOOK": start.hook,
            "HOOKD_STREAM": stream,
        }
    )


def minimal(start: Start) -> Context:
    """Return the journal fields of a run that has no invocation."""
    return Context(
        {
            "HOOKD_HOOK": start.hook,
            "HOOKD_RUN_ID": str(start.run_id),
            "HOOKD_ATTEMPT": str(start.attempt),
            "HOOKD_JOB_ID": str(start.event.job_id),
            "HOOKD_PHASE": start.event.phase.value,
        }
    )
