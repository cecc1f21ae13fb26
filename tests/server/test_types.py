# SPDX-License-Identifier: LGPL-2.1-or-later
"""The types in code are those of the interface files: same names, fields, order and types.

Both directions: no type or method of a file is missing in code, and code has no other.
"""

from __future__ import annotations

import re
import types
from enum import StrEnum
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest

from hookd import jobs_api, manager_api, model
from hookd.config.parse import Source, parse
from hookd.jobs_api import Parameters, Reply
from hookd.model import Event, Phase, Result
from hookd.server.api import introspection
from hookd.server.api.introspection import INTERFACES, description
from hookd.server.api.methods import METHODS
from hookd.server.api.views import explanation

MODULES = dict(zip(INTERFACES, (introspection, jobs_api, manager_api), strict=True))
BASES = {"Parameters", "Reply"}
STORED = {"Event", "Receipt", "Result"}
"""Types of the model that no client sees; `result` is a string on the wire: it has a hyphen."""

SCALARS = {str: "string", int: "int", float: "float", bool: "bool", Result: "string"}

Fields = list[tuple[str, str]]


def body(text: str) -> Fields:
    """Return the fields between two parentheses of an interface file."""
    return re.findall(r"(\w+)\s*:\s*([\w?\[\]]+)", text)


def plain(interface: str) -> str:
    """Return the text of an interface file without comments."""
    return re.sub(r"#.*", "", description(interface))


def described(interface: str) -> dict[str, Any]:
    """Return the types of an interface file: fields, or the values of an enumeration."""
    found: dict[str, Any] = {}
    for name, inside in re.findall(r"(?m)^type (\w+) \(([^)]*)\)", plain(interface)):
        found[name] = body(inside) if ":" in inside else re.findall(r"\w+", inside)
    return found


def methods(interface: str) -> dict[str, tuple[Fields, Fields]]:
    """Return the parameters and the reply of each method of an interface file."""
    pattern = r"(?m)^method (\w+)\s*\(([^)]*)\)\s*->\s*\(([^)]*)\)"
    return {name: (body(a), body(b)) for name, a, b in re.findall(pattern, plain(interface))}


def wire(hint: Any) -> str:
    """Return the Varlink type that a Python type stands for."""
    if hint in SCALARS:
        return SCALARS[hint]
    if hint == manager_api.Limits:
        return "Limits"
    if get_origin(hint) in (Union, types.UnionType):
        (inner,) = (one for one in get_args(hint) if one is not type(None))
        return "?" + wire(inner)
    if get_origin(hint) is list:
        return "[]" + wire(get_args(hint)[0])
    if get_origin(hint) is dict:
        return "[string]" + wire(get_args(hint)[1])
    return str(hint.__name__)


def fields(struct: type[msgspec.Struct]) -> Fields:
    hints = get_type_hints(struct)
    return [(name, wire(hints[name])) for name in struct.__struct_fields__]


def own(module: types.ModuleType, *kinds: type) -> dict[str, Any]:
    """Return the classes of these kinds that a module defines."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, kinds)
        and value.__module__ == module.__name__
    }


@pytest.mark.parametrize("interface", INTERFACES)
def test_every_type_of_a_file_is_the_one_in_code(interface: str) -> None:
    code = own(model, msgspec.Struct, StrEnum) | own(MODULES[interface], msgspec.Struct, StrEnum)
    for name, expected in described(interface).items():
        if name == "Limits":
            continue  # test_limits_are_those_of_the_file
        found = code[name]
        if issubclass(found, StrEnum):
            assert [value.value for value in found] == expected, name
        else:
            assert fields(found) == expected, name


@pytest.mark.parametrize("interface", INTERFACES)
def test_every_method_of_a_file_has_its_parameters_and_reply(interface: str) -> None:
    for name, (parameters, reply) in methods(interface).items():
        form = METHODS[f"{interface}.{name}"].parameters
        assert form is getattr(MODULES[interface], name)
        assert fields(form) == parameters, name
        assert fields(getattr(MODULES[interface], f"{name}Reply")) == reply, name


def test_the_table_has_the_methods_of_the_files() -> None:
    assert set(METHODS) == {f"{one}.{name}" for one in INTERFACES for name in methods(one)}


def test_code_has_no_other_types() -> None:
    for interface, module in MODULES.items():
        known = set(described(interface))
        names = set(methods(interface))
        assert set(own(module, Parameters)) - BASES == names
        assert set(own(module, Reply)) - BASES == {f"{name}Reply" for name in names}
        other = set(own(module, msgspec.Struct, StrEnum)) - set(own(module, Parameters, Reply))
        assert other <= known
    everything = {name for one in INTERFACES for name in described(one)}
    assert set(own(model, msgspec.Struct, StrEnum)) - everything == STORED


LIMITED = """command = "/bin/true"
[limits]
cpu_time = "1min"
memory = "1G"
processes = 2
open_files = 64
file_size = "1M"
cpu_affinity = [0]
cpu_weight = 5
"""


@pytest.mark.parametrize("text", ['command = "/bin/true"', LIMITED])
def test_limits_are_those_of_the_file(text: str) -> None:
    config = parse([Source("h.toml", "h", text.encode())])
    event = Event(
        phase=Phase.START,
        job_id=1,
        profile="Mail",
        user="ann",
        client_ip="10.0.0.7",
        client_build_no="563",
    )
    limits = explanation(config.hooks["h"], event).limits
    expected = described("io.hookd.Manager")["Limits"]
    assert list(limits) == [name for name, _ in expected]
    kinds = {"int": int, "string": str, "?int": int | None, "?[]int": list[int] | None}
    for name, kind in expected:
        msgspec.convert(limits[name], kinds[kind], strict=True)
    if text == LIMITED:
        assert None not in limits.values()
