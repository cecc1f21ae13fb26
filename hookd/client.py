# SPDX-License-Identifier: LGPL-2.1-or-later
"""The client library for backup servers: start a job, end it, look it up.

    with Client() as hookd:
        started = hookd.start_job(profile="Mail", user="ann@example.com", client_ip="10.0.0.7")
        if started.allowed:
            ...
            hookd.end_job(started.job_id, file_count=12, byte_count=34_567, outcome="success")

Calls block, and a `Client` makes one call at a time: each thread needs its own. The library knows
the protocol and nothing of the daemon. It imports the standard library and msgspec only, and
little of them, because `hookctl start` imports it for every job.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Generator, Mapping
from types import TracebackType
from typing import Any, TypeVar, cast

import msgspec

from hookd.errors import HookdError, InvalidParameter, ProtocolError, ShuttingDown
from hookd.jobs_api import (
    EndJob,
    EndJobReply,
    GetJob,
    GetJobReply,
    Parameters,
    ServerStarted,
    ServerStartedReply,
    StartJob,
    StartJobReply,
)
from hookd.model import Job, Outcome

SYSTEM_SOCKET = "/run/hookd/hookd.sock"

_T = TypeVar("_T")
_CHUNK = 65536  # bytes asked of the kernel at a time


class Unreachable(ConnectionError):
    """No daemon listens on the socket; `__cause__` has the reason of the kernel."""


class RemoteError(HookdError):
    """An error that this version has no class for; `name` is its Varlink name."""

    def __init__(self, name: str, values: dict[str, Any]) -> None:
        shown = ", ".join(f"{key} {value}" for key, value in values.items())
        super().__init__(f"{name}: {shown}" if shown else name)
        self.name = name
        self.values = values

    def parameters(self) -> dict[str, Any]:
        """Return the values that came with it."""
        return self.values


class _Reply(msgspec.Struct):
    parameters: msgspec.Raw = msgspec.Raw(b"{}")
    continues: bool = False
    error: str | None = None


def default_socket() -> str:
    """Return the system socket if it exists or for root, else the socket of the user."""
    own = os.environ.get("XDG_RUNTIME_DIR")
    if not own or os.geteuid() == 0 or os.path.exists(SYSTEM_SOCKET):  # noqa: PTH110 - import cost
        return SYSTEM_SOCKET
    return f"{own}/hookd/hookd.sock"


class Client:
    """A connection to hookd, made at the first call and again where that is safe.

    `path` is the socket. `timeout`, in seconds, bounds the wait for each answer (TimeoutError;
    None: for ever): a gate, or `wait`, makes an answer take as long as the hooks' own limits
    allow. `retry`, in seconds, is how long a call that may be repeated is repeated when hookd
    goes away before it answers: long enough for a restart.

    Every call raises the `HookdError` that hookd answers with, `Unreachable` where nobody
    listens, ConnectionError where hookd goes away before it answers, PermissionError where the
    socket is not for this user, and ProtocolError where something else answers.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        retry: float = 10.0,
    ) -> None:
        self.path = os.fspath(path) if path is not None else default_socket()
        self.timeout = timeout
        self.retry = retry
        self._socket: socket.socket | None = None
        self._received = bytearray()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. A running job that was started with `tie` is lost."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._received.clear()

    def start_job(
        self,
        *,
        profile: str,
        user: str,
        client_ip: str,
        client_build_no: str = "",
        server_job_id: str | None = None,
        request_id: str | None = None,
        attributes: Mapping[str, str] | None = None,
        wait: bool = False,
        tie: bool = False,
    ) -> StartJobReply:
        """Report the start of a job. When this returns, the event is on the disk of hookd.

        `wait`: return when the last attempts of the start's hooks have ended. `tie`: the job is
        lost when this client closes or dies before the job's end. The answer's `hooks` has every
        attempt; `hookd.model.last_attempts` finds those that say how each hook ended.

        A `request_id` is made where none is given, so that the call can be repeated after a
        lost connection and is still one job (not with `tie`, where the loss ends the job).
        """
        parameters = StartJob(
            profile=profile,
            user=user,
            client_ip=client_ip,
            client_build_no=client_build_no,
            server_job_id=server_job_id,
            request_id=request_id or _request_id(),
            attributes=None if attributes is None else dict(attributes),
            wait=wait or None,
            tie=tie or None,
        )
        return self.call("io.hookd.Jobs.StartJob", parameters, StartJobReply, repeat=not tie)

    def end_job(
        self,
        job_id: int | None = None,
        *,
        server_job_id: str | None = None,
        file_count: int = 0,
        byte_count: int = 0,
        outcome: str | None = None,
        message: str | None = None,
        request_id: str | None = None,
        wait: bool = False,
    ) -> EndJobReply:
        """Report the end of a job, given by its ID or by the ID of the backup server.

        `wait`: return when the last attempts of the end's hooks have ended. A `request_id` is
        made where none is given, so that the call can be repeated after a lost connection and
        ends the job once.
        """
        parameters = EndJob(
            job_id=job_id,
            server_job_id=server_job_id,
            file_count=file_count,
            byte_count=byte_count,
            outcome=cast("Outcome | None", outcome),  # hookd checks it
            message=message,
            request_id=request_id or _request_id(),
            wait=wait or None,
        )
        return self.call("io.hookd.Jobs.EndJob", parameters, EndJobReply, repeat=True)

    def get_job(self, job_id: int) -> Job:
        """Return a job with all its runs."""
        parameters = GetJob(job_id=job_id)
        return self.call("io.hookd.Jobs.GetJob", parameters, GetJobReply, repeat=True).job

    def server_started(self, instance: str) -> list[int]:
        """Report that the backup server has started; return the jobs that are lost.

        `instance` is any text that differs between two starts.
        """
        parameters = ServerStarted(instance=instance)
        reply = self.call(
            "io.hookd.Jobs.ServerStarted", parameters, ServerStartedReply, repeat=True
        )
        return reply.lost_jobs

    def call(
        self,
        method: str,
        parameters: Parameters | Mapping[str, Any],
        answer: type[_T],
        *,
        repeat: bool = False,
    ) -> _T:
        """Call any method; return its parameters as the type `answer` (`dict` for whatever).

        Parameters that are None are not sent. `repeat`: send it again should hookd go away
        before it answers; for what only reads, or carries a `request_id`.
        """
        request = _request(method, parameters)
        deadline = None
        pause = 0.02
        while True:
            try:
                return _answer(self._ask(request), answer)
            except (ConnectionError, ShuttingDown) as e:
                never_was_there = deadline is None and isinstance(e, Unreachable)
                if not repeat or never_was_there:
                    raise
                deadline = deadline or time.monotonic() + self.retry
                if time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    def stream(
        self, method: str, parameters: Parameters | Mapping[str, Any], answer: type[_T]
    ) -> Generator[_T, None, None]:
        """Call a method that answers more than once; yield each answer until the last.

        Leaving the loop early closes the connection, which is how hookd is told to stop.
        """
        done = False
        try:
            self._send(_request(method, parameters, more=True))
            while not done:
                reply = self._receive()
                done = not reply.continues
                yield _answer(reply, answer)
        finally:
            if not done:
                self.close()

    def _ask(self, request: bytes) -> _Reply:
        try:
            self._send(request)
            return self._receive()
        except BaseException:
            # What is half sent or still to come would be taken for the next call's.
            self.close()
            raise

    def _send(self, request: bytes) -> None:
        if self._socket is None:
            self._socket = self._connect()
        try:
            self._socket.sendall(request)
        except BrokenPipeError:  # said of the connection alone: of an output it means less
            raise ConnectionResetError("hookd closed the connection before it answered") from None

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self.timeout)
        try:
            connection.connect(self.path)
        except OSError as e:
            connection.close()
            if isinstance(e, PermissionError):
                raise PermissionError(e.errno, e.strerror, self.path) from None
            raise Unreachable(f"no hookd at {self.path}: {e.strerror or e}") from e
        return connection

    def _receive(self) -> _Reply:
        assert self._socket is not None, "_send comes first"
        searched = 0
        while (end := self._received.find(b"\0", searched)) < 0:
            searched = len(self._received)
            try:
                data = self._socket.recv(_CHUNK)
            except TimeoutError:
                raise TimeoutError(f"hookd has not answered for {self.timeout:g} s") from None
            if not data:
                raise ConnectionResetError("hookd closed the connection before it answered")
            self._received += data
        message = bytes(self._received[:end])
        del self._received[: end + 1]
        return _decode(message, _Reply)


def _request_id() -> str:
    """Return a unique ID: 128 random bits."""
    return os.urandom(16).hex()


def _request(method: str, parameters: Parameters | Mapping[str, Any], more: bool = False) -> bytes:
    if isinstance(parameters, Parameters):
        parameters = msgspec.structs.asdict(parameters)
    request: dict[str, Any] = {
        "method": method,
        "parameters": {key: value for key, value in parameters.items() if value is not None},
    }
    if more:
        request["more"] = True
    try:
        return msgspec.json.encode(request) + b"\0"
    except UnicodeEncodeError as e:
        raise _no_text(request["parameters"]) from e


def _no_text(parameters: Mapping[str, Any]) -> InvalidParameter:
    """Return the error for the parameter that has half of a pair in it: no text can be sent so."""
    for name, value in parameters.items():
        try:
            msgspec.json.encode(value)
        except UnicodeEncodeError:
            return InvalidParameter(name, f"must be text in UTF-8, not {value!r}")
    raise AssertionError("one of them has")


def _answer(reply: _Reply, answer: type[_T]) -> _T:
    if reply.error is not None:
        raise _error(reply.error, _decode(reply.parameters, dict[str, Any]))
    return _decode(reply.parameters, answer)


def _decode(data: bytes | msgspec.Raw, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as e:
        raise ProtocolError(f"the answer is not hookd's: {e}") from None


def _error(name: str, values: dict[str, Any]) -> HookdError:
    """Return the exception of an error's name, made from the values that came with it."""
    if name == InvalidParameter.code:
        parameter = values.get("parameter", "?")
        message = values.get("message", "not allowed").removeprefix(f"{parameter}: ")
        return InvalidParameter(parameter, message)
    for kind in HookdError.__subclasses__():
        if kind.code == name and kind is not RemoteError:
            try:
                return kind(**values)
            except TypeError:  # a daemon of another version says more, or less
                break
    return RemoteError(name, values)
