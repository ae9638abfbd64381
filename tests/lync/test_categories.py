"""Presence documents (MS-PRES 2.2.2): what a client writes and what it reads of a server."""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from check_lync_presence.lync.categories import (
    CATEGORIES_TYPE,
    PUBLISH_TYPE,
    SELF_TYPE,
    SUBSCRIPTION_TYPE,
    Category,
    Conflict,
    Container,
    Notification,
    Presence,
    Publication,
    Resource,
    add_colleagues_document,
    container_of,
    fault_code,
    machine_state,
    note,
    parse_conflicts,
    parse_notification,
    parse_self,
    publish_document,
    self_subscription_document,
    subscription_document,
)
from check_lync_presence.markup import DocumentError, Element, attribute, children, parse

from ..strategies import any_text, few, many
from ..test_markup import UNREADABLE, UNTRUSTED
from ..transcripts import recorded

ANN, BEN = "sip:ann@contoso.example", "sip:ben@contoso.example"
NOTE = b'<note xmlns="http://schemas.microsoft.com/2006/09/sip/note"><body type="personal" uri="">%s</body></note>'


def keys(categories: Tuple[Category, ...]) -> List[Tuple[str, Optional[int], Optional[int], int, str]]:
    return [(item.name, item.instance, item.container, item.version, item.expire_type) for item in categories]


def availability(category: Category) -> Optional[str]:
    assert category.content is not None
    return next(children(category.content, "availability")).text


def categories(content: bytes) -> bytes:
    return b'<categories uri="sip:ann@contoso.example">' + content + b"</categories>"


def notified(content: bytes) -> Tuple[Category, ...]:
    (presence,) = parse_notification(CATEGORIES_TYPE, categories(content)).presences
    return presence.categories


# ------------------------------------------------------------------ the own presence


def test_the_self_subscription_tells_the_own_publications() -> None:
    presence = parse_self(recorded("08-ann-200-self-presence.sip").body)
    assert keys(presence.categories) == [
        ("state", 536870912, 2, 3, "static"),
        ("state", 536870912, 3, 3, "static"),
        ("state", 1, 200, 1, "user"),
        ("note", None, 200, 0, ""),
    ]
    assert [availability(item) for item in presence.categories[:3]] == ["3500", "3500", "18500"]
    assert presence.categories[3].content is None


def test_the_self_subscription_tells_the_containers_and_their_members() -> None:
    assert parse_self(recorded("08-ann-200-self-presence.sip").body).containers == {
        100: Container(1, (("federated", ""),)),
        200: Container(1, (("sameEnterprise", ""),)),
        300: Container(0, ()),
        400: Container(0, ()),
        32000: Container(0, ()),
    }


def test_the_answer_to_a_publication_tells_the_new_versions() -> None:
    presence = parse_self(recorded("12-ann-200-published.sip").body)
    assert keys(presence.categories) == [
        ("note", 0, 200, 1, "static"),
        ("state", 1, 2, 2, "user"),
        ("state", 974859325, 2, 1, "endpoint"),
        ("state", 536870912, 2, 3, "static"),
        ("state", 1, 3, 2, "user"),
        ("state", 974859325, 3, 1, "endpoint"),
        ("state", 536870912, 3, 3, "static"),
        ("state", 1, 200, 2, "user"),
    ]
    assert presence.categories[0].note == "probe-4f1c9a"


def test_containers_that_were_not_told_are_not_empty_ones() -> None:
    assert parse_self(recorded("12-ann-200-published.sip").body).containers is None
    assert parse_self(b"<roamingData><containers/></roamingData>").containers == {}


def test_a_publication_is_found_by_its_key() -> None:
    presence = parse_self(recorded("12-ann-200-published.sip").body)
    found = presence.find("state", 974859325, 3)
    assert found is not None
    assert found.version == 1


@pytest.mark.parametrize("key", [("note", 0, 300), ("state", 0, 200), ("Note", 0, 200)])
def test_a_publication_that_is_not_there_is_not_found(key: Tuple[str, int, int]) -> None:
    assert parse_self(recorded("12-ann-200-published.sip").body).find(*key) is None


def test_a_category_without_a_publication_has_no_key_to_be_found_by() -> None:
    assert parse_self(recorded("08-ann-200-self-presence.sip").body).find("note", 0, 200) is None


def test_members_are_told_with_their_values_in_lower_case() -> None:
    presence = parse_self(
        b'<roamingData xmlns="urn:x"><containers xmlns="urn:y"><container id="300" version="7">'
        b'<member type="user" value="Ben@Contoso.Example"/><member type="domain" value="fabrikam.example"/>'
        b"</container></containers></roamingData>"
    )
    members = (("user", "ben@contoso.example"), ("domain", "fabrikam.example"))
    assert presence.containers == {300: Container(7, members)}


def test_a_document_about_nothing_tells_nothing() -> None:
    presence = parse_self(b"<roamingData/>")
    assert (presence.categories, presence.containers) == ((), None)


# ------------------------------------------------------------------ notifications


def test_the_first_notification_has_a_list_and_a_document() -> None:
    message = recorded("10-ben-200-first-notification.sip")
    told = parse_notification(message.get("Content-Type") or "", message.body)
    assert told.resources == (Resource(ANN, "active", "", ""),)
    (presence,) = told.presences
    assert presence.uri == ANN
    assert keys(presence.categories) == [("state", 1, None, 0, ""), ("note", None, None, 0, "")]
    assert availability(presence.categories[0]) == "18500"
    assert presence.categories[1].note == ""


def test_a_later_notification_is_one_document() -> None:
    message = recorded("13-ben-benotify.sip")
    told = parse_notification(message.get("Content-Type") or "", message.body)
    assert told.resources == ()
    (presence,) = told.presences
    assert presence.uri == ANN
    assert keys(presence.categories) == [("note", 0, None, 0, ""), ("state", 1, None, 0, "")]
    assert presence.categories[0].note == "probe-4f1c9a"
    assert availability(presence.categories[1]) == "3500"


@pytest.mark.parametrize("content_type", [CATEGORIES_TYPE.upper(), f"{CATEGORIES_TYPE}; charset=utf-8"])
def test_the_type_of_a_notification_has_no_case_and_may_have_parameters(content_type: str) -> None:
    assert parse_notification(content_type, categories(b"")) == Notification((), (Presence(ANN, ()),))


def test_a_list_may_come_alone() -> None:
    body = (
        b'<list xmlns="urn:ietf:params:xml:ns:rlmi">'
        b'<resource uri="sip:a"><instance state="resubscribe" poolFqdn="p"/></resource>'
        b'<resource uri="sip:b"><instance state="terminated" reason="rejected"/></resource>'
        b'<resource uri="sip:c"/></list>'
    )
    assert parse_notification("application/rlmi+xml", body).resources == (
        Resource("sip:a", "resubscribe", "", "p"),
        Resource("sip:b", "terminated", "rejected", ""),
    )


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/related;boundary=b",
        'multipart/related; type="application/rlmi+xml"; start=resourceList; boundary="b"',
        'Multipart/Related;Boundary="b";type="application/rlmi+xml"',
    ],
)
@pytest.mark.parametrize("before", [b"", b"\r\n", b"\r\n\r\n"])
def test_the_parts_of_a_notification_come_in_any_order_and_number(content_type: str, before: bytes) -> None:
    parts = [
        b"Content-Type: " + CATEGORIES_TYPE.encode() + b"\r\n\r\n" + categories(b'<category name="note"/>'),
        b"Content-Type: application/rlmi+xml\r\n\r\n"
        b'<list><resource uri="sip:a"><instance state="active"/></resource></list>',
        b"Content-Type: text/plain\r\n\r\nnot for us",
        b"content-type: "
        + CATEGORIES_TYPE.encode()
        + b";charset=utf-8\r\n\r\n"
        + b'<categories uri="sip:ben@contoso.example"/>',
    ]
    body = before + b"".join(b"--b\r\n" + part + b"\r\n" + before for part in parts) + b"--b--\r\n"
    told = parse_notification(content_type, body)
    assert told.resources == (Resource("sip:a", "active", "", ""),)
    assert [presence.uri for presence in told.presences] == [ANN, BEN]


@pytest.mark.parametrize("content_type", ["", CATEGORIES_TYPE, "multipart/related", "text/plain"])
def test_a_notification_without_a_body_tells_nothing(content_type: str) -> None:
    assert parse_notification(content_type, b"") == Notification((), ())


@pytest.mark.parametrize("content_type", ["", "text/plain", SELF_TYPE, "multipart/mixed;boundary=b"])
def test_a_notification_of_another_type_is_refused(content_type: str) -> None:
    with pytest.raises(DocumentError, match="unexpected type"):
        parse_notification(content_type, categories(b""))


@pytest.mark.parametrize(
    "content_type", ["multipart/related", "multipart/related;boundary=x", "multipart/related;boundary="]
)
def test_a_notification_of_parts_that_cannot_be_found_is_refused(content_type: str) -> None:
    with pytest.raises(DocumentError, match="multipart"):
        parse_notification(content_type, b"--b\r\n\r\n--b--")


# ------------------------------------------------------------------ categories


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"<category name='note'>" + NOTE % b"probe-1" + b"</category>", "probe-1"),
        (b"<category name='note'>" + NOTE % b" \r\n probe-1\t" + b"</category>", "probe-1"),
        (b"<category name='note'>\r\n " + NOTE % b"a &lt;&amp;&#228; b" + b"\r\n</category>", "a <&ä b"),
        (b"<category name='note'><x:note xmlns:x='urn:x'><x:body>probe-1</x:body></x:note></category>", "probe-1"),
        (b"<category name='note'>" + NOTE % b"" + b"</category>", ""),
        (b"<category name='note'><note/></category>", ""),
        (b"<category name='note'><remark><body>probe-1</body></remark></category>", ""),
        (b"<category name='note'/>", ""),
        (b"<category name='note'>probe-1</category>", ""),
    ],
)
def test_the_text_of_a_note_is_read(content: bytes, text: str) -> None:
    (category,) = notified(content)
    assert (category.name, category.note) == ("note", text)


def test_attributes_are_read_in_any_order_and_name_space() -> None:
    (category,) = notified(
        b'<c:category xmlns:c="urn:c" c:expireType="static" version="3" container="200" '
        b'instance="4294967295" c:name="note"/>'
    )
    assert keys((category,)) == [("note", 4294967295, 200, 3, "static")]


@pytest.mark.parametrize("value", [b"-1", b"one", b"99999999999", b"1.5"])
def test_a_version_that_is_no_number_is_0(value: bytes) -> None:
    (category,) = notified(b'<category name="note" version="' + value + b'"/>')
    assert category.version == 0


def test_what_is_no_category_is_passed_over() -> None:
    assert keys(notified(b'<other name="note"/>text<category name="state"/>')) == [("state", None, None, 0, "")]


# ------------------------------------------------------------------ conflicts


def test_a_conflict_tells_which_publications_have_which_version() -> None:
    body = recorded("14-ann-409-conflict.sip").body
    assert parse_conflicts(body) == (Conflict(0, 1), Conflict(1, 1))
    assert fault_code(body) == "Client.BadCall.WrongDelta"


def test_a_conflict_may_have_a_name_space() -> None:
    body = (
        b'<f:Fault xmlns:f="urn:f"><f:Faultcode> X.Y </f:Faultcode>'
        b'<f:details><f:operation index="3" curVersion="12"/></f:details></f:Fault>'
    )
    assert (parse_conflicts(body), fault_code(body)) == ((Conflict(2, 12),), "X.Y")


def test_a_publication_that_is_gone_has_the_version_0() -> None:
    body = b'<Fault><details><operation index="1" version="4"/></details></Fault>'
    assert parse_conflicts(body) == (Conflict(0, 0),)


@pytest.mark.parametrize("index", [b"", b'index="0"', b'index="-1"', b'index="one"'])
def test_a_conflict_of_no_publication_is_passed_over(index: bytes) -> None:
    body = (
        b"<Fault><details><operation "
        + index
        + b' curVersion="9"/><operation index="2" curVersion="5"/></details></Fault>'
    )
    assert parse_conflicts(body) == (Conflict(1, 5),)


@pytest.mark.parametrize("body", [b"<Fault/>", b"<Fault><details/></Fault>", b"<Fault><details>x</details></Fault>"])
def test_a_fault_without_operations_names_no_conflicts(body: bytes) -> None:
    assert (parse_conflicts(body), fault_code(body)) == ((), "")


@pytest.mark.parametrize("body", [b"", b"<html/>", b"<Fault>", b"Not a document"])
def test_what_is_no_fault_has_no_code(body: bytes) -> None:
    assert fault_code(body) == ""


# ------------------------------------------------------------------ documents of a hostile or broken server


def _notification(body: bytes) -> object:
    return parse_notification(CATEGORIES_TYPE, body)


def _list(body: bytes) -> object:
    return parse_notification("application/rlmi+xml", body)


def _part(body: bytes) -> object:
    head = b"--b\r\nContent-Type: " + CATEGORIES_TYPE.encode() + b"\r\n\r\n"
    return parse_notification("multipart/related;boundary=b", head + body + b"\r\n--b--")


READERS: Dict[str, Tuple[Callable[[bytes], object], bytes]] = {
    "self": (parse_self, b"roamingData"),
    "notification": (_notification, b"categories"),
    "list": (_list, b"list"),
    "part": (_part, b"categories"),
    "conflicts": (parse_conflicts, b"Fault"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", [*UNTRUSTED, *UNREADABLE])
def test_a_document_that_cannot_be_trusted_is_refused_by_every_reader(reader: str, kind: str) -> None:
    read, root = READERS[reader]
    body = {**UNTRUSTED, **UNREADABLE}[kind].replace(b"<r", b"<" + root).replace(b"/r>", b"/" + root + b">")
    if not body and reader in ("notification", "list"):
        assert read(body) == Notification((), ())
        return
    with pytest.raises(DocumentError):
        read(body)


@pytest.mark.parametrize("reader", READERS)
def test_a_document_with_another_root_is_refused_by_every_reader(reader: str) -> None:
    with pytest.raises(DocumentError, match="where <"):
        READERS[reader][0](b"<presence/>")


@pytest.mark.parametrize("reader", READERS)
def test_deep_nesting_is_read_or_refused_by_every_reader(reader: str) -> None:
    read, root = READERS[reader]
    body = b"<" + root + b">" + b"<category>" * 20_000 + b"</category>" * 20_000 + b"</" + root + b">"
    try:
        told = read(body)
    except DocumentError:
        return
    assert told is not None


fragments = st.lists(
    st.sampled_from(
        [b"<categories>", b"</categories>", b"<category name='note' instance='0' version='1'>", b"</category>",
         b"<category/>", b"<note>", b"</note>", b"<body>x</body>", b"<containers>", b"</containers>",
         b"<container id='200'>", b"</container>", b"<member type='everyone'/>", b"<resource uri='a'>",
         b"</resource>", b"<instance state='x'/>", b"<details>", b"</details>", b"<Faultcode>", b"</Faultcode>",
         b"<operation index='1' curVersion='x'/>", b"text", b"<!--x-->", b"\r\n--b--"]
    ),
    max_size=12,
).map(b"".join)  # fmt: skip


@many
@given(st.sampled_from(sorted(READERS)), fragments | st.binary(max_size=40), st.booleans())
def test_any_document_is_read_or_refused_with_a_document_error(reader: str, content: bytes, whole: bool) -> None:
    read, root = READERS[reader]
    body = b"<" + root + b">" + content + b"</" + root + b">" if whole else content
    try:
        told = read(body)
    except DocumentError:
        return
    assert told is not None


@few
@given(any_text, st.binary(max_size=80))
def test_any_notification_is_read_or_refused_with_a_document_error(content_type: str, body: bytes) -> None:
    for kind in (content_type, f"multipart/related;boundary=b;{content_type}"):
        try:
            told = parse_notification(kind, body)
        except DocumentError:
            continue
        assert told.presences == () or body


# ------------------------------------------------------------------ who sees what

SAME = ("sameEnterprise", "")
FOREIGN = ("federated", "")
CLOUD = ("publicCloud", "")
EVERYONE = ("everyone", "")
BEN_MEMBER = ("user", "ben@contoso.example")
DOMAIN = ("domain", "contoso.example")


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, None),
        ({200: ()}, None),
        ({200: (SAME,)}, 200),
        ({100: (FOREIGN,), 200: (SAME,)}, 200),
        ({100: (FOREIGN,)}, None),
        ({100: (CLOUD,)}, None),
        ({100: (EVERYONE,)}, 100),
        ({100: (EVERYONE,), 200: (SAME,)}, 200),
        ({200: (SAME,), 300: (BEN_MEMBER,)}, 300),
        ({100: (BEN_MEMBER,), 400: (SAME,)}, 100),
        ({100: (DOMAIN,), 200: (SAME,)}, 100),
        ({100: (BEN_MEMBER,), 200: (DOMAIN,)}, 100),
        ({200: (SAME,), 400: (SAME,)}, 400),
        ({200: (SAME,), 32000: (BEN_MEMBER,)}, 32000),
        ({400: (BEN_MEMBER,), 32000: (BEN_MEMBER,)}, 32000),
        ({300: (BEN_MEMBER,), 32000: (DOMAIN,)}, 300),
        ({32000: (EVERYONE,), 200: (SAME,)}, 200),
        ({200: (("user", "ann@contoso.example"),)}, None),
        ({200: (("domain", "fabrikam.example"),)}, None),
        ({0: (BEN_MEMBER,), 1: (BEN_MEMBER,), 2: (SAME,), 500: (EVERYONE,)}, None),
    ],
)
def test_a_colleague_falls_into_a_container(
    members: Dict[int, Tuple[Tuple[str, str], ...]], expected: Optional[int]
) -> None:
    containers = {number: Container(1, listed) for number, listed in members.items()}
    assert container_of("contoso.example", "ben@contoso.example", "contoso.example", containers) == expected
    assert container_of("Contoso.Example", "Ben@Contoso.Example", "CONTOSO.example", containers) == expected


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({200: (SAME,)}, None),
        ({100: (FOREIGN,), 200: (SAME,)}, 100),
        ({100: (CLOUD,)}, 100),
        ({100: (FOREIGN,), 300: (CLOUD,)}, 100),
        ({100: (EVERYONE,), 200: (SAME,)}, 100),
        ({200: (EVERYONE,), 100: (FOREIGN,)}, 100),
        ({100: (FOREIGN,), 400: (("user", "eve@fabrikam.example"),)}, 400),
        ({100: (FOREIGN,), 32000: (("domain", "fabrikam.example"),)}, 32000),
    ],
)
def test_a_partner_falls_into_a_container(
    members: Dict[int, Tuple[Tuple[str, str], ...]], expected: Optional[int]
) -> None:
    containers = {number: Container(1, listed) for number, listed in members.items()}
    assert container_of("fabrikam.example", "eve@fabrikam.example", "contoso.example", containers) == expected


def test_a_colleague_falls_into_the_container_that_the_server_told() -> None:
    containers = parse_self(recorded("08-ann-200-self-presence.sip").body).containers
    assert containers is not None
    assert container_of("contoso.example", "ben@contoso.example", "contoso.example", containers) == 200


# ------------------------------------------------------------------ writing


def only(element: Element, name: str) -> Element:
    (found,) = children(element, name)
    return found


def test_a_publication_is_written_with_its_key_and_version() -> None:
    items = [
        Publication("note", 0, 200, 4, "static", note("probe-1")),
        Publication("state", 974859325, 2, 0, "endpoint", machine_state(3500)),
    ]
    root = parse(publish_document(ANN, items), "publish")
    assert (root.space, root.name) == ("http://schemas.microsoft.com/2006/09/sip/rich-presence", "publish")
    publications = only(root, "publications")
    assert attribute(publications, "uri") == ANN
    assert [item.attributes for item in publications] == [
        {"categoryName": "note", "instance": "0", "container": "200", "version": "4", "expireType": "static"},
        {"categoryName": "state", "instance": "974859325", "container": "2", "version": "0", "expireType": "endpoint"},
    ]
    assert [content.name for item in publications for content in item] == ["note", "state"]


def test_a_publication_without_content_is_written_as_one_that_ends_now() -> None:
    root = parse(publish_document(ANN, [Publication("note", 0, 200, 5, "static", "")]), "publish")
    (item,) = only(root, "publications")
    assert item.attributes == {
        "categoryName": "note",
        "instance": "0",
        "container": "200",
        "version": "5",
        "expireType": "static",
        "expires": "0",
    }
    assert item.children == []


def test_the_recorded_publication_has_the_same_items() -> None:
    ours = parse(
        publish_document(
            ANN,
            [
                Publication("state", 974859325, 2, 0, "endpoint", machine_state(3500)),
                Publication("state", 974859325, 3, 0, "endpoint", machine_state(3500)),
                Publication("note", 0, 200, 0, "static", note("probe-4f1c9a")),
            ],
        ),
        "publish",
    )
    theirs = parse(recorded("11-ann-service-publish.sip").body, "publish")
    assert shape(ours) == shape(theirs)
    assert recorded("11-ann-service-publish.sip").get("Content-Type") == PUBLISH_TYPE


def shape(element: Element) -> object:
    """What an element is, without the blanks between its children."""
    text = element.text.strip()
    return element.space, element.name, sorted(element.attributes.items()), text, [shape(found) for found in element]


def test_the_self_subscription_asks_as_the_recorded_one_does() -> None:
    theirs = parse(recorded("07-ann-subscribe-self.sip").body, "roamingList")
    ours = parse(self_subscription_document(), "roamingList")
    assert (ours.space, ours.name) == (theirs.space, theirs.name)
    asked = [attribute(item, "type") for item in children(theirs, "roaming")]
    assert [attribute(item, "type") for item in children(ours, "roaming")] == ["categories", "containers"]
    assert set(asked) == {"categories", "containers", "subscribers"}
    assert recorded("07-ann-subscribe-self.sip").get("Content-Type") == SELF_TYPE


def test_the_subscription_asks_as_the_recorded_one_does() -> None:
    theirs = parse(recorded("09-ben-subscribe.sip").body, "batchSub")
    ours = parse(subscription_document(BEN, ANN), "batchSub")
    for document in (theirs, ours):
        only(document, "action").attributes["id"] = "any"
    assert shape(ours) == shape(theirs)
    assert recorded("09-ben-subscribe.sip").get("Content-Type") == SUBSCRIPTION_TYPE


def test_the_own_enterprise_is_added_to_the_colleagues() -> None:
    root = parse(add_colleagues_document(7), "setContainerMembers")
    space = "http://schemas.microsoft.com/2006/09/sip/container-management"
    member: object = (space, "member", [("action", "add"), ("type", "sameEnterprise")], "", [])
    container = (space, "container", [("id", "200"), ("version", "7")], "", [member])
    assert shape(root) == (space, "setContainerMembers", [], "", [container])


printable = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=30)


@few
@given(printable)
def test_the_text_of_a_note_comes_back_as_it_was_written(text: str) -> None:
    (category,) = notified(b'<category name="note">' + note(text).encode() + b"</category>")
    assert category.note == text.strip()


@few
@given(printable)
def test_an_address_comes_back_as_it_was_written(uri: str) -> None:
    root = parse(subscription_document(uri, uri + "x"), "batchSub")
    resource = only(only(only(root, "action"), "adhocList"), "resource")
    assert (attribute(root, "uri"), attribute(resource, "uri")) == (uri, uri + "x")
    assert attribute(only(parse(publish_document(uri, []), "publish"), "publications"), "uri") == uri
