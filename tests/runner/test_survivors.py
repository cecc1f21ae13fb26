# SPDX-License-Identifier: LGPL-2.1-or-later
"""What outlives SIGKILL: counted, said, and gone when it can go."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from hookd.config.parse import Source, parse
from hookd.model import Result
from hookd.runner.launch import accounts, process, process_tree
from hookd.runner.launch.orphans import Orphans
from hookd.runner.launch.pool import Pool
from hookd.runner.launch.profile import Profile, Report
from hookd.runner.launch.slices import Slices
from hookd.runner.run.termination import Survivors
from hookd.system import faults
from hookd.system.records import RUN_SURVIVORS
from tests.support.eventually import eventually
from tests.support.leftovers import alive
from tests.support.records import Records, listens
from tests.support.runner import PYTHON, Runner

# A file system that answers INIT (fuse(4), linux/fuse.h) and nothing after it: who looks at a file
# waits in the kernel, out of reach of SIGKILL as soon as the question has been read.
HANGS = f"""#!{PYTHON}
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
fuse = os.open("/dev/fuse", os.O_RDWR)
assert libc.unshare(0x20000) == 0
assert libc.mount(None, b"/", None, 0x44000, None) == 0
options = f"fd={{fuse}},rootmode=40000,user_id=0,group_id=0".encode()
assert libc.mount(b"x", sys.argv[1].encode(), b"fuse", 0, options) == 0, ctypes.get_errno()
with socket.socket(socket.AF_UNIX) as test:
    test.connect(sys.argv[1] + ".sock")
    socket.send_fds(test, [b"fuse"], [fuse])
os.close(fuse)
os.stat(sys.argv[1] + "/file")
"""
INIT, IN, OUT = 26, struct.Struct("=IIQQIIIHH"), struct.Struct("=IiQ")
INIT_OUT = struct.Struct("=IIIIHHII36x")


class Hanging:
    """The other end of the file system."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(f"{directory}.sock")
        self._socket.listen()
        self.fd = -1

    def until_asked(self) -> None:
        """Return when somebody waits for an answer that does not come."""
        connection, _ = self._socket.accept()
        with connection:
            self.fd = socket.recv_fds(connection, 10, 1)[1][0]
        while True:
            request = os.read(self.fd, 1 << 17)
            _, code, unique, *_ = IN.unpack_from(request)
            if code != INIT:
                return
            answer = INIT_OUT.pack(7, 31, 0, 0, 0, 0, 4096, 0)
            os.write(self.fd, OUT.pack(OUT.size + len(answer), 0, unique) + answer)

    def give_up(self) -> None:
        """Be gone, which ends all waiting."""
        os.close(self.fd)

    def close(self) -> None:
        """Leave nothing."""
        self._socket.close()


@pytest.fixture
def hanging(scratch: Path) -> Iterator[Hanging]:
    """Return the file system for `HANGS`."""
    hanging = Hanging(scratch / "mount")
    yield hanging
    hanging.close()


@pytest.mark.skipif(os.geteuid() != 0 or not os.access("/dev/fuse", os.W_OK), reason="no FUSE")
def test_what_hangs_in_the_kernel_is_a_survivor_until_it_is_gone(
    runner: Runner, hanging: Hanging
) -> None:
    program = runner.script("hangs", HANGS)
    runner.hook(
        "hook", f'command = "{program} {runner.directory}/mount"\n[limits]\nkill_grace = "100ms"\n'
    )
    runner.reload()
    journal = Records() if listens() else None
    run_id = runner.begin("hook")
    runner.until_started(run_id)
    hanging.until_asked()
    [launcher] = runner.launchers()
    [stuck] = process.children(launcher.pid)
    runner.cancel(run_id)
    receipt = runner.until_ended(run_id)
    assert (receipt.result, receipt.leftovers, receipt.survivors) == (Result.CANCELLED, 0, 1)
    if journal is not None:
        (said,) = journal.find(MESSAGE_ID=RUN_SURVIVORS.message_id, HOOKD_RUN_ID=run_id)
        assert f": 1 process outlived SIGKILL: {stuck} (hangs, " in said["MESSAGE"]
    assert process.status(stuck).state == "D"
    hanging.give_up()
    eventually(lambda: not alive(stuck))
    eventually(lambda: not runner.launchers())


def test_what_outlives_its_run_is_ended_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of hookd's own on the way is no reason to leave it alone."""
    recorded: list[str] = []
    usual = process_tree.end

    def fail_once(root: int) -> Iterator[int]:
        monkeypatch.setattr(process_tree, "end", usual)
        raise RuntimeError("nobody expects that")

    monkeypatch.setattr(process_tree, "end", fail_once)

    async def outlive() -> None:
        faults.Faults(lambda fields, detail: recorded.append(detail))
        pool, slices = Pool(), Slices()
        pool.start()
        limits = parse([Source("x", "x", b'command = "/x"')]).hooks["x"].limits
        account = accounts.own()
        launcher = await pool.make(Profile.of(account, limits, confine=False))
        fds = [os.open(os.devnull, os.O_RDWR) for _ in range(3)]
        launcher.order("/bin/sleep", "/", 0o077, [b"sleep", b"1000"], [], fds)
        for fd in fds:
            os.close(fd)
        reports: asyncio.Queue[Report | None] = asyncio.Queue()
        launcher.listener = reports.put_nowait
        started = await reports.get()
        assert started is not None
        orphans = Orphans(pool, slices)
        survivors = Survivors(pool, slices, orphans)
        survivors.take(launcher, kept=False)
        while launcher.alive:
            await asyncio.sleep(0.01)
        assert not alive(started.pid)
        survivors.close()
        orphans.close()
        pool.close()
        await asyncio.sleep(0)  # what was cancelled ends

    asyncio.run(asyncio.wait_for(outlive(), 20))
    assert len(recorded) == 1
