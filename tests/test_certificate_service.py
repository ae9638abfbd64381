"""Getting a certificate from the simulator's provisioning service: who is asked, how one signs in, what is refused."""

from __future__ import annotations

import random
import ssl
import time
import uuid
from contextlib import contextmanager
from typing import Any, Iterator, List, Optional, Tuple

import pytest
import trustme

pytest.importorskip("spnego", reason="comes with pip install 'check_lync_presence[tls-dsk]'")
pytest.importorskip("OpenSSL", reason="comes with pip install 'check_lync_presence[tls-dsk]'")

import check_lync_presence.certificate_service as module
from check_lync_presence.certificate_service import Server, fetch
from check_lync_presence.lync import provisioning
from check_lync_presence.lync.kerberos import MissingExtra
from check_lync_presence.lync.mechanism import SignInOptions
from check_lync_presence.markup import DocumentError
from check_lync_presence.net.https import Https
from check_lync_presence.outcome import Cause, PresenceError
from check_lync_presence.settings import Account, Keytab, Secret, UserCertificate
from check_lync_presence.simulator.faults import Faults
from check_lync_presence.simulator.pool import Pool, User
from check_lync_presence.simulator.provisioning import Fault, ProvisioningService
from check_lync_presence.simulator.user_ca import UserCa

from .loopback import finish, soon
from .samples import ANN, BEN

POOL = "pool01.contoso.example"
CA = trustme.CA()
USER_CA = UserCa()


class Service(ProvisioningService):
    """The simulator's, which notes what proves who asks."""

    offered: Tuple[str, ...] = ("Negotiate", "NTLM")
    tickets: Tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__("127.0.0.1", USER_CA)
        self.shown: List[str] = []

    @property
    def schemes(self) -> Tuple[str, ...]:
        return self.offered

    def by_ntlm(self, challenge: Any, token: bytes) -> List[User]:
        self.shown.append("NTLM")
        return super().by_ntlm(challenge, token)

    def by_kerberos(self, token: bytes) -> List[User]:
        self.shown.append(token.decode())
        return [user for user in self.pool.users.values() if token == b"ticket of " + user.logon.encode()]


@contextmanager
def serving(*faults: str) -> Iterator[Service]:
    service = Service()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CA.issue_cert(POOL).configure_cert(context)
    users = [User(item.uri, item.user, item.password, POOL, frozenset()) for item in (ANN, BEN)]
    service.start(Pool(users, time.time()), Faults(faults), "", context, random.Random(1))
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as running:
        yield running


def options(realm: str = "", ours: bool = True) -> SignInOptions:
    return SignInOptions("tls-dsk", False, "HOST", time.time, lambda _: ours, lambda _: realm)


def context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    CA.configure_trust(made)
    return made


def get(
    service: Service, account: Account = ANN, told: Optional[SignInOptions] = None, url: Optional[str] = None
) -> UserCertificate:
    server = Server(context(), POOL, 4)
    found: UserCertificate = finish(fetch(account, told or options(), server, url or service.url, soon(20)))
    return found


def refusal(service: Service, account: Account = ANN, told: Optional[SignInOptions] = None) -> PresenceError:
    with pytest.raises(PresenceError) as caught:
        get(service, account, told)
    return caught.value


@pytest.fixture
def kerberos(monkeypatch: pytest.MonkeyPatch) -> List[str]:
    """Kerberos that gives a ticket for everybody; the services that tickets were asked for."""
    asked: List[str] = []

    class Kerberos:
        def __init__(self, account: Account, told: SignInOptions, token: object, kind: str) -> None:
            self._user = account.user

        async def token(self, challenge: Any, data: bytes, deadline: object) -> bytes:
            asked.append(challenge.get("targetname"))
            return b"ticket of " + self._user.encode()

    monkeypatch.setattr(module, "Kerberos", Kerberos)
    return asked


# ------------------------------------------------------------ signing in


@pytest.mark.parametrize("offered", [("NTLM",), ("Negotiate", "NTLM"), ("Negotiate",)])
def test_a_password_goes_by_ntlm_and_once(service: Service, offered: Tuple[str, ...]) -> None:
    service.offered = offered
    found = get(service)
    assert found.subject == "ann@contoso.example"
    assert found.ends > time.time() + 179 * 86400
    assert service.shown == ["NTLM"]


def test_a_logon_name_may_be_an_upn(service: Service) -> None:
    assert get(service, BEN).subject == "ben@contoso.example"


def test_a_wrong_password_is_a_refused_one_after_one_attempt(service: Service) -> None:
    error = refusal(service, ANN._replace(password=Secret("wrong")))
    assert (error.cause, error.status) == (Cause.REFUSED_CREDENTIALS, 401)
    assert service.shown == ["NTLM"]


def test_the_password_of_one_user_gets_no_certificate_for_another(service: Service) -> None:
    error = refusal(service, ANN._replace(uri=BEN.uri))
    assert (error.cause, str(error)) == (Cause.PROVISIONING, "No certificate: the pool refuses it.")
    assert error.diagnostics == ('28032;reason="The user is not authorized to act as the claimed identity"',)


def test_kerberos_comes_first_where_this_host_has_a_realm_or_a_keytab(service: Service, kerberos: List[str]) -> None:
    get(service, told=options("CONTOSO.EXAMPLE"))
    get(service, ANN._replace(keytab=Keytab("/k", Secret("d")), password=Secret("")))
    assert service.shown == ["ticket of CONTOSO\\ann"] * 2
    assert kerberos == [f"HTTP/{POOL}"] * 2


def test_a_refused_ticket_is_not_followed_by_the_password(service: Service, kerberos: List[str]) -> None:
    error = refusal(service, ANN._replace(user="CONTOSO\\nobody"), options("CONTOSO.EXAMPLE"))
    assert (error.cause, error.status) == (Cause.KERBEROS, 401)
    assert service.shown == ["ticket of CONTOSO\\nobody"]


@pytest.mark.parametrize(
    ("obstacle", "ntlm"),
    [
        (PresenceError(Cause.KERBEROS, "no KDC"), True),
        (MissingExtra("no gssapi"), True),
        (PresenceError(Cause.REFUSED_CREDENTIALS, "wrong password"), False),
        (PresenceError(Cause.ACCOUNT, "locked"), False),
    ],
)
def test_without_a_ticket_there_is_ntlm_unless_the_password_was_refused(
    service: Service, monkeypatch: pytest.MonkeyPatch, obstacle: Exception, ntlm: bool
) -> None:
    def fail(*_: object) -> None:
        raise obstacle

    monkeypatch.setattr(module, "Kerberos", fail)
    if ntlm:
        assert get(service, told=options("CONTOSO.EXAMPLE")).subject == "ann@contoso.example"
    else:
        assert refusal(service, told=options("CONTOSO.EXAMPLE")) is obstacle
        assert service.shown == []


def test_no_common_way_to_sign_in_is_said(service: Service) -> None:
    service.offered = ("Basic", "Digest")
    error = refusal(service)
    assert str(error) == "No certificate: no common way to sign in (basic, digest is offered)."
    assert service.shown == []


# ------------------------------------------------------------ where it goes


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1/CertProv", "the pool names http://127.0.0.1/CertProv/mex, which is not encrypted"),
        ("https://elsewhere.example/CertProv", "the pool names elsewhere.example, which is none of its hosts"),
        ("", "'/mex' is no address of a service"),
    ],
)
def test_nobody_else_is_asked(service: Service, url: str, words: str) -> None:
    with pytest.raises(PresenceError) as caught:
        finish(fetch(ANN, options(ours=False), Server(context(), POOL, 4), url, soon()))
    assert str(caught.value) == f"No certificate: {words}."


def test_a_service_elsewhere_that_a_description_names_gets_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = service.description
    monkeypatch.setattr(
        service, "description", lambda path: (told(path) or "").replace(service.base, "https://elsewhere.example")
    )
    assert "elsewhere.example, which is none of its hosts" in str(refusal(service, told=options(ours=False)))
    assert service.shown == []


def test_a_certificate_of_another_host_ends_it(service: Service) -> None:
    with pytest.raises(PresenceError, match="is not for pool02") as caught:
        finish(fetch(ANN, options(), Server(context(), "pool02.contoso.example", 4), service.url, soon()))
    assert (caught.value.cause, caught.value.detail) == (Cause.PROVISIONING, "TLS")


@pytest.mark.parametrize(
    ("fault", "detail", "words"),
    [
        ("provisioning", "FAULT", "the pool refuses it"),
        ("provisioning=garbage", "DOCUMENT", "the answer is not a readable XML document"),
        ("user-certificate=expired", "EXPIRED", "has expired, or ends within an hour"),
    ],
)
def test_what_a_service_can_do_wrong_is_said(fault: str, detail: str, words: str) -> None:
    with serving(fault) as service:
        error = refusal(service)
    assert (error.cause, error.detail) == (Cause.PROVISIONING, detail)
    assert words in str(error)


def test_a_silent_service_gets_half_of_the_time() -> None:
    words = r"no answer from 127\.0\.0\.1:\d+ within 0\.5 s"
    with serving("provisioning=silent") as service, pytest.raises(PresenceError, match=words):
        finish(fetch(ANN, options(), Server(context(), POOL, 4), service.url, soon(1.0)))


# ------------------------------------------------------------ the simulator's side


@pytest.mark.parametrize("spoilt", ["key", "assertion", "stamp", "entity"])
def test_the_simulator_gives_a_certificate_to_the_holder_of_a_ticket_alone(service: Service, spoilt: str) -> None:
    entropy = bytes(32)
    asked = provisioning.ticket_request(service.url, ANN.uri, "c", entropy)
    answer = provisioning_envelope(service.ticket(list(service.pool.users.values()), asked))
    ticket = provisioning.parse_ticket(answer, entropy)
    entity = ANN.address
    if spoilt == "key":
        ticket = ticket._replace(key=bytes(32))
    elif spoilt == "assertion":
        ticket = ticket._replace(assertion=ticket.assertion.replace(b"SamlSecurityToken", b"SomeSecurityToken"))
    elif spoilt == "entity":
        entity = BEN.address
    _, request = module._key_and_request(ANN.address)
    ids = iter([str(uuid.uuid4()) for _ in range(3)])
    services = provisioning.Services(service.url, service.url, True)
    document = provisioning.certificate_request(services, ticket, entity, request, ids)
    if spoilt == "stamp":
        document = document.replace(ticket.expires.encode(), b"2099-01-01T00:00:00.000Z")
    with pytest.raises(Fault):
        service.certificate(document)


def test_the_simulator_refuses_what_is_no_request(service: Service) -> None:
    for document in (b"", b"<Envelope/>", b"<Envelope><Assertion/></Envelope>"):
        with pytest.raises((DocumentError, Fault)):
            service.certificate(document)


def provisioning_envelope(body: str) -> bytes:
    return (
        f'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{body}</s:Body></s:Envelope>'.encode()
    )


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", b"x")])
def test_the_simulator_has_nothing_elsewhere(service: Service, method: str, body: Optional[bytes]) -> None:
    web = Https(context(), POOL, 4, lambda _: True)
    assert finish(web.request(method, web.origin(service.base), {}, body, soon())).status == 404
    web.close()
