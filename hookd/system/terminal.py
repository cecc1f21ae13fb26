# SPDX-License-Identifier: LGPL-2.1-or-later
"""Standard output and error of every program here: what is printed is escaped, and a descriptor
that is closed, full or a broken pipe changes no exit status.

Nothing that comes from a job, a hook, a file or an argument may move a cursor, set a title or
forge a line. So no other module prints: a line is made of parts, each of which is escaped here
before it gets its colour. What the words mean is not known here.
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
    """A part of a line that has a colour where a terminal shows colours; empty: none."""

    text: str
    colour: str


class _Descriptor(io.RawIOBase):
    """A descriptor that takes everything: what cannot be written is dropped.

    `error` is why, from the first write that failed on.
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
            except BlockingIOError:  # O_NONBLOCK belongs to all who share the open file
                select.select([], [self._fd], [])
            except OSError as e:
                self.error = e
        return size


def guard() -> None:
    """Call this first in a program; from then on no write to the two streams fails.

    A descriptor that is closed becomes /dev/null: otherwise the next file or socket would get its
    number, and whoever prints would write into that.
    """
    with contextlib.suppress(OSError):
        while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(fd, True)
        os.close(fd)
    if sys.stdout is sys.__stdout__:  # else this program's caller reads it in here
        sys.stdout = _stream(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _stream(sys.stderr, 2)


def _stream(before: TextIO | None, fd: int) -> TextIO:
    """Return a stream like the interpreter's own, which is None where the descriptor is closed."""
    encoding = before.encoding if before is not None else "utf-8"
    raw = _Descriptor(fd)
    line_buffering = fd == 2 or raw.isatty()
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=line_buffering
    )


def lost() -> OSError | None:
    """Return why standard output takes nothing any more, None where it does."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.error if isinstance(raw, _Descriptor) else None


def finish(program: str) -> None:
    """Write what is left, and say on standard error where standard output did not take all.

    A reader that went away wanted no more, and is told nothing.
    """
    sys.stdout.flush()
    error = lost()
    if error is not None and error.errno != errno.EPIPE:
        note(program, f"standard output: {error.strerror}")
    sys.stderr.flush()


def escaped(text: str) -> str:
    """Return text on one line that no terminal takes for anything but text; a tab stays."""
    if text.isprintable():
        return text
    from hookd.system.records import printable  # not for those who print a number alone

    return printable(text)


def say(*parts: str | Painted, error: bool = False, at_once: bool = False) -> None:
    """Print a line made of these parts, on standard output or error.

    `at_once`: while more is waited for. The end of the program writes the rest.
    """
    stream = sys.stderr if error else sys.stdout
    colours = stream.isatty() and not os.environ.get("NO_COLOR")  # no-color.org
    stream.write("".join([_part(part, colours) for part in parts]) + "\n")
    if at_once:
        stream.flush()


def note(program: str, text: str) -> None:
    """Tell people something beside the output: a line on standard error."""
    say(f"{program}: {text}", error=True)


def _part(part: str | Painted, colours: bool) -> str:
    if isinstance(part, str):
        return escaped(part)
    code = _COLOURS.get(part.colour)
    text = escaped(part.text)
    return f"\x1b[{code}m{text}\x1b[0m" if code and colours else text


def document(text: str) -> None:
    """Print a text of several lines that programs read: as it is, but escaped on a terminal."""
    if sys.stdout.isatty():
        text = "".join(escaped(line) + "\n" for line in text.splitlines())
    sys.stdout.write(text)


_NOT_ASCII = re.compile("[^\n -~]")


def print_json(value: Any, error: bool = False) -> None:
    """Print a value as one JSON document: a line, or indented for people on a terminal.

    What a terminal would not take for text, or the stream's encoding has no byte for, is written
    as JSON's own escapes, so that the value is the same.
    """
    stream = sys.stderr if error else sys.stdout
    try:
        data = msgspec.json.encode(value)
    except UnicodeEncodeError:  # the name of a file, or an argument, that is not UTF-8
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
    if character == "\n":  # between values: inside a string it is escaped already
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def _as_utf_8(value: Any) -> Any:
    """Return the value with each byte of its texts that is not UTF-8 as \\xNN."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {_as_utf_8(key): _as_utf_8(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_as_utf_8(entry) for entry in value]
    return value
