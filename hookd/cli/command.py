# SPDX-License-Identifier: LGPL-2.1-or-later
"""Commands for click: each takes the settings of hookctl and the common options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from hookd.cli.arguments import COMMON, Argument, pair
from hookd.cli.base import Settings, number

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def whole(least: int | None = None, most: int | None = None) -> Callable[[str], int]:
    """Return the click type of a whole number between two bounds, inclusive."""

    def integer(word: str) -> int:  # the help shows this name
        try:
            found = number(word)
        except ValueError as e:
            raise click.BadParameter(str(e)) from None
        if least is not None and found < least:
            raise click.BadParameter(f"must be at least {least}, not {found}")
        if most is not None and found > most:
            raise click.BadParameter(f"must be at most {most}, not {found}")
        return found

    return integer


class Command(click.Command):
    """A command that also takes the common options, so that they can follow its name."""

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self.params += common_options()


def command(
    name: str | None = None, **values: Any
) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command of a function that takes Settings first and returns an exit code."""

    def make(function: Callable[..., Any]) -> click.Command:
        return click.command(name, cls=Command, **values)(click.pass_obj(function))

    return make


def common_options() -> list[click.Parameter]:
    """Return `--socket` and `--json`, which the group and each command take."""
    return [
        click.Option(
            [one.flag, one.name], expose_value=False, callback=_remember, **_attributes(one)
        )
        for one in COMMON
    ]


def options(*arguments: Argument) -> Decorator:
    """Add options to a command; its help shows them in this order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for argument in reversed(arguments):
            option = click.option(argument.flag, argument.name, **_attributes(argument))
            function = option(function)
        return function

    return decorate


def _attributes(argument: Argument) -> dict[str, Any]:
    kinds: dict[str, dict[str, Any]] = {
        "flag": {"is_flag": True},
        "number": {"type": whole()},
        "choice": {"type": click.Choice(argument.choices)},
        "pair": {"multiple": True, "callback": _pairs},
    }
    attributes: dict[str, Any] = {"help": argument.help, **kinds.get(argument.kind, {})}
    if argument.metavar:
        attributes["metavar"] = argument.metavar
    return attributes


def _pairs(
    context: click.Context, option: click.Parameter, words: tuple[str, ...]
) -> dict[str, str]:
    try:
        return dict(pair(word) for word in words)
    except ValueError as e:
        raise click.BadParameter(str(e), context, option) from None


def _remember(context: click.Context, option: click.Parameter, value: Any) -> None:
    if value and option.name:
        setattr(context.find_object(Settings), option.name, value)
