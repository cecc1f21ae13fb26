# SPDX-License-Identifier: LGPL-2.1-or-later
"""The file that keeps undelivered results for the next runner.

The runner writes it when it stops while the server is down or was stopped first. The next runner
sends the results to the server.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from hookd.model import Receipt
from hookd.system import trust

MAX_FILE = 64 * 1024 * 1024  # bytes: more than a runner keeps

_decoder = msgspec.msgpack.Decoder(dict[int, Receipt])


def load(file: Path) -> dict[int, Receipt]:
    """Return the results that the previous runner left, by run_id.

    Raises OSError. Raises ValueError if the file holds something else, if other users could have
    written it, or if it is larger than MAX_FILE: its content could never be sent to a server.
    """
    try:
        trust.check(file)
        if (size := file.stat().st_size) > MAX_FILE:
            raise ValueError(f"found {size} bytes; allowed: at most {MAX_FILE}")
        return _decoder.decode(file.read_bytes())
    except trust.Missing:
        return {}
    except trust.PathError as e:
        raise ValueError(f"found {e}") from None


def save(file: Path, results: dict[int, Receipt]) -> None:
    """Replace the content of the file by these results.

    Raises OSError; the old file is then unchanged.
    """
    if not results:
        file.unlink(missing_ok=True)
        return
    new = file.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(msgspec.msgpack.encode(results))
        out.flush()
        os.fsync(out.fileno())
    new.rename(file)
