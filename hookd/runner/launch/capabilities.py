# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks what hookd can promise on this machine.

A limit that cannot be set is an error. A promise that is weaker here is a note.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping

from hookd.config.parse import Config, Hook
from hookd.runner.launch.abi import can_confine_signals
from hookd.runner.launch.accounts import Account
from hookd.runner.launch.cgroup import Groups

WATCHED = (
    "no cgroup v2 is delegated to hookd-runner: limits.memory and limits.processes are kept by "
    "looking at the processes several times a second, not by the kernel; a hook can be above them "
    "for a moment"
)
UNWEIGHTED = "no cgroup v2 is delegated to hookd-runner: limits.cpu_weight has no effect"
CONFINED = (
    "hooks run as hookd's own user; so that they cannot signal hookd they are confined with "
    "Landlock and no_new_privs: they can signal none but their own processes, and programs such "
    "as sudo give them no rights"
)
UNCONFINED = (
    "hooks run as hookd's own user, and this kernel has no Landlock that could keep them from it "
    "(Linux 6.12 and later): a hook could end hookd by a signal"
)
ESCAPES = {"at", "batch", "docker", "incus", "lxc", "machinectl", "nerdctl", "systemd-run"}
"""Programs that have a service start their command, which is then not below the launcher."""
ESCAPED = (
    "what {} starts belongs to another service and not to the run: neither its limits nor its end "
    "reach it"
)
AS_ROOT = "hooks run as root because run.user is not set, and may change anything on this system"


def confined(account: Account) -> bool:
    """Whether a hook of this account is kept from signalling hookd.

    That is needed if the account is hookd's own and not root, and done if the kernel can.
    """
    return account.uid == os.geteuid() != 0 and can_confine_signals()


def notes(config: Config, accounts: Mapping[str, Account], groups: Groups | None) -> list[str]:
    """Return a note for each promise of the manual page that this machine keeps only in part.

    `accounts` maps the names of the hooks to the accounts that they run as.
    """
    hooks = config.hooks.values()
    limits = [hook.limits for hook in hooks]
    controllers = groups.controllers if groups is not None else frozenset()
    found = []
    watched = any(
        (one.memory is not None and "memory" not in controllers)
        or (one.processes is not None and "pids" not in controllers)
        for one in limits
    )
    if watched:
        found.append(WATCHED)
    if "cpu" not in controllers and any(one.cpu_weight is not None for one in limits):
        found.append(UNWEIGHTED)
    if os.geteuid() != 0 and hooks:
        found.append(CONFINED if can_confine_signals() else UNCONFINED)
    # A hook file that names root states a decision. Only root by default is worth a note.
    as_root = [
        hook.name
        for hook in hooks
        if hook.run.user is None and hook.name in accounts and accounts[hook.name].uid == 0
    ]
    if as_root:
        found.append(f"{AS_ROOT}: {', '.join(as_root)}")
    for hook in hooks:
        found += [f"hook {hook.name}: {ESCAPED.format(name)}" for name in escapes(hook)]
    return found


def escapes(hook: Hook) -> list[str]:
    """Return the names of programs in a hook's command that start processes outside its run.

    This is only a hint, because a script may do the same unseen. With --scope, systemd-run starts
    its program itself.
    """
    words = hook.command.text.replace("'", " ").replace('"', " ").split()
    names = {os.path.basename(word) for word in words} & ESCAPES
    return sorted(names - ({"systemd-run"} if "--scope" in words else set()))


def shell_signs(hook: Hook) -> list[str]:
    """Return a note for each word of a hook's command that only a shell would interpret."""
    return [
        f"{hook.path}: command: {word} is given to the program as an argument, since no shell is "
        "involved: probably a mistake; what a shell does, a script can do, or /bin/sh -c '...'"
        for word in hook.command.shell_words()
    ]


def problems(hook: Hook) -> list[str]:
    """Return an error line for each limit that cannot be set on this hook's runs."""
    limits = hook.limits
    found = []
    if missing := set(limits.cpu_affinity or ()) - set(range(os.cpu_count() or 1)):
        found.append(
            f"cpu_affinity: found CPU {min(missing)}; allowed: 0 to {(os.cpu_count() or 1) - 1}"
        )
    if os.geteuid() != 0:
        found += _unprivileged(hook)
    return [f"limits.{problem}" for problem in found]


def _unprivileged(hook: Hook) -> list[str]:
    limits = hook.limits
    found = []
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    if limits.nice < nice and limits.nice < 20 - resource.getrlimit(resource.RLIMIT_NICE)[1]:
        found.append(f"nice: found {limits.nice}; allowed without root: {nice} to 19")
    if limits.io_class == "realtime":
        found.append('io_class: found "realtime"; allowed without root: best-effort, idle, none')
    for key, value, kind in (
        ("open_files", limits.open_files, resource.RLIMIT_NOFILE),
        ("file_size", limits.file_size, resource.RLIMIT_FSIZE),
        ("cpu_time", limits.cpu_time, resource.RLIMIT_CPU),
    ):
        hard = resource.getrlimit(kind)[1]
        if value is not None and hard != resource.RLIM_INFINITY and value > hard:
            found.append(f"{key}: found {value:g}; allowed without root: at most {hard}")
    return found
