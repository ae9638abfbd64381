from __future__ import annotations

import contextlib
import time
from typing import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.sip.uri import (
    AddressError,
    SipUri,
    parse_name_addr,
    parse_uri,
    same_address,
    split_list,
)

from ..strategies import HANG, LARGE, any_text, made_of, many

GRUU = "sip:ann@contoso.example;opaque=user:epid:I3d-L-SWTlSLmM9IK4zvuAAA;gruu"
address_text = any_text | made_of(
    "sip:", "SIPS:", "ann", "@", "contoso.example", ":", "5061", ";", "=", "tag", "?", "<", ">", '"', "\\", ",", " ",
    "[", "]", "::1", ";tag=x", ';a="b"', "\t", "\udcff",
)  # fmt: skip


# ------------------------------------------------------------------ URIs


def test_a_uri_is_scheme_user_host_port_and_parameters() -> None:
    uri = parse_uri("sip:ann@contoso.example:5061;transport=tls;lr")
    assert uri == SipUri("sip", "ann", "contoso.example", 5061, {"transport": "tls", "lr": ""})


def test_a_uri_may_have_no_user() -> None:
    assert parse_uri("sip:pool02.contoso.example:5061;transport=tls") == SipUri(
        "sip", "", "pool02.contoso.example", 5061, {"transport": "tls"}
    )


def test_the_scheme_has_no_case_and_blanks_around_a_uri_do_not_count() -> None:
    assert parse_uri(" SIPS:ann@contoso.example ") == SipUri("sips", "ann", "contoso.example", None, {})


def test_the_case_of_user_and_host_is_kept() -> None:
    uri = parse_uri("sip:Ann@Contoso.Example")
    assert (uri.user, uri.host) == ("Ann", "Contoso.Example")


def test_parameter_names_have_no_case_and_their_values_do() -> None:
    assert parse_uri("sip:a;Transport=TLS").params == {"transport": "TLS"}


def test_a_gruu_has_its_opaque_parameter() -> None:
    uri = parse_uri(GRUU)
    assert uri.params == {"opaque": "user:epid:I3d-L-SWTlSLmM9IK4zvuAAA", "gruu": ""}
    assert uri.aor == "sip:ann@contoso.example"


def test_the_headers_of_a_uri_are_no_parameters() -> None:
    assert parse_uri("sip:ann@contoso.example;lr?Subject=x;y").params == {"lr": ""}


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("sip:ann@192.0.2.10:50412", "192.0.2.10", 50412),
        ("sip:ann@[2001:db8::1]", "2001:db8::1", None),
        ("sip:[2001:db8::1]:5061", "2001:db8::1", 5061),
        ("sip:[fe80::1%eth0]:5061", "fe80::1%eth0", 5061),
    ],
)
def test_the_host_may_be_an_ip_address(text: str, host: str, port: int) -> None:
    uri = parse_uri(text)
    assert (uri.host, uri.port) == (host, port)


def test_an_address_of_record_at_an_ipv6_address_has_its_brackets() -> None:
    assert parse_uri("sip:ann@[2001:db8::1]:5061;lr").aor == "sip:ann@[2001:db8::1]"


@pytest.mark.parametrize("user", ["+15550100;ext=4", "a?b", "o'neil&co", "ann:secret", "%40ann", "müller"])
def test_the_user_is_all_that_stands_before_the_at(user: str) -> None:
    uri = parse_uri(f"sip:{user}@contoso.example;user=phone")
    assert (uri.user, uri.host, uri.params) == (user, "contoso.example", {"user": "phone"})


@pytest.mark.parametrize("port", ["1", "65535"])
def test_the_smallest_and_the_largest_port_are_read(port: str) -> None:
    assert parse_uri(f"sip:a:{port}").port == int(port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip",
        "sip:",
        "sip:@",
        "sip:@contoso.example",
        "sip:ann@",
        "sip:ann@:5061",
        "ann@contoso.example",
        "tel:+15550100",
        "http://contoso.example/",
        "sip:ann smith@contoso.example",
        "sip:ann@ben@contoso.example",
        "sip:ann@contoso example",
        "sip:<ann>@contoso.example",
        'sip:"ann"@contoso.example',
        "sip:a:0",
        "sip:a:65536",
        "sip:a:123456",
        "sip:a:",
        "sip:a:-1",
        "sip:a:٥٠٦١",
        "sip:2001:db8::1",
        "sip:[2001:db8::1",
        "sip:[]",
        "sip:[contoso.example]x",
    ],
)
def test_a_text_that_is_no_sip_uri_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_uri(text)


# ------------------------------------------------------------------ name-addr


@pytest.mark.parametrize(
    "value",
    [
        "<sip:ann@contoso.example>;tag=8d1f3a6b2c;epid=a1b2c3d4e5f6",
        '"Ann"<sip:ann@contoso.example>;tag=8d1f3a6b2c;epid=a1b2c3d4e5f6',
        '"Ann" <sip:ann@contoso.example> ; tag = 8d1f3a6b2c ; epid=a1b2c3d4e5f6',
        "Ann Smith <sip:ann@contoso.example>;EPID=a1b2c3d4e5f6;TAG=8d1f3a6b2c",
        '"Ann <sip:not@this.one>;tag=0" <sip:ann@contoso.example>;tag=8d1f3a6b2c;epid=a1b2c3d4e5f6',
        r'"Ann \"<sip:not@this.one>" <sip:ann@contoso.example>;tag=8d1f3a6b2c;epid=a1b2c3d4e5f6',
        "sip:ann@contoso.example;tag=8d1f3a6b2c;epid=a1b2c3d4e5f6",
        " sip:ann@contoso.example ;tag=8d1f3a6b2c;epid=a1b2c3d4e5f6",
        "< sip:ann@contoso.example >;tag=8d1f3a6b2c;epid=a1b2c3d4e5f6",
    ],
)
def test_a_from_value_gives_uri_and_parameters(value: str) -> None:
    address = parse_name_addr(value)
    assert address.uri == "sip:ann@contoso.example"
    assert address.tag == "8d1f3a6b2c"
    assert address.params == {"tag": "8d1f3a6b2c", "epid": "a1b2c3d4e5f6"}


def test_an_address_without_a_tag_has_an_empty_one() -> None:
    assert parse_name_addr("<sip:ann@contoso.example>").tag == ""


def test_parameters_between_the_brackets_belong_to_the_uri() -> None:
    address = parse_name_addr(f"<{GRUU};tag=uri>;tag=header")
    assert (address.uri, address.tag) == (f"{GRUU};tag=uri", "header")


def test_parameters_without_brackets_belong_to_the_header() -> None:
    assert parse_name_addr(GRUU) == (
        "sip:ann@contoso.example",
        {"opaque": "user:epid:I3d-L-SWTlSLmM9IK4zvuAAA", "gruu": ""},
    )


def test_the_contact_of_an_endpoint_is_read() -> None:
    address = parse_name_addr(
        "<sip:192.0.2.10:50412;transport=tls;ms-opaque=d3470f2e1d>;expires=600;"
        'methods="INVITE, MESSAGE; BENOTIFY";proxy=replace;+sip.instance="<urn:uuid:2f7e7723>";gruu="' + GRUU + '"'
    )
    assert address.uri == "sip:192.0.2.10:50412;transport=tls;ms-opaque=d3470f2e1d"
    assert address.params == {
        "expires": "600",
        "methods": "INVITE, MESSAGE; BENOTIFY",
        "proxy": "replace",
        "+sip.instance": "<urn:uuid:2f7e7723>",
        "gruu": GRUU,
    }


def test_a_parameter_in_quotes_may_hold_escaped_quotes() -> None:
    assert parse_name_addr(r'<sip:a>;x="1\";tag=2";tag=3').tag == "3"


@pytest.mark.parametrize("value", ["", " ", "<>", "< >;tag=1", ";tag=1", "<sip:a", '"Ann"<sip:a;tag=1', "*>;<"])
def test_a_text_that_is_no_address_is_refused(value: str) -> None:
    with pytest.raises(AddressError):
        parse_name_addr(value)


# ------------------------------------------------------------------ lists


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("", ()),
        (" , ,", ()),
        ("<sip:a>", ("<sip:a>",)),
        ("<sip:a>, <sip:b>;x=1 ,sip:c", ("<sip:a>", "<sip:b>;x=1", "sip:c")),
        ('"Ann, Smith" <sip:a>, "B" <sip:b>', ('"Ann, Smith" <sip:a>', '"B" <sip:b>')),
        (r'"Ann\", Smith" <sip:a>,<sip:b>', (r'"Ann\", Smith" <sip:a>', "<sip:b>")),
        ("<sip:a;x=1,2>,<sip:b>", ("<sip:a;x=1,2>", "<sip:b>")),
        ('<sip:a>;methods="INVITE, BYE",<sip:b>', ('<sip:a>;methods="INVITE, BYE"', "<sip:b>")),
        ("a>,b", ("a>", "b")),
    ],
)
def test_a_list_is_split_at_commas_outside_of_quotes_and_brackets(value: str, parts: tuple[str, ...]) -> None:
    assert split_list(value) == parts


# ------------------------------------------------------------------ comparison


@pytest.mark.parametrize(
    "other",
    [
        "sip:ann@contoso.example",
        "SIP:Ann@CONTOSO.example",
        "sips:ann@contoso.example",
        "sip:ann@contoso.example:5061",
        GRUU,
    ],
)
def test_addresses_of_one_user_are_the_same(other: str) -> None:
    assert same_address("sip:ann@contoso.example", other)
    assert same_address(other, "sip:ann@contoso.example")


@pytest.mark.parametrize(
    "other",
    ["sip:ben@contoso.example", "sip:ann@fabrikam.example", "sip:contoso.example", "ann@contoso.example", "", "sip:"],
)
def test_addresses_of_two_users_are_not_the_same(other: str) -> None:
    assert not same_address("sip:ann@contoso.example", other)
    assert not same_address(other, "sip:ann@contoso.example")


def test_the_address_of_record_of_a_server_has_no_user() -> None:
    assert parse_uri("sips:pool01.contoso.example:5061;lr").aor == "sips:pool01.contoso.example"


@pytest.mark.parametrize("text", ["sip:ann@contoso>example", 'sip:ann@contoso"', "sip:<contoso.example"])
def test_a_host_with_characters_that_end_an_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_uri(text)


@pytest.mark.parametrize(
    "text", ["<sip:ann@contoso.example SIP/2.0>", "<sip:a\tb>;tag=1", "sip:a b;tag=1", "<sip:a\x1fb>"]
)
def test_an_address_with_a_blank_in_it_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_name_addr(text)


def test_phone_numbers_at_two_domains_are_not_the_same() -> None:
    assert not same_address("sip:+15550100;ext=1@contoso.example", "sip:+15550100;ext=1@fabrikam.example")


def test_two_texts_that_are_no_addresses_are_not_the_same() -> None:
    assert not same_address("tel:1", "tel:1")


# ------------------------------------------------------------------ properties


@many
@given(address_text)
def test_any_text_is_a_uri_or_an_address_error(text: str) -> None:
    try:
        uri = parse_uri(text)
    except AddressError:
        return
    assert uri.scheme in ("sip", "sips")
    assert uri.host
    assert "@" not in uri.user + uri.host
    assert same_address(text, text)
    assert parse_uri(uri.aor).aor == uri.aor


@many
@given(address_text)
def test_any_text_is_an_address_or_an_address_error(text: str) -> None:
    try:
        address = parse_name_addr(text)
    except AddressError:
        return
    assert address.uri == address.uri.strip() != ""
    assert all(name == name.lower() != "" for name in address.params)


@many
@given(address_text)
def test_any_text_is_split_into_parts_that_hold_all_its_letters(text: str) -> None:
    parts = split_list(text)
    assert all(part == part.strip() != "" for part in parts)
    letters = [char for char in text if char.isalnum()]
    assert [char for part in parts for char in part if char.isalnum()] == letters


@many
@given(st.lists(st.text("abc:@;=", min_size=1, max_size=8).map(lambda text: f"<sip:{text}>"), max_size=6))
def test_addresses_joined_by_commas_are_split_again(addresses: list[str]) -> None:
    assert split_list(", ".join(addresses)) == tuple(addresses)


@pytest.mark.parametrize("read", [parse_uri, parse_name_addr, split_list])
@pytest.mark.parametrize("start", ["", "sip:", "sip:a@", "sip:[", "<sip:a>;a", '<sip:a>;a="', '"', "<"])
def test_a_large_text_is_read_at_once(read: Callable[[str], object], start: str) -> None:
    for filling in [
        "; ",
        ";a",
        ";a=",
        ';a="',
        "; a = ",
        "a",
        " ",
        '"',
        "\\",
        '\\"',
        '"\\',
        "<",
        ">",
        ",",
        ":",
        "@",
        "[",
        "1",
        ";",
    ]:
        began = time.perf_counter()
        with contextlib.suppress(AddressError):
            read(start + filling * (LARGE // len(filling)) + "!")
        assert time.perf_counter() - began < HANG, filling
