# SPDX-License-Identifier: LGPL-2.1-or-later
"""Records on their way: to a journal that takes them, is stuck, is gone, or was never there.

What arrives is read from the real journal. Where a journal is to be stuck or gone, a socket of the
test's own stands for it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import select
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookd.system import journal, records
from hookd.system.journal import Context, Journal
from tests.support.eventually import eventually
from tests.support.journald import Journald
from tests.support.records import Records


@pytest.fixture
def written() -> Records:
    """Return the real journal from now on."""
    return Records()


def within(path: Path | str, work: Callable[[Journal], Awaitable[None]], stderr: int = 2) -> None:
    """Run `work` with a Journal on this path."""

    async def run() -> None:
        one = Journal(str(path), stderr)
        await work(one)
        one.close(0.1)

    asyncio.run(run())


def test_a_record_has_exact_fields_and_a_message_of_one_line(written: Records) -> None:
    context = Context({"HOOKD_HOOK": "h", "HOOKD_RUN_ID": 1, "HOOKD_PHASE": "start"})
    forged = "7\nMESSAGE=forged\n\x1b[31m"

    async def work(one: Journal) -> None:
        one.send(records.RUN_STARTED, {"HOOKD_JOB_ID": forged, "NOT": None}, context=context)
        assert one.flushed

    within(journal.SOCKET, work)
    (found,) = written.find(_PID=os.getpid())
    own = {name: value for name, value in found.items() if not name.startswith("_")}
    assert own.pop("MESSAGE_ID").hex == records.RUN_STARTED.message_id
    assert own == {
        "MESSAGE": "hook h, run 1 at the start of job 7\\x0aMESSAGE=forged\\x0a\\x1b[31m: started",
        "PRIORITY": 6,
        "SYSLOG_IDENTIFIER": "hookd",
        "HOOKD_JOB_ID": forged,
        "HOOKD_HOOK": "h",
        "HOOKD_RUN_ID": "1",
        "HOOKD_PHASE": "start",
    }


def test_a_record_larger_than_a_packet_arrives_whole(written: Records) -> None:
    large = "x" * 700_000

    async def work(one: Journal) -> None:
        one.send(records.SERVER_STARTED, {"HOOKD_PROFILE": large}, detail="up")

    within(journal.SOCKET, work)
    (found,) = written.find(_PID=os.getpid())
    assert found["HOOKD_PROFILE"] == large


def test_bytes_that_are_no_text_arrive_as_they_were(written: Records) -> None:
    async def work(one: Journal) -> None:
        one.send(records.SERVER_STARTED, {"HOOKD_USER": "a\udcff"}, detail="up")

    within(journal.SOCKET, work)
    (found,) = written.find(_PID=os.getpid())
    assert found["HOOKD_USER"] == b"a\xff"


def test_what_is_too_large_a_datagram_is_a_sealed_file(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes its turn, also where there was no room for it at first."""
    monkeypatch.setattr(journal, "ROOM", 4096)
    journald = Journald(scratch / "socket")

    async def work(one: Journal) -> None:
        journald.fill()
        one.send(records.SERVER_STARTED, {"HOOKD_N": "a\nb" * 5000}, detail="up")
        one.send(records.SERVER_STOPPED, detail="down")
        assert not one.flushed
        journald.empty()
        await one.flush(20)

    within(scratch / "socket", work)
    data, (fd,), _, _ = socket.recv_fds(journald.socket, 10, 1)
    try:
        assert data == b""
        assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) == journal.SEALS
        assert journal.decode(os.pread(fd, 1 << 20, 0))["HOOKD_N"] == "a\nb" * 5000
    finally:
        os.close(fd)
    assert journal.decode(journald.socket.recv(4096))["MESSAGE"] == "down"
    journald.end()


def test_where_no_file_can_be_made_stderr_has_what_is_too_large(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "ROOM", 4096)
    journald = Journald(scratch / "socket")
    reader, writer = os.pipe()

    async def work(one: Journal) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            one.send(records.SERVER_STARTED, {"HOOKD_N": "x" * 20_000}, detail="up")
            one.send(records.SERVER_STOPPED, detail="down")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert one.flushed

    within(scratch / "socket", work, writer)
    os.close(writer)
    with os.fdopen(reader) as file:
        (line,) = file.readlines()
    assert " hookd: up (HOOKD_N=xxx" in line
    assert journal.decode(journald.socket.recv(4096))["MESSAGE"] == "down"
    journald.end()


def test_a_queue_has_a_size_too(scratch: Path) -> None:
    """Records of the largest jobs that there can be do not eat the memory of a daemon."""
    journald = Journald(scratch / "socket")
    large = "x" * 120_000
    fit = journal.MAX_QUEUE_BYTES // len(large)

    async def work(one: Journal) -> None:
        journald.fill()
        for _ in range(fit + 100):
            one.send(records.SERVER_STARTED, {"HOOKD_PROFILE": large}, detail="up")
        *found, last = await journald.take_from(one)
        assert fit - 10 < len(found) <= fit
        lost = fit + 100 - len(found)
        assert last["MESSAGE"] == f"{lost} records were lost: the journal took none"

    within(scratch / "socket", work)
    journald.end()


def test_a_stuck_journal_that_is_replaced_holds_nothing_back(scratch: Path) -> None:
    path = scratch / "socket"
    old = Journald(path)
    reader, writer = os.pipe()

    async def work(one: Journal) -> None:
        old.fill()
        one.send(records.SERVER_STARTED, detail="first")
        path.unlink()
        one.send(records.SERVER_STARTED, detail="second")
        await one.flush(20)
        assert one.flushed

    within(path, work, writer)
    old.socket.close()
    os.close(writer)
    with os.fdopen(reader) as file:
        assert [line.split()[-1] for line in file] == ["first", "second"]


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z][A-Z0-9_]{0,20}", fullmatch=True),
        st.text(st.characters(exclude_categories=["Cs"])),
        max_size=8,
    )
)
def test_what_is_encoded_is_decoded(fields: dict[str, str]) -> None:
    assert journal.decode(journal.encode(fields)) == fields


def test_there_is_no_text_that_cannot_be_sent() -> None:
    assert journal.decode(journal.encode({"A": "\ud800", "B": "a\n\ud800"})) == {
        "A": "\\ud800",
        "B": "a\n\\ud800",
    }


def test_a_stuck_journal_blocks_nobody_and_the_lost_are_counted(scratch: Path) -> None:
    journald = Journald(scratch / "socket")
    lost = 1000

    async def work(one: Journal) -> None:
        journald.fill()
        began = time.monotonic()
        for n in range(journal.MAX_QUEUE + lost):
            one.send(records.SERVER_STARTED, {"HOOKD_N": n}, detail="up")
        await one.flush(0.1)
        assert not one.flushed
        assert time.monotonic() - began < 20
        *found, last = await journald.take_from(one)
        assert [record["HOOKD_N"] for record in found] == [*map(str, range(journal.MAX_QUEUE))]
        assert last["MESSAGE"] == f"{lost} records were lost: the journal took none"

    within(scratch / "socket", work)
    journald.end()


def test_lines_are_a_record_each(written: Records) -> None:
    context = Context({"HOOKD_RUN_ID": 3, "HOOKD_PROFILE_NAME": "a\n\nMESSAGE=b", "HOOKD_X": ""})
    texts = [f"line {n} é=" for n in range(500)]
    texts += ["\\xff" * 200_000, "after"]  # too large for a datagram

    async def work(one: Journal) -> None:
        one.lines(texts, "hook", context)
        await one.flush(10)
        assert one.flushed

    within(journal.SOCKET, work)
    found = written.find(SYSLOG_IDENTIFIER="hook", _PID=os.getpid())
    assert [record["MESSAGE"] for record in found] == texts
    assert {record["HOOKD_PROFILE_NAME"] for record in found} == {"a\n\nMESSAGE=b"}
    assert {
        (record["PRIORITY"], record["HOOKD_RUN_ID"], record["HOOKD_X"]) for record in found
    } == {(records.INFO, "3", "")}


def test_lines_on_stderr_leave_one_by_one_as_there_is_room(scratch: Path) -> None:
    reader, writer = os.pipe()
    seen = b""

    async def work(one: Journal) -> None:
        nonlocal seen
        one.lines([f"{n} " + "x" * 3000 for n in range(60)], "hook", Context({}))
        assert not one.flushed  # more than a pipe takes
        while not one.flushed or select.select([reader], [], [], 0)[0]:
            seen += await asyncio.to_thread(os.read, reader, 1 << 16)
            await one.flush(0.1)

    within(scratch / "none", work, writer)
    os.close(writer)
    os.close(reader)
    assert [line.split()[2] for line in seen.splitlines()] == [b"%d" % n for n in range(60)]


def test_without_a_journal_records_are_lines_on_stderr(scratch: Path) -> None:
    reader, writer = os.pipe()

    async def work(one: Journal) -> None:
        one.send(records.JOB_LOST, {"HOOKD_JOB_ID": 7, "X": "a\nb"}, detail="nobody\nsaid")
        one.lines(["text"], "hook", Context({"HOOKD_RUN_ID": 3, "HOOKD_USER": "u"}))

    within(scratch / "none", work, writer)
    os.close(writer)
    with os.fdopen(reader) as file:
        first, second = (line.partition(" ")[2] for line in file.read().splitlines())
    assert first == "hookd: warning: job 7 is lost: nobody\\x0asaid (HOOKD_JOB_ID=7 X=a\\x0ab)"
    assert second == "hook: text (HOOKD_RUN_ID=3)"


def test_a_full_stderr_blocks_nobody(scratch: Path) -> None:
    reader, writer = os.pipe()

    async def work(one: Journal) -> None:
        for _ in range(2000):
            one.send(records.SERVER_STARTED, detail="x" * 100)
        assert not one.flushed
        await asyncio.to_thread(os.read, reader, 1 << 20)
        await asyncio.to_thread(os.read, reader, 1 << 20)
        os.close(reader)
        await one.flush(5)
        assert one.flushed

    within(scratch / "none", work, writer)
    os.close(writer)


def test_a_journal_that_goes_and_comes_back_is_found(scratch: Path) -> None:
    path = scratch / "socket"
    journald = Journald(path)
    reader, writer = os.pipe()

    async def work(one: Journal) -> None:
        one.send(records.SERVER_STARTED, detail="first")
        assert [record["MESSAGE"] for record in journald.taken()] == ["first"]
        journald.end()
        one.send(records.SERVER_STARTED, detail="second")
        assert b"second" in os.read(reader, 4096)
        again = Journald(path)

        def said() -> bool:
            one.send(records.SERVER_STARTED, detail="third")
            on_stderr = select.select([reader], [], [], 0)[0]
            return not (on_stderr and os.read(reader, 4096))

        await asyncio.to_thread(eventually, said)
        assert [record["MESSAGE"] for record in again.taken()] == ["third"]
        again.end()

    within(path, work, writer)
    os.close(reader)
    os.close(writer)


def test_every_kind_has_an_id_of_its_own() -> None:
    ids = [kind.message_id for kind in records.KINDS.values()]
    assert len(set(ids)) == len(ids)
    assert all(len(one) == 32 and int(one, 16) for one in ids)
