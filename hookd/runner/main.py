# SPDX-License-Identifier: LGPL-2.1-or-later
"""The `hookd-runner` program: its command line, sockets, signals and service manager."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import signal
import socket
import sys
from functools import partial
from pathlib import Path

import hookd
from hookd.config import files
from hookd.errors import ConfigError
from hookd.link import Reload, RunnerFaults
from hookd.runner import undelivered
from hookd.runner.launch import abi, cgroup
from hookd.runner.launch.zygote import ProgramError
from hookd.runner.runner import Runner
from hookd.runner.server_link import ServerLink
from hookd.system import faults, memory, records, terminal
from hookd.system.journal import Journal
from hookd.system.lookups import Unanswered
from hookd.system.sd_notify import Notifier
from hookd.system.sockets import activated, bind
from hookd.system.terminal import note, say
from hookd.system.usage import Parser

DEFAULT_SOCKET = Path("/run/hookd/runner.sock")
SOCKET_NAME = "hookd-runner"
EX_USAGE, EX_OSFILE, EX_TEMPFAIL, EX_CONFIG = 64, 72, 75, 78  # sysexits.h
SETTLE_SEC = 2.0  # that a stopping runner gives the server to store the last results


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line and return its options."""
    parser = Parser(
        prog="hookd-runner", description="Starts, limits and supervises the hooks of hookd."
    )
    parser.add_argument("--config", type=Path, help="hookd.toml; hooks.d stands beside it")
    parser.add_argument("--socket", type=Path, help=f"where to listen ({DEFAULT_SOCKET})")
    parser.add_argument("--link-fd", type=int, metavar="N", help="serve this connection alone")
    parser.add_argument("--default-user", metavar="USER", help="whom hooks without a user run as")
    parser.add_argument("--check", action="store_true", help="read the configuration and exit")
    parser.add_argument("--version", action="version", version=f"%(prog)s {hookd.__version__}")
    return parser.parse_args(argv)


class Service:
    """One runner with its socket, signals and service manager, from the start to the exit."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._undelivered = undelivered_file() if options.link_fd is None else None
        self._loop = asyncio.get_running_loop()
        self._notifier = Notifier(lambda: self._runner.status)
        self._stop = asyncio.Event()
        self._journal = Journal()
        base = cgroup.delegated()
        groups = cgroup.Groups(base) if base is not None else None
        self._faults = faults.Faults(partial(self._journal.send, records.FAULT), self._tell_faults)
        self._link = ServerLink(
            lambda: self._runner.welcome(),
            lambda message: self._runner.take(message),
            lambda message, error: self._runner.failed(message, error),
            self._complain,
        )
        self._runner = Runner(
            options.config, options.default_user, self._journal, groups, self._link.send
        )
        self._runner.faults = lambda: self._faults.count

    async def run(self, listener: socket.socket | None) -> None:
        """Serve until a signal arrives or the only connection ends."""
        self._runner.start()
        raise_open_files()
        self._take_over()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        try:
            await self._load()
        except (ConfigError, Unanswered):
            if listener is not None:
                turn_away(listener)
            self._close()
            raise
        self._loop.add_signal_handler(signal.SIGHUP, self._reload)
        if listener is not None:
            serving = faults.keep("the link", lambda: self._link.listen(listener))
        else:
            serving = self._loop.create_task(self._serve_one())
        self._journal.send(records.RUNNER_STARTED, detail=f"hookd-runner {hookd.__version__}")
        self._notifier.ready()
        memory.trim()
        await self._stop.wait()
        await self._shut_down(orphaned=serving.done())
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    async def _load(self) -> None:
        """Read the configuration, unless the runner is stopped first.

        Raises ConfigError, Unanswered.
        """
        loading = self._loop.create_task(self._runner.configuration.load())
        stopping = self._loop.create_task(self._stop.wait())
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (loading, stopping):
            task.cancel()
        await asyncio.gather(loading, stopping, return_exceptions=True)
        if not loading.cancelled():
            loading.result()

    async def _serve_one(self) -> None:
        """Serve the inherited connection. The runner stops when the connection ends."""
        try:
            await self._link.serve(socket.socket(fileno=self._options.link_fd))
        finally:
            self._stop.set()

    async def _shut_down(self, orphaned: bool) -> None:
        drain = 0 if orphaned else self._runner.drain
        needed = drain + self._runner.longest_end + SETTLE_SEC
        self._notifier.stopping(needed)
        await self._runner.stop(drain)
        await self._runner.settle(0 if orphaned else SETTLE_SEC)
        await self._link.close()
        self._close()

    def _close(self) -> None:
        self._runner.close()
        self._hand_over()
        self._journal.send(records.RUNNER_STOPPED, detail="hookd-runner stopped")
        self._journal.close()

    def _take_over(self) -> None:
        """Load the undelivered results of the previous runner."""
        if self._undelivered is not None:
            try:
                self._runner.remember(undelivered.load(self._undelivered))
            except (OSError, ValueError) as e:
                say(f"results of before are lost: {self._undelivered}: {e}", error=True)

    def _hand_over(self) -> None:
        """Save the undelivered results for the next runner."""
        if self._undelivered is not None:
            try:
                undelivered.save(self._undelivered, self._runner.undelivered)
            except OSError as e:
                say(f"results are lost: {self._undelivered}: {e}", error=True)

    def _reload(self) -> None:
        self._notifier.reloading()
        try:
            self._runner.take(Reload())  # so that the server is told of the reload
        finally:
            self._notifier.ready()

    def _tell_faults(self) -> None:
        self._link.send(RunnerFaults(self._faults.count))

    def _complain(self, what: str) -> None:
        self._journal.send(records.PEER_CLOSED, detail=what)


def undelivered_file() -> Path | None:
    """Return the file for undelivered results, in the unit's StateDirectory=.

    Return None if the unit has none.
    """
    directory = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(directory) / "untaken" if directory else None


def turn_away(listener: socket.socket) -> None:
    """Close the waiting connections without serving them.

    The service manager starts the runner again at once for every connection that still waits on
    its socket (systemd.socket(5)). The server tries again later.
    """
    listener.setblocking(False)
    with contextlib.suppress(OSError):
        while True:
            listener.accept()[0].close()


def raise_open_files() -> None:
    """Raise the soft limit on open files to the hard limit.

    Each run needs a few descriptors, and there may be thousands of runs.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def check(options: argparse.Namespace) -> int:
    """Print what is wrong with the configuration; return the exit status."""
    from hookd.runner.inspection import inspect

    read = files.read(options.config)
    errors, notes = inspect(read, options.default_user)
    for line in notes:
        say(f"note: {line}", error=True)
    for error in errors:
        say(error, error=True)
    if errors:
        return EX_CONFIG
    say(f"{len(read.config.hooks)} hooks, no errors")
    return 0


def main() -> int:
    """Run `hookd-runner`; return its exit status."""
    terminal.guard()
    try:
        return _main()
    finally:
        terminal.finish("hookd-runner")


def _main() -> int:
    options = arguments()
    if options.check:
        return check(options)
    memory.return_large_blocks()
    os.umask(0o077)
    listener = None
    if options.link_fd is None:
        try:
            listener = activated(SOCKET_NAME) or bind(options.socket or DEFAULT_SOCKET, 0o600)
        except OSError as e:
            note("hookd-runner", f"{options.socket or DEFAULT_SOCKET}: {e}")
            return EX_USAGE
    # PR_SET_DUMPABLE keeps hooks of the same user from tracing this process and from opening its
    # descriptors (prctl(2)). PR_SET_CHILD_SUBREAPER makes orphans children of this process.
    abi.prctl(abi.PR_SET_DUMPABLE, 0)
    abi.prctl(abi.PR_SET_CHILD_SUBREAPER, 1)

    async def serve() -> None:
        await Service(options).run(listener)

    try:
        asyncio.run(serve())
    except ProgramError as e:
        note("hookd-runner", str(e))
        return EX_OSFILE
    except ConfigError:
        return EX_CONFIG
    except Unanswered:
        return EX_TEMPFAIL
    return 0


if __name__ == "__main__":
    sys.exit(main())
