"""The table of options: complete, consistent, and the whole of what the check can be told."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from check_lync_presence.options import GROUPS, SECRET_KEYS, Option, all_options

from .commands import run_check

# What a user may rely on; an option that is added belongs here too.
NAMES = [
    "-H",
    "--target",
    "-p",
    "--port",
    "--connect",
    "--discover",
    "--all-front-ends",
    "--subscriber-target",
    "-4",
    "--ipv4",
    "-6",
    "--ipv6",
    "--transport",
    "--protocol",
    "--auth",
    "--ntlm-mic",
    "--user-agent",
    "--accounts",
    "--publisher",
    "--publisher-user",
    "--publisher-password-file",
    "--publisher-keytab",
    "--publisher-cert",
    "--publisher-key",
    "--subscriber",
    "--subscriber-user",
    "--subscriber-password-file",
    "--subscriber-keytab",
    "--subscriber-cert",
    "--subscriber-key",
    "--ca-file",
    "--client-cert",
    "--client-key",
    "--tls-min",
    "--insecure",
    "--ldap-uri",
    "--ldap-base",
    "--ldap-bind",
    "--ldap-password-file",
    "--ldap-auth",
    "--ldap-ca-file",
    "--ldap-starttls",
    "--account-state",
    "--state-dir",
    "--verify-accounts",
    "--self-test",
    "-w",
    "--warning",
    "-c",
    "--critical",
    "--activity-warning",
    "--activity-critical",
    "--front-ends-critical",
    "--certificate-warning",
    "--certificate-critical",
    "-t",
    "--timeout",
    "--notify-timeout",
    "-v",
    "--verbose",
    "--report",
    "--trace",
    "--replay",
]

options = pytest.mark.parametrize("option", all_options(), ids=lambda option: option.key)


def test_the_table_has_the_options_that_are_promised_and_no_others() -> None:
    assert [name for option in all_options() for name in option.names] == NAMES


def test_no_name_is_there_twice() -> None:
    names = [name for option in all_options() for name in option.names]
    keys = [option.key for option in all_options()] + list(SECRET_KEYS)
    assert Counter([*names, "-h", "--help", "-V", "--version"]).most_common(1)[0][1] == 1
    assert Counter(keys).most_common(1)[0][1] == 1


@options
def test_every_option_has_one_line_of_help(option: Option) -> None:
    assert len(option.help) > 10
    assert "\n" not in option.help
    assert not option.help.endswith(".")
    assert "%" not in option.help  # argparse would fill it in


@options
def test_every_option_has_a_long_name_that_is_its_key(option: Option) -> None:
    assert option.names[-1] == "--" + option.key.replace("_", "-")
    assert re.fullmatch(r"[a-z0-9_]+", option.key)


@options
def test_every_option_is_of_a_known_kind_and_says_what_it_takes(option: Option) -> None:
    assert option.kind in ("text", "integer", "seconds", "range", "named range", "flag", "count")
    assert bool(option.metavar) == (option.kind not in ("flag", "count"))


@options
def test_a_default_that_is_not_empty_is_told(option: Option) -> None:
    default = f"{option.default:g}" if isinstance(option.default, float) else str(option.default or "")
    assert not default or f"default {default}" in option.help


@options
def test_a_default_is_one_of_the_choices(option: Option) -> None:
    # How to bind follows from whether there is a bind account.
    assert (option.default in option.choices) == (bool(option.choices) and option.key != "ldap_auth")


@options
def test_what_chooses_a_section_and_what_is_asked_of_it_cannot_stand_in_the_accounts_file(option: Option) -> None:
    assert option.in_file == (option.key not in ("target", "accounts", "verify_accounts", "self_test", "replay"))


def test_no_secret_can_be_given_as_an_option() -> None:
    assert not {option.key for option in all_options()} & set(SECRET_KEYS)
    assert set(SECRET_KEYS) == {
        "publisher_password",
        "publisher_password_command",
        "subscriber_password",
        "subscriber_password_command",
        "ldap_password",
        "ldap_password_command",
    }


def test_the_help_shows_every_option_its_help_and_its_choices() -> None:
    shown = " ".join(run_check("--help", COLUMNS="80").stdout.split())
    for group in GROUPS:
        assert f"{group.title}:" in shown
    for option in all_options():
        # A line may be broken behind a hyphen.
        assert option.help.replace(" ", "") in shown.replace(" ", "")
        for name in option.names:
            assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", shown)
        for choice in option.choices:
            assert choice in shown
