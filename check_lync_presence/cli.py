"""Options to Settings: the only reader of argv and of the environment.

Owns usage errors and where passwords come from. Whatever goes wrong here is UNKNOWN: one line on standard output that
says what to do, exit 3. Must not know what a run does with its Settings.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import time
from typing import Any, Dict, Iterable, List, Mapping, NoReturn, Optional, Sequence, Tuple

from . import __version__
from .options import ABOUT, GROUPS, SECRET_KEYS, Option, all_options
from .passwords import Sources, standard_input
from .settings import (
    MAX_TIME,
    Account,
    AccountsFile,
    DirectorySettings,
    Keytab,
    Secret,
    Settings,
    SettingsError,
    Thresholds,
    TlsSettings,
    UserCertificate,
    read_accounts_file,
    read_private_octets,
    sip_address,
    user_name,
)
from .stop import Stopped, finish_anyway, watch_for_sigterm

PROGRAM = "check_lync_presence"
SYSTEM_ACCOUNTS = "/etc/check_lync_presence/accounts.ini"
SYSTEM_STATE = "/var/lib/check_lync_presence"
SYSTEM_KRB5 = "/etc/krb5.conf"
ACTIVITY_LABELS = ("register", "self_subscribe", "subscribe", "publish", "notify", "unregister")
# What a way to sign in says of the server.
PROTOCOLS = {"kerberos": "lync", "ntlm": "lync", "tls-dsk": "lync", "trusted-server": "lync", "digest": "simple"}
MAX_NAMED = 5  # sections of an accounts file in a message
KEYTAB_MAGIC = (b"\5\1", b"\5\2")  # the versions of the format
DEFAULT_PORTS = {"tls": 5061, "tcp": 5060, "udp": 5060}

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})\Z")
# Compiled where they are needed, which is not in every run.
_NUMBER = r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?"
_RANGE = rf"@?(?:(?:~|{_NUMBER})?:)?(?:{_NUMBER})?\Z"
_BARE_IPV6_URI = r"(ldaps?://)([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)(/?)\Z"
_LDAP_URI = r"ldaps?://(\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]|[A-Za-z0-9_.-]+)(?::([0-9]+))?/?\Z"
_TRUE, _FALSE = ("1", "yes", "true", "on"), ("0", "no", "false", "off")


class _Versions(argparse.Action):
    """``-V``: nothing of it is looked up before it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from .versions import versions

        parser._print_message("".join(f"{name} {number}\n" for name, number in versions().items()), sys.stdout)
        parser.exit()


# What is said here is English in every locale. argparse looks for its words in other languages, of which no Python has
# any, at every start: a fiftieth of a check.
vars(argparse)["_"] = str


class _Parser(argparse.ArgumentParser):
    def _print_message(self, message: str, file: Any = None) -> None:
        # Where standard output is closed argparse would write to standard error.
        if file is not None:
            super()._print_message(message, file)

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; {PROGRAM} --help lists the options")

    def exit(self, status: int = 0, message: Optional[str] = None) -> NoReturn:
        # --help and --version end here; the guidelines want 3, so that a scheduler never takes them for OK.
        raise SystemExit(3)


def main(argv: Optional[Sequence[str]] = None) -> NoReturn:
    """The command line. Exits with 0, 1, 2 or 3 and never in another way."""
    _leave_no_core_dump()
    started = time.monotonic()
    sources = Sources(os.environ, standard_input)
    target, verbose = "", 0
    try:
        watch_for_sigterm()
        arguments = _arguments(argv)
        target, verbose = arguments.target or "", arguments.verbose or 0
        if arguments.replay is not None:
            _replay(arguments)
        settings = settings_from(arguments, sources)
        if arguments.verify_accounts:
            _refuse_files(arguments)
            from .verify import verify_accounts

            verify_accounts(settings)
        if arguments.self_test:
            _refuse_files(arguments)
            from .self_test import self_test

            self_test(settings)
        from .plugin import execute

        execute(settings)
    except SettingsError as error:
        _unknown(str(error))
    except Stopped as stop:
        _stopped(target, stop.stuck_in, time.monotonic() - started)
    except KeyboardInterrupt:
        _unknown("interrupted")
    except Exception as error:
        finish_anyway()
        from .report.text import redact

        text, place = _bug(error, bool(verbose))
        _unknown(redact(text, sources.known), redact(place, sources.known))
    raise AssertionError("execute() does not return")


def _refuse_files(arguments: argparse.Namespace) -> None:
    if arguments.report is not None or arguments.trace is not None:
        option = "--verify-accounts" if arguments.verify_accounts else "--self-test"
        raise SettingsError(f"{option} makes no round trip that --report or --trace could tell of; leave them out")


def _replay(arguments: argparse.Namespace) -> NoReturn:
    """Judge a recorded run again; how it is told may be asked for anew."""
    from .plugin import execute
    from .trace.lines import read_trace
    from .trace.player import Player

    given = [name for name, value in vars(arguments).items() if value is not None]
    others = [name for name in given if name not in ("replay", "report", "verbose")]
    if others:
        name = others[0].replace("_", "-")
        raise SettingsError(f"--replay takes everything but -v and --report from the trace; leave out --{name}")
    recording = read_trace(arguments.replay)
    settings = _as_if_typed(recording.settings)._replace(report=arguments.report, trace=None)
    if arguments.verbose is not None:
        settings = settings._replace(verbose=min(arguments.verbose, 3))
    execute(settings, Player(recording))


def _as_if_typed(settings: Settings) -> Settings:
    """The settings of a trace, which somebody may have changed by hand. Raises SettingsError."""
    where = "in the trace"
    for option in all_options():
        value = getattr(settings, option.key, None)
        if option.choices and value is not None and value not in option.choices:
            raise SettingsError(f"{option.key} {where} is {value!r}; it can be {', '.join(option.choices)}")
    for level, ranges in zip(("warning", "critical"), settings.thresholds):
        for label, text in ranges.items():
            _range(text, f"the {level} range of {label} {where}")
    for account in (settings.publisher, settings.subscriber):
        sip_address(account.uri)
    for uri in settings.directory.uris if settings.directory is not None else ():
        _check_ldap_uri(uri, f"ldap_uri {where}")
    for host in filter(None, (settings.target, settings.subscriber_target)):
        _host(host, f"the pool {where}")
    return settings


def _leave_no_core_dump() -> None:
    """A crash must not write passwords to a file; programs that take core dumps through a pipe heed this as well."""
    import resource

    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _arguments(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = _parser()
    arguments, unknown = parser.parse_known_args(_joined(sys.argv[1:] if argv is None else argv, parser))
    if unknown:
        # argparse would show all that it does not know, and behind --publisher-password stands a password.
        name = unknown[0].partition("=")[0]
        if name.startswith("--pass"):
            hint = "; passwords go into --publisher-password-file and --subscriber-password-file, or the accounts file"
        else:
            hint = _near(name, parser._option_string_actions) or f"; {PROGRAM} --help lists the options"
        raise SettingsError(f"unknown argument {name}{hint}")
    return arguments


def _joined(argv: Sequence[str], parser: argparse.ArgumentParser) -> List[str]:
    """The arguments, each negative value in one word with its option: argparse would take -4:5 for the option -4."""
    options = parser._option_string_actions
    joined: List[str] = []
    for word in argv:
        option = options.get(joined[-1]) if joined else None
        negative = word[:1] == "-" and word[1:2].isdigit() and word not in options
        if negative and option is not None and option.nargs is None:
            joined[-1] += f"={word}" if joined[-1].startswith("--") else word
        else:
            joined.append(word)
    return joined


def _near(word: str, known: Iterable[str]) -> str:
    """A question about a word that is nearly a known one."""
    from difflib import get_close_matches

    nearest = get_close_matches(word, known, 1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def _unknown(text: str, more: str = "") -> NoReturn:
    finish_anyway()
    from .report.text import MAX_OUTPUT, clean, shortened

    first_line = shortened(f"LYNC PRESENCE UNKNOWN - {clean(text, MAX_OUTPUT)}", MAX_OUTPUT - 1)
    print("\n".join([first_line, *map(clean, more.splitlines())]))
    sys.exit(3)


def _stopped(target: str, stuck_in: str, seconds: float) -> NoReturn:
    """The verdict on a run that was ended from outside before it had begun."""
    from .diagnosis import STOPPED
    from .outcome import Diagnosis, Outcome
    from .report.text import clean, cmdlet_lines

    ended = f"after {seconds:.1f} s, then SIGTERM"
    text = f"{stuck_in}: not over {ended}" if stuck_in else f"not begun {ended}"
    failed = Outcome(target, (), (), None, None, None)
    lines = [f"LYNC PRESENCE CRITICAL - Register {'not begun, ' if stuck_in else ''}{clean(text)} | success=0"]
    lines += [*cmdlet_lines(failed, Diagnosis(f"{text[0].upper()}{text[1:]}.", "", ())), clean(STOPPED)]
    print("\n".join(lines))
    sys.exit(2)


def _bug(error: Exception, verbose: bool) -> Tuple[str, str]:
    """A mistake of ours in one line, and its place."""
    text = f"internal error, please report it: {type(error).__name__}: {error}"
    if not verbose:
        return f"{text}; -v shows where", ""
    import traceback

    return text, traceback.format_exc()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        allow_abbrev=False,
        add_help=False,
        usage="%(prog)s -H FQDN [options]",
        description="Logs two test users on to a Lync or Skype for Business pool, publishes presence as one and checks "
        "that the other receives it, as Test-CsPresence does.",
        epilog="Ranges are those of the Monitoring Plugins guidelines: 5 (outside 0 to 5), 10: (below 10), "
        "'~:5' (above 5; in quotes, for the shell), @5:10 (inside 5 to 10). "
        "Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.",
    )
    for group in GROUPS:
        section = parser.add_argument_group(group.title)
        for option in group.options:
            section.add_argument(*option.names, **_argparse_of(option))
    about = parser.add_argument_group(ABOUT.title)
    version, usage = ABOUT.options
    about.add_argument(*version.names, action=_Versions, nargs=0, help=version.help)
    about.add_argument(*usage.names, action="help", help=usage.help)
    return parser


def _argparse_of(option: Option) -> Dict[str, Any]:
    # Defaults are filled in after the accounts file has been read: the command line beats it, so it must show what was
    # not given.
    keywords: Dict[str, Any] = {"dest": option.key, "default": None, "help": option.help}
    if option.kind == "flag":
        keywords["action"] = "store_true"
    elif option.kind == "count":
        keywords["action"] = "count"
    else:
        keywords["metavar"] = "|".join(option.choices) or option.metavar
        if option.repeatable:
            keywords["action"] = "append"
    return keywords


def settings_from(arguments: argparse.Namespace, sources: Sources) -> Settings:
    """Settings from the command line, the accounts file and the environment, in this order. Raises SettingsError.

    What passwords were waited for is gone from the run's time.
    """
    environment = sources.environment
    target = arguments.target
    if target is None:
        raise SettingsError(
            f"name the pool with -H, for example: {PROGRAM} -H pool01.contoso.example; "
            f"{PROGRAM} --help lists the options"
        )
    target = _host(target, "-H")
    _check_typed(arguments)
    both_named = arguments.publisher is not None and arguments.subscriber is not None
    accounts = _accounts_file(arguments.accounts, environment, needed=not both_named)
    section = accounts.section(target) if accounts is not None else None
    if section is None and not both_named:
        raise SettingsError(_no_section(target, accounts))
    shared = accounts.defaults if accounts is not None else {}
    keys = _checked_keys(shared if section is None else section, accounts)
    values = _Values(arguments, keys, accounts.path if accounts is not None else "")

    elsewhere = _elsewhere(values, arguments, accounts, target)
    timeout, notify_timeout = values.seconds("timeout"), values.seconds("notify_timeout")
    sources.allow(timeout)
    auth = values.choice("auth")
    publisher = _account("publisher", values, sources, auth)
    subscriber = _account("subscriber", elsewhere or values, sources, auth)
    if publisher.uri.lower() == subscriber.uri.lower():
        raise SettingsError(f"publisher and subscriber are both {publisher.uri}; the check needs two users")
    transport = values.choice("transport")
    protocol = _protocol(values, auth)
    if transport == "udp":
        if protocol == "lync":
            raise SettingsError(
                f"Lync does not speak UDP; use --transport tls, or --protocol simple{_said(values, auth)}"
            )
        protocol = "simple"
    tls = TlsSettings(
        ca_file=values.text("ca_file"),
        client_cert=values.text("client_cert"),
        client_key=values.text("client_key"),
        minimum=values.choice("tls_min"),
        insecure=values.flag("insecure"),
    )
    if tls.client_key is not None and tls.client_cert is None:
        raise SettingsError(f"{values.name('client_key')} goes with a certificate; name it with --client-cert")
    if auth == "trusted-server":
        _check_trusted_server(values, transport, tls)
    elif auth == "tls-dsk" or publisher.certificate is not None or subscriber.certificate is not None:
        _check_verified("TLS-DSK", transport, tls)
    port = values.port() or DEFAULT_PORTS[transport]
    way = _one_of(values, "connect", "discover")
    scope = _one_of(values, "all_front_ends", "subscriber_target")
    if values.given_on_command_line("front_ends_critical") and scope != "all_front_ends":
        raise SettingsError("--front-ends-critical counts the front ends of --all-front-ends; give both")
    report, trace = values.text("report"), values.text("trace")
    if report is not None and trace is not None and os.path.realpath(report) == os.path.realpath(trace):
        raise SettingsError(f"{values.name('report')} and {values.name('trace')} are the same file, {report}")
    directory = _directory(values, sources)
    connect = _connect(values.text("connect"), port, values.name("connect")) if way == "connect" else None
    family = {None: None, "ipv4": 4, "ipv6": 6}[_one_of(values, "ipv4", "ipv6")]
    _check_family(connect[0] if connect is not None else target, family)
    return Settings(
        target=target,
        publisher=publisher,
        subscriber=subscriber,
        port=port,
        connect=connect,
        family=family,
        transport=transport,
        protocol=protocol,
        auth=auth,
        ntlm_mic=values.flag("ntlm_mic"),
        user_agent=values.text("user_agent") or f"UCCAPI/15.0.0 {PROGRAM}/{__version__}",
        tls=tls,
        directory=directory,
        account_state=values.choice("account_state"),
        state_folders=_state_folders(values.text("state_dir"), environment),
        thresholds=Thresholds(_ranges(values, "warning"), _ranges(values, "critical")),
        timeout=timeout - sources.spent,
        notify_timeout=notify_timeout,
        verbose=values.count("verbose"),
        discover=way == "discover",
        all_front_ends=scope == "all_front_ends",
        subscriber_target=values.host("subscriber_target") if scope == "subscriber_target" else None,
        subscriber_connect=(
            _connect(elsewhere.in_file("connect"), port, elsewhere.name_in_file("connect"))
            if elsewhere is not None
            else None
        ),
        report=report,
        trace=trace,
        krb5_config=tuple(filter(None, (environment.get("KRB5_CONFIG") or SYSTEM_KRB5).split(":"))),
        accounts_file=accounts.path if accounts is not None else None,
        origins={**values.origins, **(elsewhere or values).origins},
    )


def _check_typed(arguments: argparse.Namespace) -> None:
    """Whoever mistypes a value wants to read that, and not what is wrong with the accounts. Raises SettingsError."""
    typed = _Values(arguments, {}, "")
    for option in all_options():
        if not typed.given_on_command_line(option.key):
            continue
        if option.choices:
            typed.choice(option.key)
        elif option.kind == "seconds":
            typed.seconds(option.key)
    for level in ("warning", "critical"):
        _ranges(typed, level)
    _connect(typed.text("connect"), typed.port() or 0, typed.name("connect"))
    for role in ("publisher", "subscriber"):
        typed.address(role)
    typed.text("accounts")


def _protocol(values: _Values, auth: str) -> str:
    protocol = values.choice("protocol")
    implied = PROTOCOLS.get(auth, protocol)
    if protocol not in ("auto", implied):
        raise SettingsError(
            f"{values.name('auth')} is {auth}, which a {protocol} server does not know; leave out "
            f"{values.name('protocol')}, or sign in otherwise"
        )
    return implied


def _said(values: _Values, auth: str) -> str:
    return f" ({values.name('auth')} is {auth})" if auth in PROTOCOLS else ""


def _check_trusted_server(values: _Values, transport: str, tls: TlsSettings) -> None:
    """Where no message is signed the TLS connection is all that proves who is who, at both ends."""
    name = f"{values.name('auth')} trusted-server"
    _check_verified(name, transport, tls)
    if tls.client_cert is None:
        raise SettingsError(f"{name} needs the certificate of a trusted server: --client-cert and --client-key")


def _check_verified(name: str, transport: str, tls: TlsSettings) -> None:
    """Whose signatures anybody could make, because the keys say nothing of him, must be known by the TLS connection."""
    if transport != "tls":
        raise SettingsError(f"{name} needs TLS; use --transport tls")
    if tls.insecure:
        raise SettingsError(f"{name} needs a verified server; leave out --insecure, and give its CA with --ca-file")


def _elsewhere(
    values: _Values, arguments: argparse.Namespace, accounts: Optional[AccountsFile], target: str
) -> Optional[_Values]:
    """The values of the subscriber's pool, where that is another one whose section has a subscriber."""
    other = values.host("subscriber_target")
    if other == target:
        raise SettingsError(f"{values.name('subscriber_target')} is {other}, which is the publisher's pool as well")
    section = accounts.section(other) if accounts is not None and other is not None else None
    if accounts is None or section is None or not section.get("subscriber"):
        return None
    return _Values(arguments, _checked_keys(section, accounts), accounts.path)


def _one_of(values: _Values, *keys: str) -> Optional[str]:
    """Which of the options that exclude each other was given; the command line beats the file in this, too."""
    given = [key for key in keys if values.is_set(key)]
    if len(given) > 1:
        names = [values.name(key) for key in given]
        given = [key for key in given if values.given_on_command_line(key)]
        if len(given) != 1:
            raise SettingsError(f"{' and '.join(names)} exclude each other")
    return given[0] if given else None


class _Values:
    """What was given for each option: on the command line, else in the pool's section, else its default."""

    def __init__(self, arguments: argparse.Namespace, section: Dict[str, str], path: str) -> None:
        self._arguments = vars(arguments)
        self._section = section
        self._path = path
        self._options = {option.key: option for option in all_options()}
        self.origins: Dict[str, str] = {}

    def name(self, key: str) -> str:
        """How an error names the place of a value."""
        if self._arguments.get(key) is not None:
            return max(self._options[key].names, key=len)
        return self.name_in_file(key)

    def name_in_file(self, key: str) -> str:
        return f"{key} in {self._path}"

    def given_on_command_line(self, key: str) -> bool:
        return self._arguments.get(key) is not None

    def in_file(self, key: str) -> Optional[str]:
        return self._section.get(key) or None

    def text(self, key: str) -> Optional[str]:
        value = self._arguments.get(key)
        if value is None:
            value = self.in_file(key)
        default = self._options[key].default
        if value is None:
            return None if default is None else str(default)
        if value == "" or "\0" in value or "\n" in value or "\r" in value:
            raise SettingsError(f"{self.name(key)} is empty, or has a line break or a NUL in it")
        return str(value)

    def list(self, key: str) -> List[str]:
        given = self._arguments.get(key)
        return list(given) if given is not None else (self.in_file(key) or "").split()

    def choice(self, key: str) -> str:
        value = self.text(key) or ""
        choices = self._options[key].choices
        if value not in choices:
            raise SettingsError(f"{self.name(key)} is {value!r}; it can be {', '.join(choices)}")
        return value

    def flag(self, key: str) -> bool:
        if self._arguments.get(key):
            return True
        value = (self.in_file(key) or "no").lower()
        if value not in _TRUE + _FALSE:
            raise SettingsError(f"{self.name(key)} is {value!r}; it can be yes or no")
        return value in _TRUE

    def is_set(self, key: str) -> bool:
        """Whether it was asked for, be it a flag or a text."""
        return self.flag(key) if self._options[key].kind == "flag" else self.text(key) is not None

    def host(self, key: str) -> Optional[str]:
        text = self.text(key)
        return None if text is None else _host(text, self.name(key))

    def address(self, role: str) -> Optional[str]:
        text = self.text(role)
        return None if text is None else _address(text, self.name(role))

    def count(self, key: str) -> int:
        given = self._arguments.get(key)
        text = str(given) if given is not None else self.in_file(key) or "0"
        if not (text.isascii() and text.isdigit() and len(text) < 5):
            raise SettingsError(f"{self.name(key)} is {text!r}; it can be 0, 1, 2 or 3")
        return min(int(text), 3)

    def seconds(self, key: str) -> float:
        text = self.text(key) or ""
        # float() takes more than what a number of seconds looks like: 1_0, and the digits of other scripts.
        seconds = float(text) if text.isascii() and text.replace(".", "", 1).isdigit() else 0.0
        if not 0 < seconds <= MAX_TIME:
            raise SettingsError(
                f"{self.name(key)} is {text!r}; it takes seconds, more than 0 and at most {MAX_TIME:.0f}"
            )
        return seconds

    def port(self) -> Optional[int]:
        text = self.text("port")
        return None if text is None else _port(text, self.name("port"))


def _accounts_file(path: Optional[str], environment: Mapping[str, str], needed: bool) -> Optional[AccountsFile]:
    if path is not None:
        return read_accounts_file(path)
    named, home = environment.get("CHECK_LYNC_PRESENCE_ACCOUNTS", ""), environment.get("HOME", "")
    in_home = os.path.join(home, ".config", PROGRAM, "accounts.ini") if home else ""
    candidates = list(filter(None, (named, in_home, SYSTEM_ACCOUNTS)))
    hidden = ""
    for candidate in candidates:
        try:
            os.stat(candidate)
        except PermissionError:
            # HOME may be another user's when a daemon started us: what cannot be looked at does not exist.
            if candidate == named:
                return read_accounts_file(named)
            hidden = f"; {candidate} may not be looked at by this user ({user_name(os.geteuid())})"
        except OSError:
            continue
        else:
            return read_accounts_file(candidate)
    if needed:
        remedy = f"run this as one who may (runuser -u nagios -- {PROGRAM} …), " if hidden else ""
        raise SettingsError(
            f"there is no accounts file ({', '.join(candidates)}){hidden}; {remedy}name one with --accounts, "
            "or name two users with --publisher and --subscriber"
        )
    return None


def _no_section(target: str, accounts: Optional[AccountsFile]) -> str:
    assert accounts is not None
    names = [f"[{name}]" for name in accounts.sections]
    more = len(names) - MAX_NAMED
    sections = (", ".join(names[:MAX_NAMED]) or "none") + (f" and {more} more" if more > 0 else "")
    return (
        f"{accounts.path} has no section for the pool {target}; it has {sections}. "
        "Add one, or name two users with --publisher and --subscriber"
    )


def _checked_keys(section: Dict[str, str], accounts: Optional[AccountsFile]) -> Dict[str, str]:
    known = {option.key for option in all_options() if option.in_file}.union(SECRET_KEYS)
    for key in section:
        if key.replace("-", "_") not in known:
            path = accounts.path if accounts is not None else ""
            options = {option.key for option in (*all_options(), *ABOUT.options)}
            if key.replace("-", "_") in options:
                raise SettingsError(f"{path} has the key {key!r}, which belongs on the command line")
            raise SettingsError(f"{path} has the unknown key {key!r}{_near(key, known)}")
    return {key.replace("-", "_"): value for key, value in section.items()}


def _account(role: str, values: _Values, sources: Sources, auth: str) -> Account:
    uri = values.address(role)
    if uri is None:
        raise SettingsError(f"there is no {role}; name one with --{role}, or as {role} = sip:… in the accounts file")
    # Another user's logon name and password from the file must not be tried on a user named on the command line: it
    # would lock somebody out.
    in_file = values.in_file(role)
    same = in_file is not None and _address(in_file, values.name_in_file(role)).lower() == uri.lower()
    use_file = same or not values.given_on_command_line(role)
    user = values.text(f"{role}_user") if use_file or values.given_on_command_line(f"{role}_user") else None
    keytab = _keytab(role, values, use_file, auth)
    certificate = _certificate(role, values, use_file, auth)
    wanted = (
        auth != "trusted-server" and not (auth == "kerberos" and keytab) and not (auth == "tls-dsk" and certificate)
    )
    password = _password(role, values, use_file, sources) if wanted else ""
    if not password and not keytab and not certificate and auth not in ("kerberos", "trusted-server"):
        raise SettingsError(
            f"there is no password for the {role} {uri}; give it with --{role}-password-file, in the environment as "
            f"{role.upper()}_PASSWORD, or in the accounts file"
        )
    user = user or uri.partition(":")[2]
    try:
        (uri + user + password).encode()
    except UnicodeEncodeError:  # octets of argv or of the environment that are no text
        raise SettingsError(f"the address, the logon name or the password of the {role} is not UTF-8 text") from None
    return Account(uri, user, Secret(password), keytab, certificate)


def _keytab(role: str, values: _Values, use_file: bool, auth: str) -> Optional[Keytab]:
    key = f"{role}_keytab"
    given = values.given_on_command_line(key)
    if auth not in ("auto", "kerberos", "tls-dsk"):
        if given:
            raise SettingsError(f"{values.name(key)} goes with --auth kerberos or tls-dsk, not with {auth}")
        return None
    path = values.text(key) if given or use_file else None
    if path is None:
        return None
    octets = read_private_octets(path, f"{role}'s keytab", "holds Kerberos keys")
    if not octets.startswith(KEYTAB_MAGIC):
        raise SettingsError(
            f"the {role}'s keytab {path} is not a keytab; ktpass or ktutil makes one, klist -k reads it"
        )
    import hashlib

    return Keytab(path, Secret(hashlib.sha256(octets).hexdigest()))


def _certificate(role: str, values: _Values, use_file: bool, auth: str) -> Optional[UserCertificate]:
    paths = []
    for key in (f"{role}_cert", f"{role}_key"):
        given = values.given_on_command_line(key)
        if given and auth not in ("auto", "tls-dsk"):
            raise SettingsError(f"{values.name(key)} goes with --auth tls-dsk, not with {auth}")
        paths.append(values.text(key) if (given or use_file) and auth in ("auto", "tls-dsk") else None)
    certificate, private_key = paths
    if certificate is None:
        if private_key is not None:
            raise SettingsError(f"{values.name(f'{role}_key')} goes with a certificate; name it with --{role}-cert")
        return None
    from .user_certificates import read_certificate

    return read_certificate(certificate, private_key, role, time.time())


def _state_folders(chosen: Optional[str], environment: Mapping[str, str]) -> Tuple[str, ...]:
    if chosen is not None:
        return (chosen,)
    state = environment.get("XDG_STATE_HOME") or os.path.join(
        environment.get("HOME") or "/nonexistent", ".local", "state"
    )
    # What a package has prepared for us comes first; it is not made here, or the first to run would own it.
    prepared = (SYSTEM_STATE,) if os.path.isdir(SYSTEM_STATE) else ()
    return (*prepared, os.path.join(state, PROGRAM), f"/var/tmp/{PROGRAM}-{os.geteuid()}")  # noqa: S108


def _directory(values: _Values, sources: Sources) -> Optional[DirectorySettings]:
    uris = values.list("ldap_uri")
    if not uris:
        return None
    uris = [_bracketed(uri) for uri in uris]
    for uri in uris:
        _check_ldap_uri(uri, values.name("ldap_uri"))
    bind = values.text("ldap_bind")
    asked = values.text("ldap_auth")
    auth = values.choice("ldap_auth") if asked is not None else "simple" if bind is not None else "anonymous"
    password = ""
    if auth == "simple":
        password = _password("ldap", values, True, sources)
        if bind is None or not password:
            raise SettingsError(
                "a simple bind needs --ldap-bind and a password: --ldap-password-file, LDAP_PASSWORD in the "
                "environment, or ldap_password in the accounts file"
            )
    base = values.text("ldap_base")
    try:
        "".join((base or "", bind or "", password)).encode()
    except UnicodeEncodeError:  # octets of argv or of the environment that are no text
        raise SettingsError("the base, the bind account or the password of the directory is not UTF-8 text") from None
    return DirectorySettings(
        uris=tuple(uris),
        base=base,
        bind=bind,
        password=Secret(password),
        auth=auth,
        ca_file=values.text("ldap_ca_file"),
        starttls=values.flag("ldap_starttls"),
    )


def _bracketed(uri: str) -> str:
    """An IPv6 address has brackets in a URI, and NRPE lets none pass."""
    from .net.resolve import is_ip_literal

    found = re.match(_BARE_IPV6_URI, uri, re.IGNORECASE)
    return "{}[{}]{}".format(*found.groups()) if found is not None and is_ip_literal(found.group(2)) else uri


def _check_ldap_uri(uri: str, name: str) -> None:
    found = re.match(_LDAP_URI, uri, re.IGNORECASE)
    if "@" in uri:  # what is in front of it may be a password
        raise SettingsError(
            f"{name} has a user in it; write it as ldaps://dc01.contoso.example, and give the bind account with "
            "--ldap-bind and --ldap-password-file"
        )
    if found is None:
        hint = ", an IPv6 address with its port as ldaps://[::1]:636" if uri.count(":") > 2 else ""
        raise SettingsError(f"{name} is {uri!r}; write it as ldaps://dc01.contoso.example{hint}")
    host, port = found.groups()
    _host(host, name)
    if port is not None:
        _port(port, f"the port of {name}")


def _password(role: str, values: _Values, use_file: bool, sources: Sources) -> str:
    password = _first_password(role, values, use_file, sources)
    sources.known.append(password)
    return password


def _first_password(role: str, values: _Values, use_file: bool, sources: Sources) -> str:
    key = f"{role}_password_file"
    if values.given_on_command_line(key):
        values.origins[role] = values.name(key)
        return sources.in_file(values.text(key) or "", role)
    variable = f"{role.upper()}_PASSWORD"
    if sources.environment.get(variable):
        values.origins[role] = f"{variable} in the environment"
        return sources.environment[variable]
    if not use_file:
        return ""
    password = values.in_file(f"{role}_password")
    if password is not None:
        values.origins[role] = values.name(f"{role}_password")
        return password
    command = values.in_file(f"{role}_password_command")
    if command is not None:
        values.origins[role] = values.name(f"{role}_password_command")
        return sources.of_command(command, role)
    path = values.text(key)
    if path is None:
        return ""
    values.origins[role] = values.name(key)
    return sources.in_file(path, role)


def _host(text: str, name: str) -> str:
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    from .net.resolve import is_ip_literal

    if not _HOST.match(host) and not is_ip_literal(host):
        hint = "; a port goes to --port" if re.search(r"^[^:]+:\d+$", host) and name == "-H" else ""
        raise SettingsError(f"{name} is {text!r}, which is no host name and no address{hint}")
    return host if ":" in host else host.rstrip(".").lower()


def _address(text: str, name: str) -> str:
    try:
        return sip_address(text)
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from None


def _check_family(host: str, family: Optional[int]) -> None:
    from .net.resolve import is_ip_literal

    if family is not None and is_ip_literal(host) and family != (6 if ":" in host else 4):
        raise SettingsError(f"{host} is not an IPv{family} address; leave out -{family}")


def _port(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 0 < int(text) < 65536:
        raise SettingsError(f"{name} is {text!r}; a port is a number from 1 to 65535")
    return int(text)


def _connect(text: Optional[str], default_port: int, name: str) -> Optional[Tuple[str, int]]:
    if text is None:
        return None
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or rest[:1] not in ("", ":"):
            raise SettingsError(f"{name} is {text!r}; write an IPv6 address with its port as [::1]:5061")
        port = rest[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    return _host(host, name), _port(port, f"the port of {name}") if port else default_port


def _ranges(values: _Values, level: str) -> Dict[str, str]:
    """Ranges by perfdata label."""
    ranges: Dict[str, str] = {}
    keys = {"latency": level, "certificate_days": f"certificate_{level}"}
    if level == "critical":
        keys["front_ends_failed"] = "front_ends_critical"
    for label, key in keys.items():
        text = values.text(key)
        if text is not None:
            ranges[label] = _range(text, values.name(key))
    key = f"activity_{level}"
    for item in values.list(key):
        label, equals, text = item.partition("=")
        label = label.replace("-", "_").lower()
        if not equals or label not in ACTIVITY_LABELS:
            names = ", ".join(ACTIVITY_LABELS)
            raise SettingsError(f"{values.name(key)} is {item!r}; write it as NAME=RANGE, NAME being one of {names}")
        ranges[label] = _range(text, values.name(key), item[: len(item) - len(text)])
    return ranges


def _range(text: str, name: str, before: str = "") -> str:
    """A range that the library can read. `before` stands in front of it in the option's value."""
    start, _, end = text.lstrip("@").rpartition(":")
    wrong = not text or not re.match(_RANGE, text) or text.endswith("@")
    if not wrong and end and start != "~":
        wrong = float(start or 0) > float(end)
    if wrong:
        shown = f"{name} is {before + text!r}, which is no range"
        if text.startswith("/") and ":" in text:
            raise SettingsError(f"{shown}: the shell has replaced the ~; write '{before}~:{end}' in quotes")
        raise SettingsError(f"{shown}; write 5, 10:, ~:5, 5:10 or @5:10")
    return text
