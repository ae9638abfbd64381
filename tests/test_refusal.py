"""What a final response other than 2xx means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.outcome import Cause, PresenceError
from check_lync_presence.refusal import Redirected, raise_redirect, status_error
from check_lync_presence.sip.message import Response

from .strategies import made_of, many


@pytest.mark.parametrize(
    ("contacts", "host", "port"),
    [
        (("<sip:pool02.contoso.example:5061;transport=tls>",), "pool02.contoso.example", 5061),
        (("<sip:a.contoso.example>, <sip:b.contoso.example>",), "a.contoso.example", None),
        (('"x, y" <sips:[2001:db8::1]>;q=1',), "2001:db8::1", None),
        (("<sip:a.contoso.example>", "<sip:b.contoso.example>"), "a.contoso.example", None),
    ],
)
@pytest.mark.parametrize("status", [301, 302])
def test_a_redirect_leads_to_its_first_contact(status: int, contacts: tuple[str, ...], host: str, port: int) -> None:
    with pytest.raises(Redirected) as redirect:
        raise_redirect(Response(status, "Moved", [("Contact", value) for value in contacts]))
    assert (redirect.value.target.host, redirect.value.target.port) == (host, port)


@pytest.mark.parametrize("contact", [None, "", "*", "<tel:1>", "<sip:a", "<sip:a b>", "sip:", ","])
def test_a_redirect_to_nowhere_is_an_error_of_the_server(contact: str) -> None:
    with pytest.raises(PresenceError) as error:
        raise_redirect(Response(302, "Moved", [] if contact is None else [("Contact", contact)]))
    assert (error.value.cause, error.value.status) == (Cause.REDIRECT, 302)


@many
@given(
    st.integers(100, 699),
    st.lists(made_of("<sip:", "sip:", "a.contoso.example", ">", "<", ",", '"', "\\", ";x=", ":5061", "[::1]", "*")),
)
def test_any_answer_is_a_redirect_an_error_of_the_server_or_neither(status: int, contacts: list[str]) -> None:
    response = Response(status, "x", [("Contact", value) for value in contacts])
    assert status_error(response).status == status
    if status in (301, 302):
        with pytest.raises((Redirected, PresenceError)):
            raise_redirect(response)
    else:
        raise_redirect(response)
