# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever packets the zygote and a launcher are sent: at worst that launcher ends, no other.

The program is one that AddressSanitizer and UBSan watch. No path in an order has a slash, so
nothing is ever started: what orders say about their own length is what is tried here.
"""

from __future__ import annotations

from hookd.runner.launch import abi
from tests.support.launcher import Launcher, Zygote, found, order, sanitized, zygote

BETWEEN = b"\xff\x00\xff"
MOST = 8  # packets of one input


def check(data: bytes) -> None:
    """Take what BETWEEN separates for packets; the first byte of each says to whom."""
    program = sanitized()
    with zygote(program) as one:
        for packet in data.split(BETWEEN)[:MOST]:
            whom, content = packet[:1], packet[1:]
            if whom == b"z":
                _fork(one, content)
            else:
                _run(one, content, fds=(whom or b"\3")[0] % (abi.MAX_FDS + 2))
        good = one.launcher()
        assert good.send(order("/bin/true"))
        kinds = [report[0] for report in good.reports()]
        assert kinds == [abi.STARTED, abi.ENDED]
        good.close()
    assert found(program) == []


def _fork(one: Zygote, content: bytes) -> None:
    made = one.fork(content, fds=1)
    if isinstance(made, Launcher):
        made.close()


def _run(one: Zygote, content: bytes, fds: int) -> None:
    launcher = one.launcher()
    if launcher.send(content.replace(b"/", b"."), fds):
        kinds = [report[0] for report in launcher.reports()]
        assert kinds in ([], [abi.NO_DIRECTORY], [abi.NOT_SPAWNED])
        if kinds:  # it is as good as before
            assert launcher.send(order("/bin/false"))
            assert [report[0] for report in launcher.reports()] == [abi.STARTED, abi.ENDED]
    launcher.close()
