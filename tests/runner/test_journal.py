# SPDX-License-Identifier: LGPL-2.1-or-later
"""Records on their way: to a journal that takes them, is stuck, is gone, or was never there.

The journal's side is a socket of the test's own, which speaks nothing and reads when it likes.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from hookd import journal, records
from hookd.journal import Context, Journal
from tests.support.eventually import eventually


class Journald:
    """A socket in journald's place."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(5)

    def read(self) -> dict[str, bytes]:
        """Return the next record's fields."""
        data, fds, _, _ = socket.recv_fds(self.socket, 1 << 20, 1)
        if fds:
            with os.fdopen(fds[0], "rb") as file:
                file.seek(0)
                data = file.read()
        return decode(data)


def decode(data: bytes) -> dict[str, bytes]:
    """Return a record's fields, read as the native protocol's document says."""
    fields = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(data[:8], "little")
            value, data = data[8 : 8 + length], data[8 + length + 1 :]
        fields[name.decode()] = value
    return fields


def within(path: Path, work: Callable[[Journal], Awaitable[None]], stderr: int = 2) -> None:
    """Run `work` with a Journal on this path."""

    async def run() -> None:
        one = Journal(str(path), stderr)
        await work(one)
        one.close(0.1)

    asyncio.run(run())


def test_a_record_has_exact_fields_and_a_message_of_one_line(scratch: Path) -> None:
    journald = Journald(scratch / "socket")
    context = Context({"HOOKD_HOOK": "h", "HOOKD_RUN_ID": 1, "HOOKD_PHASE": "start"})
    forged = "7\nMESSAGE=forged\n\x1b[31m"

    async def work(one: Journal) -> None:
        one.send(records.RUN_STARTED, {"HOOKD_JOB_ID": forged, "NOT": None}, context=context)
        assert one.settled

    within(scratch / "socket", work)
    assert journald.read() == {
        "MESSAGE": rb"hook h, run 1 at the start of job 7\x0aMESSAGE=forged\x0a\x1b[31m: started",
        "PRIORITY": b"6",
        "SYSLOG_IDENTIFIER": b"hookd",
        "MESSAGE_ID": (records.RUN_STARTED.message_id or "").encode(),
        "HOOKD_JOB_ID": forged.encode(),
        "HOOKD_HOOK": b"h",
        "HOOKD_RUN_ID": b"1",
        "HOOKD_PHASE": b"start",
    }


def test_a_record_larger_than_a_packet_is_passed_as_a_file(scratch: Path) -> None:
    journald = Journald(scratch / "socket")
    large = "x" * 3_000_000

    async def work(one: Journal) -> None:
        one.send(records.SERVER_STARTED, {"HOOKD_PROFILE": large}, detail="up")

    within(scratch / "socket", work)
    assert journald.read()["HOOKD_PROFILE"] == large.encode()


def test_a_stuck_journal_blocks_nobody_and_the_lost_are_counted(scratch: Path) -> None:
    journald = Journald(scratch / "socket")
    more = 100

    async def work(one: Journal) -> None:
        began = time.monotonic()
        for n in range(journal.MAX_QUEUE + 1000):
            one.send(records.SERVER_STARTED, {"N": n}, detail="up")
        await one.settle(0.1)
        assert not one.settled
        assert time.monotonic() - began < 20
        seen = [journald.read()]
        while b"lost" not in seen[-1]["MESSAGE"]:
            await asyncio.sleep(0)
            seen.append(await asyncio.to_thread(journald.read))
        numbers = [int(record["N"]) for record in seen[:-1]]
        assert numbers == list(range(len(numbers)))
        lost = journal.MAX_QUEUE + 1000 - len(numbers)
        assert seen[-1]["MESSAGE"] == f"{lost} records were lost: the journal took none".encode()
        assert 0 < lost < 1000 + more
        assert one.settled

    within(scratch / "socket", work)


def test_without_a_journal_records_are_lines_on_stderr(scratch: Path) -> None:
    reader, writer = os.pipe()

    async def work(one: Journal) -> None:
        assert not one.to_journal
        one.send(records.JOB_LOST, {"HOOKD_JOB_ID": 7, "X": "a\nb"}, detail="nobody\nsaid")
        one.line("text", "hook", Context({"HOOKD_RUN_ID": 3, "HOOKD_USER": "u"}))

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
        assert not one.settled
        await asyncio.to_thread(os.read, reader, 1 << 20)
        await asyncio.to_thread(os.read, reader, 1 << 20)
        os.close(reader)
        await one.settle(5)
        assert one.settled

    within(scratch / "none", work, writer)
    os.close(writer)


def test_a_journal_that_goes_and_comes_back_is_found(scratch: Path) -> None:
    path = scratch / "socket"
    journald = Journald(path)
    reader, writer = os.pipe()

    async def work(one: Journal) -> None:
        one.send(records.SERVER_STARTED, detail="first")
        assert journald.read()["MESSAGE"] == b"first"
        journald.socket.close()
        one.send(records.SERVER_STARTED, detail="second")
        assert b"second" in os.read(reader, 4096)
        again = Journald(path)

        def said() -> bool:
            one.send(records.SERVER_STARTED, detail="third")
            return one.to_journal

        await asyncio.to_thread(eventually, said)
        assert again.read()["MESSAGE"] == b"third"

    within(path, work, writer)
    os.close(reader)
    os.close(writer)


def test_every_kind_has_an_id_of_its_own() -> None:
    ids = [kind.message_id for kind in records.KINDS.values()]
    assert len(set(ids)) == len(ids)
    assert all(len(one) == 32 and int(one, 16) for one in ids)
