# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every command beside hostile text, on a terminal and with outputs that are closed, full or gone.

The commands come from hookctl's own table, their arguments from click: a new command is in here by
itself, or fails for the argument that `VALUES` does not know.
"""

from __future__ import annotations

import itertools
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import click
import pytest

from hookd.cli.commands import COMMANDS, hookctl
from tests.cli.hookctl import HOOKCTL
from tests.support.daemon import BIN, Daemon

EVIL = "a\x1b]0;owned\x07\r\x08\x9b2J\u202e\u2066\u200bb\nforged \xad\ufeff\U000e0041 ü"
RAW = re.compile(
    "\x1b(?!\\[[0-9;?]*[A-Za-z])|[\x07\x08\x9b\u202e\u2066\u200b\xad\ufeff\U000e0041]"
)
"""What of it must not come out. A cursor is moved by hookctl's own tables and colours alone."""

SAYS = r"""printf 'one\ttwo\r\n\033]0;owned\007\302\2332J\342\200\256\n'
printf '10%%\r50%%\r\033]0;owned\007 no\r\n'
"""
GATE = ("--profile", "refused", "--client-ip", "::1", "--user", EVIL)
SYNCRIFY = ["true", "10.0.0.7", "563", "refused", EVIL, "0", "0"]
VALUES: dict[str, list[str]] = {"job_id": ["2"], "hook": ["evil"], "files": [], "words": SYNCRIFY}
"""What each argument of a command is given."""
ALSO = {"start": GATE, "import-syncrify": ("--output", "-")}


@pytest.fixture(scope="module")
def told(shared: Daemon) -> Daemon:
    """Return a daemon that was told hostile things; a gate refuses job 1, job 2 has ended."""
    evil = shared.script("evil.sh", SAYS + 'exit "${1:-0}"\n')
    shared.hook(
        "gate",
        f'command = "{evil} 1"\nkind = "gate"\nphases = ["start"]\nmatch.profile = ["refused"]\n',
    )
    shared.hook("evil", f'command = "{evil} 3"\nmatch.profile = ["a*"]\n')
    shared.start()
    with shared.client() as client:
        refused = client.start_job(profile="refused", user=EVIL, client_ip="::1")
        assert refused.reason == r"\x1b]0;owned\x07 no"
        client.start_job(
            profile=EVIL, user=EVIL, client_ip="::1", attributes={EVIL: EVIL}, wait=True
        )
        client.end_job(2, outcome="error", message=EVIL, wait=True)
    return shared


@pytest.fixture(scope="module")
def line(told: Daemon) -> Any:
    """Return how the words of a command are found."""
    xml = told.directory / "AppConfig.xml"
    xml.write_text("<config><jobHookScript>/bin/true $USER</jobHookScript></config>")

    def words(name: str, *more: str) -> list[str]:
        command = hookctl.get_command(click.Context(hookctl), name)
        assert command is not None
        given = VALUES | {"appconfig": [str(xml)]}
        arguments = [p.name or "" for p in command.params if isinstance(p, click.Argument)]
        found = [word for argument in arguments for word in given[argument]]
        before = [HOOKCTL, "--socket", str(told.socket), *more, name]
        return [*before, *ALSO.get(name, ()), *found]

    return words


@contextmanager
def broken(how: str) -> Iterator[dict[str, Any]]:
    """Give the outputs of a process: `gone` and `full` ones take nothing."""
    with ExitStack() as stack:
        if how == "full":
            file: IO[bytes] = stack.enter_context(open("/dev/full", "wb"))
        else:
            reader, writer = os.pipe()
            os.close(reader)
            file = stack.enter_context(open(writer, "wb"))
        yield {"out": file, "err": file}


def status(words: list[str], **how: Any) -> int:
    """Return how a command ends."""
    return subprocess.run(words, stdin=subprocess.DEVNULL, timeout=60, **how).returncode


@pytest.mark.parametrize("name", COMMANDS)
def test_the_exit_code_is_that_of_the_outcome_whatever_the_outputs_are(
    told: Daemon, line: Any, name: str
) -> None:
    words = line(name)
    pipes = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    if name in ("start", "syncrify"):
        assert pipes.returncode == 75
    null = subprocess.DEVNULL
    ends = {}
    for closed in (">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"):
        shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *words]
        ends[closed] = status(shell, stdout=null, stderr=null)
    for how in ("full", "gone"):
        with broken(how) as to:
            ends[f"stdout {how}"] = status(words, stdout=to["out"], stderr=null)
            ends[f"both {how}"] = status(words, stdout=to["out"], stderr=to["err"])
    assert set(ends.values()) == {pipes.returncode}, (ends, pipes.stderr)


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_hostile_comes_out_in_any_encoding(told: Daemon, line: Any, name: str) -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for json, env in itertools.product(((), ("--json",)), ({}, ascii_only, locale)):
        if (name, env) == ("start", locale) or (name, env) == ("syncrify", locale):
            continue  # its arguments are not text there: see below
        done = subprocess.run(
            line(name, *json), stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
            env=os.environ | env,
        )  # fmt: skip
        for said in (done.stdout, done.stderr):
            text = said.decode("ascii" if env else "utf-8")
            assert RAW.search(text) is None
            assert "Traceback" not in text


@pytest.mark.parametrize("json", ["", "--json"])
@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_hostile_comes_to_a_terminal(
    told: Daemon, line: Any, name: str, json: str
) -> None:
    ours, theirs = pty.openpty()
    words = line(name, *filter(None, [json]))
    with subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"}
    ) as process:
        os.close(theirs)
        screen = b""
        while True:
            try:
                screen += os.read(ours, 65536)
            except OSError:  # EIO: the other side is closed, see pty(7)
                break
            if name == "watch" and b"evil" in screen:
                process.send_signal(signal.SIGINT)
    os.close(ours)
    assert screen or name == "resume"  # which says nothing
    assert RAW.search(screen.decode()) is None


def test_what_was_lost_is_said_where_it_can_be(told: Daemon, line: Any) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(line("status"), stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0
    assert done.stderr == "hookctl: standard output: No space left on device\n"


def test_a_refusal_is_on_standard_error_and_reads_as_the_journal_does(
    told: Daemon, line: Any
) -> None:
    done = subprocess.run(line("start"), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (75, "")
    assert re.fullmatch(r"hookctl: job \d+ is refused: \\x1b]0;owned\\x07 no\n", done.stderr), (
        done.stderr
    )


@pytest.mark.parametrize("option", ["--profile", "--user", "--attribute"])
def test_an_argument_that_is_no_text_is_a_usage_error(told: Daemon, option: str) -> None:
    given = {"--profile": b"Mail", "--client-ip": b"::1", option: b"k=\xff\x1b]0;x\x07"}
    words = [part for key, value in given.items() for part in (key.encode(), value)]
    for json in ((), (b"--json",)):
        command = [HOOKCTL, b"--socket", bytes(told.socket), *json, b"start", *words]
        done = subprocess.run(command, capture_output=True)
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"must be text in UTF-8" in done.stderr
        assert RAW.search(done.stderr.decode()) is None


NAMELESS = os.fsdecode(b"no\xff\x1b]0;x\x07\nname.toml")


@pytest.mark.parametrize("program", ["hookctl", "hookd", "hookd-runner"])
def test_names_and_arguments_in_errors_are_escaped(scratch: Path, program: str) -> None:
    lines = [[NAMELESS], ["--" + NAMELESS]]
    if program == "hookctl":
        lines += [["check", str(scratch / NAMELESS)], ["import-syncrify", NAMELESS]]
        lines += [["--socket", str(scratch / NAMELESS), "status"], ["jobs", "--since", NAMELESS]]
        lines += [["end", NAMELESS], ["jobs", "--state", NAMELESS], ["--json", "end", NAMELESS]]
    else:
        (scratch / "hooks.d").mkdir()
        (scratch / "hooks.d" / NAMELESS).write_text('command = "/bin/true"\n')
        lines += [["--check", "--config", str(scratch / "hookd.toml")]]
        lines += [["--check", "--config", str(scratch / NAMELESS)]]
    for words in lines:
        done = subprocess.run([BIN / program, *words], capture_output=True, text=True)
        assert done.returncode in (1, 2, 3, 78), words
        assert done.stderr
        assert RAW.search(done.stderr + done.stdout) is None
        assert "Traceback" not in done.stderr
        assert "\\n" in done.stderr or "\\x0a" in done.stderr, "one line stays one"
        for closed in (">&- 2>&-", ">/dev/full 2>&1"):
            shell = ["sh", "-c", f'exec "$@" {closed}', "sh", str(BIN / program), *words]
            assert status(shell) == done.returncode


def test_a_descriptor_that_was_closed_is_never_a_socket(told: Daemon) -> None:
    """What is printed would go to the daemon, and be taken for a call."""
    script = (
        "import os, sys; from hookd.system import terminal; terminal.guard(); "
        "sys.exit(any(os.readlink(f'/proc/self/fd/{n}') != '/dev/null' for n in (0, 1, 2)))"
    )
    shell = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", script]
    assert status(shell) == 0
