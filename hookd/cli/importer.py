# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl import-syncrify: convert a hook script of Syncrify to a hook of hookd."""

from __future__ import annotations

from pathlib import Path

import click

from hookd.cli import appconfig as syncrify_config
from hookd.cli.base import DONE, Settings, note
from hookd.cli.command import command
from hookd.config.files import default_path
from hookd.system.terminal import document, print_json, say


@command("import-syncrify")
@click.argument("appconfig", type=click.Path(path_type=Path), metavar="APPCONFIG.XML")
@click.option(
    "--output",
    metavar="DIR",
    help="Directory for syncrify.toml; by default hooks.d, - for standard output.",
)
def import_syncrify(settings: Settings, appconfig: Path, output: str | None) -> int:
    """Write the hook file for a jobHookScript.

    On Linux, Syncrify installs APPCONFIG.XML as /opt/Syncrify/config/AppConfig.xml.
    """
    with appconfig.open("rb") as file:
        data = file.read(syncrify_config.MAX_FILE + 1)
    if len(data) > syncrify_config.MAX_FILE:
        raise click.ClickException(f"{appconfig}: larger than any AppConfig.xml")
    try:
        script = syncrify_config.hook_script(data)
    except syncrify_config.AppConfigError as e:
        raise click.ClickException(f"{appconfig}: {e}") from None
    directory = Path(output) if output else default_path().parent / "hooks.d"
    path = directory / "syncrify.toml"
    text, problem = syncrify_config.hook_file(script, str(path))
    if problem:
        note(f"warning: the hook is disabled: {problem}")
    if output != "-":
        _write(path, text)
    if settings.json:
        print_json({"path": str(path), "file": text, "command": script, "problem": problem})
    elif output == "-":
        document(text)
    else:
        say(f"wrote {path}" + ("" if problem else "; next: hookctl check, hookctl reload"))
    return DONE


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        message = f"{path} is there already (move it away, or see --output)"
        raise click.ClickException(message) from None
