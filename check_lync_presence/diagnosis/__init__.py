"""From a Failure to what a person reads: Error and Diagnosis as the cmdlet has them, and advice.

Owns the sentences of advice, general ones and those for Lync. Must not know how they are printed, nor SIP beyond status codes.
"""

from __future__ import annotations

import errno
import os
from types import MappingProxyType
from typing import Collection, Dict, List, Mapping

from ..outcome import NOTIFY, REGISTER, SUBSCRIBE, Cause, Diagnosis, Failure, Outcome, Seen
from ..settings import Account, Settings, TlsSettings
from ..simple.identity import digest_user
from . import ms_diagnostics, simple

MAX_NAMED = 3  # front ends in a sentence; the lines above it name all


def diagnose(
    outcome: Outcome,
    settings: Settings,
    said: Mapping[Account, str] = MappingProxyType({}),
    explained: Collection[Failure] = (),
) -> Diagnosis:
    """What happened and what to do about it: one sentence of advice for each cause found.

    `said` is what somebody who knows better says of an account; the failures that it has `explained` get no other advice.
    """
    if not outcome.failures:
        return Diagnosis("", "", ())
    by_template: Dict[str, List[Failure]] = {}
    for failure in outcome.failures:
        if failure in explained and failure.cause is not Cause.HELD_BACK:
            continue
        by_template.setdefault(_template(failure, outcome.dialect), []).append(failure)
    advice = [_advice(template, failures, settings, outcome.dialect) for template, failures in by_template.items()]
    first = outcome.failures[0]
    return Diagnosis(first.text, _from_the_server(first, outcome.dialect), (*said.values(), *advice))


def _from_the_server(failure: Failure, dialect: str) -> str:
    """The server's own diagnosis: an ms-diagnostics header, else the code of a msrtc-fault (MS-PRES 2.2.2)."""
    for found in filter(None, map(ms_diagnostics.parse, failure.diagnostics)):
        return str(found)
    is_fault = failure.cause is Cause.STATUS and dialect == "lync" and failure.detail
    return f"Faultcode={failure.detail}" if is_fault else ""


def _advice(template: str, failures: List[Failure], settings: Settings, dialect: str) -> str:
    accounts = list(dict.fromkeys(subject(failure, settings) for failure in failures))
    if failures[0].cause is Cause.REFUSED_CREDENTIALS and len(accounts) > 1 and template not in _KERBEROS.values():
        template = simple.BOTH_REFUSED if dialect == "simple" else _BOTH_REFUSED
    if failures[0].cause is Cause.RESOLVE:
        template = _not_resolved(failures[0].detail, settings)
    if template == _CAUSES[Cause.NO_SCHEME]:
        if settings.auth == "kerberos":
            template = _NO_KERBEROS
        elif settings.auth == "tls-dsk":
            template = _NO_TLS_DSK
        elif settings.auth == "auto" and "Kerberos" in failures[0].detail:
            template += _OR_KERBEROS
    names = {
        "domain": settings.publisher.domain,
        "user": " and ".join(account.uri for account in accounts),
        "logon": " and ".join(digest_user(account) if dialect == "simple" else account.user for account in accounts),
        "pool": _where(failures, settings),
        "target": "--subscriber-target" if _is_elsewhere(failures, settings) else "-H",
        "port": _port(failures, settings),
        "transport": "UDP" if settings.transport == "udp" else "TCP",
        "detail": failures[0].detail or "What answers there",
        "files": _files(failures),
        "certificate": _certificate(settings.tls),
        "subject": accounts[0].certificate.subject if accounts[0].certificate is not None else "somebody else",
    }
    return template.format_map(names)


def _certificate(tls: TlsSettings) -> str:
    """What a server calls us by our certificate; the file, where it names nobody."""
    names = tls.shown.names if tls.shown is not None else ()
    return names[0] if names else tls.client_cert or "the certificate"


def _where(failures: List[Failure], settings: Settings) -> str:
    """The front ends that these failures happened at, where not all were tried as one; else the pools."""
    servers = list(dict.fromkeys(failure.server for failure in failures if failure.server))
    if servers:
        return ", ".join(servers[:MAX_NAMED]) + (f" and {len(servers) - MAX_NAMED} more" if servers[MAX_NAMED:] else "")
    both = {account.uri: settings.pool_of(account) for account in (settings.publisher, settings.subscriber)}
    return " and ".join(dict.fromkeys(both.get(failure.user, settings.target) for failure in failures))


def _is_elsewhere(failures: List[Failure], settings: Settings) -> bool:
    """Whether it is about the subscriber's own pool."""
    return bool(failures[0].server) and failures[0].server == settings.subscriber_target


def _port(failures: List[Failure], settings: Settings) -> int:
    connect = settings.subscriber_connect if _is_elsewhere(failures, settings) else settings.connect
    return connect[1] if connect else settings.port


def _not_resolved(host: str, settings: Settings) -> str:
    """Where the name comes from that is not found: the domain's SRV records for ``""``."""
    if not host:
        return _NOT_DISCOVERED
    if settings.connect is not None and host == settings.connect[0]:
        return _SOURCES["--connect"]
    if settings.subscriber_connect is not None and host == settings.subscriber_connect[0]:
        return _SOURCES["connect"]
    if host == settings.subscriber_target:
        return _SOURCES["--subscriber-target"]
    return _CAUSES[Cause.RESOLVE] if host == settings.target else _SOURCES["redirect"]


def subject(failure: Failure, settings: Settings) -> Account:
    """Whom a failure is about: whoever is not found when the subscriber asks for the publisher is the publisher."""
    of_the_other = failure.activity in (SUBSCRIBE, NOTIFY) and failure.status == 404
    if failure.user == settings.subscriber.uri and not of_the_other:
        return settings.subscriber
    return settings.publisher


def codes(failure: Failure) -> List[int]:
    """The ids of its ms-diagnostics."""
    return [found.code for found in map(ms_diagnostics.parse, failure.diagnostics) if found is not None]


def _template(failure: Failure, dialect: str) -> str:
    if failure.cause is Cause.PROTOCOL and failure.activity != REGISTER:
        return _BROKEN
    if failure.cause is Cause.CONNECT:
        for reason, sentence in _UNREACHABLE.items():
            if failure.text.endswith(f": {os.strerror(reason)}."):
                return sentence
    advice = _of_simple(failure) if dialect == "simple" else ""
    advice = advice or _of_lync(failure)
    if failure.cause is Cause.NO_NOTIFICATION:
        who = "server" if dialect == "simple" else "pool"
        instead = ": {detail}" if failure.detail else ""
        return f"The {who} took the publication and did not pass it on{instead}. {advice}"
    return advice


def _of_simple(failure: Failure) -> str:
    """What stands in the table for SIMPLE, the most particular first; ``""``: nothing, a general sentence will do."""
    for known in (failure.seen, failure.detail, failure.status):
        if known is not None and (failure.cause, known) in simple.ADVICE:
            return simple.ADVICE[failure.cause, known] + _wish(failure)
    if failure.cause not in simple.ADVICE or (failure.cause is Cause.TLS and failure.detail in _TLS):
        return ""
    return simple.ADVICE[failure.cause] + _wish(failure)


def _of_lync(failure: Failure) -> str:
    if failure.cause is Cause.TLS:
        return _TLS.get(failure.detail) or _TLS_OTHER
    if failure.cause is Cause.PROTOCOL and failure.detail == "OPEN":
        return _OPEN
    if failure.cause is Cause.NO_SCHEME and failure.detail in _SCHEMES:
        return _SCHEMES[failure.detail]
    if failure.cause is Cause.NO_NOTIFICATION:
        return _SEEN[failure.seen]
    if failure.cause in (Cause.STATUS, Cause.DEREGISTERED):
        for code in codes(failure):
            if code in ms_diagnostics.ADVICE:
                return ms_diagnostics.ADVICE[code]
    if failure.cause is Cause.KERBEROS and _CLOCKS_DIFFER in codes(failure):  # other codes speak of passwords
        return ms_diagnostics.ADVICE[_CLOCKS_DIFFER]
    if failure.cause is Cause.STATUS:
        return (_STATUS.get(failure.status or 0) or _STATUS_OTHER) + _wish(failure)
    if failure.cause in (Cause.CERTIFICATE, Cause.PROVISIONING):
        return _TLS_DSK.get(failure.detail) or _CAUSES[failure.cause]
    if failure.cause in (Cause.KERBEROS, Cause.ACCOUNT, Cause.REFUSED_CREDENTIALS):
        return _KERBEROS.get(failure.detail) or _CAUSES[failure.cause]
    return _CAUSES[failure.cause]


def _files(failures: List[Failure]) -> str:
    """What remembers the refusals; the folder is told once."""
    first, *others = [failure.detail for failure in failures]
    return " and ".join((first, *(other.rpartition("/")[2] for other in others)))


def _wish(failure: Failure) -> str:
    digits = failure.retry_after.partition(";")[0].partition("(")[0].strip()
    if failure.cause is not Cause.STATUS or not (digits.isascii() and digits.isdigit() and len(digits) < 8):
        return ""
    return f" The server asks to be left alone for {digits} s."


STOPPED = (
    "Whoever started the check allows it less time than it may take: make its limit longer than --timeout, or --timeout "
    "shorter."
)
_CAUSES = {
    Cause.RESOLVE: "Check the name given with -H and the name servers of this host, or name the server with --connect.",
    Cause.CONNECT: "Check that the Front-End service (RtcSrv) runs on {pool}, and the firewall for TCP port {port}.",
    Cause.CLOSED: "{detail} or a device in between hung up: check the event log (LS Protocol Stack) of {pool}, the load "
    "balancer and the firewall.",
    Cause.NO_ANSWER: "The connection stands and SIP is not answered: the Front-End service of {pool} hangs or is "
    "overloaded; check its performance counters and event log.",
    Cause.PROTOCOL: "{detail} does not behave like a front end: check -H, --port and --connect, and "
    "devices in between.",
    Cause.REFUSED_HERE: "{pool}: refuses what other front ends have just taken. Check its clock and its way to the domain "
    "controllers (Test-ComputerSecureChannel), and restart its Front-End service.",
    Cause.REFUSED_CREDENTIALS: "The pool refuses the logon name {logon} or its password: check both, and that the account is "
    "not locked, disabled or expired (Get-ADUser, Unlock-ADAccount). Every further attempt may lock it out.",
    Cause.ACCOUNT: "Check the account {logon} (Get-ADUser -Properties *): Enable-ADAccount, Unlock-ADAccount or "
    "Clear-ADAccountExpiration mends it.",
    Cause.KERBEROS: "The pool does not take the ticket: check that its service name is on one account only (setspn -X) and that "
    "its servers have the present key (klist, Test-ComputerSecureChannel); klist here shows the ticket.",
    Cause.NOT_TRUSTED: "The pool does not know {certificate} as a trusted server: New-CsTrustedApplicationPool -Identity "
    "{certificate} -Registrar {pool}, then Enable-CsTopology; the certificate's subject must be that very name.",
    Cause.CERTIFICATE: "Check that this pool has issued the certificate to {user} (Get-CsClientCertificate -Identity), and its end; "
    "without --publisher-cert and --subscriber-cert the check gets new ones from the pool.",
    Cause.PROVISIONING: "TLS-DSK needs the pool's web services: check IIS on the front ends (RTC web sites, CertProv) and that port 443 "
    "is open from here, or give certificates with --publisher-cert and --subscriber-cert.",
    Cause.HELD_BACK: "The check does not try a refused password again, so as not to lock {logon} out: store the right one (it is "
    "tried at once), or remove {files} to try this one again.",
    Cause.NO_SCHEME: "Allow NTLM on the pool: Set-CsProxyConfiguration -UseNtlmForClientToProxyAuth $true",
    Cause.SIGNATURE: "Something between this host and {pool} alters or injects messages: treat it as a security incident "
    "until it is explained.",
    Cause.REDIRECT: "Check where the user is homed (Get-CsUser -Identity {user}: RegistrarPool) and test that pool with -H.",
    Cause.DEREGISTERED: "The user was disabled, moved or signed off elsewhere (a pool allows 8 endpoints a user): check "
    "Get-CsUser -Identity {user}.",
    Cause.STOPPED: STOPPED,
    Cause.NO_TIME: "Give the check more time with --timeout, and the scheduler's own limit with it.",
    Cause.NOT_ENABLED: "The server does not offer vnd-microsoft-roaming-self: enable {user} for enhanced presence (Enable-CsUser; "
    "msRTCSIP-OptionFlags needs 256), or this is no Lync front end.",
}

# What a fresh look at the publisher's presence says of a notification that did not come.
_SEEN = {
    Seen.PUBLICATION: "A new subscription shows it: storing works and notifying does not; check LS User Services on {pool}.",
    Seen.OTHER: "A new subscription shows an older presence: it was not stored or not aggregated; check LS User Services and "
    "the replication of the presence database of {pool}.",
    Seen.NOTHING: "A new subscription shows nothing of the publisher: the subscriber may not see it; check the privacy "
    "relationship of the two users.",
    None: "Check LS User Services and the replication of the presence database of {pool}, and that the subscriber may see "
    "the publisher.",
}
_OPEN = (
    "No Lync or Skype for Business front end does that: check -H and --connect. For a SIMPLE server that is meant to let "
    "everybody in use --protocol simple."
)
_SCHEMES = {
    "Digest": "The server asks for Digest: it is not a Lync or Skype for Business front end.",
    "challenge": "Check the NTLM policies of {pool} (Network security: minimum session security for NTLM SSP based servers).",
}
# Why a server was not reached though nothing is known against it, in the words of the system.
_UNREACHABLE = {
    errno.ENETUNREACH: "No way leads there from this host: check its addresses, routes and gateway (ip route get ADDRESS), or take "
    "the other address family (-4, -6).",
    errno.EHOSTUNREACH: "The host is not up, no way leads to it, or a firewall rejects {transport} port {port}: check them from here "
    "(ping, ip route get ADDRESS).",
}
# Names that are not found, by who has given them.
_SOURCES = {
    "--connect": "Check the name given with --connect, and the name servers of this host.",
    "connect": "Check connect of the subscriber's pool in the accounts file, and the name servers of this host.",
    "--subscriber-target": "Check the name given with --subscriber-target, and the name servers of this host.",
    "redirect": "The server redirects to {detail}: check that name, and that the name servers of this host know it.",
}
_CLOCKS_DIFFER = 1013  # ms-diagnostics
# What libkrb5 complains of.
_KERBEROS = {
    "REFUSED": "Store the right password of {logon}, or make its keytab anew (ktpass, ktutil): a new password makes old "
    "keytabs useless. Every further attempt may lock it out.",
    "CLIENT": "Check the logon name {logon}: a UPN or sAMAccountName of that realm (Get-ADUser). Kerberos names may differ from "
    "SIP addresses.",
    "SERVICE": "Register that service name on the account of the front end: setspn -S; setspn -Q shows who has it "
    "(Enable-CsComputer on the front end does it too).",
    "PASSWORD": "Set another password for {logon} (Set-ADAccountPassword) and store it here; test users need -PasswordNeverExpires "
    "$true and -ChangePasswordAtLogon $false.",
    "EXPIRED": "Renew it before it ends (kinit, k5start, or a keytab with publisher_keytab and subscriber_keytab).",
    "TICKET": "Get one with kinit into the cache that the check reads (KRB5CCNAME; two users need DIR: or KCM:), or give a "
    "password or a keytab.",
    "SKEW": ms_diagnostics.ADVICE[_CLOCKS_DIFFER],
    "REALM": "Name the realm and its KDCs in krb5.conf, or check the SRV records _kerberos._udp of the realm.",
    "KDC": "Check krb5.conf, and that the domain controllers answer on port 88 (TCP and UDP) from here; with --auth ntlm the check "
    "needs none.",
    "OTHER": "Try it by hand as the user that runs the check: KRB5_TRACE=/dev/stdout kinit, then kvno with the service's name.",
    "FOREIGN": "The check asks for no ticket for hosts outside of the pool's and the users' domains: check -H and --connect.",
}
_NO_KERBEROS = "Allow Kerberos on the pool: Set-CsProxyConfiguration -UseKerberosForClientToProxyAuth $true"
_OR_KERBEROS = (
    ", or let the check use Kerberos: install python3-gssapi, or pip install gssapi with the check's own pip, and name "
    "the realm of the users in krb5.conf."
)
_TLS_DSK = {
    "OTHER": "The certificate of {user} is for {subject}: give each user one of his own.",
    "FAULT": "The pool issues no certificate to {user}: check Get-CsClientCertificate and Set-CsWebServiceConfiguration "
    "-UseCertificateAuth $true, or sign in otherwise (--auth).",
    "EXPIRED": "Check the clocks of the front ends and of this host, and Get-CsWebServiceConfiguration (DefaultValidityPeriodHours).",
    "TLS": "Check the certificate of the pool's web services (Get-CsCertificate -Type WebServicesInternal): its names, its end, "
    "and its issuer (--ca-file).",
}
_NO_TLS_DSK = "Allow TLS-DSK on the pool: Set-CsProxyConfiguration -UseCertificateForClientToProxyAuth $true"
_NOT_DISCOVERED = (
    "Check the SRV records of {domain} and the name servers of this host, or leave out --discover and name the server."
)
_BROKEN = (
    "{detail} signed the users in and then sent what cannot be read: check the logs of {pool}, and devices in between "
    "that alter SIP."
)
_BOTH_REFUSED = (
    "The pool refuses both {logon}: that is seldom two wrong passwords. Check the clocks, the NTLM policies of the domain "
    "(one that insists on a MIC needs --ntlm-mic), then the accounts; further attempts may lock them out."
)

_STATUS = {
    400: "The server calls the request malformed: check that {pool} is a Lync or Skype for Business front end.",
    401: "The server asks for a new sign-in in the middle of the run: check the clock and the event log of {pool}.",
    403: "The server forbids it: check the policies of {user} (Get-CsUser -Identity {user}).",
    404: "The server does not know {user}: check Get-CsUser -Identity {user}; for a new user wait for the User Replicator.",
    407: "A proxy asks for a new sign-in in the middle of the run: check the clock and the event log of {pool}.",
    409: "Somebody else writes the presence of {user} at the same time: give every check its own pair of test users.",
    480: "The user services of {pool} are not available for {user}: check the Front-End services (Get-CsWindowsService).",
    481: "The server has forgotten the subscription: check whether {pool} fails over or restarts its services.",
    500: "The server failed inside: check the event log of {pool}.",
    503: "The pool is not ready (starting, draining, or its database is down): check Get-CsWindowsService on {pool} and its "
    "SQL server.",
    504: "A server behind the front end is not reachable: check the connections between the servers of {pool}.",
}
_STATUS_OTHER = "Check the event log of {pool}, and the meaning of the status with -v."

# OpenSSL does not tell which certificate of the chain has ended, and believes this host's clock.
_RENEW = (
    "Renew the server's certificate (Request-CsCertificate, Set-CsCertificate) on {pool}, or its issuer's (--ca-file), "
    "whichever has ended, unless the clock of this host is wrong (date -u)."
)
_ISSUER = "The issuer of the certificate is not known here: give the company's root certificate with --ca-file."
_NAMES = "The certificate is for other names: check that {target} has the pool's FQDN as the certificate has it."
_PLAIN = "What listens on port {port} does not speak TLS: check --port; for SIP without TLS use --transport tcp."
_OUR_CERTIFICATE = (
    "The server refuses our certificate {certificate}: check its issuer (the server must trust it), its end and its purposes "
    "(client and server authentication)."
)
_OLD = "Lync 2013 hosts may offer TLS 1.0 only: update them, or allow it here with --tls-min 1.0."
_TLS_OTHER = "Check the certificate and the TLS settings of {pool}, and devices in between."

# OpenSSL: X509_V_ERR_* numbers of a refused certificate, reasons of a failed handshake.
_TLS = {
    "VERIFY_9": "The certificate is not valid yet: check the clock of this host and the certificate of {pool}.",
    "VERIFY_10": _RENEW,
    "VERIFY_18": _ISSUER,
    "VERIFY_19": _ISSUER,
    "VERIFY_20": _ISSUER,
    "VERIFY_21": _ISSUER,
    "VERIFY_62": _NAMES,
    "VERIFY_64": _NAMES,
    "WRONG_VERSION_NUMBER": _PLAIN,
    "RECORD_LAYER_FAILURE": _PLAIN,
    "HTTP_REQUEST": _PLAIN,
    "UNSUPPORTED_PROTOCOL": _OLD,
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLD,
    "UNSAFE_LEGACY_RENEGOTIATION_DISABLED": _OLD,
    "SSLV3_ALERT_BAD_CERTIFICATE": _OUR_CERTIFICATE,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _OUR_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": _OUR_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _OUR_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _OUR_CERTIFICATE,
    "TLSV1_ALERT_UNKNOWN_CA": _OUR_CERTIFICATE,
    "TLSV1_ALERT_ACCESS_DENIED": _OUR_CERTIFICATE,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "The server demands a certificate of us: give one with --client-cert and --client-key.",
    "HUNG_UP": "A server that refuses our certificate {certificate} may hang up without a word: check its issuer (the server must "
    "trust it), its end and its purposes; then devices in between.",
    "TIMEOUT": "The port accepts connections and does not speak TLS: the Front-End service hangs, or --port is wrong.",
}
