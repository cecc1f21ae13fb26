# SPDX-License-Identifier: LGPL-2.1-or-later
"""Python and C mean the same packets; a launcher that is told nonsense ends alone."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hookd.runner.launch import abi
from tests.support.launcher import Launcher, Zygote, order, zygote

SOURCE = Path(__file__).parents[2] / "hookd/runner/launch/launcher.h"
CTYPES = {"uint32_t": "I", "int32_t": "i", "int64_t": "q"}


@pytest.fixture
def one() -> Iterator[Zygote]:
    """Return a zygote that must survive the test."""
    with zygote(abi.PROGRAM) as one:
        yield one


def members(name: str) -> str:
    """Return the members of one of the source's structures, as the struct module writes them."""
    [body] = re.findall(rf"(?ms)^struct {name} {{(.*?)^}};", SOURCE.read_text())
    plain = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
    return "".join(
        CTYPES[kind] * len(names.split(","))
        for kind, names in re.findall(r"(\w+) ([\w, ]+);", plain)
    )


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("fork_order", abi.FORK),
        ("fork_answer", abi.FORKED),
        ("run_order", abi.RUN),
        ("report", abi.REPORT),
    ],
)
def test_the_structures_are_those_of_the_source(
    tmp_path: Path, name: str, layout: struct.Struct
) -> None:
    assert layout.format == f"={members(name)}"
    program = tmp_path / "size.c"  # nothing lies between the members, which `=` says
    check = f'_Static_assert(sizeof(struct {name}) == {layout.size}, "size");'
    program.write_text(f'#include "{SOURCE}"\n{check}\n')
    subprocess.run(["cc", "-fsyntax-only", program], check=True)


def test_so_are_the_numbers() -> None:
    text = SOURCE.read_text()
    assert re.findall(r'#define PACKETS "(\w+)"', text) == [abi.PACKETS]
    for name in ("MAX_TEXTS", "MAX_LARGE", "MAX_FDS"):
        [value] = re.findall(rf"#define {name} (\S[^/\n]*)", text)
        assert eval(value) == getattr(abi, name), name
    [kinds] = re.findall(r"enum { (NO_DIRECTORY.*?) };", text)
    assert [getattr(abi, kind) for kind in kinds.split(", ")] == list(range(5))


def test_what_an_order_may_say(one: Zygote) -> None:
    good = order("/bin/true", "x", env=["A=b"])
    head, texts = good[: abi.RUN.size], good[abi.RUN.size :]
    mask, argc, envc, length = abi.RUN.unpack(head)
    wrong = [
        (b"", 3),  # no more than what says that nobody is there
        (head[:-1], 3),
        (good, 2),
        (good, 4),
        (head, 4),  # a fourth descriptor that is no file of that length
        (abi.RUN.pack(mask, argc + 1, envc, length) + texts, 3),
        (abi.RUN.pack(mask, argc, envc - 1, length) + texts, 3),
        (abi.RUN.pack(mask, 0, argc + envc, length) + texts, 3),
        (abi.RUN.pack(mask, argc, envc, length - 1) + texts[:-1], 3),
        (abi.RUN.pack(mask, argc, envc, length + 1) + texts, 3),
        (abi.RUN.pack(mask, 2**32 - 1, 2**32 - 1, length) + texts, 3),
    ]
    other = one.launcher()
    for packet, fds in wrong:
        launcher = one.launcher()
        assert launcher.send(packet, fds)
        assert list(launcher.reports()) == [], packet
        launcher.close()
    assert other.send(good) and [report[0] for report in other.reports()] == [
        abi.STARTED,
        abi.ENDED,
    ]
    other.close()


def test_what_the_zygote_may_be_asked(one: Zygote) -> None:
    head = abi.FORK.pack(65534, 65534, 0, 0)
    for packet, fds in (
        (head[:-1], 1),
        (head + b"\0", 1),
        (head, 2),
        (abi.FORK.pack(65534, 65534, 2, 0), 1),
        (abi.FORK.pack(65534, 65534, 0, 2**30), 1),
    ):
        assert one.fork(packet, fds) == 22, packet  # EINVAL
    launcher = one.launcher()
    assert launcher.send(order("/bin/false"))
    assert [report[0] for report in launcher.reports()] == [abi.STARTED, abi.ENDED]
    launcher.close()


def test_a_launcher_without_a_runner_takes_its_run_along(one: Zygote, scratch: Path) -> None:
    fifo = scratch / "fifo"
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    scratch.chmod(0o755)
    script = f"setsid sleep 1000 & exec >{fifo}; echo ready; sleep 1000"
    launcher = one.launcher()
    assert launcher.send(order("/bin/sh", "-c", script, env=["PATH=/usr/bin:/bin"]))
    with fifo.open() as said:
        assert said.readline() == "ready\n"
        launcher.close()
        assert said.read() == ""  # nobody holds the other end any more


def test_before_its_limits_are_set_a_launcher_has_no_user_yet(one: Zygote) -> None:
    made = one.fork(abi.FORK.pack(65534, 65534, 0, 0))
    assert isinstance(made, Launcher)
    assert os.stat(f"/proc/{made.pid}").st_uid == os.geteuid()
    made.sock.shutdown(socket.SHUT_RDWR)
    made.close()
