"""The command line: what a user may get wrong, where values and passwords come from, and that nothing else happens."""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import os
import platform
import pwd
import pyexpat
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

import nagiosplugin
import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence import __version__, cli, directory, passwords, plugin
from check_lync_presence.options import Option, all_options
from check_lync_presence.passwords import Sources
from check_lync_presence.settings import DirectorySettings, Settings, SettingsError

from .certificates import user_certificate
from .commands import (
    ACCOUNTS,
    ANN_PASSWORD,
    BEN_PASSWORD,
    Finished,
    environment,
    run_check,
    write_accounts,
    write_keytab,
)
from .loopback import Server, until_closed
from .strategies import many
from .transcripts import POOL

USERS = ("--publisher", "sip:ann@contoso.example", "--subscriber", "sip:ben@contoso.example")
PASSWORDS = {"PUBLISHER_PASSWORD": ANN_PASSWORD, "SUBSCRIBER_PASSWORD": BEN_PASSWORD}
NAMES = [name for option in all_options() for name in option.names if name != "--accounts"]
NOWHERE = ("--connect", "127.0.0.1:1", "--timeout", "5")  # nobody listens on port 1


@pytest.fixture
def accounts(tmp_path: Path) -> Path:
    return write_accounts(tmp_path / "accounts.ini")


@pytest.fixture
def home(tmp_path: Path) -> str:
    """A home directory with nothing in it."""
    return str(tmp_path)


def usage_error(result: Finished) -> str:
    """The text of a usage error, which must be all that there is."""
    assert (result.code, result.stderr) == (3, "")
    assert result.stdout.startswith("LYNC PRESENCE UNKNOWN - ")
    assert result.stdout.count("\n") == 1
    assert "|" not in result.stdout
    assert "internal error" not in result.stdout
    assert ANN_PASSWORD not in result.stdout
    assert BEN_PASSWORD not in result.stdout
    return result.stdout.strip().partition(" - ")[2]


def settings(*arguments: str, env: Optional[Mapping[str, str]] = None, stdin: Tuple[str, ...] = ()) -> Settings:
    """The settings that these options, this environment and these lines of standard input make."""
    lines = iter(stdin)
    parsed = cli._arguments(list(arguments))
    sources = Sources(PASSWORDS if env is None else env, lambda seconds: next(lines, ""))
    return cli.settings_from(parsed, sources)


def refused(*arguments: str, env: Optional[Mapping[str, str]] = None) -> str:
    """The text of the error that these options make."""
    with pytest.raises(SettingsError) as error:
        settings("-H", POOL, *USERS, *arguments, env=env)
    return str(error.value)


# --------------------------------------------------------------- as a process


def test_without_arguments_the_first_thing_to_do_is_said(home: str) -> None:
    assert usage_error(run_check(HOME=home)).startswith("name the pool with -H")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--xyz"], "unknown argument --xyz;"),
        (["--publihser", "x"], "unknown argument --publihser; did you mean --publisher?"),
        (["--subscriber-passwd-file=x"], "--subscriber-passwd-file; did you mean --subscriber-password-file?"),
        (["-x"], "unknown argument -x"),
        (["-H", POOL, "pool02"], "unknown argument pool02;"),
        (["--targ", POOL], "unknown argument --targ; did you mean --target?"),
        (["-H", POOL, "--insec"], "unknown argument --insec"),
        (
            ["--password", ANN_PASSWORD],
            "unknown argument --password; passwords go into --publisher-password-file and --sub",
        ),
        ([f"--password={ANN_PASSWORD}"], "unknown argument --password; passwords go into --publisher-password-file"),
        (["--publisher-password", ANN_PASSWORD], "--publisher-password; did you mean --publisher-password-file?"),
        ([f"--publisher-password={ANN_PASSWORD}"], "unknown argument --publisher-password"),
        (["-H"], "-H/--target: expected one argument"),
        (["-t", "-4"], "-t/--timeout: expected one argument"),
        (["-H", POOL, "-t", "-1"], "--timeout is '-1'; it takes seconds"),
        (["-H", ""], "-H is ''"),
        (["-H", "pool 01"], "which is no host name and no address"),
        (["-H", f"{POOL}:5061"], "a port goes to --port"),
        (["-H", "pool\x1b[31m"], "which is no host name"),
        (
            ["-H", POOL, "--accounts", "/nowhere/accounts.ini"],
            "cannot read the accounts file /nowhere/accounts.ini: No such",
        ),
        (["-H", POOL, "--accounts", ""], "--accounts is empty"),
        (["-H", POOL, "--accounts", "/"], "cannot read the accounts file /: Is a directory"),
        (["-H", POOL, "--accounts", "/dev/null"], "/dev/null is not a regular file"),
    ],
)
def test_a_wrong_command_line_is_one_line_that_says_what_is_wrong(home: str, arguments: List[str], words: str) -> None:
    assert words in usage_error(run_check(*arguments, HOME=home))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("-w", "5:1"),
        ("-c", "fast"),
        ("--activity-warning", "register"),
        ("--certificate-critical", "x"),
        ("-t", "soon"),
        ("-p", "0"),
        ("--transport", "sctp"),
        ("--connect", "[::1"),
        ("--publisher", "tel:+15551234"),
    ],
)
def test_a_mistyped_value_is_told_before_what_is_wrong_with_the_accounts(home: str, option: str, value: str) -> None:
    assert repr(value) in usage_error(run_check("-H", POOL, option, value, HOME=home))


def test_without_an_accounts_file_the_places_are_named(home: str) -> None:
    text = usage_error(run_check("-H", POOL, HOME=home))
    assert f"{home}/.config/check_lync_presence/accounts.ini" in text
    assert "--accounts" in text


def test_an_accounts_file_that_others_may_read_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    path = write_accounts(tmp_path / "accounts.ini", mode=0o644)
    assert f"has mode 0644 and may hold passwords; make it private with: chmod 0640 {path}" in usage_error(
        run_check("-H", POOL, "--accounts", str(path))
    )


def test_a_pool_without_a_section_names_the_file_and_its_sections(accounts: Path) -> None:
    text = usage_error(run_check("-H", "pool09.contoso.example", "--accounts", str(accounts)))
    assert text.startswith(f"{accounts} has no section for the pool pool09.contoso.example; it has [{POOL}].")


def test_of_many_sections_a_few_are_named_and_what_to_do_is_still_there(tmp_path: Path) -> None:
    others = "".join(f"[pool{number}.contoso.example]\n" for number in range(1000))
    path = write_accounts(tmp_path / "accounts.ini", others)
    text = usage_error(run_check("-H", "nope.example", "--accounts", str(path)))
    assert "it has [pool0.contoso.example], [pool1.contoso.example], " in text
    assert text.endswith(" and 995 more. Add one, or name two users with --publisher and --subscriber")


@pytest.mark.parametrize("value", ["x" * 2000, "é" * 900, "€" * 1100])
def test_a_usage_error_is_never_longer_than_nrpe_carries(value: str) -> None:
    done = run_check("-H", POOL, "-w", value)
    assert usage_error(done).endswith("…")
    assert 1000 < len(done.stdout.encode()) < 1024


def test_an_unknown_key_is_named_with_what_was_meant(tmp_path: Path) -> None:
    path = write_accounts(tmp_path / "accounts.ini", ACCOUNTS + "notify_timout = 5\n")
    text = usage_error(run_check("-H", POOL, "--accounts", str(path)))
    assert text == f"{path} has the unknown key 'notify_timout'; did you mean notify_timeout?"


@pytest.mark.parametrize("key", ["accounts", "target", "version", "help", "replay", "self-test", "verify_accounts"])
def test_a_key_that_belongs_on_the_command_line_is_told_so(tmp_path: Path, key: str) -> None:
    path = write_accounts(tmp_path / "accounts.ini", ACCOUNTS + f"{key} = 5\n")
    text = usage_error(run_check("-H", POOL, "--accounts", str(path)))
    assert text == f"{path} has the key {key!r}, which belongs on the command line"


def test_a_file_that_is_not_ini_does_not_show_its_lines(tmp_path: Path) -> None:
    path = write_accounts(tmp_path / "accounts.ini", f"[{POOL}]\n{ANN_PASSWORD}\n")
    assert "line 2: neither [section] nor name = value" in usage_error(run_check("-H", POOL, "--accounts", str(path)))


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version_is_told_and_is_not_ok(option: str) -> None:
    done = run_check(option)
    assert (done.code, done.first_line, done.stderr) == (3, f"check_lync_presence {__version__}", "")


def test_the_version_of_everything_that_runs_is_told() -> None:
    told = dict(line.split(" ", 1) for line in run_check("-V").lines)
    assert told["Python"] == platform.python_version()
    assert told["OpenSSL"] in ssl.OPENSSL_VERSION
    assert told["expat"] in pyexpat.EXPAT_VERSION
    for name in ("nagiosplugin", "pyVoIP", "ldap3", "dnspython"):
        assert told[name] == importlib.metadata.version(name)


def test_a_crash_leaves_no_core_dump_with_the_passwords_in_it(tmp_path: Path) -> None:
    limits: List[str] = []

    def look(connection: socket.socket) -> None:
        limits.append(Path(f"/proc/{process.pid}/limits").read_text())
        process.terminate()
        until_closed(connection)

    with Server(look) as server:
        accounts = write_accounts(tmp_path / "accounts.ini")
        where = ("--connect", f"127.0.0.1:{server.port}", "--transport", "tcp")
        process = subprocess.Popen(
            [sys.executable, "-m", "check_lync_presence", "-H", POOL, "--accounts", str(accounts), *where],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment(), preexec_fn=allow_core_dumps,
        )  # fmt: skip
        assert process.wait(20) == 2
    (line,) = {line for text in limits for line in text.splitlines() if line.startswith("Max core file size")}
    assert line.split()[4:6] == ["0", "0"]


def allow_core_dumps() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_the_help_is_told_and_is_not_ok(option: str) -> None:
    result = run_check(option)
    assert (result.code, result.stderr) == (3, "")
    assert result.stdout.startswith("usage: check_lync_presence -H FQDN")


@pytest.mark.parametrize(
    "arguments", [["-H", "pöol"], ["-H", POOL, *USERS, *NOWHERE, "-v"], ["--help"], ["-H", "\udcff"]]
)
@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C", "PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_no_locale_makes_an_encoding_error_of_a_verdict(arguments: List[str], locale: Dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_lync_presence", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
        env=environment(**locale, **PASSWORDS),
    )
    assert done.stderr == b""
    assert done.returncode == (2 if "--connect" in arguments else 3)
    assert b"internal error" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--help"], 3), (["-V"], 3), ([], 3), (["-H", POOL, *USERS, *NOWHERE], 2)]
)
@pytest.mark.parametrize("closed", [">&-", "<&-", ">&- <&-", ">&- 2>&- <&-"])
def test_closed_streams_do_not_change_the_verdict(arguments: List[str], code: int, closed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m check_lync_presence "$@" {closed}', sys.executable, *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
        env=environment(**PASSWORDS),
    )
    assert (done.returncode, done.stderr) == (code, "")
    assert (done.stdout == "") == (">&-" in closed)
    assert "internal error" not in done.stdout


@pytest.mark.parametrize("extra", [{"PYTHONWARNINGS": "default"}, {"PYTHONWARNINGS": "error"}, {"PYTHONDEVMODE": "1"}])
def test_warnings_that_the_environment_asks_for_do_not_reach_standard_error(extra: Dict[str, str]) -> None:
    result = run_check("-H", POOL, *USERS, *NOWHERE, limit=60, **{**PASSWORDS, **extra})
    assert (result.code, result.stderr) == (2, "")


def test_a_reader_that_has_gone_away_causes_no_complaint() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "check_lync_presence"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_an_interrupted_run_says_so_and_nothing_else() -> None:
    arrived: List[bytes] = []
    running: List[subprocess.Popen[str]] = []

    def silent(sock: socket.socket) -> None:
        arrived.append(sock.recv(65536))
        if len(arrived) == 2:
            running[0].send_signal(signal.SIGINT)
        until_closed(sock)

    with Server(silent) as server:
        where = ("--transport", "tcp", "--connect", str(server.address))
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "check_lync_presence", "-H", POOL, *USERS, *where],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                env=environment(**PASSWORDS),
            )
        )
        output, complaints = running[0].communicate(timeout=60)
    assert (running[0].returncode, output, complaints) == (3, "LYNC PRESENCE UNKNOWN - interrupted\n", "")


def test_the_password_can_come_on_standard_input() -> None:
    files = ("--publisher-password-file", "-", "--subscriber-password-file", "-")
    result = run_check("-H", POOL, *USERS, *files, *NOWHERE, stdin=f"{ANN_PASSWORD}\n{BEN_PASSWORD}\n")
    assert (result.code, result.stderr) == (2, "")


@pytest.mark.parametrize("written", [b"", b"half a pass"])
def test_a_standard_input_that_stays_open_and_silent_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, written: bytes
) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, written)
    try:
        with open(ours, encoding="utf-8") as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            monkeypatch.setattr(passwords, "LIMIT", 0.1)
            with pytest.raises(SystemExit) as end:
                cli.main(["-H", POOL, *USERS, "--publisher-password-file", "-"])
    finally:
        os.close(theirs)
    output = capsys.readouterr()
    text = usage_error(Finished(int(str(end.value.code)), output.out, output.err))
    assert text == "no password came on standard input within 0.1 s"


def test_a_password_on_standard_input_that_is_no_text_is_a_usage_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_lync_presence", "-H", POOL, *USERS, "--publisher-password-file", "-"],
        input=b"\xff\xfe\n",
        capture_output=True,
        check=False,
        timeout=60,
        env=environment(PYTHONIOENCODING="utf-8", **PASSWORDS),
    )
    assert "is not utf-8 text" in usage_error(Finished(done.returncode, done.stdout.decode(), done.stderr.decode()))


def test_a_password_in_the_environment_that_is_no_text_is_a_usage_error() -> None:
    result = run_check("-H", POOL, *USERS, PUBLISHER_PASSWORD="\udcff", SUBSCRIBER_PASSWORD="b")
    assert "password of the publisher is not UTF-8 text" in usage_error(result)


def test_a_mistake_of_ours_is_one_line_and_shows_its_place_with_v(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def broken(seconds: float) -> str:
        raise RuntimeError("x | y\n z")

    monkeypatch.setattr(cli, "standard_input", broken)
    arguments = ["-H", POOL, *USERS, "--publisher-password-file", "-"]
    for more, lines in ([], 1), (["-v"], 5):
        with pytest.raises(SystemExit) as end:
            cli.main([*arguments, *more])
        output = capsys.readouterr()
        assert (end.value.code, output.err) == (3, "")
        assert output.out.startswith("LYNC PRESENCE UNKNOWN - internal error, please report it: RuntimeError: x ¦ y z")
        assert (output.out.count("\n") == 1) if lines == 1 else (output.out.count("\n") >= lines)
        assert ("Traceback" in output.out) == bool(more)


# ------------------------------------------------------------- wrong values


@pytest.mark.parametrize("option", ["--warning", "--critical", "--certificate-warning", "--certificate-critical"])
@pytest.mark.parametrize(
    "text", ["5:3", "abc", "", "1e5", "@", "@5:3", "~", "1:2:3", "5,5", " 5", "0x5", "-5", "::", "٣", "5\n"]
)
def test_a_bad_range_is_refused(option: str, text: str) -> None:
    assert refused(f"{option}={text}").startswith(f"{option} is ")


@pytest.mark.parametrize("form", ["{}", "{}:", "@{}:", "0.{}", "-{}:", "~:{}"])
def test_a_range_of_more_digits_than_python_converts_is_refused(form: str) -> None:
    # Python 3.11 and newer: at most 4300, for an integer.
    assert refused(f"--warning={form.format('9' * 5000)}").startswith("--warning is ")


@pytest.mark.parametrize(
    "text", ["5", "0.5", "5:", "10:", "~:5", "5:10", "@5:10", "@~:0", "-5:5", "~:-1", ":5", "@5", "1:1"]
)
def test_a_good_range_is_taken_as_it_was_typed_and_the_library_can_read_it(text: str) -> None:
    found = settings("-H", POOL, *USERS, f"--warning={text}", f"--activity-critical=notify={text}")
    assert found.thresholds.warning == {"latency": text}
    assert found.thresholds.critical == {"notify": text}
    nagiosplugin.Range(text)


@pytest.mark.parametrize("option", ["-w", "--warning"])
@pytest.mark.parametrize("text", ["-1:5", "-4:", "-40:5", "-6.5:-6"])
def test_a_negative_range_may_be_a_word_of_its_own(option: str, text: str) -> None:
    found = settings("-H", POOL, *USERS, option, text, "-4")
    assert (found.thresholds.warning, found.family) == ({"latency": text}, 4)


@pytest.mark.parametrize(
    ("argument", "shown", "remedy"),
    [
        ("--warning=/root:5", "/root:5", "~:5"),
        ("--activity-warning=notify=/home/ann:1", "notify=/home/ann:1", "notify=~:1"),
    ],
)
def test_a_range_that_the_shell_has_changed_is_recognised(argument: str, shown: str, remedy: str) -> None:
    option = argument.partition("=")[0]
    assert refused(argument) == (
        f"{option} is '{shown}', which is no range: the shell has replaced the ~; write '{remedy}' in quotes"
    )


def test_a_bad_range_of_an_activity_is_shown_with_its_name() -> None:
    assert refused("--activity-warning=notify=").startswith("--activity-warning is 'notify=', which is no range;")
    assert refused("--activity-critical=notify=5:3").startswith(
        "--activity-critical is 'notify=5:3', which is no range;"
    )


@many
@given(st.text("0123456789.:@~-+e ", max_size=8))
def test_every_range_that_is_taken_is_one_for_the_library(text: str) -> None:
    try:
        found = settings("-H", POOL, *USERS, f"--warning={text}").thresholds.warning["latency"]
    except SettingsError:
        return
    nagiosplugin.Range(found)


@pytest.mark.parametrize(
    "text", ["notify", "=5", "nonsense=5", "latency=5", "notify=", "notify=5:3", "success=1", "", "a=b=c"]
)
@pytest.mark.parametrize("option", ["--activity-warning", "--activity-critical"])
def test_a_bad_threshold_of_an_activity_is_refused(option: str, text: str) -> None:
    assert refused(f"{option}={text}").startswith(f"{option} is ")


def test_the_names_of_the_activities_are_told() -> None:
    assert "register, self_subscribe, subscribe, publish, notify, unregister" in refused("--activity-warning=x=5")


@pytest.mark.parametrize("name", ["self_subscribe", "self-subscribe", "Self_Subscribe"])
def test_the_name_of_an_activity_has_more_than_one_writing(name: str) -> None:
    assert settings("-H", POOL, *USERS, f"--activity-warning={name}=5").thresholds.warning == {"self_subscribe": "5"}


@pytest.mark.parametrize("option", ["--timeout", "--notify-timeout"])
@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-1",
        "nan",
        "inf",
        "-inf",
        "soon",
        "",
        "3601",
        "0x10",
        "5 s",
        "1e9",
        "-0.0",
        "1_0",
        "٣",
        "1e1",
        "+5",
        ".",
        " 5",
    ],
)
def test_bad_seconds_are_refused(option: str, text: str) -> None:
    assert refused(f"{option}={text}").startswith(f"{option} is ")


@pytest.mark.parametrize(("text", "seconds"), [("5", 5.0), ("0.5", 0.5), ("3600", 3600.0)])
def test_good_seconds_are_taken(text: str, seconds: float) -> None:
    found = settings("-H", POOL, *USERS, "-t", text, "--notify-timeout", text)
    assert (found.timeout, found.notify_timeout) == (seconds, seconds)


@pytest.mark.parametrize("text", ["0", "-1", "65536", "http", "", "5061 ", "5.5", "٥٠٦١", "00000170000", "9" * 5000])
def test_a_bad_port_is_refused(text: str) -> None:
    assert refused(f"--port={text}").startswith("--port is ")
    if text:
        assert refused(f"--connect=127.0.0.1:{text}").startswith("the port of --connect is ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ":5061",
        "[]:5061",
        "[::1",
        "[::1]5061",
        "[::1]x",
        "::g",
        "pool 01",
        "a/b",
        "sip:pool",
        "a:b:c",
        "[a]b]",
        "-x",
    ],
)
def test_a_bad_connect_is_refused(text: str) -> None:
    assert "--connect is " in refused(f"--connect={text}")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("pool01", ("pool01", 5061)),
        ("FE01.Contoso.example.", ("fe01.contoso.example", 5061)),
        ("127.0.0.1:45061", ("127.0.0.1", 45061)),
        ("::1", ("::1", 5061)),
        ("[::1]", ("::1", 5061)),
        ("[::1]:45061", ("::1", 45061)),
        ("2001:db8::5061", ("2001:db8::5061", 5061)),
        ("fe80::1%eth0", ("fe80::1%eth0", 5061)),
    ],
)
def test_connect_takes_names_and_addresses_with_and_without_brackets(text: str, place: Tuple[str, int]) -> None:
    assert settings("-H", POOL, *USERS, "--connect", text).connect == place


@pytest.mark.parametrize(("family", "place"), [("-6", "127.0.0.1"), ("-4", "[::1]:5061"), ("-4", "::1")])
def test_an_address_of_the_other_family_than_the_one_that_was_chosen_is_refused(family: str, place: str) -> None:
    assert f"leave out {family}" in refused(family, "--connect", place)
    assert settings("-H", POOL, *USERS, "--connect", place).connect is not None


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("192.0.2.1", "192.0.2.1"),
        ("POOL01.Contoso.Example.", POOL),
        ("lync_pool", "lync_pool"),
    ],
)
def test_the_target_can_be_a_name_or_an_address(text: str, target: str) -> None:
    assert settings("-H", text, *USERS).target == target


def test_connect_takes_the_port_that_was_named() -> None:
    assert settings("-H", POOL, *USERS, "--connect", "fe01", "-p", "45061").connect == ("fe01", 45061)


@pytest.mark.parametrize(("transport", "port"), [("tls", 5061), ("tcp", 5060), ("udp", 5060)])
def test_each_transport_has_its_port(transport: str, port: int) -> None:
    assert settings("-H", POOL, *USERS, "--transport", transport).port == port


def test_over_udp_there_is_no_lync_to_look_for() -> None:
    assert settings("-H", POOL, *USERS, "--transport", "udp").protocol == "simple"
    assert settings("-H", POOL, *USERS).protocol == "auto"
    assert "does not speak UDP" in refused("--transport=udp", "--protocol=lync")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--transport", "sctp"),
        ("--transport", "TLS"),
        ("--protocol", "sip"),
        ("--auth", "Kerberos"),
        ("--tls-min", "1.4"),
        ("--auth", ""),
    ],
)
def test_a_value_that_is_no_choice_is_refused(option: str, value: str) -> None:
    assert refused(f"{option}={value}").startswith(f"{option} is ")


@pytest.mark.parametrize(
    "text", ["ann", "sip:contoso.example", "mailto:a@b.example", "sip:@b", "sip:a b@c", "sip:a@b:5061", "sip:a@b;x", ""]
)
@pytest.mark.parametrize("role", ["publisher", "subscriber"])
def test_a_bad_address_of_a_user_is_refused(role: str, text: str) -> None:
    refused(f"--{role}={text}")


@pytest.mark.parametrize("other", ["sip:ann@contoso.example", "SIP:Ann@Contoso.EXAMPLE", "ann@contoso.example"])
def test_the_same_user_twice_is_refused(other: str) -> None:
    assert "the check needs two users" in refused("--subscriber", other)


def test_both_families_at_once_are_refused() -> None:
    assert refused("-4", "-6") == "--ipv4 and --ipv6 exclude each other"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--discover", "--connect", "127.0.0.1"], "--connect and --discover exclude each other"),
        (
            ["--all-front-ends", "--subscriber-target", "pool02.contoso.example"],
            "--all-front-ends and --subscriber-target exclude each other",
        ),
        (["--front-ends-critical", "1"], "--front-ends-critical counts the front ends of --all-front-ends; give both"),
        (["--all-front-ends", "--front-ends-critical", "x"], "--front-ends-critical is 'x', which is no range"),
        (
            ["--subscriber-target", POOL.upper()],
            f"--subscriber-target is {POOL}, which is the publ",
        ),
        (["--subscriber-target", "pool 02"], "--subscriber-target is 'pool 02', which is no host name"),
    ],
)
def test_ways_to_the_server_that_exclude_each_other_are_refused(arguments: List[str], words: str) -> None:
    assert refused(*arguments).startswith(words)


@pytest.mark.parametrize(("option", "family"), [("-4", 4), ("--ipv6", 6), ("-v", None)])
def test_one_family_can_be_chosen(option: str, family: Optional[int]) -> None:
    assert settings("-H", POOL, *USERS, option).family == family


@pytest.mark.parametrize("role", ["publisher", "subscriber"])
def test_a_missing_password_names_every_way_to_give_it(role: str) -> None:
    text = refused(env={key: value for key, value in PASSWORDS.items() if role.upper() not in key})
    assert f"--{role}-password-file" in text
    assert f"{role.upper()}_PASSWORD" in text


def test_a_line_break_in_a_value_is_refused() -> None:
    assert refused("--user-agent", "x\r\nVia: y").startswith("--user-agent ")


def test_verbosity_ends_at_three() -> None:
    assert [settings("-H", POOL, *USERS, option).verbose for option in ("-v", "-vv", "-vvv", "-vvvvv")] == [1, 2, 3, 3]


@many
@given(st.lists(st.text(max_size=12) | st.sampled_from(NAMES), max_size=6))
def test_any_command_line_makes_settings_or_a_settings_error(arguments: List[str]) -> None:
    with contextlib.suppress(SettingsError, SystemExit):
        settings("-H", POOL, *USERS, *arguments)


# ---------------------------------------------------- where passwords come from


def file_with(tmp_path: Path, text: str) -> Path:
    return write_accounts(tmp_path / "accounts.ini", f"[{POOL}]\n{text}")


TWO_USERS = """\
publisher = sip:ann@contoso.example
publisher_user = CONTOSO\\ann
publisher_password = of-the-file
subscriber = sip:ben@contoso.example
subscriber_password = ben-of-the-file
"""


def test_the_file_gives_users_and_passwords(tmp_path: Path) -> None:
    path = file_with(tmp_path, TWO_USERS)
    found = settings("-H", POOL, "--accounts", str(path), env={})
    assert found.publisher[:2] == ("sip:ann@contoso.example", "CONTOSO\\ann")
    assert found.subscriber[:2] == ("sip:ben@contoso.example", "ben@contoso.example")
    assert found.secrets == ("of-the-file", "ben-of-the-file")


def test_the_environment_beats_the_file(tmp_path: Path) -> None:
    path = file_with(tmp_path, TWO_USERS)
    assert settings("-H", POOL, "--accounts", str(path)).secrets == (ANN_PASSWORD, BEN_PASSWORD)


def test_the_command_line_beats_the_environment(tmp_path: Path) -> None:
    path = file_with(tmp_path, TWO_USERS)
    secret = write_accounts(tmp_path / "secret", "of-the-command-line\nsecond line\n")
    found = settings("-H", POOL, "--accounts", str(path), "--publisher-password-file", str(secret))
    assert found.secrets == ("of-the-command-line", BEN_PASSWORD)


def test_an_empty_variable_is_none(tmp_path: Path) -> None:
    path = file_with(tmp_path, TWO_USERS)
    assert settings("-H", POOL, "--accounts", str(path), env={"PUBLISHER_PASSWORD": ""}).secrets[0] == "of-the-file"


def test_standard_input_gives_a_line_to_each_user_in_turn() -> None:
    files = ("--publisher-password-file", "-", "--subscriber-password-file", "-")
    assert settings("-H", POOL, *USERS, *files, env={}, stdin=(" ann \r\n", "ben")).secrets == (" ann ", "ben")


def test_an_empty_standard_input_is_no_password() -> None:
    assert "there is no password for the publisher" in refused("--publisher-password-file", "-", env={})


def test_the_password_of_the_file_is_not_tried_on_another_user(tmp_path: Path) -> None:
    path = file_with(tmp_path, TWO_USERS)
    arguments = ("-H", POOL, "--accounts", str(path), "--publisher", "sip:eve@contoso.example")
    with pytest.raises(SettingsError, match=r"there is no password for the publisher sip:eve@contoso\.example"):
        settings(*arguments, env={})
    found = settings(*arguments)
    assert found.publisher[:2] == ("sip:eve@contoso.example", "eve@contoso.example")
    assert found.secrets == (ANN_PASSWORD, BEN_PASSWORD)


def test_the_password_of_the_file_is_tried_on_the_same_user_however_it_is_written(tmp_path: Path) -> None:
    path = file_with(tmp_path, TWO_USERS)
    found = settings("-H", POOL, "--accounts", str(path), "--publisher", "Ann@contoso.EXAMPLE", env={})
    assert (found.publisher.user, found.secrets[0]) == ("CONTOSO\\ann", "of-the-file")


def test_the_logon_name_of_the_command_line_beats_the_file(tmp_path: Path) -> None:
    path = file_with(tmp_path, TWO_USERS)
    found = settings("-H", POOL, "--accounts", str(path), "--publisher-user", "ann@contoso.example")
    assert found.publisher.user == "ann@contoso.example"


def test_a_password_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    secret = write_accounts(tmp_path / "secret", "geheim\n", 0o604)
    text = refused("--publisher-password-file", str(secret))
    assert "mode 0604" in text
    assert "geheim" not in text


@pytest.mark.parametrize(("text", "fault"), [("", "is empty"), ("\n", "begins with an empty line")])
def test_an_empty_password_file_is_named(tmp_path: Path, text: str, fault: str) -> None:
    secret = write_accounts(tmp_path / "secret", text)
    assert refused("--publisher-password-file", str(secret)) == f"the publisher's password file {secret} {fault}"


def of_command(tmp_path: Path, command: str) -> str:
    others = "publisher = a@b.example\nsubscriber = c@b.example\nsubscriber_password = x\n"
    path = file_with(tmp_path, f"publisher_password_command = {command}\n{others}")
    return settings("-H", POOL, "--accounts", str(path), env={}).secrets[0]


@pytest.mark.parametrize(
    ("command", "password"),
    [
        ("echo geheim", "geheim"),
        ("printf 'two words\\nsecond line'", "two words"),
        ("printf 'with cr\\r\\n'", "with cr"),
        ("sh -c 'echo seen >&2; echo geheim'", "geheim"),
        ("printf %s 'a\"b'", 'a"b'),
    ],
)
def test_the_first_line_of_a_command_is_the_password(tmp_path: Path, command: str, password: str) -> None:
    assert of_command(tmp_path, command) == password


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("false", "it ended with exit code 1"),
        ("sh -c 'echo geheim; exit 7'", "it ended with exit code 7"),
        ("/nowhere/vault", "No such file or directory"),
        ("/", "Permission denied"),
        ("echo 'geheim", "it cannot be read"),
        ("printf '\\377'", "it cannot be read"),
    ],
)
def test_a_command_that_fails_is_said_without_what_it_printed(tmp_path: Path, command: str, reason: str) -> None:
    with pytest.raises(SettingsError) as error:
        of_command(tmp_path, command)
    assert str(error.value) == f"publisher_password_command gave no password: {reason}"


def test_a_command_that_prints_nothing_gives_no_password(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no password for the publisher"):
        of_command(tmp_path, "true")


def test_a_command_gets_no_standard_input(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no password"):
        of_command(tmp_path, "cat")


def test_a_command_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "LIMIT", 0.1)
    started = time.monotonic()
    with pytest.raises(SettingsError, match=r"it did not end within 0\.1 s"):
        of_command(tmp_path, "tail -f /dev/null")
    assert time.monotonic() - started < 5


# ------------------------------------------------------------- the directory

DC = ("--ldap-uri", "ldaps://dc01.contoso.example")
LDAP_PASSWORD = "Ldap-Geheim-7%20"
WITH_LDAP = {**PASSWORDS, "LDAP_PASSWORD": LDAP_PASSWORD}


def of_directory(*arguments: str, env: Optional[Mapping[str, str]] = None) -> DirectorySettings:
    found = settings("-H", POOL, *USERS, *arguments, env=env).directory
    assert found is not None
    return found


def test_without_a_uri_there_is_no_directory() -> None:
    assert settings("-H", POOL, *USERS, "--ldap-bind", "reader").directory is None


def test_without_a_bind_account_the_bind_is_anonymous() -> None:
    found = of_directory(*DC, env=WITH_LDAP)
    assert (found.uris, found.auth, found.bind, found.base) == (DC[1:], "anonymous", None, None)
    assert not found.password
    assert not found.starttls


def test_with_a_bind_account_the_bind_is_simple() -> None:
    found = of_directory(*DC, "--ldap-bind", "CONTOSO\\reader", env=WITH_LDAP)
    assert (found.auth, found.bind, found.password.reveal()) == ("simple", "CONTOSO\\reader", LDAP_PASSWORD)


@pytest.mark.parametrize("auth", ["kerberos", "anonymous"])
def test_another_bind_needs_no_password_and_takes_none(auth: str) -> None:
    found = of_directory(*DC, "--ldap-auth", auth, env=WITH_LDAP)
    assert (found.auth, found.password.reveal()) == (auth, "")


def test_every_option_of_the_directory_can_be_given(tmp_path: Path) -> None:
    secret = write_accounts(tmp_path / "secret", "of-a-file\nnot this\n")
    arguments = ["--ldap-base", "DC=x", "--ldap-bind", "reader", "--ldap-password-file", str(secret)]
    arguments += [
        "--ldap-auth",
        "simple",
        "--ldap-ca-file",
        "ca.pem",
        "--ldap-starttls",
        "--ldap-uri",
        "ldap://[::1]:389/",
    ]
    found = of_directory(*DC, *arguments, env=WITH_LDAP)
    assert found == DirectorySettings(
        (DC[1], "ldap://[::1]:389/"), "DC=x", "reader", found.password, "simple", "ca.pem", True
    )
    assert found.password.reveal() == "of-a-file"


@pytest.mark.parametrize(
    "uri",
    [
        *(
            "dc01",
            "dc01:636",
            "http://dc01",
            "ldapi:///run/x",
            "ldaps:/dc01",
            "ldap://",
            "ldap://dc01/DC=x",
            "ldaps://a b",
        ),
        *("ldap://dc01\n", "ldap://dc01?x", "ldap://[::1", "ldap://::g", "ldap://[::::]", "ldap://::::"),
        *(
            "ldap://dc01:",
            "ldap://dc01:0",
            "ldap://dc01:65536",
            "ldap://dc01:99999999",
            "ldap://dc01:x",
            "ldap://[dc01]",
            "",
        ),
        *("ldap://[]", "ldap://.", "ldap://-x", "ldap://[1.2]", "ldap://" + "a" * 300),
    ],
)
def test_a_uri_of_another_kind_is_refused(uri: str) -> None:
    assert "--ldap-uri is " in refused("--ldap-uri", uri)
    assert "--ldap-uri is " in refused(*DC, "--ldap-uri", uri)


def test_a_uri_with_a_password_in_it_is_refused_and_not_shown() -> None:
    text = refused("--ldap-uri", "ldaps://reader:geheim@dc01.contoso.example")
    assert "--ldap-uri has a user in it" in text
    assert "geheim" not in text


@pytest.mark.parametrize(
    "uri", ["ldap://dc01", "LDAPS://DC01:636", "ldaps://10.0.0.4:3269/", "ldap://[2001:db8::1]:389"]
)
def test_a_uri_of_the_right_kind_is_taken(uri: str) -> None:
    assert of_directory("--ldap-uri", uri).uris == (uri,)


@pytest.mark.parametrize(
    ("uri", "taken"),
    [
        ("ldaps://::1", "ldaps://[::1]"),
        ("LDAP://2001:db8::5/", "LDAP://[2001:db8::5]/"),
        ("ldap://::ffff:192.0.2.1", "ldap://[::ffff:192.0.2.1]"),
    ],
)
def test_an_ipv6_address_of_a_directory_needs_no_brackets(tmp_path: Path, uri: str, taken: str) -> None:
    assert of_directory("--ldap-uri", uri).uris == (taken,)
    found = of_file(tmp_path, f"ldap_uri = ldaps://dc01 {uri}\n").directory
    assert found is not None
    assert found.uris == ("ldaps://dc01", taken)


def test_an_ipv6_address_and_a_port_that_cannot_be_told_apart_are_refused_with_the_remedy() -> None:
    assert "an IPv6 address with its port as ldaps://[::1]:636" in refused("--ldap-uri", "ldaps://1:2:3:4:5:6:7:8:636")
    assert "[::1]" not in refused("--ldap-uri", "ldaps://dc01:x")


@pytest.mark.parametrize("arguments", [["--ldap-bind", "reader"], ["--ldap-auth", "simple"]])
@pytest.mark.parametrize("env", [PASSWORDS, {**PASSWORDS, "LDAP_PASSWORD": ""}])
def test_a_simple_bind_needs_an_account_and_a_password(arguments: List[str], env: Mapping[str, str]) -> None:
    assert refused(*DC, *arguments, env=env).startswith("a simple bind needs --ldap-bind and a password: ")


def test_a_password_alone_is_no_bind_account() -> None:
    assert "a simple bind needs --ldap-bind" in refused(*DC, "--ldap-auth", "simple", env=WITH_LDAP)


def test_the_bind_password_is_the_command_lines_then_the_environments_then_the_files(tmp_path: Path) -> None:
    secret = write_accounts(tmp_path / "secret", "of-the-command-line\n")
    lines = "ldap_uri = ldaps://dc01\nldap_bind = reader\nldap_password = of-the-file\n"
    path = str(file_with(tmp_path, TWO_USERS + lines))

    def password(*arguments: str, **env: str) -> str:
        found = settings("-H", POOL, "--accounts", path, *arguments, env=env).directory
        assert found is not None
        return found.password.reveal()

    assert password() == "of-the-file"
    assert password(LDAP_PASSWORD="of-the-environment") == "of-the-environment"
    given = ("--ldap-password-file", str(secret))
    assert password(*given, LDAP_PASSWORD="of-the-environment") == "of-the-command-line"


def test_the_bind_password_can_come_from_standard_input_or_a_command(tmp_path: Path) -> None:
    arguments = ("-H", POOL, *USERS, *DC, "--ldap-bind", "reader", "--ldap-password-file", "-")
    assert settings(*arguments, stdin=("of-stdin\n",)).secrets[-1] == "of-stdin"
    lines = "ldap_uri = ldaps://dc01\nldap_bind = reader\nldap_password_command = echo of-a-command\n"
    path = str(file_with(tmp_path, TWO_USERS + lines))
    assert settings("-H", POOL, "--accounts", path, env={}).secrets[-1] == "of-a-command"


@pytest.mark.parametrize("key", ["base", "bind", "password"])
def test_octets_that_are_no_text_are_refused(key: str) -> None:
    text = "x\udcff"
    arguments = ["--ldap-base", text] if key == "base" else ["--ldap-bind", text if key == "bind" else "reader"]
    env = {**PASSWORDS, "LDAP_PASSWORD": text if key == "password" else "x"}
    assert "of the directory is not UTF-8 text" in refused(*DC, *arguments, env=env)


def test_the_command_lines_directory_beats_the_files(tmp_path: Path) -> None:
    lines = "ldap_uri = ldaps://dc01\nldap_base = DC=file\naccount_state = warning\nstate_dir = /file\n"
    found = of_file(
        tmp_path,
        lines,
        "--ldap-uri",
        "ldap://dc02",
        "--ldap-base",
        "DC=x",
        "--account-state",
        "unknown",
        "--state-dir",
        "/x",
    )
    assert found.directory is not None
    assert (found.directory.uris, found.directory.base) == (("ldap://dc02",), "DC=x")
    assert (found.account_state, found.state_folders) == ("unknown", ("/x",))


@pytest.mark.parametrize(("option", "value"), [("--account-state", "ok"), ("--ldap-auth", "ntlm"), ("--state-dir", "")])
def test_a_choice_of_the_directory_is_checked(option: str, value: str) -> None:
    assert f"{option} is " in refused(*DC, option, value)


def test_the_folders_of_the_state_follow_from_the_environment() -> None:
    def folders(**env: str) -> List[str]:
        found = settings("-H", POOL, *USERS, env={**PASSWORDS, **env}).state_folders
        return [folder for folder in found if folder != cli.SYSTEM_STATE]

    last = f"/var/tmp/check_lync_presence-{os.geteuid()}"  # noqa: S108
    assert folders(XDG_STATE_HOME="/s", HOME="/h") == ["/s/check_lync_presence", last]
    assert folders(HOME="/h") == ["/h/.local/state/check_lync_presence", last]
    assert folders() == ["/nonexistent/.local/state/check_lync_presence", last]


def test_the_bind_password_is_nowhere_in_the_printed_settings() -> None:
    found = settings("-H", POOL, *USERS, *DC, "--ldap-bind", "reader", env=WITH_LDAP)
    assert LDAP_PASSWORD in found.secrets
    assert LDAP_PASSWORD not in repr(found)


@pytest.mark.parametrize("wrong", [["--ldap-auth", "x"], ["--ldap-ca-file", ""], ["--timeout", "x"], ["--wrong"]])
@pytest.mark.parametrize("verbosity", [(), ("-vvv",)])
def test_the_bind_password_is_in_no_usage_error(accounts: Path, wrong: List[str], verbosity: Tuple[str, ...]) -> None:
    arguments = ("-H", POOL, "--accounts", str(accounts), *DC, "--ldap-bind", "reader", *verbosity, *wrong)
    assert LDAP_PASSWORD not in usage_error(run_check(*arguments, LDAP_PASSWORD=LDAP_PASSWORD))


@pytest.mark.parametrize("mode", [[], ["--self-test"]])
def test_a_ca_file_of_the_directory_that_cannot_be_read_is_told_before_an_alarm(
    accounts: Path, mode: List[str]
) -> None:
    where = ("-H", POOL, "--accounts", str(accounts), *DC, *NOWHERE)
    text = usage_error(run_check(*where, *mode, "--ldap-ca-file", "/nowhere/ca.pem"))
    assert text == "cannot read the CA file of the directory /nowhere/ca.pem: No such file or directory"


@pytest.mark.parametrize("missing", ["gssapi", "cryptography"])
def test_a_missing_extra_of_the_directory_is_told_before_an_alarm(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    asked_for: List[str] = []

    def find_spec(name: str) -> Optional[str]:
        asked_for.append(name)
        return None if name == missing else name

    monkeypatch.setattr(directory, "find_spec", find_spec)
    arguments = ("-H", POOL, *USERS, *DC, "--transport", "tcp", "--ldap-auth")
    with pytest.raises(SettingsError, match=f"^Kerberos needs {missing}: install python3-{missing}, or pip install"):
        plugin.ready(settings(*arguments, "kerberos"))
    assert asked_for[-1] == missing
    plugin.ready(settings(*arguments, "anonymous"))


# ------------------------------------------------------ values of the accounts file

# For each option that may stand in the file: a value, and what it comes to in the settings.
IN_FILE: Dict[str, Tuple[str, str, Any]] = {
    "port": ("45061", "port", 45061),
    "connect": ("[::1]:45061", "connect", ("::1", 45061)),
    "discover": ("yes", "discover", True),
    "all_front_ends": ("yes", "all_front_ends", True),
    "subscriber_target": ("POOL02.contoso.example", "subscriber_target", "pool02.contoso.example"),
    "front_ends_critical": ("1", "thresholds.critical", {"front_ends_failed": "1"}),
    "ipv4": ("yes", "family", 4),
    "ipv6": ("on", "family", 6),
    "transport": ("tcp", "transport", "tcp"),
    "protocol": ("simple", "protocol", "simple"),
    "auth": ("ntlm", "auth", "ntlm"),
    "ntlm_mic": ("true", "ntlm_mic", True),
    "user_agent": ("Monitoring 1.0 (a b)", "user_agent", "Monitoring 1.0 (a b)"),
    "publisher": ("eve@contoso.example", "publisher.uri", "sip:eve@contoso.example"),
    "publisher_user": ("CONTOSO\\eve", "publisher.user", "CONTOSO\\eve"),
    "publisher_password_file": ("SECRET", "publisher.password", "from the file"),
    "subscriber": ("sip:eve@contoso.example", "subscriber.uri", "sip:eve@contoso.example"),
    "subscriber_user": ("eve@contoso.example", "subscriber.user", "eve@contoso.example"),
    "subscriber_password_file": ("SECRET", "subscriber.password", "from the file"),
    "publisher_keytab": ("KEYTAB", "publisher.keytab.path", "KEYTAB"),
    "subscriber_keytab": ("KEYTAB", "subscriber.keytab.path", "KEYTAB"),
    "publisher_cert": ("CERTIFICATE", "publisher.certificate.subject", "eve@contoso.example"),
    "publisher_key": ("CERTIFICATE", "publisher.certificate.subject", "eve@contoso.example"),
    "subscriber_cert": ("CERTIFICATE", "subscriber.certificate.subject", "eve@contoso.example"),
    "subscriber_key": ("CERTIFICATE", "subscriber.certificate.subject", "eve@contoso.example"),
    "ca_file": ("/etc/ssl/ca with blank.pem", "tls.ca_file", "/etc/ssl/ca with blank.pem"),
    "client_cert": ("c.pem", "tls.client_cert", "c.pem"),
    "client_key": ("k.pem", "tls.client_key", "k.pem"),
    "tls_min": ("1.0", "tls.minimum", "1.0"),
    "insecure": ("1", "tls.insecure", True),
    "ldap_uri": ("ldaps://a ldap://[::1]:3268", "directory.uris", ("ldaps://a", "ldap://[::1]:3268")),
    "ldap_base": ("OU=Test users, DC=contoso,DC=example", "directory.base", "OU=Test users, DC=contoso,DC=example"),
    "ldap_bind": ("CONTOSO\\reader", "directory.bind", "CONTOSO\\reader"),
    "ldap_password_file": ("SECRET", "directory.password", "from the file"),
    "ldap_auth": ("anonymous", "directory.auth", "anonymous"),
    "ldap_ca_file": ("/etc/ssl/dc.pem", "directory.ca_file", "/etc/ssl/dc.pem"),
    "ldap_starttls": ("yes", "directory.starttls", True),
    "account_state": ("warning", "account_state", "warning"),
    "state_dir": ("/run/check", "state_folders", ("/run/check",)),
    "warning": ("5", "thresholds.warning", {"latency": "5"}),
    "critical": ("~:10", "thresholds.critical", {"latency": "~:10"}),
    "activity_warning": (
        "notify=4 self-subscribe=@1:2",
        "thresholds.warning",
        {"notify": "4", "self_subscribe": "@1:2"},
    ),
    "activity_critical": ("notify=8", "thresholds.critical", {"notify": "8"}),
    "certificate_warning": ("30:", "thresholds.warning", {"certificate_days": "30:"}),
    "certificate_critical": ("7:", "thresholds.critical", {"certificate_days": "7:"}),
    "timeout": ("20", "timeout", 20.0),
    "notify_timeout": ("10.5", "notify_timeout", 10.5),
    "verbose": ("2", "verbose", 2),
    "report": ("/run/page.html", "report", "/run/page.html"),
    "trace": ("/run/trace.jsonl", "trace", "/run/trace.jsonl"),
}


def test_every_option_of_the_file_is_tested() -> None:
    assert set(IN_FILE) == {option.key for option in all_options() if option.in_file}


def reach(found: Settings, name: str) -> Any:
    value: Any = found
    for part in name.split("."):
        value = getattr(value, part)
    return value.reveal() if hasattr(value, "reveal") else value


def certificate_file(path: Path, name: str) -> Path:
    """A file with a user's certificate and its key."""
    pytest.importorskip("OpenSSL", reason="comes with pip install 'check_lync_presence[tls-dsk]'")
    certificate = user_certificate(name)
    return write_accounts(path, certificate.certificate + certificate.key.reveal())


@pytest.mark.parametrize("key", IN_FILE)
@pytest.mark.parametrize("writing", ["{}", "hyphens", "upper"])
def test_every_option_can_be_set_in_the_file(tmp_path: Path, key: str, writing: str) -> None:
    text, name, value = IN_FILE[key]
    secret = write_accounts(tmp_path / "secret", "from the file\n")
    lines = {"publisher": "ann@contoso.example", "subscriber": "ben@contoso.example"}
    lines.update({"publisher_password": "a", "subscriber_password": "b"})
    if key.startswith("ldap_"):
        lines.update({"ldap_uri": "ldaps://dc01.contoso.example", "ldap_bind": "reader", "ldap_password": "c"})
    if key.endswith("_password_file"):
        del lines[key[: -len("_file")]]
    keytab = write_keytab(tmp_path / "keytab")
    value = str(keytab) if value == "KEYTAB" else value
    if text == "CERTIFICATE":
        text = str(certificate_file(tmp_path / "eve.pem", "eve@contoso.example"))
    if key.endswith("_key"):
        lines[key.replace("_key", "_cert")] = text
    lines[key] = text.replace("SECRET", str(secret)).replace("KEYTAB", str(keytab))
    if writing == "hyphens":
        lines = {name.replace("_", "-"): line for name, line in lines.items()}
    elif writing == "upper":
        lines = {name.upper(): line for name, line in lines.items()}
    path = file_with(tmp_path, "".join(f"{name} = {line}\n" for name, line in lines.items()))
    assert reach(settings("-H", POOL, "--accounts", str(path), env={}), name) == value


# ------------------------------------------------------------------ signing in


CERTIFICATE = ("--client-cert", "/etc/pool.pem")


@pytest.mark.parametrize(
    ("arguments", "protocol"),
    [
        ([], "auto"),
        (["--auth", "auto", "--protocol", "lync"], "lync"),
        (["--auth", "ntlm"], "lync"),
        (["--auth", "kerberos"], "lync"),
        (["--auth", "kerberos", "--protocol", "lync"], "lync"),
        (["--auth", "trusted-server", *CERTIFICATE], "lync"),
        (["--auth", "digest"], "simple"),
        (["--auth", "digest", "--transport", "udp"], "simple"),
        (["--auth", "digest", "--protocol", "simple"], "simple"),
    ],
)
def test_the_way_to_sign_in_says_what_the_server_speaks(arguments: List[str], protocol: str) -> None:
    assert settings("-H", POOL, *USERS, *arguments).protocol == protocol


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--auth", "digest", "--protocol", "lync"], "--auth is digest, which a lync server does not know"),
        (["--auth", "ntlm", "--protocol", "simple"], "--auth is ntlm, which a simple server does not know"),
        (["--auth", "kerberos", "--protocol", "simple"], "--auth is kerberos, which a simple server does not know"),
        (["--auth", "kerberos", "--transport", "udp"], "Lync does not speak UDP"),
        (["--auth", "trusted-server"], "needs the certificate of a trusted server: --client-cert and --client-key"),
        (["--auth", "trusted-server", *CERTIFICATE, "--transport", "tcp"], "--auth trusted-server needs TLS"),
        (["--auth", "trusted-server", *CERTIFICATE, "--transport", "udp"], "Lync does not speak UDP"),
        (["--auth", "trusted-server", *CERTIFICATE, "--insecure"], "--auth trusted-server needs a verified server"),
        (["--auth", "trusted-server", *CERTIFICATE, "--protocol", "simple"], "which a simple server does not know"),
        (
            ["--auth", "ntlm", "--publisher-keytab", "/etc/ann"],
            "--publisher-keytab goes with --auth kerberos or tls-dsk, not with ntlm",
        ),
        (
            ["--auth", "kerberos", "--publisher-keytab", "/nowhere/k"],
            "cannot read the publisher's keytab /nowhere/k: No",
        ),
        (["--auth", "tls-dsk", "--protocol", "simple"], "--auth is tls-dsk, which a simple server does not know"),
        (["--auth", "tls-dsk", "--transport", "udp"], "Lync does not speak UDP"),
        (["--auth", "tls-dsk", "--transport", "tcp"], "TLS-DSK needs TLS; use --transport tls"),
        (["--auth", "tls-dsk", "--insecure"], "TLS-DSK needs a verified server; leave out --insecure"),
        (
            ["--auth", "kerberos", "--publisher-cert", "/c"],
            "--publisher-cert goes with --auth tls-dsk, not with",
        ),
        (["--auth", "ntlm", "--subscriber-key", "/k"], "--subscriber-key goes with --auth tls-dsk, not with ntlm"),
        (["--publisher-key", "/k"], "--publisher-key goes with a certificate; name it with --publisher-cert"),
        (["--client-key", "/k"], "--client-key goes with a certificate; name it with --client-cert"),
        (["--subscriber-keytab", "/dev/null"], "the subscriber's keytab /dev/null is not a regular file"),
    ],
)
def test_ways_to_sign_in_that_contradict_something_are_refused(arguments: List[str], words: str) -> None:
    assert words in refused(*arguments)


def test_a_keytab_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = write_keytab(tmp_path / "ann.keytab", 0o644)
    text = (
        f"the publisher's keytab {path} has mode 0644 and holds Kerberos keys; make it private with: chmod 0640 {path}"
    )
    assert refused("--publisher-keytab", str(path)) == text


def test_what_is_no_keytab_is_refused(tmp_path: Path) -> None:
    path = write_accounts(tmp_path / "ann.keytab", "password")
    assert f"the publisher's keytab {path} is not a keytab" in refused("--publisher-keytab", str(path))


def test_a_keytab_takes_the_place_of_a_password(tmp_path: Path) -> None:
    path = str(write_keytab(tmp_path / "keytab"))
    found = settings("-H", POOL, *USERS, "--publisher-keytab", path, env={"SUBSCRIBER_PASSWORD": "b"})
    assert found.publisher.keytab is not None
    assert (found.publisher.keytab.path, found.publisher.password.reveal()) == (path, "")
    assert (found.subscriber.keytab, found.subscriber.password.reveal()) == (None, "b")


def test_a_certificate_takes_the_place_of_a_password(tmp_path: Path) -> None:
    path = str(certificate_file(tmp_path / "ann.pem", "ann@contoso.example"))
    for auth in ("auto", "tls-dsk"):
        found = settings("-H", POOL, *USERS, "--auth", auth, "--publisher-cert", path, env={"SUBSCRIBER_PASSWORD": "b"})
        assert found.publisher.certificate is not None
        assert (found.publisher.certificate.subject, found.publisher.password.reveal()) == ("ann@contoso.example", "")
        assert (found.subscriber.certificate, found.subscriber.password.reveal()) == (None, "b")
        assert "PRIVATE KEY" not in repr(found)


def test_a_certificate_is_not_shown_to_a_server_that_is_not_verified(tmp_path: Path) -> None:
    path = str(certificate_file(tmp_path / "ann.pem", "ann@contoso.example"))
    assert "TLS-DSK needs a verified server" in refused("--publisher-cert", path, "--insecure")
    assert "TLS-DSK needs TLS" in refused("--publisher-cert", path, "--transport", "tcp")


def test_the_certificate_of_the_file_is_not_used_for_another_user(tmp_path: Path) -> None:
    path = certificate_file(tmp_path / "ann.pem", "ann@contoso.example")
    file = str(file_with(tmp_path, TWO_USERS + f"publisher_cert = {path}\n"))
    assert settings("-H", POOL, "--accounts", file, env={}).publisher.certificate is not None
    other = settings("-H", POOL, "--accounts", file, "--publisher", "eve@contoso.example", env=PASSWORDS)
    assert other.publisher.certificate is None
    assert settings("-H", POOL, "--accounts", file, "--auth", "ntlm", env=PASSWORDS).publisher.certificate is None


def test_another_keytab_has_another_digest(tmp_path: Path) -> None:
    first = write_keytab(tmp_path / "keytab")
    before = settings("-H", POOL, *USERS, "--publisher-keytab", str(first)).publisher
    first.write_bytes(first.read_bytes() + b"another key")
    after = settings("-H", POOL, *USERS, "--publisher-keytab", str(first)).publisher
    assert before.keytab is not None
    assert after.keytab is not None
    assert before.keytab.digest.reveal() != after.keytab.digest.reveal()


def test_the_keytab_of_the_file_is_not_used_for_another_user(tmp_path: Path) -> None:
    path = write_keytab(tmp_path / "keytab")
    file = str(file_with(tmp_path, TWO_USERS + f"publisher_keytab = {path}\n"))
    assert settings("-H", POOL, "--accounts", file, env={}).publisher.keytab is not None
    env = {"PUBLISHER_PASSWORD": "e"}
    other = settings("-H", POOL, "--accounts", file, "--publisher", "sip:eve@contoso.example", env=env)
    assert other.publisher.keytab is None


@pytest.mark.parametrize("arguments", [["--auth", "kerberos"], ["--auth", "trusted-server", *CERTIFICATE]])
def test_a_ticket_or_a_certificate_needs_no_password(arguments: List[str]) -> None:
    found = settings("-H", POOL, *USERS, *arguments, env={})
    assert not found.publisher.password
    assert not found.subscriber.password


def test_who_needs_no_password_asks_for_none(tmp_path: Path) -> None:
    keytab = write_keytab(tmp_path / "keytab")
    commands = "publisher_password_command = /nowhere/a\nsubscriber_password_command = /nowhere/b\n"
    users = "publisher = ann@contoso.example\nsubscriber = ben@contoso.example\n"
    keytabs = f"publisher_keytab = {keytab}\nsubscriber_keytab = {keytab}\n"
    file = str(file_with(tmp_path, users + commands + keytabs))
    settings("-H", POOL, "--accounts", file, "--auth", "kerberos", env={})
    settings("-H", POOL, "--accounts", file, "--auth", "trusted-server", *CERTIFICATE, env={})
    with pytest.raises(SettingsError, match="publisher_password_command"):
        settings("-H", POOL, "--accounts", file, "--auth", "ntlm", env={})


@pytest.mark.parametrize(
    ("env", "files"),
    [
        ({}, ("/etc/krb5.conf",)),
        ({"KRB5_CONFIG": ""}, ("/etc/krb5.conf",)),
        ({"KRB5_CONFIG": "/a:/b"}, ("/a", "/b")),
    ],
)
def test_the_configuration_of_kerberos_is_the_one_that_libkrb5_reads(
    env: Dict[str, str], files: Tuple[str, ...]
) -> None:
    assert settings("-H", POOL, *USERS, env={**PASSWORDS, **env}).krb5_config == files


TWO_POOLS = """
[pool02.contoso.example]
connect = 10.0.0.9
publisher = sip:eve@contoso.example
publisher_password = e
subscriber = sip:dan@contoso.example
subscriber_user = CONTOSO\\dan
subscriber_password = d
"""


def test_the_subscriber_of_another_pool_is_the_one_of_its_section(tmp_path: Path) -> None:
    path = str(file_with(tmp_path, TWO_USERS + TWO_POOLS))
    found = settings("-H", POOL, "--accounts", path, "--subscriber-target", "pool02.contoso.example", env={})
    assert (found.publisher.uri, found.connect) == ("sip:ann@contoso.example", None)
    assert (found.subscriber.uri, found.subscriber.user) == ("sip:dan@contoso.example", "CONTOSO\\dan")
    assert found.subscriber.password.reveal() == "d"
    assert found.subscriber_connect == ("10.0.0.9", 5061)


def test_without_a_section_the_own_subscriber_is_signed_in_at_the_other_pool(tmp_path: Path) -> None:
    found = of_file(tmp_path, "", "--subscriber-target", "pool02.contoso.example", "--connect", "10.0.0.1")
    assert found.subscriber.uri == "sip:ben@contoso.example"
    assert (found.subscriber_target, found.subscriber_connect) == ("pool02.contoso.example", None)


@pytest.mark.parametrize(
    ("line", "argument", "way"),
    [
        ("connect = 10.0.0.1", "--discover", (None, True)),
        ("discover = yes", "--connect=10.0.0.2", (("10.0.0.2", 5061), False)),
    ],
)
def test_the_way_that_the_command_line_names_beats_the_one_of_the_file(
    tmp_path: Path, line: str, argument: str, way: Any
) -> None:
    found = of_file(tmp_path, line + "\n", argument)
    assert (found.connect, found.discover) == way


def of_file(tmp_path: Path, more: str, *arguments: str) -> Settings:
    return settings("-H", POOL, "--accounts", str(file_with(tmp_path, TWO_USERS + more)), *arguments)


@pytest.mark.parametrize(
    "option",
    [option for option in all_options() if option.in_file and not option.key.startswith(("publisher", "subscriber"))],
    ids=lambda option: option.key,
)
def test_a_wrong_value_in_the_file_names_the_key_and_the_file(tmp_path: Path, option: Option) -> None:
    wrong = {"text": "\0", "integer": "x", "seconds": "x", "range": "x", "named range": "x", "flag": "x", "count": "²"}
    lines = {"ldap_uri": "ldaps://dc01.contoso.example"}
    if option.key == "ldap_password_file":
        lines["ldap_bind"] = "reader"  # without it there is no password to be read
    lines[option.key] = wrong[option.kind]
    path = file_with(tmp_path, TWO_USERS + "".join(f"{key} = {value}\n" for key, value in lines.items()))
    with pytest.raises(SettingsError) as error:
        settings("-H", POOL, "--accounts", str(path))
    assert str(error.value).startswith(f"{option.key} in {path} is ")


def test_a_number_of_more_digits_than_python_converts_is_a_wrong_value(tmp_path: Path) -> None:
    for key in ("verbose", "port", "timeout", "warning"):
        with pytest.raises(SettingsError) as error:
            of_file(tmp_path, f"{key} = {'9' * 5000}\n")
        assert str(error.value).startswith(f"{key} in ")


@pytest.mark.parametrize("value", ["0", "no", "false", "off", "NO", "Off", ""])
def test_a_flag_can_be_off_in_the_file(tmp_path: Path, value: str) -> None:
    assert of_file(tmp_path, f"insecure = {value}\n").tls.insecure is False


@pytest.mark.parametrize("value", ["1", "yes", "true", "on", "YES", "On"])
def test_a_flag_can_be_on_in_the_file(tmp_path: Path, value: str) -> None:
    assert of_file(tmp_path, f"insecure = {value}\n").tls.insecure is True


def test_the_command_line_beats_the_file(tmp_path: Path) -> None:
    file = "timeout = 20\nwarning = 5\nactivity_warning = notify=1 publish=2\nipv6 = yes\nverbose = 1\n"
    found = of_file(tmp_path, file, "-t", "10", "-w", "7", "--activity-warning", "register=3", "-4", "-vvv")
    assert (found.timeout, found.family, found.verbose) == (10.0, 4, 3)
    assert found.thresholds.warning == {"latency": "7", "register": "3"}


def test_two_families_in_the_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="exclude each other"):
        of_file(tmp_path, "ipv4 = yes\nipv6 = yes\n")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("connect = a b\n", "connect in {} is 'a b', which is no host name"),
        ("connect = [::1\n", "connect in {} is '[::1'; write an IPv6 address"),
        ("connect = fe01:0\n", "the port of connect in {} is '0'"),
        ("client_key = k.pem\n", "client_key in {} goes with a certificate"),
        ("subscriber_target = pool02.contoso.example\n[pool02.contoso.example]\nconnect = a b\nsubscriber = c@d\n"
         "subscriber_password = x\n", "connect in {} is 'a b'"),
    ],
)  # fmt: skip
def test_a_wrong_place_or_file_in_the_file_is_not_blamed_on_the_command_line(
    tmp_path: Path, lines: str, words: str
) -> None:
    with pytest.raises(SettingsError) as error:
        of_file(tmp_path, lines)
    assert str(error.value).startswith(words.format(tmp_path / "accounts.ini"))


@pytest.mark.parametrize("arguments", [(), ("--publisher", "sip:eve@contoso.example")])
def test_a_wrong_address_in_the_file_names_the_key_and_the_file(tmp_path: Path, arguments: Tuple[str, ...]) -> None:
    path = file_with(tmp_path, TWO_USERS.replace("sip:ann@contoso.example", "foo"))
    with pytest.raises(SettingsError) as error:
        settings("-H", POOL, "--accounts", str(path), *arguments)
    assert str(error.value).startswith(f"publisher in {path}: 'foo' is not a user's SIP address")


def test_the_same_file_for_the_page_and_the_trace_is_refused_however_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    page = str(tmp_path / "x")
    for trace in (page, f"{tmp_path}/./x", f"{tmp_path}/link/x"):
        assert refused("--report", page, "--trace", trace).startswith("--report and --trace are the same file, ")
    assert settings("-H", POOL, *USERS, "--report", page).trace is None


def test_an_empty_value_is_as_good_as_none(tmp_path: Path) -> None:
    found = of_file(tmp_path, "connect =\nwarning =\nport =\nca_file =\n")
    assert (found.connect, found.thresholds.warning, found.port, found.tls.ca_file) == (None, {}, 5061, None)


def test_values_are_literal(tmp_path: Path) -> None:
    text = TWO_USERS.replace("of-the-file", "100%(user)s;x#y", 1)
    path = file_with(tmp_path, text)
    assert settings("-H", POOL, "--accounts", str(path), env={}).secrets[0] == "100%(user)s;x#y"


def test_what_all_pools_share_stands_in_default_and_a_pool_can_differ(tmp_path: Path) -> None:
    text = f"[DEFAULT]\n{TWO_USERS}timeout = 20\n[{POOL}]\nTimeout = 10\n[pool02.contoso.example]\n"
    path = write_accounts(tmp_path / "accounts.ini", text)
    found = [settings("-H", pool, "--accounts", str(path), env={}) for pool in (POOL, "POOL02.contoso.example.")]
    assert [(one.publisher.uri, one.timeout) for one in found] == [
        ("sip:ann@contoso.example", 10.0),
        ("sip:ann@contoso.example", 20.0),
    ]


def test_what_all_pools_share_holds_for_a_pool_without_a_section_and_its_users_do_not(tmp_path: Path) -> None:
    text = f"[DEFAULT]\n{TWO_USERS}timeout = 20\nwarning = 5\nca_file = ca.pem\n[pool02.contoso.example]\nwarning = 9\n"
    path = write_accounts(tmp_path / "accounts.ini", text)
    others = ("--publisher", "eve@contoso.example", "--subscriber", "dan@contoso.example")
    found = settings("-H", POOL, "--accounts", str(path), *others)
    assert (found.timeout, found.thresholds.warning, found.tls.ca_file) == (20.0, {"latency": "5"}, "ca.pem")
    assert (found.publisher.uri, found.publisher.user) == ("sip:eve@contoso.example", "eve@contoso.example")
    assert found.secrets == (ANN_PASSWORD, BEN_PASSWORD)
    with pytest.raises(SettingsError, match="there is no password for the publisher"):
        settings("-H", POOL, "--accounts", str(path), *others, env={})


def test_default_alone_is_no_section_for_a_pool(tmp_path: Path) -> None:
    path = write_accounts(tmp_path / "accounts.ini", f"[DEFAULT]\n{TWO_USERS}")
    with pytest.raises(SettingsError, match="it has none"):
        settings("-H", POOL, "--accounts", str(path))


def test_the_file_may_be_named_in_the_environment_or_stand_in_the_home_directory(tmp_path: Path) -> None:
    path = tmp_path / ".config" / "check_lync_presence" / "accounts.ini"
    path.parent.mkdir(parents=True)
    write_accounts(path, ACCOUNTS)
    assert settings("-H", POOL, env={"HOME": str(tmp_path)}).secrets == (ANN_PASSWORD, BEN_PASSWORD)
    assert settings("-H", POOL, env={"CHECK_LYNC_PRESENCE_ACCOUNTS": str(path)}).secrets[0] == ANN_PASSWORD


def test_the_first_accounts_file_that_exists_is_taken(tmp_path: Path) -> None:
    in_home = tmp_path / ".config" / "check_lync_presence" / "accounts.ini"
    in_home.parent.mkdir(parents=True)
    write_accounts(in_home, ACCOUNTS)
    named = tmp_path / "named.ini"
    env = {"HOME": str(tmp_path), "CHECK_LYNC_PRESENCE_ACCOUNTS": str(named)}
    assert settings("-H", POOL, env=env).accounts_file == str(in_home)
    write_accounts(named, ACCOUNTS)
    assert settings("-H", POOL, env=env).accounts_file == str(named)
    named.chmod(0o644)
    with pytest.raises(SettingsError, match="has mode 0644"):
        settings("-H", POOL, env=env)
    named.unlink()
    in_home.unlink()
    with pytest.raises(SettingsError) as error:
        settings("-H", POOL, env=env)
    assert str(error.value).startswith(f"there is no accounts file ({named}, {in_home}, ")


def may_not_be_looked_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it so for root, too, who may enter every folder."""
    stat = os.stat

    def guarded(name: Any, *arguments: Any, **keywords: Any) -> os.stat_result:
        if name == str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
        return stat(name, *arguments, **keywords)

    monkeypatch.setattr(os, "stat", guarded)


def test_an_accounts_file_that_this_user_may_not_look_at_is_passed_over_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".config" / "check_lync_presence" / "accounts.ini"
    may_not_be_looked_at(path, monkeypatch)
    user = pwd.getpwuid(os.geteuid()).pw_name
    with pytest.raises(SettingsError) as error:
        settings("-H", POOL, env={"HOME": str(tmp_path)})
    assert f"; {path} may not be looked at by this user ({user}); run this as one who may (runuser -u " in str(
        error.value
    )
    assert settings("-H", POOL, *USERS, env={**PASSWORDS, "HOME": str(tmp_path)}).accounts_file is None


def test_an_accounts_file_that_was_named_and_may_not_be_looked_at_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "accounts.ini"
    may_not_be_looked_at(path, monkeypatch)
    with pytest.raises(SettingsError, match=f"^cannot read the accounts file {path}: "):
        settings("-H", POOL, *USERS, env={**PASSWORDS, "CHECK_LYNC_PRESENCE_ACCOUNTS": str(path)})


def test_a_missing_role_is_named(tmp_path: Path) -> None:
    path = file_with(tmp_path, TWO_USERS.replace("subscriber =", "#"))
    with pytest.raises(SettingsError, match="there is no subscriber; name one with --subscriber"):
        settings("-H", POOL, "--accounts", str(path))


def test_the_secrets_are_nowhere_in_the_printed_settings(tmp_path: Path) -> None:
    found = settings("-H", POOL, *USERS)
    assert ANN_PASSWORD not in repr(found)
    assert BEN_PASSWORD not in str(found)


def test_the_environment_of_the_tests_does_not_reach_the_check() -> None:
    assert not [name for name in environment() if name.endswith("_PASSWORD")]
    assert "CHECK_LYNC_PRESENCE_ACCOUNTS" not in environment(), os.environ
