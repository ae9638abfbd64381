"""The documents of the certificate provisioning service: what is asked, what is understood, and the signature."""

from __future__ import annotations

import hmac
import time
from base64 import b64decode, b64encode
from hashlib import sha1
from io import BytesIO

import pytest

from check_lync_presence.lync import provisioning
from check_lync_presence.lync.provisioning import ProvisioningFault, Services, Ticket
from check_lync_presence.markup import MAX_TAGS, DocumentError, Element, attribute, parse

from ..strategies import HANG, LARGE

SERVICES = Services(
    "https://pool01.contoso.example/CertProv/x?a=1&b=2", "https://pool01.contoso.example/WebTicket", True
)
ASSERTION = (
    b'<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:1.0:assertion" AssertionID="SamlSecurityToken-1" '
    b'MinorVersion="1"  MajorVersion="1"><saml:Subject>\xc3\xa9 &amp; </saml:Subject ></saml:Assertion>'
)
TICKET = Ticket(ASSERTION, "SamlSecurityToken-1", bytes(32), "2026-11-25T00:00:00Z", "2026-11-25T08:00:00Z")


def envelope(body: str) -> bytes:
    return (
        f'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{body}</s:Body></s:Envelope>'.encode()
    )


def first(root: Element, name: str) -> Element:
    return next(item for item in root.iter() if item.name == name)


def test_the_proof_key_is_the_known_one() -> None:
    key = provisioning.proof_key(bytes(range(32)), bytes(range(32, 64)))
    assert key.hex().upper() == "DF59132C2AF6D230E4337732076A14561694BE12838CC00203D63C816653D75B"


# ------------------------------------------------------------ descriptions


def description(
    tokens: str = "EndorsingSupportingTokens", port: str = "CertProvisioningServiceWebTicketProof_SHA1"
) -> bytes:
    return (
        '<wsdl:definitions xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:u="urn:u" xmlns:p="urn:p">'
        '<p:Policy u:Id="Another_policy"><p:EndorsingSupportingTokens/></p:Policy>'
        '<p:Policy u:Id="CertProvisioningServiceWebTicketProof_SHA1_policy"><p:ExactlyOne><p:All>'
        f"<p:{tokens}><p:Policy><p:IssuedToken><p:Issuer><p:Address> https://pool01/ticket </p:Address></p:Issuer>"
        f"</p:IssuedToken></p:Policy></p:{tokens}></p:All></p:ExactlyOne></p:Policy>"
        '<wsdl:service><wsdl:port name="Other"><p:address location="https://pool01/other"/></wsdl:port>'
        f'<wsdl:port name="{port}"><p:address location="https://pool01/cert"/></wsdl:port></wsdl:service>'
        "</wsdl:definitions>"
    ).encode()


@pytest.mark.parametrize(("tokens", "proof"), [("EndorsingSupportingTokens", True), ("SignedSupportingTokens", False)])
def test_a_description_says_where_and_whether_a_ticket_needs_a_proof(tokens: str, proof: bool) -> None:
    found = provisioning.services(description(tokens))
    assert found == Services("https://pool01/cert", "https://pool01/ticket", proof)
    assert provisioning.windows_port(description(port="WebTicketServiceWinNegotiate")) == "https://pool01/cert"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"", "not a readable XML document"),
        (b"<definitions/>", "without the policy"),
        (description("OtherTokens"), "who issues web tickets"),
        (description(port="Another"), "without the port CertProvisioningServiceWebTicketProof_SHA1"),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]><definitions>&a;</definitions>", "not a readable XML document"),
        (b"<html><body>404</body></html>", "an XML document <html>"),
    ],
)
def test_what_is_no_description_is_refused(document: bytes, words: str) -> None:
    with pytest.raises(DocumentError, match=words):
        provisioning.services(document)


# ------------------------------------------------------------ tickets


def ticket_answer(**changes: str) -> bytes:
    parts = {
        "lifetime": f"<Lifetime><Created>{TICKET.created}</Created><Expires>{TICKET.expires}</Expires></Lifetime>",
        "assertion": ASSERTION.decode(),
        "secret": f"<BinarySecret>{b64encode(bytes(range(32, 64))).decode()}</BinarySecret>",
        **changes,
    }
    return envelope(
        f"<RequestSecurityTokenResponse>{parts['lifetime']}<RequestedSecurityToken>{parts['assertion']}"
        f"</RequestedSecurityToken><Entropy>{parts['secret']}</Entropy></RequestSecurityTokenResponse>"
    )


def test_a_ticket_keeps_its_assertion_to_the_octet() -> None:
    ticket = provisioning.parse_ticket(ticket_answer(), bytes(range(32)))
    assert ticket == TICKET._replace(key=provisioning.proof_key(bytes(range(32)), bytes(range(32, 64))))


@pytest.mark.parametrize("piece", ["<saml:Assertion ", "</saml:Assertion ", "</Assertion", "<a"])
def test_a_large_hostile_ticket_is_read_in_time(piece: str) -> None:
    filling = f"<![CDATA[{piece * min(16 * LARGE // len(piece), MAX_TAGS - 100)}]]>"
    began = time.process_time()
    with pytest.raises(DocumentError, match="incomplete"):
        provisioning.parse_ticket(ticket_answer(assertion=f'<Assertion AssertionID="x" /><x>{filling}</x>'), bytes(32))
    assert time.process_time() - began < HANG


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lifetime", "<Lifetime><Created>now</Created></Lifetime>"),
        ("lifetime", ""),
        ("assertion", ""),
        ("assertion", "<Assertion>without a name</Assertion>"),
        ("secret", ""),
        ("secret", "<BinarySecret>***</BinarySecret>"),
    ],
)
def test_an_incomplete_ticket_is_refused(name: str, value: str) -> None:
    with pytest.raises(DocumentError):
        provisioning.parse_ticket(ticket_answer(**{name: value}), bytes(32))


def test_a_ticket_is_asked_for_with_our_entropy_in_the_users_name() -> None:
    asked = provisioning.ticket_request(SERVICES.certificates, "sip:o'neil&co@contoso.example", "ctx", bytes(32))
    root = parse(asked, "Envelope")
    assert first(root, "Address").text == SERVICES.certificates
    assert first(root, "Value").text == "sip:o'neil&co@contoso.example"
    assert first(root, "BinarySecret").text == b64encode(bytes(32)).decode()
    assert first(root, "RequestType").text == "http://schemas.xmlsoap.org/ws/2005/02/trust/Issue"
    assert attribute(first(root, "RequestSecurityToken"), "Context") == "ctx"


# ------------------------------------------------------------ certificates


def certificate_request(proof: bool = True) -> bytes:
    services = SERVICES._replace(proof=proof)
    return provisioning.certificate_request(services, TICKET, "ann@contoso.example", bytes(100), iter(("d", "m", "r")))


def test_a_certificate_is_asked_for_with_the_ticket_as_it_came() -> None:
    asked = certificate_request()
    assert ASSERTION in asked
    root = parse(asked, "Envelope")
    assert first(root, "To").text == SERVICES.certificates
    assert first(root, "MessageID").text == "uuid:m"
    wanted = first(root, "GetAndPublishCert")
    assert (attribute(wanted, "DeviceId"), attribute(wanted, "Entity")) == ("{d}", "ann@contoso.example")
    token = first(root, "BinarySecurityToken").text
    assert b64decode(token) == bytes(100)
    assert max(map(len, token.split())) == 76
    assert first(root, "RequestID").text == "r"


def test_a_ticket_that_needs_no_proof_is_not_signed() -> None:
    assert b"SignedInfo" not in certificate_request(proof=False)
    assert ASSERTION in certificate_request(proof=False)


def test_the_proof_is_over_the_canonical_form_as_libxml2_makes_it() -> None:
    etree = pytest.importorskip("lxml.etree", reason="an own implementation of exclusive canonicalisation")
    root = etree.parse(BytesIO(certificate_request())).getroot()

    def canonical(name: str) -> bytes:
        found = next(item for item in root.iter() if etree.QName(item).localname == name)
        text: bytes = etree.tostring(found, method="c14n", exclusive=True, with_comments=False)
        return text.rstrip()

    digest = b64encode(sha1(canonical("Timestamp")).digest()).decode()
    value = b64encode(hmac.digest(TICKET.key, canonical("SignedInfo"), "sha1")).decode()
    plain = parse(certificate_request(), "Envelope")
    assert first(plain, "DigestValue").text == digest
    assert first(plain, "SignatureValue").text == value


def test_the_certificate_comes_as_der() -> None:
    body = "<GetAndPublishCertResponse><a><RequestedSecurityToken><BinarySecurityToken>AAEC\nAwQ=</BinarySecurityToken>"
    answer = envelope(body + "</RequestedSecurityToken></a></GetAndPublishCertResponse>")
    assert provisioning.parse_certificate(answer) == bytes(range(5))
    with pytest.raises(DocumentError, match="without GetAndPublishCertResponse"):
        provisioning.parse_certificate(envelope("<Other/>"))
    with pytest.raises(DocumentError, match="without Body"):
        provisioning.parse_certificate(b"<Envelope/>")


@pytest.mark.parametrize(
    ("detail", "text", "code"),
    [
        (
            "<faultstring>no</faultstring><detail><OCSDiagnosticsFault><Ms-Diagnostics-Fault><ErrorId>28020</ErrorId>"
            "<Reason>No valid security token.</Reason></Ms-Diagnostics-Fault></OCSDiagnosticsFault></detail>",
            "no",
            "28020",
        ),
        ("<Detail><error><internalerror><text>Denied</text></internalerror></error></Detail>", "Denied", ""),
        ("", "it gives no reason", ""),
    ],
)
def test_a_fault_says_why(detail: str, text: str, code: str) -> None:
    with pytest.raises(ProvisioningFault, match=text) as caught:
        provisioning.parse_certificate(envelope(f"<s:Fault>{detail}</s:Fault>"))
    assert caught.value.code == code
