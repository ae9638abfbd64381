"""Every option of the check, once: its name, its help, its default, the cmdlet's name for it.

Owns the table from which ``--help``, the keys of the accounts file, the README and contrib/ are made. Must not know
what an option does.
"""

from __future__ import annotations

from typing import Tuple, Union

from .value import NamedTuple

Default = Union[str, int, float, None]


class Option(NamedTuple):
    """One option. `kind` is ``text``, ``integer``, ``seconds``, ``range``, ``named range``, ``flag`` or ``count``.

    `in_file`: it may stand in the accounts file, under its long name with ``_`` for ``-``.
    """

    names: Tuple[str, ...]
    help: str
    kind: str = "text"
    metavar: str = ""
    default: Default = None
    choices: Tuple[str, ...] = ()
    cmdlet: str = ""
    repeatable: bool = False
    in_file: bool = True

    @property
    def key(self) -> str:
        """The name in the accounts file and in code."""
        return max(self.names, key=len).lstrip("-").replace("-", "_")


class Group(NamedTuple):
    """Options that belong together, under a heading."""

    title: str
    options: Tuple[Option, ...]


def _role(role: str, cmdlet: str) -> Tuple[Option, ...]:
    return (
        Option((f"--{role}",), f"SIP address of the {role}, instead of the accounts file's", metavar="URI",
               cmdlet=f"{cmdlet}SipAddress"),
        Option((f"--{role}-user",), f"logon name of the {role}: DOMAIN\\name or UPN; default: its address without sip:",
               metavar="NAME", cmdlet=f"{cmdlet}Credential"),
        Option((f"--{role}-password-file",),
               f"file whose first line is the {role}'s password, - for standard input; else the environment variable "
               f"{role.upper()}_PASSWORD, else the accounts file", metavar="FILE", cmdlet=f"{cmdlet}Credential"),
        Option((f"--{role}-keytab",), f"keytab with the Kerberos key of the {role}, in the place of a password", metavar="FILE"),
        Option((f"--{role}-cert",), f"PEM file of the certificate that a pool has issued to the {role}, for --auth tls-dsk in the "
               "place of a password; without it the check gets one from the pool and keeps it", metavar="FILE"),
        Option((f"--{role}-key",), "PEM file of its key, if it is not in the same file; private like a password file",
               metavar="FILE"),
    )  # fmt: skip


GROUPS = (
    Group(
        "the pool",
        (
            Option(("-H", "--target"), "FQDN of the pool; also where to connect unless --connect says otherwise",
                   metavar="FQDN", cmdlet="TargetFqdn", in_file=False),
            Option(("-p", "--port"), "port of the pool; default 5061 with TLS, 5060 with TCP and UDP", "integer", "N",
                   cmdlet="RegistrarPort"),
            Option(("--connect",), "connect here instead (one front end, a test server); TLS still checks the target's name",
                   metavar="HOST[:PORT]"),
            Option(("--discover",), "find the server by the DNS SRV records of the publisher's SIP domain, as clients do; TLS "
                   "checks the name that they give", "flag"),
            Option(("--all-front-ends",), "make the round trip on every address of the pool, and from each one to its "
                   "neighbour", "flag"),
            Option(("--subscriber-target",), "FQDN of the subscriber's pool, where it is not the publisher's; the subscriber is the "
                   "one of that pool's section, if it has one", metavar="FQDN"),
            Option(("-4", "--ipv4"), "use IPv4 only", "flag"),
            Option(("-6", "--ipv6"), "use IPv6 only", "flag"),
            Option(("--transport",), "how to reach the pool; default tls; udp only for SIMPLE servers", metavar="NAME", default="tls",
                   choices=("tls", "tcp", "udp")),
            Option(("--protocol",), "what the server speaks; default auto: --auth, else its challenge decides (Digest: simple)",
                   metavar="NAME", default="auto", choices=("auto", "lync", "simple")),
            Option(("--auth",), "how to sign in; default auto: the strongest that the pool offers and that can work here",
                   metavar="NAME", default="auto", choices=("auto", "kerberos", "ntlm", "tls-dsk", "trusted-server", "digest"),
                   cmdlet="Authentication"),
            Option(("--ntlm-mic",), "add a message integrity code to the NTLM sign-in, for domains that insist on one",
                   "flag"),
            Option(("--user-agent",), "what to call ourselves; pools can refuse clients by this name", metavar="TEXT"),
        ),
    ),
    Group(
        "the test users",
        (
            Option(("--accounts",),
                   "accounts file; default: $CHECK_LYNC_PRESENCE_ACCOUNTS, ~/.config/check_lync_presence/accounts.ini, "
                   "/etc/check_lync_presence/accounts.ini, the first that exists", metavar="FILE",
                   cmdlet="health monitoring configuration", in_file=False),
            *_role("publisher", "Publisher"),
            *_role("subscriber", "Subscriber"),
        ),
    ),
    Group(
        "TLS",
        (
            Option(("--ca-file",), "PEM file of the CAs to trust, instead of the system's", metavar="FILE"),
            Option(("--client-cert",), "PEM file of a client certificate to show; that of a trusted server with --auth "
                   "trusted-server", metavar="FILE"),
            Option(("--client-key",), "PEM file of its key, if it is not in the same file; private like a password file",
                   metavar="FILE"),
            Option(("--tls-min",), "oldest TLS version to accept; default 1.2", metavar="VERSION", default="1.2",
                   choices=("1.0", "1.1", "1.2", "1.3")),
            Option(("--insecure",), "do not verify the server's certificate; the output says so", "flag"),
        ),
    ),
    Group(
        "the directory, asked about an account that the pool refuses",
        (
            Option(("--ldap-uri",), "ldaps://dc01.contoso.example, or ldap:// with --ldap-starttls; repeatable: the next one "
                   "is asked when one does not answer, and to compare what they say", metavar="URI", repeatable=True,
                   cmdlet="Get-CsUser"),
            Option(("--ldap-base",), "where to search; default: what the server names as its base", metavar="DN"),
            Option(("--ldap-bind",), "bind account: UPN, DN or DOMAIN\\name; it needs no rights beyond reading",
                   metavar="NAME"),
            Option(("--ldap-password-file",),
                   "file whose first line is its password, - for standard input; else the environment variable "
                   "LDAP_PASSWORD, else the accounts file", metavar="FILE"),
            Option(("--ldap-auth",), "how to bind; default: simple with --ldap-bind, anonymous without", metavar="NAME",
                   choices=("simple", "kerberos", "anonymous")),
            Option(("--ldap-ca-file",), "PEM file of the CAs to trust for the directory, instead of the system's",
                   metavar="FILE"),
            Option(("--ldap-starttls",), "encrypt ldap:// with StartTLS", "flag"),
            Option(("--account-state",), "the state when the directory proves that the test account itself is the fault; "
                   "default critical", metavar="NAME", default="critical", choices=("critical", "warning", "unknown")),
            Option(("--state-dir",), "folder of our own that remembers refused passwords, so that they are not tried again, and "
                   "keeps certificates of the users for TLS-DSK, with their private keys; default: "
                   "/var/lib/check_lync_presence where it is prepared, ~/.local/state/check_lync_presence, "
                   "/var/tmp/check_lync_presence-UID, the first that is ours alone", metavar="DIR"),
            Option(("--verify-accounts",), "ask the directory about both users of the pool and do nothing else", "flag",
                   in_file=False),
            Option(("--self-test",), "test what the check needs without signing in, and print a checklist: accounts file, passwords, "
                   "state folder, DNS, TCP, TLS, directory", "flag", in_file=False),
        ),
    ),
    Group(
        "thresholds",
        (
            Option(("-w", "--warning"), "WARNING if the latency in seconds is outside of this range", "range", "RANGE"),
            Option(("-c", "--critical"), "CRITICAL if the latency in seconds is outside of this range", "range", "RANGE"),
            Option(("--activity-warning",), "WARNING if an activity's seconds are outside of this range; repeatable",
                   "named range", "NAME=RANGE", repeatable=True),
            Option(("--activity-critical",), "CRITICAL if an activity's seconds are outside of this range; repeatable",
                   "named range", "NAME=RANGE", repeatable=True),
            Option(("--front-ends-critical",), "CRITICAL if the number of front ends that fail is outside of this range, else "
                   "WARNING if one fails; default 0", "range", "RANGE"),
            Option(("--certificate-warning",), "WARNING if the days until the first certificate ends, the server's or our own, "
                   "are outside of this range (30: for less than 30)", "range", "RANGE"),
            Option(("--certificate-critical",), "CRITICAL if these days are outside of this range", "range", "RANGE"),
        ),
    ),
    Group(
        "time",
        (
            Option(("-t", "--timeout"), "limit of the whole run in seconds, log-off included; default 40", "seconds", "S",
                   default=40.0),
            Option(("--notify-timeout",), "how long to wait for the notification once the publication is accepted, in "
                   "seconds; default 25", "seconds", "S", default=25.0),
        ),
    ),
    Group(
        "output",
        (
            Option(("-v", "--verbose"), "the activity log; -vv the SIP start lines too; -vvv whole messages, secrets removed",
                   "count", default=0, cmdlet="Verbose"),
            Option(("--report",), "write the run as one HTML page to this file", metavar="FILE",
                   cmdlet="OutLoggerVariable.ToHTML()"),
            Option(("--trace",), "write the run's SIP messages to this file, one JSON object a line, secrets removed",
                   metavar="FILE", cmdlet="OutLoggerVariable"),
            Option(("--replay",), "judge the run of a --trace again, without accounts and without a network", metavar="FILE",
                   in_file=False),
        ),
    ),
)  # fmt: skip

# What ends the command at once.
ABOUT = Group(
    "about",
    (
        Option(("-V", "--version"), "our version and those of the libraries", "flag", in_file=False),
        Option(("-h", "--help"), "this text", "flag", in_file=False),
    ),
)

# Keys of the accounts file that are no options: they would show a secret in the process list.
SECRET_KEYS = tuple(
    f"{role}_password{suffix}" for role in ("publisher", "subscriber", "ldap") for suffix in ("", "_command")
)


def all_options() -> Tuple[Option, ...]:
    """Every option, in the order of the help."""
    return tuple(option for group in GROUPS for option in group.options)
