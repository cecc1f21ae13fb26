# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bytes of a program's two streams become lines, in bounds."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
from collections.abc import Callable

import pytest

from hookd.runner.run.output import MAX_LINE, Output

Line = tuple[str, bytes]


class Sink:
    """A place for lines that can be closed for a while."""

    def __init__(self) -> None:
        self.flushed = True
        self.lines: list[Line] = []

    def when_flushed(self, callback: Callable[[], None]) -> None:
        """Call back at `open`."""
        self.waiting = callback

    def open(self) -> None:
        """Take lines from now on."""
        self.flushed = True
        self.waiting()

    def take(self, stream: str, lines: list[bytes]) -> None:
        """Take lines."""
        assert self.flushed
        self.lines += [(stream, line) for line in lines]


def failed(error: Exception) -> None:
    """Be told of an error of hookd's own, which none of these tests has."""
    raise error


def collect(write: Callable[[int, int], None], budget: int = 10_000) -> tuple[list[Line], Output]:
    """Return the lines of what `write` writes to the two streams, and the closed Output."""

    async def run() -> tuple[list[Line], Output]:
        sink = Sink()
        output = Output(budget, sink.take, sink, failed)
        out, err = output.open(os.geteuid())
        output.read()
        await asyncio.to_thread(write, out, err)
        os.close(out)
        os.close(err)
        output.finish()
        await output.flush(5)
        return sink.lines, output

    return asyncio.run(run())


def test_lines_and_the_unfinished_last_one() -> None:
    def write(out: int, err: int) -> None:
        os.write(out, b"a\n\nb\nc")
        os.write(err, b"d")

    lines, output = collect(write)
    assert sorted(lines) == [
        ("stderr", b"d"), ("stdout", b"a"), ("stdout", b"b"), ("stdout", b"c"),
    ]  # fmt: skip
    assert (output.total, output.dropped) == (7, 0)


@pytest.mark.parametrize(
    ("written", "lines", "last"),
    [
        (b"a\r\nb\r\n", [b"a", b"b"], "b"),  # as programs from elsewhere end their lines
        (b"a\r\r\n\r\n", [b"a\r"], "a"),
        (b"copying\n10%\r 55%\r100%\r\n", [b"copying", b"10%\r 55%\r100%"], "100%"),
        (b"10%\rno room", [b"10%\rno room"], "no room"),
        (b"\x1b]0;x\x07\xe2\x80\xae\xff \n\n", [b"\x1b]0;x\x07\xe2\x80\xae\xff "],
         r"\x1b]0;x\x07\u202e\xff"),
        (b"\r\n \r\n", [b" "], None),
    ],
)  # fmt: skip
def test_returns_of_the_carriage(written: bytes, lines: list[bytes], last: str | None) -> None:
    found, output = collect(lambda out, _: (os.write(out, written), None)[1])
    assert [line for _, line in found] == lines
    assert output.last_line == last
    assert (output.total, output.dropped) == (len(written), 0)


def test_a_long_line_comes_in_pieces() -> None:
    def write(out: int, err: int) -> None:
        for _ in range(3):
            os.write(out, b"x" * MAX_LINE)

    lines, output = collect(write, budget=1 << 20)
    assert [len(data) for _, data in lines] == [MAX_LINE] * 3
    assert output.dropped == 0


def test_what_is_beyond_the_budget_is_counted_but_its_last_line_known() -> None:
    def write(out: int, err: int) -> None:
        for n in range(1000):
            os.write(out, b"line %d\n" % n)

    lines, output = collect(write, budget=20)
    assert [data for _, data in lines] == [b"line 0", b"line 1", b"line 2"[:6]]
    assert output.total == sum(len(b"line %d\n" % n) for n in range(1000))
    assert output.dropped == output.total - 20
    assert output.last_line == "line 999"


def test_a_sink_that_takes_nothing_costs_its_lines_and_no_more() -> None:
    async def run() -> tuple[Output, Sink]:
        sink = Sink()
        output = Output(1000, sink.take, sink, failed)
        out, err = output.open(os.geteuid())
        output.read()
        sink.flushed = False
        os.write(out, b"one\ntwo\n")
        output.finish()
        assert output.waiting
        await output.flush(0.05)
        os.close(out)
        os.close(err)
        return output, sink

    output, sink = asyncio.run(run())
    assert sink.lines == []
    assert (output.total, output.dropped) == (8, 8)


def test_lines_wait_for_a_sink_that_opens_again() -> None:
    async def run() -> list[Line]:
        sink = Sink()
        output = Output(10_000, sink.take, sink, failed)
        out, err = output.open(os.geteuid())
        output.read()
        sink.flushed = False
        os.write(out, b"x\n" * 500)
        os.close(out)
        os.close(err)
        output.finish()
        asyncio.get_running_loop().call_later(0.05, sink.open)
        await output.flush(5)
        return sink.lines

    assert asyncio.run(run()) == [("stdout", b"x")] * 500


def test_a_pipe_that_somebody_else_fills_does_not_hold_up_the_end() -> None:
    async def run() -> int:
        output = Output(10, lambda stream, data: None, Sink(), failed)
        out, err = output.open(os.geteuid())
        with subprocess.Popen(["yes"], stdout=out) as writer:
            os.close(out)
            os.close(err)
            output.finish()
            return writer.wait(20)

    assert asyncio.run(run()) == -signal.SIGPIPE


def test_what_is_not_read_at_the_end_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    much = 1 << 20  # bytes; a pipe of root's may hold more than is read at the end
    monkeypatch.setattr("hookd.runner.run.output.LAST_READ", much // 4)

    async def run() -> Output:
        output = Output(2 * much, lambda stream, data: None, Sink(), failed)
        out, err = output.open(os.geteuid())
        fcntl.fcntl(out, fcntl.F_SETPIPE_SZ, much)
        assert os.write(out, bytes(much)) == much
        output.finish()
        os.close(out)
        os.close(err)
        return output

    output = asyncio.run(run())
    assert (output.total, output.dropped) == (much, much - much // 4)
