# SPDX-License-Identifier: LGPL-2.1-or-later
"""What cannot be started is told in words, by name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hookd.model import Receipt, Result
from tests.support.runner import Runner


@pytest.fixture(scope="module")
def runner(shared_runner: Runner) -> Runner:
    """Return a runner for tests that leave nothing behind but `hook`, which each writes anew."""
    return shared_runner


@pytest.fixture
def own(scratch: Path) -> Iterator[Runner]:
    """Return a runner whose directory is the test's own."""
    with Runner(scratch) as runner:
        yield runner


def refused(runner: Runner, name: str = "hook", **event: str) -> str:
    """Return why a run of this hook is not started."""
    receipt: Receipt = runner.run(name, **event)
    assert receipt.result is Result.SPAWN_FAILED, receipt
    assert receipt.started_usec is None
    assert receipt.reason is not None
    return receipt.reason


def test_a_hook_that_is_not_configured(runner: Runner) -> None:
    assert refused(runner, "nobody-knows") == "no hook 'nobody-knows' is configured"


def test_a_directory_that_does_not_exist(runner: Runner) -> None:
    directory = runner.directory / "there"
    directory.mkdir()
    text = f'command = "/bin/true"\n[run]\nworking_directory = "{directory}"\n'
    runner.hook("hook", text)
    assert runner.reload().errors == []
    directory.rmdir()
    assert refused(runner) == f"working_directory {directory}: No such file or directory"
    (error,) = runner.reload().errors
    assert f"run.working_directory: found {directory}: No such file or directory" in error


def test_arguments_beyond_what_the_kernel_takes(runner: Runner) -> None:
    runner.hook("hook", f'command = "/bin/true {"$USER " * 100}"\n')
    runner.reload()
    assert refused(runner, user="x" * 100_000).startswith("its arguments and environment are")
    long = "argument 1 is too long: 140000 bytes; the kernel takes 131071"
    assert refused(runner, user="x" * 140_000) == long
    assert runner.run("hook").result is Result.SUCCESS


def test_a_program_that_is_still_written_to(runner: Runner) -> None:
    program = runner.directory / "program"
    with open("/bin/true", "rb") as source:
        program.write_bytes(source.read())
    program.chmod(0o755)
    runner.hook("hook", f'command = "{program}"\n')
    runner.reload()
    with program.open("ab"):
        assert "is open for writing" in refused(runner)
    assert runner.run("hook").result is Result.SUCCESS


def test_a_program_that_changed_since_the_load(runner: Runner) -> None:
    program = runner.script("program", "exit 0\n")
    runner.hook("hook", f'command = "{program}"\n')
    runner.reload()
    assert runner.run("hook").result is Result.SUCCESS
    program.chmod(0o777)
    assert refused(runner) == f"{program} is writable by everybody (mode 0777)"
    program.chmod(0o755)
    program.write_text("#!/no/such/sh\n")
    assert "has the interpreter /no/such/sh: /no/such/sh does not exist" in refused(runner)
    program.unlink()
    assert refused(runner) == f"{program} does not exist"


def test_limits_that_cannot_be_set_are_told_at_load(runner: Runner) -> None:
    runner.hook("hook", 'command = "/bin/true"\n[limits]\ncpu_affinity = [4000]\n')
    (error,) = runner.reload().errors
    last = (os.cpu_count() or 1) - 1
    assert error.endswith(f"limits.cpu_affinity: found CPU 4000; allowed: 0 to {last}")


def test_a_bad_configuration_changes_nothing(own: Runner) -> None:
    own.hook("hook", 'command = "/bin/true"\n')
    good = own.reload()
    own.hook("hook", 'command = "/bin/true"\n[run]\nuser = "no-such-user"\n')
    own.hook("other", 'command = "/no/such/program"\n')
    bad = own.reload()
    assert bad.digest == good.digest
    path = own.directory / "hooks.d"
    assert bad.errors[0].startswith(f"{path}/hook.toml: run.user: ")
    assert "no-such-user" in bad.errors[0]
    assert bad.errors[1].startswith(
        f"{path}/other.toml: command: found /no/such/program does not exist"
    )
    assert own.run("hook").result is Result.SUCCESS


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs hooks as another user")
def test_a_user_who_may_not_reach_the_program(own: Runner) -> None:
    program = own.script("program", "exit 0\n")
    own.hook("hook", f'command = "{program}"\n[run]\nuser = "nobody"\n')
    assert own.reload().errors == []
    own.directory.chmod(0o700)
    assert refused(own) == f"user nobody may not execute {program}"
    (error,) = own.reload().errors
    assert f"command: found user nobody may not enter {own.directory} (mode 0700)" in error


def test_a_nul_makes_no_further_argument_or_variable(runner: Runner) -> None:
    """No server of ours sends one; one that was taken over must gain nothing by it."""
    runner.hook("hook", 'command = "/usr/bin/env $USER"\n')
    runner.reload()
    for forged in ("-\0-", "x\0LD_PRELOAD=/tmp/theirs.so"):
        assert refused(runner, user=forged) == "argument 1 has a NUL in it"
    assert refused(runner, profile="x\0LD_PRELOAD=y") == "variable HOOKD_PROFILE has a NUL in it"
