# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl syncrify, hookctl import-syncrify: two ways over from Syncrify's own hooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hookd.cli.base import DONE, GATE_REFUSED, Command, Settings, command, note, print_json
from hookd.cli.submit import newest_running


class _Verbatim(Command):
    """A command whose words are values, whatever they look like: a profile may be `-rf`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take everything as an argument, except a lone request for help."""
        return super().parse_args(ctx, args if args == ["--help"] else ["--", *args])


@click.command(cls=_Verbatim)
@click.argument("event", type=click.Choice(["true", "false"]), metavar="$EVENT")
@click.argument("client_ip", metavar="$CLIENT_IP")
@click.argument("client_build_no", metavar="$CLIENT_BUILD_NO")
@click.argument("profile", metavar="$PROFILE")
@click.argument("user", metavar="$USER")
@click.argument("file_count", type=int, metavar="$FILE_COUNT")
@click.argument("byte_count", type=int, metavar="$BYTE_COUNT")
@click.argument("job_id", required=False, metavar="[$JOB_ID]")
@click.pass_obj
def syncrify(settings: Settings, /, event: str, **values: Any) -> int:
    """Hand an event of Syncrify's on to hookd.

    Meant to be the jobHookScript in Syncrify's AppConfig.xml. Without $JOB_ID the newest running
    job of the same client, profile and user is the one that ends.
    """
    who = {name: values[name] for name in ("profile", "user", "client_ip")}
    server_job_id = values["job_id"] or None
    with settings.client() as hookd:
        if event == "true":
            answer = hookd.start_job(
                **who, client_build_no=values["client_build_no"], server_job_id=server_job_id
            )
            if not answer.allowed:
                note(f"job {answer.job_id} is refused: {answer.reason}")
                return GATE_REFUSED
        else:
            hookd.end_job(
                None if server_job_id else newest_running(hookd, **who),
                server_job_id=server_job_id,
                file_count=values["file_count"],
                byte_count=values["byte_count"],
            )
    return DONE


@command("import-syncrify")
@click.argument("appconfig", type=click.Path(path_type=Path), metavar="APPCONFIG.XML")
@click.option(
    "--output",
    metavar="DIR",
    help="Where syncrify.toml is written: the configuration's hooks.d by default, - for stdout.",
)
def import_syncrify(settings: Settings, appconfig: Path, output: str | None) -> int:
    """Write the hook file for a jobHookScript.

    APPCONFIG.XML is /opt/Syncrify/config/AppConfig.xml where Syncrify was installed on Linux.
    """
    from hookd.cli import appconfig as syncrify_config
    from hookd.confdir import default_path

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
        click.echo(text, nl=False)
    else:
        print(f"wrote {path}" + ("" if problem else "; next: hookctl check, hookctl reload"))
    return DONE


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        message = f"{path} is there already (move it away, or see --output)"
        raise click.ClickException(message) from None
