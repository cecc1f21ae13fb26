# SPDX-License-Identifier: LGPL-2.1-or-later
# No postponed annotations here: asyncvarlink reads those of its interfaces as types.
"""Clients that know nothing of hookd can start and end a job."""

import asyncio
import json
import shutil
import subprocess
from typing import Any, TypedDict

import asyncvarlink
import pytest

from tests.support.daemon import Daemon
from tests.support.wire import END, JOB, Wire


@pytest.fixture(scope="module")
def ready(shared: Daemon) -> Daemon:
    """Return a started daemon with one hook."""
    shared.hook("nothing", 'command = "/bin/true"')
    shared.start()
    return shared


def test_bytes_on_a_socket(ready: Daemon) -> None:
    with Wire(ready.socket) as wire:
        started = wire.start(wait=True)
        ended = wire.end(job_id=started["job_id"], wait=True)
        assert [run["result"] for run in started["hooks"] + ended["hooks"]] == ["success"] * 2
        assert wire.job(started["job_id"])["state"] == "ended"


def test_calls_in_one_packet_and_in_single_bytes(ready: Daemon) -> None:
    call = json.dumps({"method": "io.hookd.Jobs.StartJob", "parameters": JOB}).encode() + b"\0"
    with Wire(ready.socket) as wire:
        wire.socket.sendall(call * 3)
        first, *more = [wire.receive()["parameters"]["job_id"] for _ in range(3)]
        assert more == [first + 1, first + 2]
        for byte in call:
            wire.socket.sendall(bytes([byte]))
        assert wire.receive()["parameters"]["job_id"] == first + 3


def test_answers_reach_a_client_that_has_stopped_writing(ready: Daemon) -> None:
    """`printf … | socat` closes its half of the connection before it reads."""
    with Wire(ready.socket) as wire:
        wire.send("StartJob", JOB | {"wait": True})
        wire.socket.shutdown(1)
        job_id = wire.receive()["parameters"]["job_id"]
        assert wire.receive() == {}
    with Wire(ready.socket) as wire:
        assert wire.job(job_id)["job_id"] == job_id


def test_a_oneway_call_has_no_answer(ready: Daemon) -> None:
    with Wire(ready.socket) as wire:
        wire.send("StartJob", JOB | {"profile": "oneway"}, oneway=True)
        (job,) = wire.call("io.hookd.Manager.ListJobs", {"profile": "oneway"})["jobs"]
        assert wire.job(job["job_id"])["profile"] == "oneway"


def test_more_tells_of_each_change(ready: Daemon) -> None:
    with Wire(ready.socket) as wire:
        wire.send("StartJob", JOB, more=True)
        replies: list[dict[str, Any]] = []
        while not replies or replies[-1].get("continues"):
            replies.append(wire.receive())
    states = [run["state"] for reply in replies for run in reply["parameters"]["hooks"]]
    assert states == ["waiting", "running", "ended", "ended"]


class _Run(TypedDict):
    run_id: int
    hook: str
    phase: str
    attempt: int
    state: str
    result: str | None
    exit_status: int | None
    signal: str | None
    limit: str | None
    reason: str | None
    started_usec: int | None
    ended_usec: int | None
    duration_usec: int | None
    cpu_usec: int | None
    memory_peak: int | None
    output_bytes: int | None
    output_dropped: int | None
    leftovers: int | None
    survivors: int | None


class _Started(TypedDict):
    job_id: int
    duplicate: bool
    allowed: bool
    reason: str | None
    hooks: list[_Run]


class _Ended(TypedDict):
    job_id: int
    duplicate: bool
    hooks: list[_Run]


class _Jobs(asyncvarlink.VarlinkInterface, name="io.hookd.Jobs"):
    @asyncvarlink.varlinkmethod
    def StartJob(
        self, *, profile: str, user: str, client_ip: str, client_build_no: str
    ) -> _Started:
        raise NotImplementedError

    @asyncvarlink.varlinkmethod
    def EndJob(self, *, job_id: int, file_count: int, byte_count: int) -> _Ended:
        raise NotImplementedError


def test_asyncvarlink(ready: Daemon) -> None:
    async def both() -> tuple[int, int]:
        transport, protocol = await asyncvarlink.connect_unix_varlink(
            asyncvarlink.VarlinkClientProtocol, str(ready.socket)
        )
        jobs = protocol.make_proxy(_Jobs)
        started = await jobs.StartJob(**JOB)
        ended = await jobs.EndJob(job_id=started["job_id"], **END)
        transport.close()
        return started["job_id"], ended["job_id"]

    started, ended = asyncio.run(both())
    assert started == ended
    with Wire(ready.socket) as wire:
        assert wire.job(started)["state"] == "ended"


@pytest.mark.skipif(
    shutil.which("varlinkctl") is None, reason="varlinkctl is missing (systemd 255 or newer)"
)
def test_varlinkctl(ready: Daemon) -> None:
    def run(*arguments: str) -> str:
        done = subprocess.run(
            ["varlinkctl", *arguments], stdout=subprocess.PIPE, check=True, text=True
        )
        return done.stdout

    address = f"unix:{ready.socket}"
    assert "io.hookd.Jobs" in run("info", address)
    for interface in ("io.hookd.Jobs", "io.hookd.Manager", "org.varlink.service"):
        assert interface in run("introspect", address, interface)
    started = json.loads(run("call", address, "io.hookd.Jobs.StartJob", json.dumps(JOB)))
    job_id = started["job_id"]
    ended = json.loads(
        run("call", address, "io.hookd.Jobs.EndJob", json.dumps(END | {"job_id": job_id}))
    )
    assert ended["job_id"] == job_id
    with Wire(ready.socket) as wire:
        assert wire.job(job_id)["state"] == "ended"
