# SPDX-License-Identifier: LGPL-2.1-or-later
"""Commands and their variables: parses `/x/hook.sh $EVENT "$USER"` to a list of arguments.

The text is first split into words (POSIX shell quoting), then variables are expanded inside each
word. A variable therefore never becomes two arguments, and no shell is involved. `VARIABLES` is
the only list of the variables: commands, environment and manual page use it. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from hookd.model import Event, Phase

MAX_WORD = (
    131_071  # bytes of one argument: execve(2) refuses 131,072 with its NUL (MAX_ARG_STRLEN)
)


class Variable(msgspec.Struct, frozen=True):
    """One variable of hooks. `text` makes its value from the event."""

    name: str
    meaning: str
    text: Callable[[Event], str]


VARIABLES: dict[str, Variable] = {
    v.name: v
    for v in (
        Variable(
            "EVENT",
            "true when the job starts, false when it is complete",
            lambda e: "true" if e.phase is Phase.START else "false",
        ),
        Variable("PHASE", "the same in words: start or end", lambda e: e.phase.value),
        Variable("CLIENT_IP", "IP address of the client", lambda e: e.client_ip),
        Variable("CLIENT_BUILD_NO", "build number of the client", lambda e: e.client_build_no),
        Variable(
            "PROFILE",
            "profile name; every space replaced by an underscore",
            lambda e: e.profile.replace(" ", "_"),
        ),
        Variable("PROFILE_NAME", "profile name as it was given", lambda e: e.profile),
        Variable("USER", "the user's e-mail address", lambda e: e.user),
        Variable("FILE_COUNT", "total files; 0 when the job starts", lambda e: str(e.file_count)),
        Variable("BYTE_COUNT", "total bytes; 0 when the job starts", lambda e: str(e.byte_count)),
        Variable("JOB_ID", "integer of the job", lambda e: str(e.job_id)),
        Variable(
            "OUTCOME",
            "how the job ended (success, warning, error, canceled, unknown, lost); "
            "empty when it starts",
            lambda e: e.outcome.value if e.outcome else "",
        ),
        Variable(
            "DURATION_SEC",
            "age of the job in whole seconds; 0 when it starts",
            lambda e: str(e.duration_usec // 1_000_000),
        ),
        Variable("TEST", "1 in a run made by hookctl test, else empty", lambda e: "1" * e.test),
    )
}

_ENVIRONMENT = tuple((f"HOOKD_{v.name}", v.text) for v in VARIABLES.values())
_REFERENCE = re.compile(r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|\{([^}]*)\}|)")


class Template:
    """A parsed command: words, each of literal text and variables.

    Raises ValueError, with a text for the administrator, if the text is not a command: it is
    empty, or has an open quote, an unknown variable or a relative program.
    """

    __slots__ = ("_words", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        if "\0" in text:
            raise ValueError("found a NUL character; allowed: text without NUL")
        words = _split(text)
        if not words:
            raise ValueError("found no word; allowed: a program and its arguments")
        self._words = [_parse(word) for word in words]
        program = self._words[0]
        if any(isinstance(part, Variable) for part in program):
            raise ValueError(
                f"found a variable in the program's name {words[0]!r}; allowed: a fixed path"
            )
        if not self.program.startswith("/"):
            raise ValueError(
                f"found program {self.program!r}; allowed: an absolute path (no PATH is searched)"
            )

    @property
    def program(self) -> str:
        """The path of the program: the first word, which contains no variable."""
        return "".join(part for part in self._words[0] if isinstance(part, str))

    def expand(self, event: Event) -> list[str]:
        """Return the arguments, first the path of the program. Each word is one argument."""
        return [
            "".join(part if isinstance(part, str) else part.text(event) for part in word)
            for word in self._words
        ]

    def shell_words(self) -> list[str]:
        """Return the unquoted words that a shell would interpret: they are probably a mistake."""
        return _shell_words(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Template({self.text!r})"


_PIECE = re.compile(
    r"""(?P<blank>[ \t\n]+)|(?P<continued>\\\n)|\\(?P<escaped>.)|'(?P<single>[^']*)'"""
    r"""|"(?P<double>(?:[^"\\]|\\.)*)"|(?P<plain>[^ \t\n'"\\]+)""",
    re.DOTALL,
)
_ESCAPE = re.compile(r"""\\(?:([$`"\\])|\n)""")


def _split(text: str) -> list[str]:
    """Return the words of a text with the quoting of a POSIX shell (XCU 2.2).

    `shlex` is not used: it keeps an escaped newline, and a backslash before a dollar in double
    quotes. No other syntax of a shell is supported: a `#` is an ordinary character.
    """
    words: list[str] = []
    word: str | None = None
    at = 0
    while at < len(text):
        piece = _PIECE.match(text, at)
        if piece is None:
            mistake = (
                "a backslash at its end" if text[at] == "\\" else "a quote that is never closed"
            )
            raise ValueError(
                f"found {text!r}, which has {mistake}; allowed: words in POSIX shell quoting"
            )
        at = piece.end()
        kind = piece.lastgroup or ""
        if kind == "blank":
            if word is not None:
                words.append(word)
            word = None
        elif kind != "continued":
            part = piece[kind]
            word = (word or "") + (_ESCAPE.sub(r"\1", part) if kind == "double" else part)
    return words if word is None else [*words, word]


_SHELL = re.compile(r"\|\|?|&&?|;;?|&?[0-9]*(?:<|>).*|.*`.*", re.DOTALL)
"""Pipes, lists, redirections and command substitution, see XCU 2.2 to 2.10."""


def _shell_words(text: str) -> list[str]:
    found: list[str] = []
    word, quoted = "", False
    for piece in _PIECE.finditer(text + "\n"):
        kind = piece.lastgroup or ""
        if kind == "plain":
            word += piece[kind]
        elif kind != "blank":
            quoted = True
        else:
            if not quoted and _SHELL.fullmatch(word):
                found.append(word)
            word, quoted = "", False
    return found


def _parse(word: str) -> list[str | Variable]:
    parts: list[str | Variable] = []
    at = 0
    for match in _REFERENCE.finditer(word):
        parts.append(word[at : match.start()])
        at = match.end()
        dollar, bare, braced = match.groups()
        if dollar:
            parts.append("$")
            continue
        name = bare if bare is not None else braced
        if name is None:
            raise ValueError(
                f"found a lone '$' in {word!r}; allowed: $NAME, ${{NAME}}, and $$ for a dollar"
            )
        if name not in VARIABLES:
            raise ValueError(
                f"found the unknown variable {match.group()!r}; allowed: "
                + " ".join("$" + known for known in VARIABLES)
            )
        parts.append(VARIABLES[name])
    parts.append(word[at:])
    return [part for part in parts if part != ""]


def environment(event: Event) -> dict[str, str]:
    """Return `HOOKD_*` for every variable, as each hook has them in its environment."""
    return {name: text(event) for name, text in _ENVIRONMENT}
