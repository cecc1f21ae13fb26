# SPDX-License-Identifier: LGPL-2.1-or-later
"""Commands: how they are split, what each variable becomes, and what is refused."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hookd.config.template import VARIABLES, Template, environment
from hookd.model import Event, Outcome, Phase

START = Event(
    phase=Phase.START,
    job_id=7,
    profile="Home Docs",
    user="ann@example.com",
    client_ip="fe80::1%eth0",
    client_build_no="563",
)
END = Event(
    phase=Phase.END,
    job_id=7,
    profile="Home  Docs",
    user="ann@example.com",
    client_ip="192.0.2.7",
    client_build_no="563",
    file_count=12,
    byte_count=2**63 - 1,
    outcome=Outcome.WARNING,
    duration_usec=61_999_999,
    test=True,
)

KNOWN = (
    "$EVENT $PHASE $CLIENT_IP $CLIENT_BUILD_NO $PROFILE $PROFILE_NAME $USER $FILE_COUNT "
    "$BYTE_COUNT $JOB_ID $OUTCOME $DURATION_SEC $TEST"
)


def arguments(command: str, event: Event = START) -> list[str]:
    return Template("/hook " + command).expand(event)[1:]


@pytest.mark.parametrize(
    ("name", "at_start", "at_end"),
    [
        ("EVENT", "true", "false"),
        ("PHASE", "start", "end"),
        ("CLIENT_IP", "fe80::1%eth0", "192.0.2.7"),
        ("CLIENT_BUILD_NO", "563", "563"),
        ("PROFILE", "Home_Docs", "Home__Docs"),
        ("PROFILE_NAME", "Home Docs", "Home  Docs"),
        ("USER", "ann@example.com", "ann@example.com"),
        ("FILE_COUNT", "0", "12"),
        ("BYTE_COUNT", "0", "9223372036854775807"),
        ("JOB_ID", "7", "7"),
        ("OUTCOME", "", "warning"),
        ("DURATION_SEC", "0", "61"),
        ("TEST", "", "1"),
    ],
)
def test_each_variable_at_both_ends(name: str, at_start: str, at_end: str) -> None:
    for event, value in ((START, at_start), (END, at_end)):
        assert arguments(f"${name}", event) == [value]
        assert arguments(f"a${{{name}}}b", event) == [f"a{value}b"]
        assert environment(event)["HOOKD_" + name] == value


def test_a_duration_is_in_whole_seconds() -> None:
    for usec, seconds in ((0, "0"), (999_999, "0"), (61_000_000, "61"), (61_999_999, "61")):
        event = msgspec.structs.replace(END, duration_usec=usec)
        assert environment(event)["HOOKD_DURATION_SEC"] == seconds


def test_the_list_above_is_whole() -> None:
    assert " ".join("$" + name for name in VARIABLES) == KNOWN
    assert set(environment(START)) == {"HOOKD_" + name for name in VARIABLES}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("a  b\tc\nd", ["a", "b", "c", "d"]),
        ("'a b' \"c d\" e\\ f", ["a b", "c d", "e f"]),
        ("'' \"\"", ["", ""]),
        ("a'b'\"c\"d", ["abcd"]),
        ("'$USER' \"$USER\" $USER", ["ann@example.com"] * 3),
        ("'a\\b' \"a\\b\" a\\b", ["a\\b", "a\\b", "ab"]),
        ('"a\\"b" "a\\\\b" "a\\`b"', ['a"b', "a\\b", "a`b"]),
        ("one \\\n  two", ["one", "two"]),
        ("on\\\ne \"t\\\nwo\" 't\\\nhree'", ["one", "two", "t\\\nhree"]),
        ("a#b #c", ["a#b", "#c"]),
        ("a;b | c > d & e `f` (g) *", ["a;b", "|", "c", ">", "d", "&", "e", "`f`", "(g)", "*"]),
        ("a\rb", ["a\rb"]),
        ("$$ $$USER a$$b $$$$", ["$", "$USER", "a$b", "$$"]),
        ("$EVENT$JOB_ID ${EVENT}x", ["true7", "truex"]),
        ("é${JOB_ID}é", ["é7é"]),
        ("-- -rf $USER", ["--", "-rf", "ann@example.com"]),
    ],
)
def test_words(command: str, expected: list[str]) -> None:
    assert arguments(command) == expected


@pytest.mark.parametrize(
    "value",
    [
        "two words", "it's", 'say "yes"', "$(id)", "`id`", "a;b", "line\nbreak", "-rf", "🦔 ü",
        "x" * 100_000, "$USER", "$$", "\\", "a\tb\rc", "*", "",
    ],
)  # fmt: skip
def test_a_value_is_one_argument_byte_for_byte(value: str) -> None:
    event = Event(
        phase=Phase.START, job_id=1, profile="p", user=value, client_ip="::1", client_build_no=""
    )
    assert arguments("$USER '$USER' x${USER}y", event) == [value, value, f"x{value}y"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "found no word; allowed: a program and its arguments"),
        (" \n\t", "found no word; allowed: a program and its arguments"),
        (
            "/x 'a",
            'found "/x \'a", which has a quote that is never closed; '
            "allowed: words in POSIX shell quoting",
        ),
        (
            '/x "a\\"',
            "found '/x \"a\\\\\"', which has a quote that is never closed; "
            "allowed: words in POSIX shell quoting",
        ),
        (
            "/x a\\",
            "found '/x a\\\\', which has a backslash at its end; "
            "allowed: words in POSIX shell quoting",
        ),
        ("/x \0", "found a NUL character; allowed: text without NUL"),
        ("x.sh a", "found program 'x.sh'; allowed: an absolute path (no PATH is searched)"),
        ("'' a", "found program ''; allowed: an absolute path (no PATH is searched)"),
        (
            "/x/$PROFILE a",
            "found a variable in the program's name '/x/$PROFILE'; allowed: a fixed path",
        ),
        ("/x $", "found a lone '$' in '$'; allowed: $NAME, ${NAME}, and $$ for a dollar"),
        ("/x a$5", "found a lone '$' in 'a$5'; allowed: $NAME, ${NAME}, and $$ for a dollar"),
        (
            "/x ${USER",
            "found a lone '$' in '${USER'; allowed: $NAME, ${NAME}, and $$ for a dollar",
        ),
        ("/x $user", "found the unknown variable '$user'; allowed: " + KNOWN),
        ("/x ${}", "found the unknown variable '${}'; allowed: " + KNOWN),
        ("/x $USERS", "found the unknown variable '$USERS'; allowed: " + KNOWN),
        ("/x ${USER:-x}", "found the unknown variable '${USER:-x}'; allowed: " + KNOWN),
    ],
)
def test_what_is_no_command(command: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        Template(command)
    assert str(error.value) == message


def test_the_program_is_the_first_word() -> None:
    assert Template("'/opt/my hooks/$$x' $USER").program == "/opt/my hooks/$x"


def test_templates_of_one_text_are_equal() -> None:
    assert Template("/x $USER") == Template("/x $USER")
    assert Template("/x $USER") != Template("/x  $USER")
    assert len({Template("/x"), Template("/x"), Template("/y")}) == 2


words = st.lists(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
    max_size=6,
)
quoted: list[Callable[[str], str]] = [
    lambda w: "'" + w.replace("'", "'\\''") + "'",
    lambda w: '"' + w.replace("\\", "\\\\").replace('"', '\\"') + '"',
]


@given(words, st.sampled_from(quoted))
def test_what_is_quoted_comes_back(values: list[str], quote: Callable[[str], str]) -> None:
    assert arguments(" ".join(quote(w.replace("$", "$$")) for w in values)) == values


@given(words)
def test_any_value_stays_one_argument(values: list[str]) -> None:
    for value in values:
        event = Event(
            phase=Phase.START,
            job_id=1,
            profile=value,
            user=value,
            client_ip="",
            client_build_no="",
        )
        assert arguments("a $PROFILE_NAME b$USER $PROFILE", event) == [
            "a",
            value,
            "b" + value,
            value.replace(" ", "_"),
        ]


@given(st.text("ab '\"\\\n\t", max_size=12))
@settings(max_examples=60, deadline=None)
def test_words_are_split_as_a_shell_splits_them(text: str) -> None:
    command = "x " + text
    shell = subprocess.run(
        ["/bin/sh", "-c", "printf '%s\\0' " + command], capture_output=True, check=False
    )
    try:
        ours = arguments(command)
    except ValueError:
        # A backslash at the very end is taken as it stands by a shell; here it is a mistake.
        assert shell.returncode != 0 or text.endswith("\\")
        return
    assume(shell.returncode == 0)  # else a newline has ended the shell's command
    assert [word.decode() for word in shell.stdout.split(b"\0")[:-1]] == ours


@given(st.text("ab '\"\\\n\t#;é", max_size=15))
def test_words_are_those_of_shlex_where_no_variable_is(text: str) -> None:
    assume("\\\n" not in text)  # a line that goes on: shlex keeps the newline, a shell does not
    try:
        expected = shlex.split(text)
    except ValueError:
        with pytest.raises(ValueError, match=r"never closed|backslash at its end"):
            Template("/x " + text)
    else:
        assert Template("/x " + text).expand(START) == ["/x", *expected]


@given(st.text("$ {}ABEVNT'\"\\/x\0é", max_size=15))
def test_a_template_or_a_sentence_that_says_what_is_allowed(text: str) -> None:
    try:
        words = Template("/" + text).expand(START)
    except ValueError as e:
        assert "; allowed: " in str(e)
    else:
        assert words[0].startswith("/")
