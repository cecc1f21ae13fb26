# SPDX-License-Identifier: LGPL-2.1-or-later
"""Syncrify's AppConfig.xml: reads `jobHookScript` and converts it to a hook file.

Syncrify's knowledge base (document 1893, "Hooks in Syncrify") shows the line

    <parameter name="jobHookScript" type="1" value="path/for/your/script arg1 arg2"></parameter>

This file only converts text; it opens no file.
"""

from __future__ import annotations

import json
import re
from xml.parsers import expat

from hookd.config.parse import Source, parse
from hookd.errors import ConfigError

PARAMETER = "jobHookScript"
MAX_FILE = 16 * 1024 * 1024  # bytes; Syncrify's own file has a few kilobytes

_WINDOWS = re.compile(r"""["']?(?:[A-Za-z]:[\\/]|\\\\)""")

_FILE = """\
# {title}
# Syncrify gives a script no time limit; hookd gives it the one of [limits], 10min by default.
{command}

# [run]
# user = "root"        # Syncrify ran it as the user of its own service
# [limits]
# timeout = "1h"
"""


class AppConfigError(ValueError):
    """The file is not an AppConfig.xml with a script to import; the text says why."""


def hook_script(data: bytes) -> str:
    """Return the value of `jobHookScript`, with entities resolved and outer spaces removed.

    Raises AppConfigError if the data is not XML, has a document type, or has no script or several.
    Syncrify never writes a document type, which could have entity bombs and references to files.
    """
    reader = _Reader()
    try:
        reader.parser.Parse(data, True)
    except expat.ExpatError as e:
        raise AppConfigError(f"not XML: {e}") from None
    except (LookupError, ValueError) as e:  # an encoding unknown to Python, or an error of expat
        raise AppConfigError(str(e)) from None
    scripts = [(line, text.strip()) for line, text in reader.found if text.strip()]
    if not scripts:
        raise AppConfigError(f"no {PARAMETER} is set: there is nothing to import")
    if len({text for _, text in scripts}) > 1:
        lines = " and ".join(str(line) for line, _ in scripts)
        raise AppConfigError(f"{PARAMETER} is set in lines {lines}; it may be set only once")
    return scripts[0][1]


class _Reader:
    """Collects `jobHookScript` with line numbers; its value is an attribute or text."""

    def __init__(self) -> None:
        self.found: list[tuple[int, str]] = []
        self._inside = False
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _doctype(self, *_: object) -> None:
        line = self.parser.CurrentLineNumber
        raise AppConfigError(f"line {line}: a DOCTYPE is not allowed")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._inside = tag == "parameter" and attributes.get("name") == PARAMETER
        if self._inside:
            self.found.append((self.parser.CurrentLineNumber, attributes.get("value", "")))

    def _text(self, text: str) -> None:
        if self._inside and text.strip():
            line, value = self.found[-1]
            self.found[-1] = (line, value + text)

    def _end(self, _tag: str) -> None:
        self._inside = False


def hook_file(script: str, path: str) -> tuple[str, str | None]:
    """Return the text of the hook file for a script, and why it cannot run unchanged, if so.

    If it cannot (a Windows path, a relative path, an unknown variable), the command is a comment
    in the file: a hook file without a key is a disabled hook.
    """
    command = f"command = {_quoted(script)}"
    problem = _problem(command, script, path)
    if problem is None:
        return _FILE.format(title=f"Syncrify's {PARAMETER}.", command=command), None
    title = f"Syncrify's {PARAMETER}, disabled until its command is one that this system can run."
    return _FILE.format(title=title, command=f"# {command}"), problem


def _quoted(text: str) -> str:
    """Return a TOML basic string with all unprintable characters escaped.

    TOML requires this only for control characters. But for some editors and languages, U+0085 or
    U+2028 in a comment ends the line, and the rest would be read as settings.
    """
    escaped = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped)


def _problem(command: str, script: str, path: str) -> str | None:
    if _WINDOWS.match(script):
        return f"{script!r} has a Windows path; an absolute path of this system is needed"
    try:
        parse([Source(path, "syncrify", command.encode())])
    except ConfigError as e:
        return e.errors[0].removeprefix(f"{path}: command: ")
    return None
