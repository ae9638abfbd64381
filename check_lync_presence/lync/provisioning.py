"""The documents of a pool's certificate provisioning service, for TLS-DSK (MS-OCAUTHWS, WS-Trust 1.3).

Owns what is asked and what the answers say. Must not know how documents travel, nor who keeps the certificate.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64decode, b64encode
from hashlib import sha1
from typing import Iterator

from ..markup import DocumentError, Element, attribute, child, children, escape, parse, quoteattr
from ..value import NamedTuple

ISSUE = "http://docs.oasis-open.org/ws-sx/ws-trust/200512/RST/Issue"
PUBLISH = "http://schemas.microsoft.com/OCS/AuthWebServices/GetAndPublishCert"
ENTROPY = 32  # octets of each side

_SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
_TRUST = "http://docs.oasis-open.org/ws-sx/ws-trust/200512"
_TRUST_FEBRUARY_2005 = "http://schemas.xmlsoap.org/ws/2005/02/trust"
_ADDRESSING = "http://www.w3.org/2005/08/addressing"
_POLICY = "http://schemas.xmlsoap.org/ws/2004/09/policy"
_AUTHORIZATION = "http://schemas.xmlsoap.org/ws/2006/12/authorization"
_WSS = "http://docs.oasis-open.org/wss"
_SECEXT = f"{_WSS}/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
_UTILITY = f"{_WSS}/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
_SAML_TOKEN = f"{_WSS}/oasis-wss-saml-token-profile-1.1#SAMLV1.1"
_SAML_ID = f"{_WSS}/oasis-wss-saml-token-profile-1.0#SAMLAssertionID"
_DSIG = "http://www.w3.org/2000/09/xmldsig#"
_C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
_AUTH_SERVICES = "http://schemas.microsoft.com/OCS/AuthWebServices/"
_PROOF_POLICY = "CertProvisioningServiceWebTicketProof_SHA1_policy"
_PROOF_PORT = "CertProvisioningServiceWebTicketProof_SHA1"
_WINDOWS_PORT = "WebTicketServiceWinNegotiate"

_ASSERTION = re.compile(rb"<(?:[A-Za-z0-9_]+:)?Assertion[\s>]")
_END_OF_ASSERTION = re.compile(rb"</(?:[A-Za-z0-9_]+:)?Assertion\s*>")


class ProvisioningFault(Exception):
    """The service refuses; `code` is its number, ``""`` where it gives none."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


class Services(NamedTuple):
    """Where certificates and the tickets for them are given out. `proof`: a ticket goes with a signature."""

    certificates: str
    tickets: str
    proof: bool


class Ticket(NamedTuple):
    """A web ticket: the SAML assertion as it came, its id, the proof key, and its times as they were written."""

    assertion: bytes
    assertion_id: str
    key: bytes
    created: str
    expires: str


# -------------------------------------------------------------- descriptions


def services(description: bytes) -> Services:
    """What ``<sts-uri>/mex`` says. Raises DocumentError."""
    root = parse(description, "definitions")
    policy = next((item for item in root.iter() if attribute(item, "Id") == _PROOF_POLICY), None)
    if policy is None:
        raise DocumentError(f"a description without the policy {_PROOF_POLICY}")
    for kind, proof in (("EndorsingSupportingTokens", True), ("SignedSupportingTokens", False)):
        for tokens in (item for item in policy.iter() if item.name == kind):
            address = _path(tokens, "Policy", "IssuedToken", "Issuer", "Address")
            if address:
                return Services(_port(root, _PROOF_PORT), address, proof)
    raise DocumentError("a description that does not say who issues web tickets")


def windows_port(description: bytes) -> str:
    """Where Windows sign-in gets a ticket, from ``<ticket service>/mex``. Raises DocumentError."""
    return _port(parse(description, "definitions"), _WINDOWS_PORT)


def _port(root: Element, name: str) -> str:
    for service in children(root, "service"):
        for port in children(service, "port"):
            address = child(port, "address")
            if attribute(port, "name") == name and address is not None and attribute(address, "location"):
                return attribute(address, "location")
    raise DocumentError(f"a description without the port {name}")


def _path(element: Element, *names: str) -> str:
    """The text at the end of a way down, ``""`` where there is none."""
    found: Element = element
    for name in names:
        step = child(found, name)
        if step is None:
            return ""
        found = step
    return found.text.strip()


# ------------------------------------------------------------------- tickets


def ticket_request(service: str, address: str, context: str, entropy: bytes) -> bytes:
    """Ask for a web ticket for `service` as `address` (``sip:user@domain``); `context` is a UUID."""
    # The type of the request is an older version's; with the right one servers refuse.
    return _envelope(
        "",
        f'<wst:RequestSecurityToken xmlns:wst="{_TRUST}" Context={quoteattr(context)}>'
        f"<wst:TokenType>{_SAML_TOKEN}</wst:TokenType>"
        f"<wst:RequestType>{_TRUST_FEBRUARY_2005}/Issue</wst:RequestType>"
        f'<wsp:AppliesTo xmlns:wsp="{_POLICY}"><wsa:EndpointReference xmlns:wsa="{_ADDRESSING}">'
        f"<wsa:Address>{escape(service)}</wsa:Address></wsa:EndpointReference></wsp:AppliesTo>"
        '<wst:Claims Dialect="urn:component:Microsoft.Rtc.WebAuthentication.2010:authclaims">'
        f'<auth:ClaimType xmlns:auth="{_AUTHORIZATION}" Optional="false" '
        'Uri="http://schemas.xmlsoap.org/ws/2005/05/identity/claims/uri">'
        f"<auth:Value>{escape(address)}</auth:Value></auth:ClaimType></wst:Claims>"
        f"<wst:Entropy><wst:BinarySecret>{b64encode(entropy).decode()}</wst:BinarySecret></wst:Entropy>"
        f"<wst:KeyType>{_TRUST}/SymmetricKey</wst:KeyType></wst:RequestSecurityToken>",
    )


def parse_ticket(answer: bytes, entropy: bytes) -> Ticket:
    """The ticket in an answer to a request with this `entropy`. Raises DocumentError, ProvisioningFault."""
    body = _body(answer)
    response = _first(body, "RequestSecurityTokenResponse")
    lifetime, assertion = _first(response, "Lifetime"), _first(response, "Assertion")
    begin, ends = _ASSERTION.search(answer), [found.end() for found in _END_OF_ASSERTION.finditer(answer)]
    # What is signed inside it must stay as it is, to the octet.
    raw = answer[begin.start() : ends[-1]] if begin is not None and ends else b""
    theirs = _octets(_first(response, "BinarySecret"))
    name = attribute(assertion, "AssertionID")
    created, expires = _path(lifetime, "Created"), _path(lifetime, "Expires")
    if not (raw and name and created and expires):
        raise DocumentError("an incomplete web ticket")
    return Ticket(raw, name, proof_key(entropy, theirs), created, expires)


def proof_key(ours: bytes, theirs: bytes) -> bytes:
    """32 octets that only the two ends of a ticket know: P_SHA1 of both entropies (WS-Trust 1.3, 4.4.4)."""
    key, block = b"", theirs
    while len(key) < ENTROPY:
        block = hmac.digest(ours, block, "sha1")
        key += hmac.digest(ours, block + theirs, "sha1")
    return key[:ENTROPY]


# -------------------------------------------------------------- certificates


def certificate_request(services_: Services, ticket: Ticket, address: str, csr: bytes, ids: Iterator[str]) -> bytes:
    """Ask for a certificate for `address` (``user@domain``); `csr` is DER. `ids`: UUIDs of device, message, request."""
    device, message, request = next(ids), next(ids), next(ids)
    header = (
        f'<wsa:To xmlns:wsa="{_ADDRESSING}">{escape(services_.certificates)}</wsa:To>'
        f'<wsa:ReplyTo xmlns:wsa="{_ADDRESSING}"><wsa:Address>{_ADDRESSING}/anonymous</wsa:Address></wsa:ReplyTo>'
        f'<wsa:MessageID xmlns:wsa="{_ADDRESSING}">uuid:{message}</wsa:MessageID>'
        f'<wsa:Action xmlns:wsa="{_ADDRESSING}">{PUBLISH}</wsa:Action>'
        f'<wsse:Security xmlns:wsse="{_SECEXT}">{_security(ticket, services_.proof)}</wsse:Security>'
    )
    text = b64encode(csr).decode()
    lines = "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    body = (
        f'<GetAndPublishCert xmlns="{_AUTH_SERVICES}" xmlns:wst="{_TRUST}/" '
        f'xmlns:wstep="http://schemas.microsoft.com/windows/pki/2009/01/enrollment" xmlns:wsse="{_SECEXT}" '
        f'DeviceId="{{{device}}}" Entity={quoteattr(address)}><wst:RequestSecurityToken>'
        f"<wst:TokenType>{_WSS}/2004/01/oasis-200401-wss-x509-token-profile-1.0#X509v3</wst:TokenType>"
        f"<wst:RequestType>{_TRUST}/Issue</wst:RequestType>"
        '<wsse:BinarySecurityToken ValueType="http://schemas.microsoft.com/OCS/AuthWebServices.xsd#PKCS10" '
        f'EncodingType="{_SECEXT}#Base64Binary">{lines}</wsse:BinarySecurityToken>'
        f"<wstep:RequestID>{request}</wstep:RequestID></wst:RequestSecurityToken></GetAndPublishCert>"
    )
    return _envelope(header, body)


def parse_certificate(answer: bytes) -> bytes:
    """The certificate in an answer, DER. Raises DocumentError, ProvisioningFault."""
    response = _first(_body(answer), "GetAndPublishCertResponse")
    return _octets(_first(_first(response, "RequestedSecurityToken"), "BinarySecurityToken"))


def _security(ticket: Ticket, proof: bool) -> str:
    stamp = (
        f'<wsu:Timestamp xmlns:wsu="{_UTILITY}" wsu:Id="timestamp"><wsu:Created>{escape(ticket.created)}</wsu:Created>'
        f"<wsu:Expires>{escape(ticket.expires)}</wsu:Expires></wsu:Timestamp>"
    )
    assertion = ticket.assertion.decode("utf-8", "surrogateescape")
    return stamp + assertion + (_signature(stamp, ticket) if proof else "")


def _signature(stamp: str, ticket: Ticket) -> str:
    # Both signed texts are written as exclusive canonicalisation leaves them, so there is nothing to canonicalise.
    digest = b64encode(sha1(stamp.encode(), usedforsecurity=False).digest()).decode()

    def info(name_space: str) -> str:
        return (
            f'<SignedInfo{name_space}><CanonicalizationMethod Algorithm="{_C14N}"></CanonicalizationMethod>'
            f'<SignatureMethod Algorithm="{_DSIG}hmac-sha1"></SignatureMethod><Reference URI="#timestamp"><Transforms>'
            f'<Transform Algorithm="{_C14N}"></Transform></Transforms><DigestMethod Algorithm="{_DSIG}sha1">'
            f"</DigestMethod><DigestValue>{digest}</DigestValue></Reference></SignedInfo>"
        )

    value = b64encode(hmac.digest(ticket.key, info(f' xmlns="{_DSIG}"').encode(), "sha1")).decode()
    return (
        f'<Signature xmlns="{_DSIG}">{info("")}<SignatureValue>{value}</SignatureValue><KeyInfo>'
        f'<wsse:SecurityTokenReference xmlns:wsse="{_SECEXT}" '
        f'xmlns:wsse11="{_WSS}/oasis-wss-wssecurity-secext-1.1.xsd" wsse11:TokenType="{_SAML_TOKEN}">'
        f'<wsse:KeyIdentifier ValueType="{_SAML_ID}">{escape(ticket.assertion_id)}</wsse:KeyIdentifier>'
        "</wsse:SecurityTokenReference></KeyInfo></Signature>"
    )


# ------------------------------------------------------------------- SOAP 1.1


def _envelope(header: str, body: str) -> bytes:
    head = f"<soap:Header>{header}</soap:Header>" if header else ""
    text = f'<soap:Envelope xmlns:soap="{_SOAP}">{head}<soap:Body>{body}</soap:Body></soap:Envelope>'
    return text.encode("utf-8", "surrogateescape")


def _body(answer: bytes) -> Element:
    body = _first(parse(answer, "Envelope"), "Body")
    fault = child(body, "Fault")
    if fault is None:
        return body
    code = next((item.text for item in fault.iter() if item.name == "ErrorId"), "").strip()
    texts = [item.text for item in fault.iter() if item.name in ("Reason", "text", "faultstring", "Text")]
    reason = next((text.strip() for text in texts if text and text.strip()), "it gives no reason")
    raise ProvisioningFault(reason, code)


def _first(element: Element, name: str) -> Element:
    """The first element of that name anywhere below. Raises DocumentError."""
    found = next((item for item in element.iter() if item.name == name), None)
    if found is None:
        raise DocumentError(f"a document without {name}")
    return found


def _octets(element: Element) -> bytes:
    try:
        return b64decode("".join(element.text.split()), validate=True)
    except ValueError:
        raise DocumentError(f"a {element.name} that is not base64") from None
