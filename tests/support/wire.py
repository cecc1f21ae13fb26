# SPDX-License-Identifier: LGPL-2.1-or-later
"""A Varlink client of the tests' own: bytes on a socket, nothing of hookd's code."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any, Self

JOB = {"profile": "P", "user": "u@example.com", "client_ip": "10.1.2.3", "client_build_no": "563"}
END = {"file_count": 7, "byte_count": 1234}


class Wire:
    """One connection; a context manager."""

    def __init__(self, path: Path, timeout: float = 30.0) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, method: str, parameters: dict[str, Any] | None = None, **flags: bool) -> None:
        """Send a call; a method without a dot is one of io.hookd.Jobs."""
        name = method if "." in method else f"io.hookd.Jobs.{method}"
        call = {"method": name, "parameters": parameters or {}, **flags}
        self.socket.sendall(json.dumps(call).encode() + b"\0")

    def receive(self) -> dict[str, Any]:
        """Return the next reply, whole; {} at the end of the connection."""
        while b"\0" not in self._buffer:
            data = self.socket.recv(65536)
            if not data:
                return {}
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        reply: dict[str, Any] = json.loads(message)
        return reply

    def call(self, method: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the parameters of a call's reply, which must not be an error."""
        self.send(method, parameters)
        reply = self.receive()
        assert "error" not in reply, reply
        answer: dict[str, Any] = reply["parameters"]
        return answer

    def error(self, method: str, parameters: dict[str, Any] | None = None) -> tuple[str, Any]:
        """Return the name and parameters of the error that a call ends with."""
        self.send(method, parameters)
        reply = self.receive()
        return reply["error"], reply["parameters"]

    def start(self, **parameters: Any) -> dict[str, Any]:
        """Start a job; what is not given is as in JOB."""
        return self.call("StartJob", JOB | parameters)

    def end(self, **parameters: Any) -> dict[str, Any]:
        """End a job; what is not given is as in END."""
        return self.call("EndJob", END | parameters)

    def job(self, job_id: int) -> dict[str, Any]:
        """Return a job."""
        job: dict[str, Any] = self.call("GetJob", {"job_id": job_id})["job"]
        return job

    def status(self) -> dict[str, Any]:
        """Return the daemon's status."""
        status: dict[str, Any] = self.call("io.hookd.Manager.GetStatus")["status"]
        return status
