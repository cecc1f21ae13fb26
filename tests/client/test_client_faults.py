# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the client does when the other side hangs up, says nothing, refuses or talks nonsense."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hookd import errors
from hookd.client import Client, RemoteError, Unreachable
from tests.client.peer import HANG_UP, SILENCE, Peer, error, more, reply

Listen = Callable[..., Peer]

JOB: dict[str, Any] = {"profile": "Mail", "user": "ann@example.com", "client_ip": "10.0.0.7"}
STARTED = reply(job_id=17, duplicate=False, allowed=True, hooks=[])

EVERY_ERROR: list[errors.HookdError] = [
    errors.InvalidParameter("profile", "found ''; allowed: a name"),
    errors.PermissionDenied(),
    errors.InterfaceNotFound("io.example"),
    errors.MethodNotFound("io.hookd.Jobs.Nothing"),
    errors.ExpectedMore(),
    errors.NoSuchJob(17),
    errors.NoSuchJob(server_job_id="b-17"),
    errors.JobAlreadyEnded(17, "success"),
    errors.JobAlreadyEnded(17, None, "no tape"),
    errors.RequestIdConflict("r-1", 17),
    errors.QueueFull(250),
    errors.ShuttingDown(),
    errors.WouldDeadlock(17, 33),
    errors.StorageFailure("disk full"),
    errors.InternalError("oh"),
    errors.ConfigError(["a: b", "c: d"]),
    errors.NoSuchHook("notify"),
    errors.NoSuchRun(33),
    errors.RunnerUnavailable("it restarts"),
    errors.TooSlow(41),
    errors.TooManySubscribers(64),
]


def test_a_request_has_an_id_and_nothing_that_was_not_given(listen: Listen) -> None:
    peer = listen(STARTED)
    with Client(peer.path) as hookd:
        assert hookd.start_job(**JOB).job_id == 17
    (request,) = peer.requests
    assert request["method"] == "io.hookd.Jobs.StartJob"
    assert len(request["parameters"].pop("request_id")) == 32
    assert request["parameters"] == JOB | {"client_build_no": ""}


def test_a_connection_that_was_closed_meanwhile_is_no_broken_output(tmp_path: Path) -> None:
    """Programs, click among them, take BrokenPipeError for the end of their own reader."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(STARTED)

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        with Client(tmp_path / "socket") as hookd:
            hookd.start_job(**JOB)
            thread.join()
            with pytest.raises(ConnectionResetError, match="closed the connection"):
                hookd.call("io.hookd.Manager.Replay", {"job_id": 1}, dict)


def test_what_is_no_text_is_refused_by_its_name(tmp_path: Path) -> None:
    with Client(tmp_path / "none") as hookd:
        with pytest.raises(errors.InvalidParameter, match=r"profile: must be text in UTF-8, not "):
            hookd.start_job(**JOB | {"profile": "\udcff"})
        with pytest.raises(errors.InvalidParameter, match="attributes: must be text"):
            hookd.start_job(**JOB, attributes={"key": "\ud800"})


def test_after_a_lost_connection_the_same_request_is_sent_again(listen: Listen) -> None:
    peer = listen(HANG_UP, HANG_UP, STARTED)
    with Client(peer.path) as hookd:
        assert hookd.start_job(**JOB).job_id == 17
    assert peer.connections == 3
    assert peer.requests == [peer.requests[0]] * 3


def test_a_stopping_hookd_is_asked_again(listen: Listen) -> None:
    peer = listen(error("io.hookd.Jobs.ShuttingDown"), reply(job_id=17, duplicate=False, hooks=[]))
    with Client(peer.path) as hookd:
        assert hookd.end_job(17).job_id == 17


def test_a_tied_job_is_not_started_again(listen: Listen) -> None:
    peer = listen(HANG_UP, STARTED)
    with Client(peer.path) as hookd, pytest.raises(ConnectionResetError):
        hookd.start_job(**JOB, tie=True)
    assert len(peer.requests) == 1


def test_repeating_ends_after_the_time_for_it(listen: Listen) -> None:
    peer = listen(*[HANG_UP] * 100)
    begun = time.monotonic()
    with Client(peer.path, retry=0.3) as hookd, pytest.raises(ConnectionResetError):
        hookd.get_job(17)
    assert time.monotonic() - begun < 1
    assert 2 <= len(peer.requests) < 20


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next(listen: Listen) -> None:
    peer = listen(SILENCE, STARTED)
    with Client(peer.path, timeout=0.1) as hookd:
        with pytest.raises(TimeoutError, match=r"hookd has not answered for 0\.1 s"):
            hookd.start_job(**JOB)
        assert hookd.start_job(**JOB).job_id == 17
    assert peer.connections == 2


def test_where_nobody_listens_is_said_at_once(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(
        Unreachable, match=r"no hookd at .*nobody\.sock: No such file or directory"
    ):
        Client(tmp_path / "nobody.sock").start_job(**JOB)
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize("expected", EVERY_ERROR, ids=lambda e: type(e).__name__)
def test_each_error_comes_as_its_class(listen: Listen, expected: errors.HookdError) -> None:
    peer = listen(error(expected.code, **expected.parameters()))
    with Client(peer.path, retry=0) as hookd, pytest.raises(type(expected)) as caught:
        hookd.get_job(17)
    assert str(caught.value) == str(expected)
    assert caught.value.parameters() == expected.parameters()


def test_no_error_is_forgotten_above() -> None:
    tested = {type(e) for e in EVERY_ERROR}
    of_the_client = {RemoteError, errors.ProtocolError}
    assert set(errors.HookdError.__subclasses__()) == tested | of_the_client


def test_an_unknown_error_keeps_its_name_and_values(listen: Listen) -> None:
    peer = listen(
        error("io.hookd.Jobs.TooEarly", minutes=3), error("io.hookd.Jobs.NoSuchJob", x=1)
    )
    with Client(peer.path) as hookd:
        with pytest.raises(RemoteError, match=r"io\.hookd\.Jobs\.TooEarly: minutes 3") as caught:
            hookd.get_job(17)
        assert caught.value.parameters() == {"minutes": 3}
        with pytest.raises(RemoteError, match="NoSuchJob: x 1"):
            hookd.get_job(17)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400\0", b"[]\0", b'{"parameters":{}}\0', b"\xff\0"])
def test_nonsense_is_a_protocol_error(listen: Listen, answer: bytes) -> None:
    peer = listen(answer)
    with Client(peer.path) as hookd, pytest.raises(errors.ProtocolError, match="not hookd's"):
        hookd.start_job(**JOB)


def test_a_stream_ends_with_its_last_answer(listen: Listen) -> None:
    peer = listen(more(n=1) + more(n=2) + reply(n=3), reply(n=4))
    with Client(peer.path) as hookd:
        found = list(hookd.stream("io.hookd.Manager.Subscribe", {}, dict[str, Any]))
        assert found == [{"n": 1}, {"n": 2}, {"n": 3}]
        assert hookd.call("io.hookd.Manager.GetStatus", {}, dict[str, Any]) == {"n": 4}
    assert peer.connections == 1
    assert [request.get("more") for request in peer.requests] == [True, None]


def test_a_stream_left_early_is_closed(listen: Listen) -> None:
    peer = listen(more(n=1))
    with Client(peer.path) as hookd:
        stream = hookd.stream("io.hookd.Manager.Subscribe", {}, dict[str, Any])
        assert next(stream) == {"n": 1}
        stream.close()
        assert peer.gone.wait(5)
