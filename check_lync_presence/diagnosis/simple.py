"""What to do about a SIMPLE server: advice for the administrator of Kamailio, OpenSIPS, Openfire, Asterisk and their like.

Owns these sentences and nothing else. They name in general terms what such a server has; none of them is about Lync.
"""

from __future__ import annotations

from typing import Dict, Tuple, Union

from ..outcome import Cause, Seen

# A cause alone, and with what is known of it: what a fresh look showed, the detail of the failure, or its status.
Key = Union[Cause, Tuple[Cause, Union[Seen, str, int]]]

BOTH_REFUSED = (
    "The server refuses both {logon}: that is seldom two wrong passwords. Check its realm (hashed passwords are good for "
    "one), its user database, and whether its names have a domain."
)
_NO_PRESENCE = (
    "The server does not do presence, or not for this domain: switch its presence service on (modules, event packages, "
    "PUBLISH) and check its routing."
)
_NONCES = (
    "The server never takes its own nonces: check how long they live, and that all of its nodes make them with the same "
    "secret."
)
_RENEW = (
    "Renew the server's certificate on {pool} and let the server read it, or renew its issuer's (--ca-file), whichever has "
    "ended, unless the clock of this host is wrong (date -u)."
)
_NAMES = "The certificate is for other names: check that {target} has the server's name as the certificate has it."
_OLD = "The server offers an old TLS only: update it, or allow it here with --tls-min 1.0."

ADVICE: Dict[Key, str] = {
    Cause.CONNECT: "Check that the SIP server on {pool} runs and listens on {transport} port {port}, and the firewall.",
    Cause.CLOSED: "{detail} or a device in between hung up: check the log of the SIP server on {pool} (limits of its "
    "connections), the load balancer and the firewall.",
    Cause.NO_ANSWER: "Requests to {transport} port {port} of {pool} are not answered: check that the SIP server is not "
    "overloaded, that no rule of it drops them or bans this host, and the firewall.",
    Cause.PROTOCOL: "{detail} does not behave like a SIP server: check -H, --port and --connect, and devices in between that "
    "rewrite SIP.",
    Cause.REFUSED_CREDENTIALS: "The server refuses the Digest user name {logon} or its password: check both in its user "
    "database, and whether its names have a domain (publisher_user, subscriber_user).",
    Cause.REFUSED_HERE: "{pool}: refuses what other servers have just taken. Check its user database, and that all of them "
    "have the same realm.",
    Cause.NO_SCHEME: "Let the server ask for Digest with MD5, SHA-256 or SHA-512-256 and qop=auth; if it is no SIMPLE server, "
    "leave out --protocol.",
    Cause.REDIRECT: "Check where the server routes {user} (location, aliases, dispatcher), and test that server with -H.",
    Cause.TLS: "Check the certificate and the TLS settings of the SIP server on {pool}, and devices in between.",
    (Cause.TLS, "VERIFY_10"): _RENEW,
    (Cause.TLS, "VERIFY_62"): _NAMES,
    (Cause.TLS, "VERIFY_64"): _NAMES,
    (Cause.TLS, "UNSUPPORTED_PROTOCOL"): _OLD,
    (Cause.TLS, "TLSV1_ALERT_PROTOCOL_VERSION"): _OLD,
    (Cause.TLS, "UNSAFE_LEGACY_RENEGOTIATION_DISABLED"): _OLD,
    (
        Cause.TLS,
        "TIMEOUT",
    ): "The port accepts connections and does not speak TLS: the SIP server hangs, or --port is wrong.",
    Cause.NO_NOTIFICATION: "Check that the presence service of {pool} sends notifications, that they come back the way of "
    "our requests (NAT, Record-Route, firewall), and that the subscriber may see the publisher.",
    (
        Cause.NO_NOTIFICATION,
        Seen.PUBLICATION,
    ): "A new subscription shows it: storing works and notifying does not; check the "
    "notifier of {pool} (its workers, its queue, its log).",
    (
        Cause.NO_NOTIFICATION,
        Seen.OTHER,
    ): "A new subscription shows an older presence: it was not stored or not merged; check "
    "the presence database of {pool}, and that its nodes share it.",
    (
        Cause.NO_NOTIFICATION,
        Seen.NOTHING,
    ): "A new subscription shows nothing of the publisher: it was not stored, or the "
    "subscriber may not see it; check the presence database and the presence rules of {pool}.",
    Cause.STATUS: "Check the log of the SIP server on {pool}, and the whole exchange with -vvv.",
    (
        Cause.STATUS,
        400,
    ): "The server calls the request malformed: check its log, and devices in between that rewrite SIP.",
    (Cause.STATUS, 401): _NONCES,
    (
        Cause.STATUS,
        403,
    ): "The server forbids it to {user}: check its access rules, and that From, name and domain may go "
    "together; some servers say 403 to a wrong password.",
    (Cause.STATUS, 404): "The server does not know {user}: check its user database, and that it serves the domain.",
    (Cause.STATUS, 405): _NO_PRESENCE,
    (Cause.STATUS, 406): "The server does not send application/pidf+xml: check the formats of its presence service.",
    (Cause.STATUS, 407): _NONCES,
    (Cause.STATUS, 408): "A server behind {pool} does not answer: check the servers that it relays to.",
    (
        Cause.STATUS,
        412,
    ): "The server has lost the publication: check that its nodes share their presence database, and how "
    "long it keeps publications.",
    (Cause.STATUS, 415): "The server does not take application/pidf+xml: check the formats of its presence service.",
    (Cause.STATUS, 423): "The server wants registrations or publications of more than a day: lower its least Expires.",
    (
        Cause.STATUS,
        480,
    ): "The server has no place for {user} at the moment: check its location table, and that its presence "
    "service serves users who are not registered.",
    (
        Cause.STATUS,
        481,
    ): "The server has forgotten the subscription: check whether {pool} fails over or restarts, and that "
    "its nodes share their presence database.",
    (Cause.STATUS, 482): "The request goes in a circle: check which domains and addresses {pool} takes for its own.",
    (Cause.STATUS, 483): "The request goes in a circle: check which domains and addresses {pool} takes for its own.",
    (Cause.STATUS, 489): _NO_PRESENCE,
    (Cause.STATUS, 500): "The server failed inside: check its log and its database.",
    (Cause.STATUS, 501): _NO_PRESENCE,
    (Cause.STATUS, 503): "The server is not ready (starting, overloaded, or its database is down): check its log, its "
    "database and the servers that it relays to.",
    (Cause.STATUS, 504): "A server behind {pool} does not answer: check the servers that it relays to, and its DNS.",
    (Cause.STATUS, 603): "The server declines it for {user}: check its access rules and its presence rules.",
    # Why a subscription has ended (RFC 6665 4.1.3).
    (
        Cause.STATUS,
        "deactivated",
    ): "The server moves or drops subscriptions: check whether {pool} was restarted or fails over.",
    (
        Cause.STATUS,
        "probation",
    ): "The server wants to be asked later: check whether {pool} is overloaded or being serviced.",
    (Cause.STATUS, "rejected"): "The presence rules do not let {user} watch the publisher: allow it in them.",
    (
        Cause.STATUS,
        "timeout",
    ): "The server ended the subscription before its time: check its clock and how long it lets subscriptions live.",
    (Cause.STATUS, "giveup"): "Nobody has allowed {user} to watch the publisher: allow it in the presence rules.",
    (Cause.STATUS, "noresource"): "The server has no presence of {user} any more: check whether the user was removed.",
    (
        Cause.STATUS,
        "invariant",
    ): "The server calls the presence of the publisher unchangeable: check its presence service.",
}
