# SPDX-License-Identifier: LGPL-2.1-or-later
"""A well-behaved client, a process of its own, and what the bare machine does to the same client.

`python -m tests.attack.innocent call SOCKET` makes calls, one after the other, until its standard
input ends, and prints what it met. `serve SOCKET FILE` is the least server that keeps the same
promise: it answers each call once a line of it is on disk.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.wire import END, JOB, Wire

PAUSE = 0.003  # seconds between two calls


def call(path: Path) -> None:
    """Start and end jobs; print the number of calls and the longest wait in seconds.

    The first line is printed once all is warm.
    """
    longest, calls = 0.0, 0
    with Wire(path) as wire:
        for _ in range(20):
            _one_job(wire)
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], PAUSE)[0]:
            longest = max(longest, *_one_job(wire))
            calls += 3
    print(json.dumps({"calls": calls, "longest": longest}), flush=True)


def _one_job(wire: Wire) -> list[float]:
    """Return the waits of a job's start, of a look at hookd, and of the job's end."""
    waits, job = [], 0
    for method, parameters in (
        ("StartJob", JOB),
        ("io.hookd.Manager.GetStatus", {}),
        ("EndJob", END),
    ):
        given: dict[str, Any] = dict(parameters)
        if parameters is END:
            given["job_id"] = job
        began = time.monotonic()
        answer = wire.call(method, given)
        waits.append(time.monotonic() - began)
        job = answer.get("job_id", job)
    return waits


def serve(path: Path, file: Path) -> None:
    """Answer one client after the other, each call when a line is on disk."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        print("ready", flush=True)
        disk = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        while True:
            connection, _ = listening.accept()
            with connection:
                while data := connection.recv(65536):
                    if data.endswith(b"\0"):
                        os.write(disk, b"a line\n")
                        os.fdatasync(disk)
                        connection.sendall(b'{"parameters":{"job_id":1}}\0')


if __name__ == "__main__":
    if sys.argv[1] == "call":
        call(Path(sys.argv[2]))
    else:
        serve(Path(sys.argv[2]), Path(sys.argv[3]))
