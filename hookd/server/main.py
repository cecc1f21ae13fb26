# SPDX-License-Identifier: LGPL-2.1-or-later
"""`hookd`: the command line, the signals, the exit status."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import errno
import grp
import os
import pwd
import resource
import signal
import socket
import sys
from pathlib import Path

from hookd import __version__
from hookd.config import files
from hookd.config.files import Loaded, Read
from hookd.errors import ConfigError, HookdError
from hookd.server.daemon import Daemon, Setup
from hookd.server.transport.eviction import MAX_CONNECTIONS, SPARE_DESCRIPTORS
from hookd.server.transport.runner_link import runner_command
from hookd.system import faults, memory, terminal, trust
from hookd.system.sockets import activated, bind
from hookd.system.terminal import note, say
from hookd.system.usage import Parser

EX_CONFIG = 78  # sysexits.h; the units do not restart a daemon that exits with it
DESCRIPTORS = MAX_CONNECTIONS + SPARE_DESCRIPTORS
SWITCH_SEC = 0.000_05
"""The interpreter's switch interval. The writer's thread needs the interpreter lock after each
statement; with Python's default it would wait 5 ms each time while the event loop is busy."""
PR_SET_DUMPABLE = 4  # prctl(2)


def main() -> None:
    """Run hookd until it is stopped. The exit status is 78 if the configuration has errors."""
    terminal.guard()
    try:
        sys.exit(_main())
    finally:
        terminal.finish("hookd")


def _main() -> int:
    asked = _arguments().parse_args()
    try:
        read = files.read(asked.config)
        if asked.check:
            return _check(read)
        asyncio.run(_serve(asked, read.loaded))
        return 0
    except ConfigError as e:
        for error in e.errors:
            say(error, error=True)
        return EX_CONFIG
    except (HookdError, OSError) as e:
        note("hookd", str(e))
        return 1


def _arguments() -> Parser:
    parser = Parser(
        prog="hookd", description="Runs hook scripts on the events of backup jobs. See hookd(8)."
    )
    parser.add_argument(
        "--config", type=Path, metavar="F", help="hookd.toml; hooks.d is looked for beside it"
    )
    parser.add_argument("--socket", type=Path, metavar="P", help="where to listen")
    parser.add_argument("--state-dir", type=Path, metavar="D", help="where the database lies")
    parser.add_argument(
        "--runner-socket", type=Path, metavar="P",
        help="where hookd-runner listens; without it hookd starts a runner of its own",
    )  # fmt: skip
    parser.add_argument("--check", action="store_true", help="check the configuration and exit")
    parser.add_argument("--version", action="version", version=f"hookd {__version__}")
    return parser


def _check(read: Read) -> int:
    from hookd.check.audit import audit

    errors, notes = audit(read)
    for line in notes:
        say(line)
    if errors:
        raise ConfigError(errors)
    say(f"{len(read.config.hooks)} hooks, no errors")
    return 0


async def _serve(asked: argparse.Namespace, loaded: Loaded) -> None:
    memory.return_large_blocks()
    os.umask(0o077)
    sys.setswitchinterval(SWITCH_SEC)
    _raise_descriptors()
    # A hook that runs as the same user must not reach this process through /proc or ptrace(2).
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    setup = Setup(
        config=asked.config,
        state_directory=_state_directory(asked.state_dir),
        runner=asked.runner_socket or _own_runner(asked.config),
        boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
    )
    daemon = Daemon(setup, loaded)
    stop, reload = _signals()
    path: Path | None = None
    try:
        sock = activated("hookd")
        if sock is None:
            sock = _own_socket(asked.socket or _default_socket())
            path = Path(sock.getsockname())
        starting = asyncio.create_task(daemon.start(sock))
        await asyncio.wait(
            {starting, asyncio.ensure_future(stop.wait())}, return_when="FIRST_COMPLETED"
        )
        if starting.done():
            starting.result()
            memory.trim()
            await _until_stopped(daemon, stop, reload)
        else:
            starting.cancel()
    finally:
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink()
        await daemon.stop()


async def _until_stopped(daemon: Daemon, stop: asyncio.Event, reload: asyncio.Event) -> None:
    stopping = asyncio.ensure_future(stop.wait())
    while not stop.is_set():
        reloading = asyncio.ensure_future(reload.wait())
        await asyncio.wait({stopping, reloading}, return_when=asyncio.FIRST_COMPLETED)
        if reload.is_set():
            reload.clear()
            try:
                await daemon.reload_on_signal()
            except Exception as e:  # of any kind: the old configuration stays
                faults.report(e, "a reload")
        else:
            reloading.cancel()


def _signals() -> tuple[asyncio.Event, asyncio.Event]:
    loop = asyncio.get_running_loop()
    stop, reload = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    return stop, reload


def _raise_descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _own_runner(config: Path | None) -> list[str]:
    command = [*runner_command(), "--default-user", pwd.getpwuid(os.geteuid()).pw_name]
    return [*command, "--config", str(config)] if config is not None else command


def _state_directory(asked: Path | None) -> Path:
    """Return the state directory: the option's, systemd's, root's or the user's.

    The directory is created if it is missing. Raises OSError if it is below a directory that
    another user could change. The store checks the directory itself whenever it opens the
    database.
    """
    if asked is None:
        given = os.environ.get("STATE_DIRECTORY")
        if given:
            asked = Path(given.partition(":")[0])
        elif os.geteuid() == 0:
            asked = Path("/var/lib/hookd")
        else:
            home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local/state")
            asked = Path(home) / "hookd"
    above = next(parent for parent in asked.absolute().parents if parent.exists())
    try:
        trust.check(above)
    except trust.PathError as e:
        raise OSError(errno.EPERM, f"not safe as a state directory: {e}", str(asked)) from None
    asked.mkdir(mode=0o700, parents=True, exist_ok=True)
    return asked


def _own_socket(path: Path) -> socket.socket:
    """Return a socket that the group hookd may use, like the one of the socket unit."""
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o755)
    gid = -1
    if os.geteuid() == 0:
        with contextlib.suppress(KeyError):
            gid = grp.getgrnam("hookd").gr_gid
    return bind(path, 0o660, gid)


def _default_socket() -> Path:
    if os.geteuid() == 0:
        return Path("/run/hookd/hookd.sock")
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    return Path(runtime) / "hookd" / "hookd.sock"


if __name__ == "__main__":
    main()
