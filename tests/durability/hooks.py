# SPDX-License-Identifier: LGPL-2.1-or-later
"""Small hooks that note that they ran, wait for a word, or end as they are told."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.wire import Wire

NOTE = "$HOOKD_JOB_ID $HOOKD_PHASE $HOOKD_HOOK $HOOKD_ATTEMPT"


@contextlib.contextmanager
def own_hooks(daemon: Daemon) -> Iterator[None]:
    """Have a running daemon hold one test's hooks, notes and settings, and no others.

    What the test writes is known after `reload`. In the end all its hooks are let go, and when
    nothing runs or waits any more, what it has written is removed.
    """
    yield
    directory = daemon.directory
    hooks = list(directory.glob("hooks.d/*.toml"))
    for hook in hooks:
        let_go(daemon, hook.stem)
    with Wire(daemon.socket) as wire:
        eventually(lambda: (s := wire.status())["running"] == s["waiting"] == 0)
    for path in (*hooks, *directory.glob("go-*"), directory / "side"):
        path.unlink(missing_ok=True)
    (directory / "hookd.toml").write_text("")
    reload(daemon)


def reload(daemon: Daemon) -> None:
    """Have a running daemon read its hooks and settings anew."""
    with Wire(daemon.socket) as wire:
        wire.call("io.hookd.Manager.Reload")


def noting(daemon: Daemon, name: str, options: str = "", then: str = "") -> None:
    """Make a hook that notes each run of it in the side file, and then does what it is told."""
    side = daemon.directory / "side"
    side.touch()
    script = daemon.script(name, f'echo "{NOTE}" >>{side}\n{then}\n')
    daemon.hook(name, f'command = "{script}"\n{options}')


def waiting(daemon: Daemon, name: str, options: str = "", then: str = "") -> None:
    """Make a hook that notes its run and ends when `let_go` has been called with its name."""
    go = daemon.directory / f"go-{name}"
    noting(daemon, name, options, f"until [ -e {go} ]; do sleep 0.02; done\n{then}")


def let_go(daemon: Daemon, name: str) -> None:
    """Let the runs of a waiting hook end, now and later."""
    (daemon.directory / f"go-{name}").touch()


def noted(daemon: Daemon) -> list[str]:
    """Return what the hooks have noted: job, phase, hook, attempt."""
    return (daemon.directory / "side").read_text().splitlines()


def ended(wire: Wire, job_id: int, runs: int, within: float = 15.0) -> list[dict[str, Any]]:
    """Return the runs of a job when it has so many and all have ended."""

    def look() -> list[dict[str, Any]]:
        hooks: list[dict[str, Any]] = wire.job(job_id)["hooks"]
        return hooks if len(hooks) == runs and all(h["state"] == "ended" for h in hooks) else []

    return eventually(look, within)


def running(daemon: Daemon, count: int = 1) -> None:
    """Wait until so many hooks have begun to run and have noted it."""
    eventually(lambda: len(noted(daemon)) == count)
