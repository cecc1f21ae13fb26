# SPDX-License-Identifier: LGPL-2.1-or-later
"""What hookd has written to the journal since a moment."""

from __future__ import annotations

import socket
import subprocess
from typing import Any

from systemd.journal import Reader

from hookd.system.journal import SOCKET

Record = dict[str, Any]


def listens() -> bool:
    """Return whether a journal listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        return sock.connect_ex(SOCKET) == 0


class Records:
    """The journal from now on; entries of earlier tests are not seen."""

    def __init__(self) -> None:
        subprocess.run(["journalctl", "--sync"], check=True)
        reader = Reader()
        reader.seek_tail()
        last = reader.get_previous()
        self._cursor = last.get("__CURSOR")
        reader.close()

    def find(self, **fields: object) -> list[Record]:
        """Return the records that have these values, oldest first."""
        subprocess.run(["journalctl", "--sync"], check=True)
        reader = Reader(converters=dict.fromkeys(("HOOKD_LINE",), str))
        reader.data_threshold = 0  # fields of any size
        for name, value in fields.items():
            reader.add_match(**{name: str(value)})
        if self._cursor:
            reader.seek_cursor(self._cursor)
            found = [entry for entry in reader if entry["__CURSOR"] != self._cursor]
        else:
            found = list(reader)
        reader.close()
        return found
