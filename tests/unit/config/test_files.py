# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the configuration lies: files found, masked, passed over, missing, or not readable."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hookd.config.files import MAX_FILE, Loaded, default_path, load, read_files
from hookd.errors import ConfigError

HOOK = 'command = "/bin/true"\n'
NAME_ALLOWED = 'lower-case letters, digits, "_", "." and "-", a letter or digit first'


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    (tmp_path / "hooks.d").mkdir()
    (tmp_path / "hookd.toml").write_text("")
    return tmp_path / "hookd.toml"


def write(settings: Path, *names: str, text: str = HOOK) -> None:
    for name in names:
        (settings.parent / "hooks.d" / name).write_text(text)


def errors(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load(path)
    return error.value.errors


def test_the_hooks_beside_the_settings_in_use(settings: Path) -> None:
    write(settings, "b.toml", "a.toml", "0.x_y-z.toml")
    loaded = load(settings)
    assert list(loaded.config.hooks) == ["0.x_y-z", "a", "b"]
    directory = settings.parent / "hooks.d"
    assert [hook.path for hook in loaded.config.hooks.values()] == [
        str(directory / f"{name}.toml") for name in ("0.x_y-z", "a", "b")
    ]
    assert loaded.notes == ()


def test_no_hooks_directory_is_no_hooks(settings: Path) -> None:
    (settings.parent / "hooks.d").rmdir()
    assert load(settings).config.hooks == {}


def test_an_empty_file_disables(settings: Path) -> None:
    write(settings, "a.toml", text="")
    assert load(settings).config.hooks == {}


def test_so_does_a_link_to_the_null_device(settings: Path) -> None:
    (settings.parent / "hooks.d" / "a.toml").symlink_to(
        "/dev/null"
    )  # as systemd's units are masked
    assert load(settings).config.hooks == {}


def test_leftovers_are_passed_over_and_said(settings: Path) -> None:
    left = [
        "a.toml~", ".a.toml.swp", "a.swp", "a.toml.dpkg-old", "a.toml.dpkg-dist", "a.toml.rpmsave",
        "a.toml.rpmnew", "a.toml.rpmorig", "a.toml.ucf-new", ".hidden.toml",
    ]  # fmt: skip
    write(settings, *left, text="not [TOML")
    write(settings, "README", text="not [TOML")
    write(settings, "b.dpkg-audit.toml")
    loaded = load(settings)
    assert list(loaded.config.hooks) == ["b.dpkg-audit"]
    directory = settings.parent / "hooks.d"
    notes = {f"{directory}/{n}: ignored: left by an editor or a package manager" for n in left}
    notes.add(f"{directory}/README: ignored: its name does not end in .toml")
    assert len(loaded.notes) == len(notes)
    assert set(loaded.notes) == notes


@pytest.mark.parametrize("name", ["A", "-a", "_a", "ä", "a b", "a$", "a\n"])
def test_names(settings: Path, name: str) -> None:
    write(settings, f"{name}.toml")
    path = settings.parent / "hooks.d" / f"{name}.toml"
    expected = [f"{path}: found the hook name {name!r}; allowed: {NAME_ALLOWED}"]
    assert errors(settings) == expected
    assert read_files([path]).errors == expected


def test_a_file_that_is_named_must_exist(tmp_path: Path) -> None:
    assert errors(tmp_path / "x.toml") == [f"{tmp_path}/x.toml: no such file"]
    assert read_files([tmp_path / "x.toml"]).errors == [f"{tmp_path}/x.toml: no such file"]


def test_what_cannot_be_read_is_an_error_and_the_rest_is_still_looked_at(settings: Path) -> None:
    directory = settings.parent / "hooks.d"
    (directory / "a.toml").mkdir()
    (directory / "b.toml").symlink_to("nowhere")
    write(settings, "c.toml", text="x = 1")
    write(settings, "d.toml", text=HOOK + "#" * (MAX_FILE - len(HOOK) + 1))
    write(settings, "e.toml", text=HOOK + "#" * (MAX_FILE - len(HOOK)))
    found = errors(settings)
    assert found[:3] == [
        f"{directory}/a.toml: cannot be read: Is a directory",
        f"{directory}/b.toml: no such file",
        f"{directory}/d.toml: larger than 1048576 bytes; allowed: a smaller file",
    ]
    assert [error.split(":")[0] for error in found[3:]] == [f"{directory}/c.toml"] * 2


def test_a_hooks_directory_that_is_a_file(settings: Path) -> None:
    directory = settings.parent / "hooks.d"
    directory.rmdir()
    directory.write_text("")
    assert errors(settings) == [f"{directory}: cannot be read: Not a directory"]


def test_single_files_are_what_their_names_say(settings: Path) -> None:
    write(settings, "a.toml")
    path = settings.parent / "hooks.d" / "a.toml"
    settings.write_text("[daemon]\nmax_running = 3")
    loaded = read_files([settings, path]).loaded
    assert loaded.config.daemon.max_running == 3
    assert list(loaded.config.hooks) == ["a"]
    settings.write_text("[daemon]\nmax_running = 0")
    path.write_text("x = 1")
    assert len(read_files([path, settings]).errors) == 3


def test_the_same_bytes_have_the_same_digest_wherever_they_lie(settings: Path) -> None:
    write(settings, "a.toml")
    copy = settings.parent / "copy"
    copy.mkdir()
    shutil.copy(settings, copy)
    shutil.copytree(settings.parent / "hooks.d", copy / "hooks.d")
    assert load(settings).config.digest == load(copy / "hookd.toml").config.digest
    write(settings, "a.toml", text=HOOK + "\n")
    assert load(settings).config.digest != load(copy / "hookd.toml").config.digest


def test_an_ordinary_users_default_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        assert default_path() == Path("/etc/hookd/hookd.toml")
        return
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_path() == tmp_path / "hookd" / "hookd.toml"
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    assert default_path() == Path.home() / ".config" / "hookd" / "hookd.toml"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert load(None).config.hooks == {}  # nothing there: the defaults


# In a mount namespace of its own, with `lower`'s directories: over /usr/lib, and instead of /etc,
# since none can be laid over it where something is mounted below it.
OVERLAID = """
set -e
mount --bind "$1/etc" /etc
mount -t overlay overlay -o lowerdir="$1/lib:/usr/lib" /usr/lib
cd "$2"
exec "$3" -c '
from hookd.config.files import load
loaded = load(None)
for hook in loaded.config.hooks.values():
    print(hook.name, hook.path, hook.order)
'
"""

UNSHARED = ("unshare", "--user", "--map-root-user", "--mount")


def overlaid(lower: Path) -> list[str]:
    tree = Path(__file__).parents[3]
    done = subprocess.run(
        [*UNSHARED, "sh", "-c", OVERLAID, "sh", str(lower), str(tree), sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_etc_masks_the_vendors_hooks_of_the_same_name(scratch: Path) -> None:
    vendor, own = scratch / "lib/hookd/hooks.d", scratch / "etc/hookd/hooks.d"
    vendor.mkdir(parents=True)
    own.mkdir(parents=True)
    for name in ("masked", "disabled", "vendors"):
        (vendor / f"{name}.toml").write_text(HOOK)
    (own / "masked.toml").write_text(HOOK)
    (own / "own.toml").write_text(HOOK)
    (own / "disabled.toml").write_text("")
    assert overlaid(scratch) == [
        "masked /etc/hookd/hooks.d/masked.toml 50",
        "own /etc/hookd/hooks.d/own.toml 50",
        "vendors /usr/lib/hookd/hooks.d/vendors.toml 50",
    ]


def test_etc_masks_the_vendors_drop_ins_of_the_same_name(scratch: Path) -> None:
    vendor, own = scratch / "lib/hookd/hooks.d", scratch / "etc/hookd/hooks.d"
    for directory in (vendor, own):
        (directory / "a.toml.d").mkdir(parents=True)
    (vendor / "a.toml").write_text(HOOK)
    (vendor / "a.toml.d/1.toml").write_text("order = 1\n")
    assert overlaid(scratch) == ["a /usr/lib/hookd/hooks.d/a.toml 1"]
    (own / "a.toml.d/0.toml").write_text("order = 3\n")
    assert overlaid(scratch) == ["a /usr/lib/hookd/hooks.d/a.toml 1"]
    (own / "a.toml.d/1.toml").write_text("")
    assert overlaid(scratch) == ["a /usr/lib/hookd/hooks.d/a.toml 3"]


def test_a_configuration_that_is_named_has_no_vendors_hooks(settings: Path) -> None:
    write(settings, "a.toml")
    loaded: Loaded = load(settings)
    assert list(loaded.config.hooks) == ["a"]


@pytest.mark.parametrize("name", ["hookd.toml", "hooks.d/a.toml", "hooks.d"])
def test_what_others_can_change_is_not_read(settings: Path, name: str) -> None:
    write(settings, "a.toml")
    path = settings.parent / name
    path.chmod(0o777)
    assert errors(settings)[0] == (
        f"{path}: found {path} is writable by everybody (mode 0777); "
        "allowed: what only root and hookd's own user can change"
    )
    path.chmod(0o755)
    assert list(load(settings).config.hooks) == ["a"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("name", ["hookd.toml", "hooks.d/a.toml", "hooks.d"])
def test_what_belongs_to_somebody_else_is_not_read(settings: Path, name: str) -> None:
    write(settings, "a.toml")
    os.chown(settings.parent / name, 1, -1)
    assert "belongs to user daemon, who could change it" in errors(settings)[0]


def test_a_file_name_of_any_bytes_is_told_as_text(settings: Path) -> None:
    directory = os.fsencode(settings.parent / "hooks.d")
    for name in (b"/\xff.toml~", b"/\xff"):
        with open(directory + name, "wb"):
            pass
    assert [note.encode()[len(directory) :].split(b":")[0] for note in load(settings).notes] == [
        b"/\\xff",
        b"/\\xff.toml~",
    ]
    with open(directory + b"/\xff.toml", "wb"):
        pass
    (error,) = errors(settings)
    assert error.encode().startswith(directory + b"/\\xff.toml: found the hook name")
