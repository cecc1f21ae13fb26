# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever the files: a configuration in which all is in its bounds, or every error with its file.

So also for any file name in hooks.d. What is told can be printed and sent.
"""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path

from hookd.config import files
from hookd.config.parse import Config, Source, digest, parse
from hookd.errors import ConfigError

NAME_MAX = 255  # bytes of a file's name, see pathname limits in limits.h(0P)


def check(data: bytes) -> None:
    """Take what NULs separate for hookd.toml, two hooks' files, and one more file's name."""
    main, one, two, name = (data.split(b"\0", 3) + [b""] * 3)[:4]
    sources = [Source("/e/hookd.toml", None, main)]
    sources += [Source(f"/e/{h}.toml", h, text) for h, text in (("one", one), ("two", two))]
    try:
        config = parse(sources)
    except ConfigError as e:
        assert e.errors
        for error in e.errors:
            assert error.startswith("/e/")
            error.encode()
    else:
        _check_config(config, digest(sources))
    if name:
        _check_name(name)


def _check_config(config: Config, expected: str) -> None:
    assert config.digest == expected
    assert config.daemon.max_running >= 1 and config.daemon.max_queue >= 1
    assert set(config.hooks) <= {"one", "two"}
    for hook in config.hooks.values():
        limits, run = hook.limits, hook.run
        assert 0 < limits.timeout < math.inf and 0 <= limits.kill_grace < math.inf
        assert hook.command.program.startswith("/") and run.working_directory.startswith("/")
        assert hook.phases and run.max_running >= 1 and 0 <= run.umask <= 0o777
        for name, value in run.environment.items():
            assert name and "=" not in name and "\0" not in name + value
        assert hook.retry.attempts >= 1 and hook.retry.backoff <= hook.retry.max_backoff


def _check_name(name: bytes) -> None:
    if {0, ord("/")} & set(name) or name in (b".", b"..") or len(name) > NAME_MAX:
        return
    with tempfile.TemporaryDirectory() as directory:
        hooks = Path(directory, "hooks.d")
        hooks.mkdir()
        (hooks / os.fsdecode(name)).write_bytes(b"")
        try:
            loaded = files.load(Path(directory, "hookd.toml"))
        except ConfigError as e:
            said: tuple[str, ...] = tuple(e.errors)
            assert said
        else:
            assert loaded.config.hooks == {}
            said = loaded.notes
        for line in said:
            line.encode()
