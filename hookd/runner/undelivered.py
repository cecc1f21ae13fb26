# SPDX-License-Identifier: LGPL-2.1-or-later
"""Results that no server has taken when the runner stops: a file keeps them for the next runner.

A server that is stopped first, or is down, finds them when both are back.
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
    """Return what the last runner left, by run_id.

    Raises OSError; ValueError for another file, one that others could have written, or one that
    is larger than MAX_FILE: what it holds could never be told to a server.
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
    """Keep these results, in place of what was there. Raises OSError, with the old file whole."""
    if not results:
        file.unlink(missing_ok=True)
        return
    new = file.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(msgspec.msgpack.encode(results))
        out.flush()
        os.fsync(out.fileno())
    new.rename(file)
