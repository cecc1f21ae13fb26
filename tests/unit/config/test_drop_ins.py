# SPDX-License-Identifier: LGPL-2.1-or-later
"""Drop-ins: NAME.toml.d/*.toml change NAME.toml key by key, in the order of their names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hookd.config.files import load, read
from hookd.errors import ConfigError

HOOK = """
command = "/bin/true"
[limits]
timeout = "1s"
memory = "1M"
[run.environment]
A = "own"
B = "own"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    (tmp_path / "hooks.d/a.toml.d").mkdir(parents=True)
    (tmp_path / "hookd.toml").write_text("")
    (tmp_path / "hooks.d/a.toml").write_text(HOOK)
    return tmp_path / "hookd.toml"


def change(settings: Path, name: str, text: str) -> Path:
    path = settings.parent / "hooks.d/a.toml.d" / name
    path.write_text(text)
    return path


def errors(settings: Path) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load(settings)
    return error.value.errors


def test_tables_are_merged_key_by_key_in_the_order_of_the_names(settings: Path) -> None:
    change(settings, "20-b.toml", '[limits]\ntimeout = "3s"\n[run.environment]\nB = "20"\n')
    change(settings, "10-a.toml", 'order = 7\n[limits]\ntimeout = "2s"\noutput = "1K"\n')
    hook = load(settings).config.hooks["a"]
    assert hook.command.text == "/bin/true"
    assert hook.order == 7
    assert (hook.limits.timeout, hook.limits.memory, hook.limits.output) == (3.0, 1 << 20, 1 << 10)
    assert hook.run.environment == {"A": "own", "B": "20"}
    assert hook.path == str(settings.parent / "hooks.d/a.toml")


def test_an_error_names_the_file_that_has_the_last_word(settings: Path) -> None:
    first = change(settings, "1.toml", '[limits]\nmemory = "x"\ntimeout = "5"\n')
    last = change(settings, "2.toml", '[limits]\ntimeout = "300"\nfoo = 1\nlimits = 2\n')
    broken = change(settings, "3.toml", "not [TOML")
    found = errors(settings)
    assert any(line.startswith(f'{last}: limits.timeout: found "300"') for line in found)
    assert any(line.startswith(f'{first}: limits.memory: found "x"') for line in found)
    assert any(line.startswith(f"{last}: limits.foo: found an unknown key") for line in found)
    assert any(line.startswith(f"{broken}: not TOML") for line in found)
    assert not any(f"{first}: limits.timeout" in line for line in found)
    change(settings, "1.toml", "limits = 1\n")
    assert any(
        line.startswith(f"{first}: limits: found 1; allowed: a table") for line in errors(settings)
    )


def test_leftovers_are_ignored_and_noted(settings: Path) -> None:
    left = [
        change(settings, name, "not [TOML") for name in ("a.toml~", "b.toml.dpkg-new", ".c.toml")
    ]
    readme = change(settings, "README", "not [TOML")
    loaded = load(settings)
    assert loaded.config.hooks["a"].limits.timeout == 1.0
    assert set(loaded.notes) == {
        *(f"{path}: ignored: left by an editor or a package manager" for path in left),
        f"{readme}: ignored: its name does not end in .toml",
    }


@pytest.mark.parametrize("text", ["", None])
def test_drop_ins_of_a_hook_that_is_not_there_or_disabled(
    settings: Path, text: str | None
) -> None:
    path = change(settings, "1.toml", "order = 7\n")
    own = settings.parent / "hooks.d/a.toml"
    own.write_text("") if text == "" else own.unlink()
    loaded = load(settings)
    assert loaded.config.hooks == {}
    note = f"{path}: ignored: there is no a.toml that it could change"
    assert list(loaded.notes) == ([] if text == "" else [note])


def test_an_empty_drop_in_changes_nothing(settings: Path) -> None:
    before = load(settings).config
    change(settings, "1.toml", "# nothing\n")
    after = load(settings).config
    assert after.hooks["a"].digest == before.hooks["a"].digest
    assert after.digest != before.digest  # other bytes


def test_the_digest_tells_one_drop_in_from_another(settings: Path) -> None:
    first = change(settings, "1.toml", "order = 7\n")
    digests = {load(settings).config.digest}
    first.rename(first.with_name("2.toml"))
    digests.add(load(settings).config.digest)
    change(settings, "2.toml", "order = 8\n")
    digests.add(load(settings).config.digest)
    assert len(digests) == 3


@pytest.mark.parametrize("where", ["hooks.d/a.toml.d", "hooks.d/a.toml.d/1.toml"])
def test_a_drop_in_that_others_can_change_is_an_error(settings: Path, where: str) -> None:
    change(settings, "1.toml", "order = 7\n")
    path = settings.parent / where
    path.chmod(0o777)
    assert f"{path}: found {path} is writable by everybody (mode 0777)" in errors(settings)[0]


@pytest.mark.parametrize("where", ["hookd.toml", "hooks.d/a.toml", "hooks.d/a.toml.d/1.toml"])
def test_a_named_pipe_is_named_and_not_waited_for(settings: Path, where: str) -> None:
    path = settings.parent / where
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    assert f"{path} is a named pipe, not a file" in errors(settings)[0]


FOREIGN = {
    "a byte order mark (BOM) at the beginning": b"\xef\xbb\xbforder = 7\n",
    "UTF-16 (or UTF-32), by its byte order mark": "order = 7\n".encode("utf-16"),
    "NUL bytes as in UTF-16 without a byte order mark": "order = 7\n".encode("utf-16-be"),
}


@pytest.mark.parametrize("found", FOREIGN)
@pytest.mark.parametrize("where", ["hookd.toml", "hooks.d/a.toml", "hooks.d/a.toml.d/1.toml"])
def test_what_editors_of_other_systems_write_is_named(
    settings: Path, where: str, found: str
) -> None:
    path = settings.parent / where
    path.write_bytes(FOREIGN[found])
    assert read(settings).errors[0] == (
        f"{path}: found {found}; allowed: TOML in UTF-8 without a byte order mark"
    )
