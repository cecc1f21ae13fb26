# SPDX-License-Identifier: LGPL-2.1-or-later
"""A peer that does what no good daemon does: hangs up, says nothing, answers nonsense.

What a good daemon does is tested with hookd itself.
"""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

HANG_UP = b""
SILENCE = None


class Peer:
    """Listens at `path`; answers each request by the next of `answers`, keeps `requests`.

    An answer is bytes to send, HANG_UP, or SILENCE. `connections` counts who came;
    `gone` is set when a client has closed its end.
    """

    def __init__(self, path: Path, answers: list[bytes | None]) -> None:
        self.path = path
        self.answers = answers
        self.requests: list[dict[str, Any]] = []
        self.connections = 0
        self.gone = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; returns when the thread has ended."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        received = b""
        while data := connection.recv(65536):
            received += data
            while b"\0" in received:
                request, _, received = received.partition(b"\0")
                self.requests.append(json.loads(request))
                answer = self.answers.pop(0)
                if answer == HANG_UP:
                    return
                if answer is not SILENCE:
                    connection.sendall(answer)
        self.gone.set()


def reply(**parameters: Any) -> bytes:
    """Return a good answer with these parameters."""
    return json.dumps({"parameters": parameters}).encode() + b"\0"


def error(name: str, **parameters: Any) -> bytes:
    """Return an error of that name."""
    return json.dumps({"error": name, "parameters": parameters}).encode() + b"\0"


def more(**parameters: Any) -> bytes:
    """Return an answer that others will follow."""
    return json.dumps({"parameters": parameters, "continues": True}).encode() + b"\0"
