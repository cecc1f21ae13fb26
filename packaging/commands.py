# SPDX-License-Identifier: LGPL-2.1-or-later
"""What setuptools does otherwise for hookd: compile its one program, and name the wheel by that.

pyproject.toml names these classes; every way to install hookd (pip, an editable install, the
packages) comes through them.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from setuptools.command.build_py import build_py  # type: ignore[import-untyped]

try:
    from setuptools.command.bdist_wheel import (  # type: ignore[import-untyped,unused-ignore]
        bdist_wheel,
    )
except ImportError:  # before setuptools 70.1
    from wheel.bdist_wheel import bdist_wheel  # type: ignore[import-untyped,unused-ignore]

PROGRAM = "hookd/runner/launch/hookd-launcher"


class BuildPy(build_py):  # type: ignore[misc]
    """Compiles the program, too: beside its source for an editable install."""

    def run(self) -> None:
        """Copy the modules, then compile."""
        super().run()
        self.mkpath(str(self._output.parent))
        subprocess.run(["packaging/build-launcher", str(self._output)], check=True)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return the files that there are afterwards."""
        return [*super().get_outputs(include_bytecode), str(self._output)]

    @property
    def _output(self) -> Path:
        return Path("" if self.editable_mode else self.build_lib, PROGRAM)


class BdistWheel(bdist_wheel):  # type: ignore[misc]
    """A wheel for every Python, but for one kind of machine."""

    def finalize_options(self) -> None:
        """Say that not all in it is Python: it is installed with what machines do not share."""
        self.distribution.has_ext_modules = lambda: True
        super().finalize_options()

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tags of its name: no module of it is compiled."""
        return ("py3", "none", super().get_tag()[2])
