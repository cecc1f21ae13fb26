# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `check` names for what it is: env(1) in a #! line, an ACL, a shell's signs."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from hookd.config.parse import Source, parse
from hookd.runner.launch.capabilities import shell_signs
from hookd.runner.run.program_check import Checker
from hookd.system.trust import PathError, trusted_uids

SEARCH = "/no/bin:/usr/bin:/bin"
ACL = "system.posix_acl_access"


def program(scratch: Path, first_line: str, mode: int = 0o755) -> str:
    path = scratch / "hook"
    path.write_text(f"#!{first_line}\n")
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("nosuch", "there is no nosuch in /no/bin:/usr/bin:/bin"),
        ("-S nosuch -x", "there is no nosuch in"),
        ("-Snosuch", "there is no nosuch in"),
        ("-S A=1 -u B nosuch", "there is no nosuch in"),
        ("--split-string=nosuch -x", "there is no nosuch in"),
        ("sh -e", "gets 'sh -e' as one word (to have it split, write env -S)"),
    ],
)
def test_env_that_would_not_find_its_command(scratch: Path, line: str, found: str) -> None:
    path = program(scratch, f"/usr/bin/env {line}")
    with pytest.raises(PathError) as caught:
        Checker(trusted_uids()).check(path, SEARCH)
    assert str(caught.value).startswith(f"{path} has the interpreter env")
    assert found in str(caught.value)


@pytest.mark.parametrize("line", ["sh", "-S sh -e", "-S A=1 -u B sh", "-S -i /bin/sh", ""])
def test_env_that_finds_it(scratch: Path, line: str) -> None:
    path = program(scratch, f"/usr/bin/env {line}")
    assert Checker(trusted_uids()).check(path, SEARCH) == path


def test_an_acl_is_named_and_not_taken_for_the_group(scratch: Path) -> None:
    path = program(scratch, "/bin/sh")
    everybody = 2**32 - 1
    entries = [  # acl(5): owner, a named user, the group, the mask, others
        *((0x01, 7, everybody), (0x02, 7, 12345), (0x04, 5, everybody)),
        *((0x10, 7, everybody), (0x20, 5, everybody)),
    ]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, ACL, acl)
    except OSError as e:
        pytest.skip(f"no ACLs in {scratch}: {e.strerror}")
    with pytest.raises(PathError) as caught:
        Checker(trusted_uids()).check(path)
    assert str(caught.value) == (
        f"{path} has an ACL by which others than its owner may write to it "
        "(mode 0775, see getfacl(1))"
    )


@pytest.mark.parametrize(
    ("command", "signs"),
    [
        ("/bin/echo $PROFILE | mail root", ["|"]),
        ("/bin/a > /x 2>&1 && /bin/b; c", [">", "2>&1", "&&"]),
        ("/bin/a >>/x </y `date`", [">>/x", "</y", "`date`"]),
        ("/bin/a '|' '>' \\\\> a=b<c", []),
    ],
)
def test_the_signs_of_a_shell(command: str, signs: list[str]) -> None:
    text = f'command = "{command}"\n'.encode()
    [hook] = parse([Source("/h.toml", "h", text)]).hooks.values()
    notes = shell_signs(hook)
    assert [note.split(" is given to the program")[0] for note in notes] == [
        f"/h.toml: command: {sign}" for sign in signs
    ]
