# SPDX-License-Identifier: LGPL-2.1-or-later
"""Make what a package ships and the code knows best: man pages, journal catalog, completions.

usage: python3 packaging/generate.py DIRECTORY

The man pages are docs/man/*.scd (scdoc(5)); a line `@WORD ARGUMENTS@` in them stands for a part
that is made here from the code's own tables, so that no page can promise what the code does not.
"""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from click.shell_completion import get_completion_class

TREE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TREE))

from hookd import errors  # noqa: E402
from hookd.cli.commands import hookctl  # noqa: E402
from hookd.config import options, template  # noqa: E402
from hookd.system import records  # noqa: E402

COMPLETIONS = {
    "bash": "bash-completion/hookctl",
    "zsh": "zsh/_hookctl",
    "fish": "fish/hookctl.fish",
}
ALIASES = {"hookd-runner.8": "hookd.8"}


def escaped(text: str) -> str:
    """Return text without a meaning for scdoc."""
    return re.sub(r"([\\*_<>#~\[\]])", r"\\\1", text)


def option_table(name: str) -> Iterator[str]:
    """Yield the keys of one of the tables in hookd.config.options."""
    for option in getattr(options, name):
        default = "not set" if option.default is None else json.dumps(option.default)
        yield f"*{escaped(option.key)}* (default: {escaped(default)})"
        meaning = option.meaning[0].upper() + option.meaning[1:]
        yield f"\t{escaped(meaning)}. Allowed: {escaped(option.kind.allowed)}."
        yield ""


def variables() -> Iterator[str]:
    """Yield what a command and a hook's environment are told."""
    for variable in template.VARIABLES.values():
        yield f"*${escaped(variable.name)}*, *HOOKD\\_{escaped(variable.name)}*"
        yield f"\t{escaped(variable.meaning)}"
        yield ""


def commands() -> Iterator[str]:
    """Yield hookctl's commands, each with its options."""
    group = click.Context(hookctl, info_name="hookctl")
    shared = {option.name for option in hookctl.params}
    for name in hookctl.list_commands(group):
        command = hookctl.get_command(group, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=group)
        yield f"## {name}"
        yield ""
        yield escaped(f"hookctl {name} {' '.join(command.collect_usage_pieces(context))}")
        yield ""
        yield escaped(inspect.cleandoc(command.help or ""))
        yield ""
        for option in command.params:
            if isinstance(option, click.Option) and option.name not in shared:
                yield "*{}*\n\t{}\n".format(*map(escaped, option.get_help_record(context) or ()))


def interface(name: str) -> Iterator[str]:
    """Yield a Varlink interface as it is."""
    yield "```"
    yield (TREE / "hookd/interfaces" / f"{name}.varlink").read_text().rstrip()
    yield "```"


def error_table() -> Iterator[str]:
    """Yield every error that can come over the wire."""
    for error in errors.HookdError.__subclasses__():
        yield f"*{error.code}*"
        yield "\t" + escaped(" ".join((error.__doc__ or "").split()))
        yield ""


def record_table() -> Iterator[str]:
    """Yield every kind of journal record, with the ID to look for it by."""
    for kind in records.KINDS.values():
        if kind.message_id:
            yield f"*{escaped(subject(kind))}* (MESSAGE\\_ID={kind.message_id})"
            yield "\t" + escaped(kind.explanation.partition("\n")[0])
            yield ""


PARTS: dict[str, Callable[..., Iterator[str]]] = {
    "options": option_table,
    "variables": variables,
    "commands": commands,
    "interface": interface,
    "errors": error_table,
    "records": record_table,
}


def man_page(source: str) -> str:
    """Return a page with each `@WORD ARGUMENTS@` line replaced by that part."""

    def part(match: re.Match[str]) -> str:
        word, *arguments = match[1].split()
        return "\n".join(PARTS[word](*arguments)).rstrip()

    return re.sub(r"(?m)^@(.*)@$", part, source)


def subject(kind: records.RecordKind) -> str:
    """Return the heading of a kind of record."""
    return kind.name.replace("-", " ").capitalize()


def catalog() -> str:
    """Return the journal's message catalog, as journalctl --catalog explains it."""
    entries = ["# SPDX-License-Identifier: LGPL-2.1-or-later\n"]
    for kind in records.KINDS.values():
        if kind.message_id:
            lines = [textwrap.fill(line, 78) for line in kind.explanation.splitlines()]
            entries.append(
                f"-- {kind.message_id}\nSubject: {subject(kind)}\nDefined-By: hookd\n"
                "Documentation: man:hookd(8)\n\n" + "\n".join(lines) + "\n"
            )
    return "\n".join(entries)


def completion(shell: str) -> str:
    """Return the script by which a shell asks hookctl itself."""
    kind = get_completion_class(shell)
    assert kind is not None
    return kind(hookctl, {}, "hookctl", "_HOOKCTL_COMPLETE").source()


def write(path: Path, text: str) -> None:
    """Write a file and the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def main() -> None:
    """Make everything in the directory that is named."""
    target = Path(sys.argv[1])
    for source in sorted((TREE / "docs/man").glob("*.scd")):
        page = subprocess.run(
            ["scdoc"], input=man_page(source.read_text()), stdout=subprocess.PIPE, text=True
        )
        if page.returncode:
            sys.exit(f"{source}: scdoc refuses it")
        write(target / "man" / source.stem, page.stdout)
    for alias, page_name in ALIASES.items():
        write(target / "man" / alias, f".so man8/{page_name}\n")
    write(target / "hookd.catalog", catalog())
    for shell, path in COMPLETIONS.items():
        write(target / path, completion(shell))


if __name__ == "__main__":
    main()
