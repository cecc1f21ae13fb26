# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who hookd is measured beside: adnanh/webhook, the kernel's own pace, the disk's own pace."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import struct
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self


class Webhook:
    """adnanh/webhook, which answers with a command's output; a context manager."""

    def __init__(self, directory: Path, commands: Mapping[str, list[str]]) -> None:
        self._log = directory / "webhook.log"
        self._hooks = directory / "webhook.json"
        self._hooks.write_text(json.dumps([_webhook(*each) for each in commands.items()]))
        with socket.create_server(("127.0.0.1", 0)) as sock:
            self.port: int = sock.getsockname()[1]

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["webhook", "-hooks", self._hooks, "-ip", "127.0.0.1", "-port", str(self.port)],
                stdout=log,
                stderr=log,
            )
        while self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return self
            except ConnectionRefusedError:
                time.sleep(0.02)
        raise RuntimeError(f"webhook did not start: {self._log.read_text()}")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


def _webhook(name: str, command: list[str]) -> dict[str, object]:
    arguments = [{"source": "string", "name": argument} for argument in command[1:]]
    return {
        "id": name,
        "execute-command": command[0],
        "pass-arguments-to-command": arguments,
        "include-command-output-in-response": True,
    }


def spawns(command: list[str], seconds: float) -> float:
    """Return how many a second all CPUs finish in bare posix_spawn(3) loops: the floor."""
    workers = [_spawner(command, seconds) for _ in range(len(os.sched_getaffinity(0)))]
    rates: list[float] = []
    for pid, reader in workers:
        with os.fdopen(reader, "rb") as file:
            rates += struct.unpack("d", file.read())
        os.waitpid(pid, 0)
    return sum(rates)


def _spawner(command: list[str], seconds: float) -> tuple[int, int]:
    """Start a process that spawns without pause; return it and the end of a pipe for its rate."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    began, done = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        os.waitpid(os.posix_spawn(command[0], command, {}), 0)
        done += 1
    os.write(writer, struct.pack("d", done / (time.perf_counter() - began)))
    os._exit(0)


def commits(directory: Path, seconds: float) -> float:
    """Return how many transactions of one row a second the disk takes from one loop."""
    path = directory / "commits.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, text TEXT)")
    began, done = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        connection.execute("INSERT INTO events (text) VALUES (?)", ("nightly ann@example.com",))
        done += 1
    elapsed = time.perf_counter() - began
    connection.close()
    return done / elapsed
