# SPDX-License-Identifier: LGPL-2.1-or-later
"""What packages ship and the code makes: man pages, catalog, completions, tables, versions."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import hookd
from hookd.cli.commands import hookctl
from hookd.config import options
from hookd.system import records

TREE = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("generated")
    subprocess.run([sys.executable, TREE / "packaging/generate.py", target], check=True)
    return target


def words(page: Path) -> str:
    """Return a manual page's text, without roff's marks."""
    text = re.sub(r"(?m)\\f.|\\&|^\.[A-Za-z]+ ?", "", page.read_text())
    return text.replace("\\-", "-").replace("\\e", "\\")


def test_the_manual_knows_every_option(made: Path) -> None:
    page = words(made / "man/hookd.toml.5")
    for table in (options.DAEMON, options.ACCESS, options.HOOK, *options.HOOK_TABLES.values()):
        for option in table:
            assert f"{option.key} (default: " in page
    assert "@" not in re.sub(r"@\w+\.|\"@hookd\"|\"@groups\"", "", page)


def test_the_manual_knows_every_command_and_its_options(made: Path) -> None:
    page = words(made / "man/hookctl.1")
    for name in hookctl.list_commands(hookctl.make_context("hookctl", ["status"])):
        assert f"hookctl {name} " in page
    assert "--client-build-no" in page


def test_every_page_has_its_parts(made: Path) -> None:
    pages = {path.name for path in (made / "man").iterdir()}
    assert pages == {"hookctl.1", "hookd.8", "hookd-runner.8", "hookd.toml.5", "io.hookd.7"}
    for page in ("hookctl.1", "hookd.8", "hookd.toml.5", "io.hookd.7"):
        text = (made / "man" / page).read_text()
        assert not re.search(r"(?m)^@.*@$", text)
        assert "NAME" in text
        assert "SEE ALSO" in text


def test_the_catalog_has_every_kind_of_record_once(made: Path) -> None:
    ids = re.findall(r"(?m)^-- (\S+)$", (made / "hookd.catalog").read_text())
    known = [kind.message_id for kind in records.KINDS.values() if kind.message_id]
    assert ids == known
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-9a-f]{32}", i) for i in ids)


def test_completions_ask_hookctl(made: Path) -> None:
    subprocess.run(["bash", "-n", made / "bash-completion/hookctl"], check=True)
    for path in ("bash-completion/hookctl", "zsh/_hookctl", "fish/hookctl.fish"):
        assert "_HOOKCTL_COMPLETE=" in (made / path).read_text()


def test_the_documents_have_the_tables_of_the_code() -> None:
    pages = runpy.run_path(str(TREE / "packaging/pages.py"))
    for page in pages["PAGES"]:
        text = page.read_text()
        assert pages["written"](text) == text, f"{page.name} is old: make pages"
        assert set(re.findall(r"<!-- made: (?!end)(\S+) -->", text)) == set(pages["PARTS"])


def test_one_version_everywhere() -> None:
    changelog = (TREE / "packaging/debian/changelog").read_text()
    spec = (TREE / "packaging/rpm/hookd.spec").read_text()
    news = (TREE / "NEWS.md").read_text()
    versions = [
        re.search(r"hookd \((\S+)\)", changelog),
        re.search(r"Version: +(\S+)", spec),
        re.search(r"(?m)^## (\S+)", news),
    ]
    assert [match and match[1] for match in versions] == [hookd.__version__] * 3


def test_every_command_says_its_version() -> None:
    for command in ("hookd", "hookd-runner", "hookctl"):
        said = subprocess.check_output([BIN / command, "--version"], text=True)
        assert said == f"{command} {hookd.__version__}\n"


def test_make_help_knows_every_target() -> None:
    makefile = (TREE / "Makefile").read_text()
    targets = set(re.findall(r"(?m)^([a-z-]+):", makefile))
    (phony,) = re.findall(r"(?m)^\.PHONY: (.*)$", makefile)
    described = re.findall(r"(?m)^([a-z-]+):.*## \S", makefile)
    assert targets == set(phony.split()) == set(described)
