# SPDX-License-Identifier: LGPL-2.1-or-later
"""All errors that hookd raises on purpose, with one base class.

An error has a `code`, its stable name on the wire, in the journal and in the man page, and
`parameters()`, the values that are sent with it. How it is sent is not known here.
"""

from __future__ import annotations

from typing import Any, ClassVar


class HookdError(Exception):
    """The base class. `code` is the Varlink error name; `parameters()` is sent with it."""

    code: ClassVar[str] = "io.hookd.Jobs.Error"

    def parameters(self) -> dict[str, Any]:
        """Return the named values of the error as they are sent."""
        return {}


class ProtocolError(HookdError):
    """The peer does not speak Varlink; the connection is closed, with one journal line."""

    code = "io.hookd.Jobs.ProtocolError"


class InvalidParameter(HookdError):
    """A parameter has a value that is not allowed.

    `parameter` is its name, `message` says what was found and what is allowed.
    """

    code = "org.varlink.service.InvalidParameter"

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(f"{parameter}: {message}")
        self.parameter = parameter
        self.message = message

    def parameters(self) -> dict[str, Any]:
        """Return the standard's `parameter` and, beyond it, the sentence that helps."""
        return {"parameter": self.parameter, "message": str(self)}


class PermissionDenied(HookdError):
    """The peer may not call this method. It tells nothing else on purpose."""

    code = "org.varlink.service.PermissionDenied"


class InterfaceNotFound(HookdError):
    """hookd does not provide this interface."""

    code = "org.varlink.service.InterfaceNotFound"

    def __init__(self, interface: str) -> None:
        super().__init__(f"no interface {interface}")
        self.interface = interface

    def parameters(self) -> dict[str, Any]:
        """Return the name that was asked for."""
        return {"interface": self.interface}


class MethodNotFound(HookdError):
    """The interface has no such method."""

    code = "org.varlink.service.MethodNotFound"

    def __init__(self, method: str) -> None:
        super().__init__(f"no method {method}")
        self.method = method

    def parameters(self) -> dict[str, Any]:
        """Return the name that was asked for."""
        return {"method": self.method}


class ExpectedMore(HookdError):
    """The method sends several replies and has to be called with `more`."""

    code = "org.varlink.service.ExpectedMore"


class NoSuchJob(HookdError):
    """No job is known by the ID that was given."""

    code = "io.hookd.Jobs.NoSuchJob"

    def __init__(self, job_id: int | None = None, server_job_id: str | None = None) -> None:
        super().__init__(
            f"no job {job_id}" if job_id is not None else f"no job of the server's {server_job_id}"
        )
        self.job_id = job_id
        self.server_job_id = server_job_id

    def parameters(self) -> dict[str, Any]:
        """Return the ID that was asked for; the other is null."""
        return {"job_id": self.job_id, "server_job_id": self.server_job_id}


class JobAlreadyEnded(HookdError):
    """The job takes no end: it has ended before, and its outcome stays, or its start was refused.

    `outcome` is None where the start was refused, `reason` is None where the job has ended.
    """

    code = "io.hookd.Jobs.JobAlreadyEnded"

    def __init__(self, job_id: int, outcome: str | None, reason: str | None = None) -> None:
        if outcome is not None:
            super().__init__(f"job {job_id} has ended already, outcome {outcome}")
        else:
            because = f": {reason}" if reason else ""
            super().__init__(f"the start of job {job_id} was refused, so it has no end{because}")
        self.job_id = job_id
        self.outcome = outcome
        self.reason = reason

    def parameters(self) -> dict[str, Any]:
        """Return the job, and the outcome or the refusal that stands."""
        return {"job_id": self.job_id, "outcome": self.outcome, "reason": self.reason}


class RequestIdConflict(HookdError):
    """This `request_id` was used by an earlier request with different content."""

    code = "io.hookd.Jobs.RequestIdConflict"

    def __init__(self, request_id: str, job_id: int) -> None:
        super().__init__(
            f"request_id {request_id!r} was used by another request, for job {job_id}"
        )
        self.request_id = request_id
        self.job_id = job_id

    def parameters(self) -> dict[str, Any]:
        """Return the ID and the job that it made."""
        return {"request_id": self.request_id, "job_id": self.job_id}


class QueueFull(HookdError):
    """Too many runs are waiting; nothing was accepted. Try again after `retry_after_msec`."""

    code = "io.hookd.Jobs.QueueFull"

    def __init__(self, retry_after_msec: int) -> None:
        super().__init__(f"the queue is full; try again in {retry_after_msec} ms")
        self.retry_after_msec = retry_after_msec

    def parameters(self) -> dict[str, Any]:
        """Return the time after which to try again, in milliseconds."""
        return {"retry_after_msec": self.retry_after_msec}


class ShuttingDown(HookdError):
    """hookd is stopping. Acknowledged events are safe; the request has to be repeated."""

    code = "io.hookd.Jobs.ShuttingDown"


class WouldDeadlock(HookdError):
    """A hook tried to wait for the job that waits for this hook."""

    code = "io.hookd.Jobs.WouldDeadlock"

    def __init__(self, job_id: int, run_id: int) -> None:
        super().__init__(
            f"run {run_id} is a hook of job {job_id}, which cannot end before it: "
            "call without wait"
        )
        self.job_id = job_id
        self.run_id = run_id

    def parameters(self) -> dict[str, Any]:
        """Return the job and the run that would wait for each other."""
        return {"job_id": self.job_id, "run_id": self.run_id}


class StorageFailure(HookdError):
    """The database could not be written or read; nothing was accepted."""

    code = "io.hookd.Jobs.StorageFailure"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def parameters(self) -> dict[str, Any]:
        """Return the reason in words."""
        return {"message": self.message}


class InternalError(HookdError):
    """An error in the code of hookd. Events that were on disk before are safe."""

    code = "io.hookd.Jobs.InternalError"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def parameters(self) -> dict[str, Any]:
        """Return the error in words."""
        return {"message": self.message}


class ConfigError(HookdError):
    """The configuration cannot be used: one line for each error of each file."""

    code = "io.hookd.Manager.InvalidConfiguration"

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors

    def parameters(self) -> dict[str, Any]:
        """Return the list of errors."""
        return {"errors": self.errors}


class NoSuchHook(HookdError):
    """No hook of that name is configured."""

    code = "io.hookd.Manager.NoSuchHook"

    def __init__(self, hook: str) -> None:
        super().__init__(f"no hook {hook!r}")
        self.hook = hook

    def parameters(self) -> dict[str, Any]:
        """Return the name that was asked for."""
        return {"hook": self.hook}


class NoSuchRun(HookdError):
    """No run of that ID is waiting or running."""

    code = "io.hookd.Manager.NoSuchRun"

    def __init__(self, run_id: int) -> None:
        super().__init__(f"run {run_id} is neither waiting nor running")
        self.run_id = run_id

    def parameters(self) -> dict[str, Any]:
        """Return the ID that was asked for."""
        return {"run_id": self.run_id}


class TooSlow(HookdError):
    """A subscriber read too slowly; it can subscribe again, from `seq` or from now."""

    code = "io.hookd.Manager.TooSlow"

    def __init__(self, seq: int) -> None:
        super().__init__(f"fell behind: notices after {seq} are forgotten in part")
        self.seq = seq

    def parameters(self) -> dict[str, Any]:
        """Return the number of the last notice that was sent."""
        return {"seq": self.seq}


class TooManySubscribers(HookdError):
    """The maximum number of subscribers is connected."""

    code = "io.hookd.Manager.TooManySubscribers"

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} subscribers are connected, and no more are allowed")
        self.limit = limit

    def parameters(self) -> dict[str, Any]:
        """Return the maximum number."""
        return {"limit": self.limit}


class RunnerUnavailable(HookdError):
    """The runner is not available at the moment; waiting runs are kept."""

    code = "io.hookd.Manager.RunnerUnavailable"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def parameters(self) -> dict[str, Any]:
        """Return the reason in words."""
        return {"message": self.message}
