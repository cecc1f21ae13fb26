# SPDX-License-Identifier: LGPL-2.1-or-later
"""The scene in each of its settings, and the table at the end."""

from __future__ import annotations

import os
import pwd
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from hookd.server.storage import schema
from tests.attack.scene import MOST_GROWTH, Outcome, Scene
from tests.support.daemon import Daemon
from tests.support.reachable import programs
from tests.support.records import Records
from tests.support.wire import Wire

# As root: hookd's own user beside a submitter who attacks, and all of them one ordinary user.
# Debian's base system has these accounts: who hookd is, and who attacks it.
Setting = tuple[str | None, str | None]
SETTINGS: dict[str, Setting] = {"foreign": (None, "daemon"), "ordinary": ("nobody", "nobody")}
if os.geteuid() != 0:
    SETTINGS = {"ordinary": (None, None)}

ACCESS = '[daemon]\nhistory = "never"\n[access]\nsubmit = ["root", "daemon", "nobody"]\n'

PAGE = Path(__file__).parents[2] / "docs/SECURITY.md"
MARKS = re.compile(r"(?s)(<!-- attacks -->\n).*(<!-- attacks: end -->)")
HEAD = ("attack", "took", "memory", "calls", "longest wait", "without hookd")

_rows: list[tuple[str, ...]] = []


@pytest.fixture(params=SETTINGS)
def setting(request: pytest.FixtureRequest) -> Setting:
    """Return the accounts of hookd and of who attacks it."""
    return SETTINGS[request.param]


@pytest.fixture
def prepared(scratch: Path) -> Path:
    """Return the directory of a daemon that has what a test has written into it."""
    return scratch


@pytest.fixture
def scene(prepared: Path, setting: Setting, records: Records) -> Iterator[Scene]:
    """Return a started daemon that a submitter attacks."""
    account, attacker = setting
    prepared.chmod(0o755)
    daemon = Daemon(prepared, ACCESS)
    daemon.prefix = become(account)
    daemon.programs = programs()
    if account is not None:
        for path in (prepared, *prepared.rglob("*")):
            os.chown(path, pwd.getpwnam(account).pw_uid, -1)
    nap = daemon.script("nap", "exec sleep 0.3")
    daemon.hook("nap", f'command = "{nap}"\n[match]\nprofile = ["nap"]\n')
    daemon.start()
    daemon.socket.chmod(0o666)
    yield Scene(daemon, become(attacker), become(account))
    with Wire(daemon.socket) as wire:  # whatever happened, the next one is served
        assert wire.status()["healthy"], wire.status()
    assert daemon.stop() == 0, daemon.said()
    said = daemon.said() + repr(records.find(SYSLOG_IDENTIFIER="hookd"))
    assert "error of hookd's own" not in said
    assert "Traceback" not in said


@pytest.fixture
def suffered(request: pytest.FixtureRequest) -> Iterator[list[Outcome]]:
    """Return where a test leaves what came of its attacks, for the table and the verdict."""
    outcomes: list[Outcome] = []
    yield outcomes
    for outcome in outcomes:
        _rows.append(
            (
                request.node.name.removeprefix("test_"),
                f"{outcome.seconds:.1f} s",
                f"{outcome.growth / 2**20:.1f} MB",
                str(outcome.calls),
                f"{1000 * outcome.wait:.0f} ms",
                f"{1000 * outcome.load:.0f} ms",
            )
        )
        assert outcome.growth <= MOST_GROWTH, f"hookd grew by {outcome.growth} bytes"
        assert outcome.fair, f"the innocent client waited {outcome.wait:.3f} s"


def become(account: str | None) -> list[str]:
    """Return the command that goes on as this user, nothing for who we are."""
    if account is None:
        return []
    return ["setpriv", f"--reuid={account}", "--regid=65534", "--clear-groups"]


def million_jobs(directory: Path) -> None:
    """Make a database with a million finished jobs."""
    (directory / "state").mkdir(mode=0o700)
    with sqlite3.connect(directory / "state" / "hookd.db") as database:
        schema.migrate(database)
        database.execute(
            "INSERT INTO jobs (job_id, state, profile, user, client_ip, client_build_no,"
            " attributes, tie, allowed, file_count, byte_count, outcome, started_usec, ended_usec,"
            " duration_usec, uid, boot_id, boottime_usec) WITH RECURSIVE n(i) AS (SELECT 1 UNION"
            " ALL SELECT i + 1 FROM n WHERE i < 1000000) SELECT i, 'ended', 'profile ' || i % 50,"
            " 'u@example.com', '10.0.0.1', '563', '{}', 0, 1, 1, 1, 'success', i, i, 1, 0, '', 0"
            " FROM n"
        )
    database.close()
    (directory / "state" / "hookd.db.created").touch()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each attack came to."""
    if _rows:
        widths = [max(len(row[n]) for row in [HEAD, *_rows]) for n in range(len(HEAD))]
        terminalreporter.section("attacks")
        for row in [HEAD, *_rows]:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            terminalreporter.write_line("  ".join(cells).rstrip())
        if os.environ.get("UPDATE"):
            write_table(PAGE)


def write_table(page: Path) -> None:
    """Put the table into a page, between its marks."""
    lines = [f"| {' | '.join(row)} |\n" for row in [HEAD, ("---",) * len(HEAD), *_rows]]
    page.write_text(
        MARKS.sub(lambda marks: marks[1] + "".join(lines) + marks[2], page.read_text())
    )
