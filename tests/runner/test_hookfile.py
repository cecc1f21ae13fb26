# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which programs may be hooks, and what is said of those that may not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hookd.runner.run.program_check import Checker, check
from hookd.system.trust import PathError, group_name, trusted_uids

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="only root gives files away and mounts")
Make = Callable[[Path], object]


def script(path: Path, text: str = "#!/bin/sh\n", mode: int = 0o755) -> None:
    """Write a program."""
    path.write_bytes(text.encode())
    path.chmod(mode)


def make_dangling(path: Path) -> None:
    path.symlink_to("gone")


def make_ring(path: Path) -> None:
    path.symlink_to(path)


def below_a_file(path: Path) -> None:
    script(path.parent / "file")
    path.symlink_to("file/x")


def in_open_directory(path: Path) -> None:
    (path.parent / "open").mkdir()
    script(path.parent / "open/x")
    (path.parent / "open").chmod(0o777)
    path.symlink_to("open/x")


REFUSED: dict[str, tuple[Make, str]] = {
    "missing": (lambda p: None, "{p} does not exist"),
    "dangling link": (make_dangling, "{p} is a symbolic link to {d}/gone, which does not exist"),
    "ring of links": (make_ring, "{p} has too many symbolic links, or a ring of them"),
    "below a file": (below_a_file, "{d}/file is a file, not a directory"),
    "directory": (lambda p: p.mkdir(mode=0o755), "{p} is a directory"),
    "named pipe": (lambda p: os.mkfifo(p, 0o755), "{p} is a named pipe"),
    "no exec bit": (lambda p: script(p, mode=0o644), "{p} is not executable (mode 0644)"),
    "group may write": (
        lambda p: script(p, mode=0o775),
        "{p} is writable by group {g} (mode 0775)",
    ),
    "all may write": (
        lambda p: script(p, mode=0o757),
        "{p} is writable by everybody (mode 0757)",
    ),
    "directory all may write": (
        in_open_directory,
        "{d}/open is writable by everybody (mode 0777)",
    ),
    "empty": (lambda p: script(p, ""), "{p} is empty: no program, and no #! line"),
    "no first line": (
        lambda p: script(p, "echo\n"),
        "{p} is no program: it begins neither with a #! line nor as an ELF binary",
    ),
    "CRLF": (
        lambda p: script(p, "#!/bin/sh\r\n"),
        "{p} has a #! line that ends in CRLF, as Windows editors write it; "
        "convert the file to Unix line ends",
    ),
    "no interpreter named": (
        lambda p: script(p, "#! \n"),
        "{p} has a #! line without an interpreter",
    ),
    "no such interpreter": (
        lambda p: script(p, "#!/no/sh -e\n"),
        "{p} has the interpreter /no/sh: /no/sh does not exist: there is no /no",
    ),
    "interpreter is a directory": (
        lambda p: script(p, "#!/etc\n"),
        "{p} has the interpreter /etc: /etc is a directory",
    ),
    "NUL in the first line": (
        lambda p: script(p, "#!/bin/\0sh\n"),
        "{p} has a #! line with a NUL in it",
    ),
    "interpreter by a relative path": (
        lambda p: script(p, "#!bin/sh\n"),
        "{p} has the interpreter bin/sh, a relative path",
    ),
    "interpreter of its own": (
        lambda p: script(p, f"#!{p}\n"),
        "{p} is interpreted by more than 5 scripts, one after the other",
    ),
    "interpreter is no program": (
        lambda p: script(p, "#!/etc/passwd\n"),
        "{p} has the interpreter /etc/passwd: /etc/passwd is not executable (mode 0644)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(scratch: Path, name: str) -> None:
    make, expected = REFUSED[name]
    path = scratch / "hook"
    make(path)
    with pytest.raises(PathError) as caught:
        check(str(path))
    assert str(caught.value) == expected.format(p=path, d=scratch, g=group_name(os.getegid()))


def test_accepted_and_resolved(scratch: Path) -> None:
    scratch.chmod(0o755)
    (scratch / "real").mkdir()
    script(scratch / "real/hook")
    (scratch / "link").symlink_to("real/../real")
    (scratch / "way").symlink_to(scratch / "link/hook")
    assert check(str(scratch / "way")) == str(scratch / "real/hook")
    assert check(f"{scratch}/./link//hook") == str(scratch / "real/hook")


def test_a_sticky_directory_is_safe_for_what_is_ours(scratch: Path) -> None:
    scratch.chmod(0o1777)
    script(scratch / "hook")
    assert check(str(scratch / "hook")) == str(scratch / "hook")


@needs_root
@pytest.mark.parametrize("what", ["program", "directory", "link"])
def test_what_belongs_to_somebody_else(scratch: Path, what: str) -> None:
    (scratch / "dir").mkdir()
    script(scratch / "dir/program")
    (scratch / "link").symlink_to("dir/program")
    owned = {"program": "dir/program", "directory": "dir", "link": "link"}[what]
    os.chown(scratch / owned, 1, -1, follow_symlinks=False)
    with pytest.raises(PathError) as caught:
        check(str(scratch / "link"))
    expected = f"{scratch / owned} belongs to user daemon, who could change it"
    assert str(caught.value) == expected
    trusted = frozenset((0, 1))
    assert check(str(scratch / "link"), trusted) == str(scratch / "dir/program")


@pytest.mark.parametrize("steps", [1, 2])
def test_an_interpreter_is_looked_at_before_each_run(scratch: Path, steps: int) -> None:
    script(scratch / "hook", f"#!{scratch}/1\n")
    script(scratch / "1", "#!/bin/sh\n" if steps == 1 else f"#!{scratch}/2\n")
    script(scratch / "2")
    checker = Checker(trusted_uids())
    assert checker.check(str(scratch / "hook")) == str(scratch / "hook")
    (scratch / str(steps)).chmod(0o777)
    with pytest.raises(PathError, match=f"/{steps} is writable by everybody"):
        checker.check(str(scratch / "hook"))


def repointed(scratch: Path) -> None:
    (scratch / "link").unlink()
    (scratch / "link").symlink_to("other")


def replaced(scratch: Path) -> None:
    script(scratch / "new", "#!/bin/sh\r\n")
    (scratch / "new").rename(scratch / "dir/hook")


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "mode of the program": (lambda s: (s / "dir/hook").chmod(0o777), "writable by everybody"),
    "mode of a directory": (lambda s: (s / "dir").chmod(0o777), "writable by everybody"),
    "content": (lambda s: (s / "dir/hook").write_text("echo"), "is no program"),
    "another link": (repointed, "not executable"),
    "another file": (replaced, "CRLF"),
    "gone": (lambda s: (s / "dir/hook").unlink(), "does not exist"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_after_a_check_is_seen_by_the_next(scratch: Path, change: str) -> None:
    act, expected = CHANGES[change]
    (scratch / "dir").mkdir()
    script(scratch / "dir/hook")
    (scratch / "other").write_text("x")
    (scratch / "link").symlink_to("dir/hook")
    checker = Checker(trusted_uids())
    for _ in range(2):
        assert checker.check(str(scratch / "link")) == str(scratch / "dir/hook")
    act(scratch)
    with pytest.raises(PathError, match=expected):
        checker.check(str(scratch / "link"))


def test_what_is_said_of_any_path_can_be_sent(scratch: Path) -> None:
    (scratch / "hook").symlink_to(os.fsencode(scratch) + b"/\xff")
    with pytest.raises(PathError) as caught:
        check(str(scratch / "hook"))
    assert str(caught.value).encode().endswith(b"/\\xff, which does not exist")
