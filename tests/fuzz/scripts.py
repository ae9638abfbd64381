"""Scripts for the lying server (client): what stands in them, and how one becomes another.

A fuzzer that knows octets only takes long to find a line that means something.
"""

from __future__ import annotations

import random
from typing import Callable

from check_lync_presence.simulator.faults import TABLE

from .client import WORDS

OPTIONS = ("lync", "simple", "udp", "tcp", "auto", "mic", "verbose", "all")
# Octet by octet is a hundred times slower, and the framer's own tests do it.
FAULTS = tuple(
    f"{fault.name}={value}" if value else fault.name
    for fault in TABLE
    for value in (fault.values or (("4",) if fault.seconds else ("",)))
    if fault.name != "split-messages"
)
START_LINES = (
    *(f"SIP/2.0 {status} x" for status in (100, 200, 202, 301, 302, 401, 403, 404, 407, 409, 412, 423, 481, 503, 699)),
    *("NOTIFY sip:a SIP/2.0", "OPTIONS sip:a SIP/2.0", "FOO a SIP/2.0"),
)
HEADERS = tuple(
    """\
Contact: <sip:192.0.2.1>
Contact: <sip:a.contoso.example;transport=tcp>
Contact: <sip:[2001:db8::1]:5061>, <sip:b>;expires=0
Contact: *
Contact: <sip:a b>
Record-Route: <sip:p>, <sip:q;lr>
Service-Route: <sip:s;lr>
To: <sip:ben@contoso.example>;tag={tag}
From: <sip:a>;tag={theirs}
Call-ID: {call}
CSeq: 99 BENOTIFY
CSeq: 0 NOTIFY
CSeq: 2 REGISTER
Via: a;received=192.0.2.9;rport=9
Event: presence
Event: registration
Content-Type: application/pidf+xml
Content-Type: application/rlmi+xml
Content-Type: application/msrtc-event-categories+xml
Content-Type: multipart/related;boundary=b
Content-Type: text/plain
Subscription-State: pending
Subscription-State: terminated;reason=noresource
WWW-Authenticate: Digest realm="a", nonce="b", stale=true
WWW-Authenticate: Digest realm="a", nonce="c", algorithm=SHA-256-sess, qop="auth"
WWW-Authenticate: NTLM realm="a"
WWW-Authenticate: NTLM realm="a", targetname="b", gssapi-data="TlRMTVNTUAACAAAA", version=4
Proxy-Authenticate: Digest realm="a", nonce="b"
Authentication-Info: NTLM x
ms-piggyback-cseq: 1
ms-diagnostics: 4005;reason="|"
ms-diagnostics: 1000;reason="a";source="b"
presence-state: register-action="added"; is-connected-to-primary="no"
Date: Sat, 01 Jun 2013 13:00:00 GMT
Expires: 0
Min-Expires: 3600
Retry-After: 5
Server: x | y
SIP-ETag: x
Supported: adhoclist, msrtc-event-categories
Allow-Events: vnd-microsoft-roaming-self
""".splitlines()
)
DOCUMENTS = tuple(
    """\
<categories uri='sip:ann@contoso.example'><category><note><body>{marker}</body></note></category></categories>
<categories uri='sip:eve@contoso.example'><category><note><body>{marker}</body></note></category></categories>
<presence entity='sip:ann@contoso.example'><note>{marker}</note></presence>
<presence entity='sip:eve@contoso.example'><note>{marker}</note></presence>
<presence entity='sip:ann@contoso.example'><tuple id='p{id}'><status><basic>open</basic></status></tuple></presence>
<list><resource uri='sip:ann@contoso.example'><instance state='resubscribe' poolFqdn='x'/></resource></list>
<list><resource uri='sip:ann@contoso.example'><instance state='terminated' reason='x'/></resource></list>
<roamingData><containers><container id='200'/></containers></roamingData>
<roamingData><containers><container id='32000'><member type='everyone'/></container></containers></roamingData>
<roamingData/>
<Fault><details><operation index='1' curVersion='7'/></details></Fault>
deregistered;event=rejected
""".splitlines()
)
# {0} is a method, {1} a number, {2} a header, {3} a body.
REQUEST = (
    "{0} sip:ben@a SIP/2.0\r\nVia: a\r\nFrom: <sip:a>;tag={{theirs}}\r\nTo: <sip:b>;tag={{tag}}\r\n"
    "Call-ID: {{call}}\r\nCSeq: {1} {0}\r\nEvent: presence\r\n{2}\r\n\r\n{3}"
)
METHODS = ("NOTIFY", "BENOTIFY", "OPTIONS")
MESSAGES = 40  # of the server in a run of two front ends; 17 in a run of one


def changed(script: bytes, seed: int, octets: Callable[[bytes], bytes]) -> bytes:
    """Another script that is much like this one. `octets` is how a fuzzer changes what it knows nothing of."""
    source = random.Random(seed)
    first, *edits = script.split(b"\n@")
    kind = source.randrange(6)
    if kind == 0:
        return octets(script)
    if kind == 1:
        words = first.split()
        word = source.choice(OPTIONS + FAULTS).encode()
        first = b" ".join([*(item for item in words if source.random() < 0.8), word])
    elif kind == 2 and edits:
        del edits[source.randrange(len(edits))]
    elif kind == 3 and edits:
        at = source.randrange(len(edits))
        edits[at] = b"%d %s" % (source.randrange(MESSAGES), edits[at].partition(b" ")[2])
    elif kind == 4 and edits:
        at = source.randrange(len(edits))
        edits[at] = octets(edits[at])
    else:
        edits.insert(source.randrange(len(edits) + 1), _edit(source).encode())
    return b"\n@".join([first, *edits])


def _edit(source: random.Random) -> str:
    number, word = source.randrange(MESSAGES), source.choice(WORDS)
    if word == "line":
        argument = source.choice(START_LINES)
    elif word in ("set", "add", "del"):
        argument = source.choice(HEADERS)
    elif word == "body":
        argument = source.choice(DOCUMENTS)
    elif word in ("splice", "wire"):
        start = source.randrange(1000)
        argument = f"{start} {start + source.randrange(4)} {source.choice(('', '0', '<', ' ', chr(13) + chr(10)))}"
    elif word in ("say", "tell", "notify"):
        argument = REQUEST.format(
            source.choice(METHODS), source.randrange(5), source.choice(HEADERS), source.choice(DOCUMENTS)
        )
    else:
        argument = ""
    return f"{number} {word} {argument}"
