# SPDX-License-Identifier: LGPL-2.1-or-later
"""What hookd tells has the fields that the interface files say, one for one and in their order."""

from __future__ import annotations

import re

import msgspec
import pytest

from hookd.config.parse import Source, parse
from hookd.model import (
    Event,
    HookRun,
    Job,
    MetricBucket,
    MetricFamily,
    MetricSample,
    Phase,
)
from hookd.server.api import test_hook
from hookd.server.api.change_feed import Notice
from hookd.server.api.manager import Status
from hookd.server.api.views import Explanation, HookInfo, explanation
from hookd.server.transport.varlink import description

JOBS, MANAGER = "io.hookd.Jobs", "io.hookd.Manager"

TOLD: dict[tuple[str, str], type[msgspec.Struct]] = {
    (JOBS, "HookRun"): HookRun,
    (JOBS, "Job"): Job,
    (MANAGER, "HookRun"): HookRun,
    (MANAGER, "Job"): Job,
    (MANAGER, "Hook"): HookInfo,
    (MANAGER, "Status"): Status,
    (MANAGER, "Explanation"): Explanation,
    (MANAGER, "Notice"): Notice,
    (MANAGER, "OutputLine"): test_hook.OutputLine,
    (MANAGER, "TestPlan"): test_hook.TestPlan,
    (MANAGER, "MetricBucket"): MetricBucket,
    (MANAGER, "MetricSample"): MetricSample,
    (MANAGER, "MetricFamily"): MetricFamily,
}


def described(interface: str) -> dict[str, list[str]]:
    """Return the fields of every type of an interface file that has any."""
    text = re.sub(r"#.*", "", description(interface))
    types = re.findall(r"^type (\w+) \(([^)]*:[^)]*)\)", text, re.MULTILINE)
    return {name: re.findall(r"(\w+)\s*:", inside) for name, inside in types}


@pytest.mark.parametrize(("interface", "name"), TOLD)
def test_every_type_has_the_fields_of_its_struct(interface: str, name: str) -> None:
    assert described(interface)[name] == list(TOLD[interface, name].__struct_fields__)


def test_no_type_is_left_out() -> None:
    types = {(one, name) for one in (JOBS, MANAGER) for name in described(one)}
    assert types - set(TOLD) == {(MANAGER, "Limits")}


def test_limits_are_told_in_full() -> None:
    config = parse([Source("h.toml", "h", b'command = "/bin/true"')])
    event = Event(
        phase=Phase.START,
        job_id=1,
        profile="Mail",
        user="ann",
        client_ip="10.0.0.7",
        client_build_no="563",
    )
    limits = explanation(config.hooks["h"], event).limits
    assert list(limits) == described(MANAGER)["Limits"]
