# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many backup servers at once, none of which gives up: what is not answered is asked again."""

from __future__ import annotations

import random
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.wire import END, JOB, Wire

PAUSE = 0.05  # seconds between two calls of a client: two cores have the hooks to run as well
ANSWER_WITHIN = 20.0


@dataclass(frozen=True)
class Answer:
    """An acknowledged event. `asked` is when its request was sent for the first time."""

    job_id: int
    phase: str
    request_id: str
    duplicate: bool
    asked: float
    answered: float


class Traffic:
    """So many clients, each a thread that starts and ends jobs over a connection of its own."""

    def __init__(self, path: Path, clients: int, seed: int) -> None:
        self.answers: list[Answer] = []
        self.errors: list[str] = []
        self._path = path
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._client, args=(random.Random(seed + n),))
            for n in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Let every client end the jobs that it has open."""
        self._stop.set()
        for thread in self._threads:
            thread.join(ANSWER_WITHIN * 3)
            assert not thread.is_alive(), "a client is still waiting for an answer"

    def _client(self, chance: random.Random) -> None:
        caller = _Caller(self._path)
        open_jobs: list[int] = []
        while not self._stop.wait(chance.random() * 2 * PAUSE) or open_jobs:
            if chance.random() < 0.1:
                caller.close()  # some make a connection for each call
            ends = open_jobs and (self._stop.is_set() or chance.random() < 0.5)
            request = {"request_id": uuid.uuid4().hex}
            if ends:
                job = open_jobs.pop(chance.randrange(len(open_jobs)))
                self._note("end", caller, "EndJob", END | request | {"job_id": job})
            else:
                address = {"client_ip": f"10.0.0.{chance.randrange(32)}"}
                job = self._note("start", caller, "StartJob", JOB | request | address)
                open_jobs += [job] if job else []
        caller.close()

    def _note(self, phase: str, caller: _Caller, method: str, parameters: dict[str, Any]) -> int:
        asked = time.monotonic()
        reply = caller.ask(method, parameters)
        if "error" in reply:
            self.errors.append(f"{method}: {reply}")
            return 0
        told = reply["parameters"]
        answer = Answer(
            told["job_id"], phase, parameters["request_id"], told["duplicate"], asked,
            time.monotonic(),
        )  # fmt: skip
        self.answers.append(answer)
        return answer.job_id


class _Caller:
    """One connection, made again whenever it breaks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wire: Wire | None = None

    def ask(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the reply to a call that is sent again until there is one."""
        while True:
            try:
                if self._wire is None:
                    self._wire = Wire(self._path, ANSWER_WITHIN)
                self._wire.send(method, parameters)
                reply = self._wire.receive()
                if reply.get("error") == "io.hookd.Jobs.QueueFull":
                    time.sleep(reply["parameters"]["retry_after_msec"] / 1000)
                    continue
                if reply:
                    return reply
            except (ConnectionError, FileNotFoundError):
                time.sleep(0.02)  # before the next attempt, as a backup server would
            self.close()

    def close(self) -> None:
        """Let go of the connection."""
        if self._wire is not None:
            self._wire.socket.close()
            self._wire = None
