# SPDX-License-Identifier: LGPL-2.1-or-later
"""How hookctl ends where no daemon is needed for it: usage errors, and no daemon at all.

What many words are answered is asked of `main` in this process; that a program ends so, and not
`main` alone, is seen where there are few.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import hookd
from hookd.cli.commands import COMMANDS
from tests.cli.hookctl import called, hookctl
from tests.support.reachable import programs

WHO = ("--profile", "Mail", "--client-ip", "10.0.0.7")
SYNCRIFY = ("10.0.0.7", "563", "Mail", "ann@example.com", "0", "0")

NEEDS_DAEMON = [
    ("start", *WHO),
    ("end", "17"),
    ("end", "--server-job-id", "b-17"),
    ("end", *WHO),
    ("syncrify", "true", *SYNCRIFY),
    ("syncrify", "false", *SYNCRIFY, "17"),
    ("status",),
    ("jobs",),
    ("job", "17"),
    ("hooks",),
    ("reload",),
]

MISUSE = {
    (): "Missing command. (hookctl --help)",
    ("strat",): "No such command 'strat'",
    ("start",): "--profile must be given (hookctl start --help)",
    ("start", "--profile", "x"): "--client-ip must be given",
    ("start", *WHO, "--attribute", "x"): "must be KEY=VALUE, not 'x'",
    ("end",): "name the job in one way: JOB_ID, --server-job-id, or --profile --user --client-ip",
    ("end", "17", "--server-job-id", "b"): "name the job in one way",
    ("end", "x"): "JOB_ID: must be a number, not 'x' (hookctl end --help)",
    ("end", "17", "--file-count", "many"): "must be a number, not 'many'",
    ("start", *WHO, "rest"): "takes options only, but 'rest' was given",
    ("end", "17", "--outcome", "fine"): "'fine' is not one of 'success', 'warning', 'error'",
    ("end", "17", "--file-count", "1_000"): "must be a number, not '1_000'",
    ("end", "17", "--byte-count", "١٢"): "must be a number, not '١٢'",
    ("end", "1_7"): "JOB_ID: must be a number, not '1_7'",
    ("syncrify", "false", *SYNCRIFY[:-1], "1_0"): "$BYTE_COUNT: must be a number, not '1_0'",
    ("job", "1_7"): "must be a number, not '1_7'",
    ("why", "１７"): "must be a number, not '１７'",
    ("replay", "+1"): "must be a number, not '+1'",
    ("cancel", "--run", "٣"): "must be a number, not '٣'",
    ("logs", "-n", "1_0"): "must be a number, not '1_0'",
    ("logs", "-n", "-1"): "must be at least 0, not -1",
    ("watch", "--interval", "nan"): "must be a number of at least 0.1, not 'nan'",
    ("watch", "--interval", "1_0"): "must be a number of at least 0.1, not '1_0'",
    ("watch", "--interval", "0.01"): "must be a number of at least 0.1, not '0.01'",
    ("jobs", "--since", "٢h"): "must be a time such as 2026-01-31",
    ("jobs", "--since", "٢٠٢٦-01-31"): "must be a time such as 2026-01-31",
    ("jobs", "--since", "0001-01-01"): "2h for two hours ago, not '0001-01-01'",
    ("jobs", "--since", "1" * 400 + "d"): "must be a time such as 2026-01-31",
    ("jobs", "--since", "5"): 'must be a time such as 2026-01-31, "2026-01-31 18:00", or 2h',
    ("jobs", "--limit", "1001"): "must be at most 1000, not 1001",
    ("syncrify", "start", *SYNCRIFY): "$EVENT: must be true or false, not 'start'",
    ("syncrify", "true"): "takes these arguments, not 1: $EVENT $CLIENT_IP $CLIENT_BUILD_NO",
}


@pytest.mark.parametrize("arguments", NEEDS_DAEMON, ids=" ".join)
def test_without_a_daemon_it_is_3(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = hookctl("--socket", tmp_path / "none", *arguments)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"hookctl: no hookd at {tmp_path}/none: No such file or directory "
        "(is hookd running? systemctl status hookd.socket, or name it by --socket)\n"
    )


@pytest.mark.parametrize("arguments", MISUSE, ids=" ".join)
def test_misuse_is_2_and_one_line(arguments: tuple[str, ...]) -> None:
    done = called(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert MISUSE[arguments] in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_errors_are_json_where_json_is_asked_for(tmp_path: Path) -> None:
    for arguments, code, name in (
        (["--json", "status", "--socket", tmp_path / "none"], 3, "unreachable"),
        (["end", "x", "--json"], 2, "usage"),
        (["--json", "import-syncrify", tmp_path / "none"], 1, "failed"),
    ):
        done = hookctl(*arguments)
        assert (done.returncode, done.stdout) == (code, "")
        found = json.loads(done.stderr)
        assert found["error"] == name
        assert found["message"]


def test_a_socket_that_is_not_for_this_user_is_said(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0)
    # Root may search any directory: the same code asks as nobody, once it is imported.
    script = (
        "import os, sys; from hookd.cli.main import main; from hookd.cli.commands import hookctl; "
        "hookctl.get_command(None, 'status'); os.geteuid() or os.setuid(65534); "
        "main(sys.argv[1:])"
    )
    python = str(programs() / "python")
    command = [python, "-P", "-c", script, "--socket", str(hidden / "x.sock"), "status"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Permission denied" in done.stderr
    assert done.stderr.endswith("(are you in the group hookd?)\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(name: str) -> None:
    done = called(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: hookctl {name} ")
    assert "--json" in done.stdout


def test_the_list_of_commands_fits_80_columns() -> None:
    done = hookctl("--help")
    assert done.returncode == 0
    assert "..." not in done.stdout.partition("Commands:")[2], "a summary is cut"
    assert hookctl("--version").stdout == f"hookctl {hookd.__version__}\n"


def test_a_plain_start_imports_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    script = (
        "import sys; from hookd.cli import submit; from hookd.cli.main import main;"
        "submit.start = lambda *_: print(*sys.modules); main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", script, "start", *WHO]
    done = subprocess.run(command, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "hookd.client" in loaded
    heavy = {"click", "rich", "psutil", "systemd", "asyncio", "tomllib", "sqlite3"}
    heavy |= {"hookd.config.parse", "hookd.config.options", "hookd.config.template"}
    assert loaded & heavy == set()
