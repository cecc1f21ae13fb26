# SPDX-License-Identifier: LGPL-2.1-or-later
"""The files of the database as a power cut leaves them: what was answered is in them.

The server is stopped for the moment of the copy, because a power cut takes no time. What had not
been forced to the disk when the answers were noted may be gone after one: the write-ahead log is
cut at a random place behind that point. See https://www.sqlite.org/walformat.html for the files.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import struct
import time
from pathlib import Path

import pytest

from tests.crash import audit
from tests.crash.scene import Scene
from tests.crash.test_kills import CLIENTS, ROUNDS, SEED
from tests.crash.traffic import Traffic

HEADER, FRAME = 32, 24 + 4096  # bytes of the log's header, and of a frame with its page
SALTS = slice(16, 24)  # of the header: others after each beginning anew
INDEX = struct.Struct("16xI108xI")  # of the index: frames committed; frames that a checkpoint,
# having forced them to the disk, has begun to copy into the database


class Disk:
    """The files that a server is writing."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._log = scene.database.with_name("hookd.db-wal")
        self._index = scene.database.with_name("hookd.db-shm")

    def forced(self) -> tuple[bytes, int]:
        """Return which log it is, and how many bytes of it are on the disk for certain."""
        with self._log.open("rb") as log:
            committed, _ = self._frames()
            return log.read(HEADER)[SALTS], HEADER + committed * FRAME

    def _frames(self) -> tuple[int, int]:
        with self._index.open("rb") as index:
            committed, copied = INDEX.unpack(index.read(INDEX.size))
            return committed, copied

    def cut_power(self, sure: tuple[bytes, int], into: Path, chance: random.Random) -> int:
        """Leave in a directory what may be found after a cut; return how many bytes were lost."""
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir()
        server = self._scene.processes["server"].pid
        os.kill(server, signal.SIGSTOP)
        os.waitid(os.P_PID, server, os.WSTOPPED)  # all its threads
        try:
            log, end = self.forced()
            _, copied = self._frames()
            shutil.copy(self._scene.database, into)
            shutil.copy(self._log, into)
        finally:
            os.kill(server, signal.SIGCONT)
        if log != sure[0]:
            return 0  # begun anew: all of the old log is in the database
        keep = chance.randint(max(sure[1], HEADER + copied * FRAME), end)
        os.truncate(into / self._log.name, keep)
        return end - keep


@pytest.mark.crash
@pytest.mark.timeout(60 + 5 * ROUNDS)
def test_a_power_cut_takes_nothing_that_was_answered(scene: Scene) -> None:
    chance = random.Random(SEED)
    scene.start("runner", "server")
    scene.settled()
    traffic = Traffic(scene.socket, CLIENTS, SEED)
    copy = scene.directory / "copy"
    disk = Disk(scene)
    lost, unknown, wrong = 0, [], []
    try:
        for _ in range(ROUNDS * 2):
            time.sleep(chance.random() / 10)  # the random moment
            answers, sure = list(traffic.answers), disk.forced()
            time.sleep(chance.random() / 50)
            lost += disk.cut_power(sure, copy, chance) > 0
            unknown += audit.unknown(answers, copy / scene.database.name)
            wrong += audit.repeated_or_descending(answers)
    finally:
        traffic.finish()
    print(f"\n{ROUNDS * 2} power cuts, seed {SEED}, {len(answers)} events acknowledged")
    print(f"  {lost} cuts took what was not yet forced to the disk")
    print(f"  {len(unknown)} acknowledged events unknown")
    print(f"  {len(wrong)} IDs repeated or descending")
    assert (unknown, wrong) == ([], [])
    scene.idle()
    scene.stop()
