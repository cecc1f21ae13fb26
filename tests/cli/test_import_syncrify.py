# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl import-syncrify on the forms that an AppConfig.xml has, and on what is none."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from hookd.config.files import read_files
from tests.cli.hookctl import called, hookctl

LINUX = """\
<?xml version="1.0" encoding="UTF-8"?>
<AppConfig>
  <!-- <parameter name="jobHookScript" type="1" value="/old"></parameter> -->
  <parameter name="httpPort" type="2" value="5800"></parameter>
  <parameter name="jobHookScript" type="1" value="{}"></parameter>
  <parameter name="smtpServer" type="1" value="mail.example.com"></parameter>
</AppConfig>
"""

COMMANDS = {
    # What stands in the attribute: what hookd's command is.
    "/opt/hook.sh $EVENT $CLIENT_IP $PROFILE": "/opt/hook.sh $EVENT $CLIENT_IP $PROFILE",
    "  /opt/hook.sh  ": "/opt/hook.sh",
    "/opt/h &quot;a b&quot; &amp; &lt;$USER&gt; &#x41;&#228;": '/opt/h "a b" & <$USER> Aä',
    "/opt/hook.sh a&#9;b&#10;c \\\\": "/opt/hook.sh a\tb\nc \\\\",
    "/opt/hook.sh &#127; $$": "/opt/hook.sh \x7f $$",
}


@pytest.mark.parametrize("value", COMMANDS, ids=str)
def test_the_command_is_the_one_that_stood_there(tmp_path: Path, value: str) -> None:
    (tmp_path / "AppConfig.xml").write_text(LINUX.format(value), encoding="utf-8")
    done = called("import-syncrify", tmp_path / "AppConfig.xml", "--output", tmp_path / "hooks.d")
    written = tmp_path / "hooks.d" / "syncrify.toml"
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"wrote {written}; next: hookctl check, hookctl reload\n"
    hook = read_files([written]).config.hooks["syncrify"]
    assert hook.command.text == COMMANDS[value]


@pytest.mark.parametrize(
    "element",
    [
        "<parameter type='1' value='/opt/h $USER' name='jobHookScript'/>",
        '<parameter name="jobHookScript">\n  /opt/h $USER\n</parameter>',
        '<parameter name="jobHookScript"><![CDATA[/opt/h $USER]]></parameter>',
        '<a><parameter name="jobHookScript" value=""/></a>'
        '<parameter name="jobHookScript" value="/opt/h $USER"/>',
    ],
)
def test_other_ways_to_write_the_parameter(tmp_path: Path, element: str) -> None:
    (tmp_path / "a.xml").write_text(f"<c>{element}</c>")
    done = called("import-syncrify", tmp_path / "a.xml", "--output", "-")
    assert (done.returncode, done.stderr) == (0, "")
    assert tomllib.loads(done.stdout) == {"command": "/opt/h $USER"}


@pytest.mark.parametrize(
    ("value", "warning"),
    [
        (
            "C:/temp/testHook.bat $EVENT",
            "'C:/temp/testHook.bat $EVENT' has a Windows path; "
            "an absolute path of this system is needed",
        ),
        ("&quot;d:\\my hooks\\h.exe&quot; $USER", "my hooks\\\\h.exe\" $USER' has a Windows path"),
        ("\\\\server\\share\\h.exe", "has a Windows path"),
        ("path/for/your/script arg1", "found program 'path/for/your/script'; allowed: an abs"),
        ("/opt/h $CLIENT", "found the unknown variable '$CLIENT'; allowed: $EVENT $PHASE"),
        ("/opt/h &quot;$USER", "a quote that is never closed"),
    ],
)
def test_what_cannot_run_here_becomes_a_disabled_hook(
    tmp_path: Path, value: str, warning: str
) -> None:
    (tmp_path / "a.xml").write_text(LINUX.format(value))
    done = called("import-syncrify", tmp_path / "a.xml", "--output", tmp_path)
    assert done.returncode == 0
    assert done.stderr.startswith("hookctl: warning: the hook is disabled: ")
    assert warning in done.stderr
    assert done.stdout == f"wrote {tmp_path}/syncrify.toml\n"
    assert read_files([tmp_path / "syncrify.toml"]).config.hooks == {}
    command = next(
        line
        for line in (tmp_path / "syncrify.toml").read_text().splitlines()
        if "command =" in line
    )
    value = value.replace("&quot;", '"')
    assert tomllib.loads(command.removeprefix("# "))["command"] == value


BOMB = '<!DOCTYPE c [<!ENTITY a "{}">]>'.format("x" * 1000)
BAD = {
    b"": "not XML: no element found: line 1, column 0",
    b"\0\1\2": "not XML: ",
    b"<c><parameter name='jobHookScript' value='/x'>": "not XML: no element found",
    b"<c/>": "no jobHookScript is set: there is nothing to import",
    b"<c><parameter name='jobHookScript' value=' '/></c>": "no jobHookScript is set",
    BOMB.encode() + b"<c/>": "line 1: a DOCTYPE is not allowed",
    b"<!DOCTYPE c SYSTEM 'file:///etc/passwd'><c/>": "a DOCTYPE is not allowed",
    b"<c><parameter name='jobHookScript' value='/x'/>\n"
    b"<parameter name='jobHookScript' value='/y'/></c>": "lines 1 and 2; it may be set only once",
    b"<?xml version='1.0' encoding='klingon'?><c/>": "unknown encoding",
}


@pytest.mark.parametrize("data", BAD)
def test_what_is_no_appconfig_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.xml").write_bytes(data)
    done = called("import-syncrify", tmp_path / "a.xml", "--output", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"hookctl: {tmp_path}/a.xml: ")
    assert BAD[data] in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "syncrify.toml").exists()


@pytest.mark.parametrize("encoding", ["utf-16", "iso-8859-1", "windows-1252"])
def test_other_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    text = f"<?xml version='1.0' encoding='{encoding}'?><c>"
    text += "<parameter name='jobHookScript' value='/opt/sicherung-für $USER'/></c>"
    (tmp_path / "a.xml").write_bytes(text.encode(encoding))
    done = hookctl("--json", "import-syncrify", tmp_path / "a.xml", "--output", "-")
    assert json.loads(done.stdout)["command"] == "/opt/sicherung-für $USER"


def test_a_hook_file_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(LINUX.format("/opt/h"))
    (tmp_path / "syncrify.toml").write_text("# mine\n")
    done = called("import-syncrify", tmp_path / "a.xml", "--output", tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        f"hookctl: {tmp_path}/syncrify.toml is there already (move it away, or see --output)\n"
    )
    assert (tmp_path / "syncrify.toml").read_text() == "# mine\n"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    done = hookctl("import-syncrify", tmp_path / "none.xml")
    assert (done.returncode, done.stdout) == (1, "")
    assert "No such file or directory" in done.stderr
    assert "none.xml" in done.stderr
