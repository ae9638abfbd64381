"""The manual page under mandoc and man, the completions in the shells that they are for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import List

import pytest

from check_lync_presence.options import all_options

from .required import without_lab

FOLDER = Path(__file__).parents[2] / "packaging"
PAGE = FOLDER / "man/check_lync_presence.1"
COMPLETION = FOLDER / "completion"


def said(*command: str, **environment: str) -> str:
    """What a program prints that ends well and complains of nothing."""
    if shutil.which(command[0]) is None:
        without_lab(f"{command[0]} is not installed", "mandoc zsh fish librsvg2-bin")
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=60, check=False, env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


def test_mandoc_finds_nothing_to_complain_of() -> None:
    assert said("mandoc", "-T", "lint", "-W", "style", str(PAGE)) == ""


def test_a_reader_sees_every_option_as_it_is_typed() -> None:
    page = said("mandoc", "-T", "utf8", "-O", "width=200", str(PAGE))
    page = re.sub(r".\x08", "", page)  # bold is a letter over itself
    for option in all_options():
        value = "|".join(option.choices) or option.metavar
        assert f"  {', '.join(option.names)}{' ' + value if value else ''}\n" in page
    assert "DOMAIN\\name" in page
    assert "ldaps://dc01.contoso.example" in page


def test_words_are_completed_in_bash() -> None:
    def completed(*words: str) -> List[str]:
        script = (
            f'source {COMPLETION}/check_lync_presence.bash; COMP_WORDS=(check_lync_presence "$@"); '
            "COMP_CWORD=$#; compopt() { :; }; _check_lync_presence; printf '%s\\n' \"${COMPREPLY[@]}\""
        )
        return said("bash", "--norc", "-c", script, "bash", *words).split()

    assert completed("--ldap-b") == ["--ldap-base", "--ldap-bind"]
    assert completed("--ldap-auth", "") == ["simple", "kerberos", "anonymous"]
    assert completed("--ldap-auth", "=", "k") == ["kerberos"]
    assert completed("--ldap-auth", "=") == ["simple", "kerberos", "anonymous"]
    assert completed("--activity-warning", "pub") == ["publish="]
    assert completed("--ca-file", str(PAGE)[:-2]) == [str(PAGE)]
    assert completed("-H", "") == []
    assert "--self-test" in completed("-H", "pool01.contoso.example", "")


def test_bash_asks_it_when_somebody_presses_tab() -> None:
    script = f"source {COMPLETION}/check_lync_presence.bash; complete -p check_lync_presence"
    assert said("bash", "--norc", "-c", script) == "complete -F _check_lync_presence check_lync_presence\n"


def test_words_are_completed_in_fish() -> None:
    def completed(line: str) -> List[str]:
        script = f"source {COMPLETION}/check_lync_presence.fish; complete -C '{line}'"
        return [found.partition("\t")[0] for found in said("fish", "--no-config", "-c", script).splitlines()]

    assert completed("check_lync_presence --ldap-b") == ["--ldap-base", "--ldap-bind"]
    assert completed("check_lync_presence --account-state ") == ["critical", "unknown", "warning"]
    assert completed("check_lync_presence --self-t") == ["--self-test"]


def test_words_are_completed_in_zsh(tmp_path: Path) -> None:
    # zsh completes at a terminal only: it gets one, and is read until it has said what is wanted.
    script = f"""
        zmodload zsh/zpty
        zpty z zsh -f -i
        zpty -w z "PS1=ready-; fpath=({COMPLETION} \\$fpath); autoload -Uz compinit; compinit -u -d {tmp_path}/dump"
        zpty -r z said '*ready-*ready-*'
        zpty -w -n z $'check_lync_presence --self-t\\t'
        zpty -r z said '*--self-test*' && print found
        zpty -w -n z $'\\C-ucheck_lync_presence --account-state crit\\t'
        zpty -r z said '*critical*' && print found
        zpty -d z
    """
    assert said("zsh", "-f", "-c", script, TERM="xterm") == "found\nfound\n"


@pytest.mark.parametrize(("shell", "name"), [("bash", "check_lync_presence.bash"), ("zsh", "_check_lync_presence")])
def test_the_shell_finds_no_mistake_in_it(shell: str, name: str) -> None:
    assert said(shell, "-n", str(COMPLETION / name)) == ""


def test_the_icon_for_the_exchanges_can_be_drawn(tmp_path: Path) -> None:
    picture = tmp_path / "icon.png"
    said("rsvg-convert", "--width", "256", "--output", str(picture), str(FOLDER / "exchange/check_lync_presence.svg"))
    octets = picture.read_bytes()
    assert octets.startswith(b"\x89PNG")
    assert [int.from_bytes(octets[at : at + 4], "big") for at in (16, 20)] == [256, 256]
    assert len(octets) > 2000  # something is to be seen on it
