"""Which schemes are tried, in which order, and what Kerberos asks of gssapi; that is played here (see tests/lab)."""

from __future__ import annotations

import itertools
import sys
import threading
import types
from typing import Any, Callable, List, Optional, Tuple

import pytest

from check_lync_presence.lync.association import AuthHeader
from check_lync_presence.lync.kerberos import SKEW, ContextKeys, Kerberos, MissingExtra
from check_lync_presence.lync.mechanism import SignInOptions
from check_lync_presence.lync.schemes import attempts
from check_lync_presence.net.deadline import Deadline
from check_lync_presence.outcome import Cause, PresenceError
from check_lync_presence.settings import Account, Keytab, Secret, SettingsError, UserCertificate

from ..loopback import finish, soon
from ..samples import ANN

REALM = "CONTOSO.EXAMPLE"
SERVICE = "sip/pool01.contoso.example"
MENU = {
    "ntlm": AuthHeader("NTLM", {"targetname": "pool01.contoso.example"}),
    "kerberos": AuthHeader("Kerberos", {"targetname": SERVICE}),
    "tls-dsk": AuthHeader("TLS-DSK", {"targetname": "pool01.contoso.example"}),
}
NO_PASSWORD = ANN._replace(password=Secret(""))
TABLE = -1765328384


_count = itertools.count()


def fresh(digits: int) -> str:
    return f"{next(_count):0{digits}x}"


def options(auth: str = "auto", realm: str = REALM, ours: bool = True) -> SignInOptions:
    return SignInOptions(auth, False, "HOST", lambda: 0.0, lambda _: ours, lambda _: realm)


class GSSError(Exception):
    """As gssapi has it: the number has no sign, and the texts are asked for."""

    def __init__(self, number: int, text: str = "Something is wrong") -> None:
        super().__init__(text)
        self.min_code = (number + TABLE) % (1 << 32)

    def get_all_statuses(self, code: int, is_major: bool) -> List[str]:
        return [str(self)]


class Api:
    """What of gssapi is used; `obstacle` is what asking for credentials comes to."""

    class MechType:
        kerberos = "krb5"

    class NameType:
        kerberos_principal = "principal"

    class RequirementFlag:
        integrity = 32

    class exceptions:
        GSSError = GSSError

    def __init__(self, obstacle: Optional[Callable[[], None]] = None) -> None:
        self.calls: List[Tuple[str, Any]] = []
        self.raw = types.SimpleNamespace(acquire_cred_with_password=self._with_password)
        self._obstacle = obstacle

    def Name(self, text: str, kind: str) -> str:
        return text

    def _with_password(self, name: str, password: bytes, **more: Any) -> Any:
        self.calls.append(("password", (name, password)))
        return types.SimpleNamespace(creds="of the password")

    def Credentials(self, *given: Any, **asked: Any) -> Any:
        self.calls.append(("credentials", given or asked))
        if self._obstacle is not None:
            self._obstacle()
        return "credentials"

    def SecurityContext(self, **asked: Any) -> Any:
        self.calls.append(("context", asked))
        return types.SimpleNamespace(step=lambda: b"AP-REQ")


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[[Api], Api]:
    def put(api: Api) -> Api:
        monkeypatch.setitem(sys.modules, "gssapi", api)
        return api

    return put


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gssapi", None)


Play = Callable[[Api], Api]


def tried(told: SignInOptions, account: Account = ANN, **menu: AuthHeader) -> List[str]:
    found = attempts(menu or MENU, account, told, lambda digits: "0" * digits)
    return [mechanism.scheme for mechanism, _ in found]


# ------------------------------------------------------------------ the choice


def test_kerberos_is_tried_before_ntlm_where_it_can_work(play: Play) -> None:
    play(Api())
    assert tried(options()) == ["Kerberos", "NTLM"]
    assert tried(options(), ntlm=MENU["ntlm"]) == ["NTLM"]
    assert tried(options(), kerberos=MENU["kerberos"]) == ["Kerberos"]


def test_without_a_realm_or_the_extra_there_is_ntlm(missing: None) -> None:
    assert tried(options()) == ["NTLM"]
    assert tried(options(realm="")) == ["NTLM"]


def test_a_ticket_is_for_services_of_one_kind_alone(play: Play) -> None:
    api = play(Api())
    web = Kerberos(NO_PASSWORD, options(), lambda digits: "0" * digits, "HTTP")
    finish(web.token(AuthHeader("Negotiate", {"targetname": "http/pool01.contoso.example"}), b"", soon()))
    assert api.calls[-1][1]["name"] == "HTTP/pool01.contoso.example@"
    with pytest.raises(PresenceError):
        finish(web.token(AuthHeader("Negotiate", {"targetname": SERVICE}), b"", soon()))


def test_a_certificate_that_was_given_comes_first_and_none_is_fetched_unless_asked_for(missing: None) -> None:
    pytest.importorskip("OpenSSL", reason="comes with pip install 'check_lync_presence[tls-dsk]'")

    async def certificate(offer: AuthHeader, deadline: Deadline) -> UserCertificate:
        raise AssertionError

    given = ANN._replace(certificate=UserCertificate("", Secret(""), "", 0.0))
    assert tried(options()._replace(certificates=lambda: [certificate]), given) == ["TLS-DSK", "NTLM"]
    assert tried(options()._replace(certificates=lambda: [certificate])) == ["NTLM"]
    named = options("tls-dsk")._replace(certificates=lambda: [certificate, certificate])
    assert tried(named) == ["TLS-DSK", "TLS-DSK"]
    assert tried(named, ntlm=MENU["ntlm"]) == []


def test_what_is_named_is_tried_alone(play: Play) -> None:
    play(Api())
    assert tried(options("kerberos")) == ["Kerberos"]
    assert tried(options("kerberos", realm="")) == ["Kerberos"]
    assert tried(options("ntlm")) == ["NTLM"]
    assert tried(options("ntlm"), kerberos=MENU["kerberos"]) == []


def test_who_has_no_password_has_no_ntlm(play: Play) -> None:
    play(Api())
    assert tried(options(realm=""), NO_PASSWORD._replace(keytab=Keytab("/k", Secret("d")))) == ["Kerberos"]
    assert tried(options(), NO_PASSWORD, ntlm=MENU["ntlm"]) == []


def test_the_missing_extra_is_named_with_its_command(missing: None) -> None:
    with pytest.raises(MissingExtra, match="install python3-gssapi, or pip install gssapi with the check's own pip"):
        tried(options("kerberos"))
    with pytest.raises(MissingExtra):
        tried(options(), NO_PASSWORD)


# ------------------------------------------------------------------ credentials and names


def token(api: Api, account: Account = ANN, told: Optional[SignInOptions] = None, target: str = SERVICE) -> Kerberos:
    mechanism = Kerberos(account, told or options("kerberos"), fresh)
    sent = finish(mechanism.token(AuthHeader("Kerberos", {"targetname": target}), b"", soon()))
    assert sent == b"AP-REQ"
    return mechanism


def test_a_password_becomes_credentials_of_that_user_alone(play: Play) -> None:
    api = play(Api())
    mechanism = token(api)
    (_, asked), (_, given), (_, context) = api.calls
    assert asked == (f"ann@{REALM}", ANN.password.reveal().encode())
    assert given == ("of the password",)
    assert (context["name"], context["flags"]) == (f"{SERVICE}@", 32)
    assert mechanism.keys is not None
    assert mechanism.shown is Cause.KERBEROS


def test_a_keytab_goes_into_a_cache_of_its_own_and_beats_the_password(play: Play) -> None:
    api = play(Api())
    account = ANN._replace(keytab=Keytab("/etc/ann.keytab", Secret("digest")))
    token(api, account)
    token(api, account)
    stores = [asked["store"] for kind, asked in api.calls if kind == "credentials"]
    assert [store["client_keytab"] for store in stores] == ["FILE:/etc/ann.keytab"] * 2
    assert all(store["ccache"].startswith("MEMORY:") for store in stores)
    assert stores[0]["ccache"] != stores[1]["ccache"]
    assert not [kind for kind, _ in api.calls if kind == "password"]


def test_without_both_the_cache_of_this_host_is_asked_for_that_very_user(play: Play) -> None:
    api = play(Api())
    token(api, NO_PASSWORD)
    assert api.calls[0] == ("credentials", {"name": f"ann@{REALM}", "usage": "initiate", "mechs": ["krb5"]})


@pytest.mark.parametrize(
    ("user", "realm", "principal"),
    [
        ("CONTOSO\\ann", REALM, f"ann@{REALM}"),
        ("ann@contoso.example", REALM, f"ann@{REALM}"),
        ("ann@contoso.example", "", f"ann@{REALM}"),
        ("contoso.example\\ann", "", f"ann@{REALM}"),
        ("CONTOSO\\ann/admin@x", REALM, f"ann\\/admin\\@x@{REALM}"),
    ],
)
def test_a_logon_name_becomes_a_principal(play: Play, user: str, realm: str, principal: str) -> None:
    api = play(Api())
    token(api, NO_PASSWORD._replace(user=user), options("kerberos", realm))
    assert api.calls[0][1]["name"] == principal


@pytest.mark.parametrize("user", ["CONTOSO\\ann", "ann", "", "@contoso.example", "\\ann"])
def test_a_logon_name_without_a_realm_is_a_settings_error(play: Play, user: str) -> None:
    api = play(Api())
    with pytest.raises(SettingsError, match="is not configured for the Kerberos realm of"):
        token(api, NO_PASSWORD._replace(user=user), options("kerberos", ""))
    assert api.calls == []


@pytest.mark.parametrize(
    "target",
    ["", "pool01.contoso.example", "http/pool01.contoso.example", "sip/", "sip/a@OTHER.EXAMPLE", "sip/a/b", "sip/-"],
)
def test_a_name_that_is_no_sip_service_gets_no_ticket(play: Play, target: str) -> None:
    api = play(Api())
    with pytest.raises(PresenceError) as error:
        token(api, target=target)
    assert (error.value.cause, error.value.detail, api.calls) == (Cause.KERBEROS, "FOREIGN", [])


def test_a_host_of_another_organisation_gets_no_ticket(play: Play) -> None:
    api = play(Api())
    with pytest.raises(PresenceError, match=r"Kerberos: the server calls itself sip/evil\.example\."):
        token(api, told=options("kerberos", ours=False), target="sip/evil.example")
    assert api.calls == []


# ------------------------------------------------------------------ what libkrb5 says


def trouble(play: Play, number: int, account: Account = ANN, auth: str = "auto") -> PresenceError:
    def fail() -> None:
        raise GSSError(number)

    api = play(Api(fail))
    with pytest.raises(PresenceError) as error:
        token(api, account, options(auth))
    return error.value


@pytest.mark.parametrize(
    ("number", "cause", "detail", "text"),
    [
        (6, Cause.KERBEROS, "CLIENT", f"Kerberos: no such user as ann@{REALM}."),
        (7, Cause.KERBEROS, "SERVICE", f"Kerberos: no such service as {SERVICE}."),
        (18, Cause.ACCOUNT, "REVOKED", "Kerberos: account disabled, locked or expired."),
        (23, Cause.ACCOUNT, "PASSWORD", "Kerberos: password expired or to be changed."),
        (24, Cause.REFUSED_CREDENTIALS, "REFUSED", "Kerberos: the KDC refuses the password."),
        (32, Cause.KERBEROS, "EXPIRED", "Kerberos: the ticket has expired."),
        (SKEW, Cause.KERBEROS, "SKEW", "Kerberos: clock skew between here and the KDC."),
        (141, Cause.KERBEROS, "TICKET", f"Kerberos: no ticket of ann@{REALM}."),
        (154, Cause.KERBEROS, "REALM", f"Kerberos: this host knows no KDC of {REALM}."),
        (156, Cause.KERBEROS, "KDC", f"Kerberos: no KDC of {REALM} answers."),
        (14, Cause.KERBEROS, "OTHER", "Kerberos: Something is wrong."),
    ],
)
def test_what_libkrb5_says_is_one_sentence(play: Play, number: int, cause: Cause, detail: str, text: str) -> None:
    error = trouble(play, number)
    assert (error.cause, error.detail, str(error)) == (cause, detail, text)


def test_a_key_that_is_refused_is_not_called_a_password(play: Play) -> None:
    account = ANN._replace(keytab=Keytab("/etc/ann.keytab", Secret("digest")))
    assert str(trouble(play, 24, account)) == "Kerberos: the KDC refuses the keytab's key."


def test_a_keytab_without_the_user_is_a_settings_error(play: Play) -> None:
    with pytest.raises(SettingsError, match=rf"the keytab /etc/ann\.keytab has no key of ann@{REALM}; klist -k shows"):
        trouble(play, 195, ANN._replace(keytab=Keytab("/etc/ann.keytab", Secret("digest"))))


def test_a_realm_without_a_kdc_is_a_settings_error_where_kerberos_was_named(play: Play) -> None:
    with pytest.raises(SettingsError, match=rf"this host knows no KDC of {REALM}: name one in krb5\.conf"):
        trouble(play, 154, auth="kerberos")


def test_a_kdc_that_is_silent_takes_half_of_the_time_at_most(play: Play) -> None:
    release = threading.Event()

    def wait() -> None:
        release.wait()

    api = play(Api(wait))
    mechanism = Kerberos(ANN, options(), fresh)
    limit = soon(0.2)
    try:
        with pytest.raises(PresenceError, match=r"no KDC of CONTOSO\.EXAMPLE answers within 0\.\d+ s\.") as error:
            finish(mechanism.token(MENU["kerberos"], b"", limit))
        assert limit.remaining > 0
    finally:
        release.set()
    assert (error.value.cause, error.value.detail) == (Cause.KERBEROS, "KDC")
    assert mechanism.keys is None
    assert len(api.calls) == 2


def test_a_signature_that_gssapi_does_not_like_is_none() -> None:
    def refuse(text: bytes, signature: bytes) -> None:
        if signature != b"right":
            raise GSSError(0)

    context = types.SimpleNamespace(verify_signature=refuse, get_signature=lambda text: bytearray(b"mac of " + text))
    keys = ContextKeys(Api(), context)
    assert keys.verify(b"text", b"right")
    assert not keys.verify(b"text", b"")
    assert keys.mac(b"text") == b"mac of text"
