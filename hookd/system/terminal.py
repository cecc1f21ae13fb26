# SPDX-License-Identifier: LGPL-2.1-or-later
"""Standard output and error of every program of hookd: output is escaped, and a descriptor that is
closed, full or a broken pipe does not change the exit status.

Text from a job, a hook, a file or an argument must not move the cursor, set a title or forge a
line. No other module prints: a line consists of parts, each of which is escaped here before it is
coloured. This file does not know what the text means.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import select
import sys
from typing import Any, NamedTuple, TextIO

import msgspec

_COLOURS = {"red": 31, "green": 32, "yellow": 33, "cyan": 36}
"""Codes of SGR, see console_codes(4)."""


class Painted(NamedTuple):
    """A part of a line, coloured if the terminal shows colours; an empty colour means none."""

    text: str
    colour: str


class _Descriptor(io.RawIOBase):
    """A descriptor whose writes never fail: data that cannot be written is dropped.

    `error` is the reason, from the first failed write on.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.error: OSError | None = None

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        while left and self.error is None:
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:  # O_NONBLOCK is set for all processes that share the open file
                select.select([], [self._fd], [])
            except OSError as e:
                self.error = e
        return size


def guard() -> None:
    """Ensure that no write to the two streams fails. Call this first in a program.

    A closed descriptor is opened as /dev/null. Otherwise the next file or socket would get its
    number, and output would be written to that.
    """
    with contextlib.suppress(OSError):
        while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(fd, True)
        os.close(fd)
    if sys.stdout is sys.__stdout__:  # else the caller in this process has replaced it to read it
        sys.stdout = _stream(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _stream(sys.stderr, 2)


def _stream(before: TextIO | None, fd: int) -> TextIO:
    """Return a stream like the interpreter's own, which is None if the descriptor is closed."""
    encoding = before.encoding if before is not None else "utf-8"
    raw = _Descriptor(fd)
    line_buffering = fd == 2 or raw.isatty()
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=line_buffering
    )


def lost() -> OSError | None:
    """Return why writes to standard output fail; None if they succeed."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.error if isinstance(raw, _Descriptor) else None


def finish(program: str) -> None:
    """Write the buffered output; report on standard error if standard output did not accept all.

    A reader that has closed the pipe wants no more output: this is not reported.
    """
    sys.stdout.flush()
    error = lost()
    if error is not None and error.errno != errno.EPIPE:
        note(program, f"standard output: {error.strerror}")
    sys.stderr.flush()


def escaped(text: str) -> str:
    """Return text on one line, without control characters for a terminal; a tab is kept."""
    if text.isprintable():
        return text
    from hookd.system.records import printable  # not loaded to print only a number

    return printable(text)


def say(*parts: str | Painted, error: bool = False, at_once: bool = False) -> None:
    """Print a line that consists of these parts, on standard output or error.

    `at_once`: write it now, not only at the end of the program; for commands that wait for more.
    """
    stream = sys.stderr if error else sys.stdout
    colours = stream.isatty() and not os.environ.get("NO_COLOR")  # no-color.org
    stream.write("".join([_part(part, colours) for part in parts]) + "\n")
    if at_once:
        stream.flush()


def note(program: str, text: str) -> None:
    """Print a line for people, apart from the output, on standard error."""
    say(f"{program}: {text}", error=True)


def _part(part: str | Painted, colours: bool) -> str:
    if isinstance(part, str):
        return escaped(part)
    code = _COLOURS.get(part.colour)
    text = escaped(part.text)
    return f"\x1b[{code}m{text}\x1b[0m" if code and colours else text


def document(text: str) -> None:
    """Print a text of several lines for programs: verbatim, but escaped on a terminal."""
    if sys.stdout.isatty():
        text = "".join(escaped(line) + "\n" for line in text.splitlines())
    sys.stdout.write(text)


_NOT_ASCII = re.compile("[^\n -~]")


def print_json(value: Any, error: bool = False) -> None:
    """Print a value as one JSON document: on one line, or indented on a terminal.

    Characters that a terminal would interpret, or that the stream's encoding lacks, are written as
    JSON escapes, so that the value is the same.
    """
    stream = sys.stderr if error else sys.stdout
    try:
        data = msgspec.json.encode(value)
    except UnicodeEncodeError:  # a file name or an argument that is not UTF-8
        data = msgspec.json.encode(_as_utf_8(msgspec.to_builtins(value)))
    if stream.isatty():
        data = msgspec.json.format(data, indent=2)
    text = data.decode()
    if not text.isascii() or "\x7f" in text:
        from hookd.system.records import UNPRINTABLE

        utf_8 = (stream.encoding or "utf-8").lower().replace("_", "-") == "utf-8"
        text = (UNPRINTABLE if utf_8 else _NOT_ASCII).sub(_json_escape, text)
    stream.write(text + "\n")
    stream.flush()


def _json_escape(match: re.Match[str]) -> str:
    character = match[0]
    if character == "\n":  # between values; inside a string it is already escaped
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def _as_utf_8(value: Any) -> Any:
    """Return the value; in its strings, each byte that is not UTF-8 becomes \\xNN."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {_as_utf_8(key): _as_utf_8(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_as_utf_8(entry) for entry in value]
    return value
