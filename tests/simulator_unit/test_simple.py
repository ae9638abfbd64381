"""The SIMPLE server without sockets: registrar, subscriptions, publications, and its faults."""

from __future__ import annotations

from typing import List, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from check_lync_presence.markup import attribute, children, parse
from check_lync_presence.simulator.faults import SIMPLE, TABLE
from check_lync_presence.sip.message import Request, parse_head

from .client import ANN, BEN, Silence, tag_of
from .simple_client import SimpleClient, SimpleStage, document, in_dialog

FAULTS = [fault.usage.replace("=S", "=1").partition("[")[0] for fault in TABLE if SIMPLE in fault.dialects]


def watching(*faults: str) -> Tuple[SimpleStage, SimpleClient, SimpleClient]:
    """ann, and ben who watches her and has been told how she is."""
    stage = SimpleStage(*faults)
    ann, ben = stage.client(ANN), stage.client(BEN)
    assert ben.watch(ANN).status == 200
    ben.next_request()
    return stage, ann, ben


def left_over(client: SimpleClient) -> List[Request]:
    """What else comes."""
    found = []
    while True:
        try:
            found.append(client.next_request())
        except Silence:
            return found


def notes(body: bytes) -> List[str]:
    """The notes of all tuples."""
    root = parse(body, "presence")
    return [note.text for item in children(root, "tuple") for note in children(item, "note")]


# --------------------------------------------------------------------- Digest


def test_a_registration_is_challenged_with_401_and_the_others_with_407() -> None:
    ann = SimpleStage().client(ANN)
    assert (ann.register().status, ann.publish(document("probe")).status) == (200, 200)
    assert ann.seen == [401, 200, 407, 200]


def test_a_wrong_password_is_challenged_again_and_leaves_nothing() -> None:
    stage = SimpleStage()
    response = stage.client(ANN, password="not-the-password").register()
    assert response.status == 401
    assert "stale=true" not in (response.get("WWW-Authenticate") or "")
    assert stage.front_end.census()[ANN]["endpoints"] == 0


def test_nobody_knows_a_stranger() -> None:
    ann = SimpleStage().client(ANN)
    ann.address = "sip:nobody@contoso.example"
    assert ann.register().status == 401


def test_ben_cannot_register_ann() -> None:
    stage = SimpleStage()
    ben = stage.client(BEN)
    assert ben.register().status == 200
    request = ben.build("REGISTER", "sip:contoso.example", [("Contact", ben.contact)])
    headers = [(name, f"<{ANN}>" if name == "To" else value) for name, value in request.headers]
    assert ben.answer_of(ben.signed(Request("REGISTER", request.uri, headers))).status == 403


def test_credentials_for_one_request_do_not_do_for_another() -> None:
    ann = SimpleStage().client(ANN)
    ann.register()
    request = ann.signed(ann.build("REGISTER", "sip:contoso.example", [("Contact", ann.contact)]))
    elsewhere = Request("REGISTER", "sip:other.example", request.headers)
    assert ann.answer_of(elsewhere).status == 401


# ------------------------------------------------------------------- REGISTER


def test_contacts_are_listed_refreshed_and_removed_one_by_one() -> None:
    stage = SimpleStage()
    ann = stage.client(ANN)
    assert ann.register(("Contact", "<sip:ann@192.0.2.1>, <sip:ann@192.0.2.2>;expires=300")).status == 200
    listed = ann.ask("REGISTER", "sip:contoso.example")
    assert listed.all("Contact") == ("<sip:ann@192.0.2.1>;expires=120", "<sip:ann@192.0.2.2>;expires=300")
    left = ann.register(("Contact", "<sip:ann@192.0.2.1>"), expires=0)
    assert left.all("Contact") == ("<sip:ann@192.0.2.2>;expires=300",)
    assert ann.register(("Contact", "*"), expires=0).all("Contact") == ()


def test_all_contacts_are_removed_with_expires_0_only() -> None:
    assert SimpleStage().client(ANN).register(("Contact", "*")).status == 400


def test_a_late_registration_does_not_undo_a_newer_one() -> None:
    ann = SimpleStage().client(ANN)
    ann.register()
    contact = (("Contact", ann.contact), ("Expires", "120"))
    assert ann.ask("REGISTER", "sip:contoso.example", *contact, dialog=("call", "t", "", 7)).status == 200
    assert ann.ask("REGISTER", "sip:contoso.example", *contact, dialog=("call", "t", "", 7)).status == 500


def test_a_registration_ends_by_itself_and_watchers_see_it() -> None:
    stage, ann, ben = watching()
    assert ann.register().status == 200
    assert b"<basic>open</basic>" in ben.next_request().body
    ben.watch(ANN, expires=3600)
    left_over(ben)
    stage.tick(121)
    assert stage.front_end.census()[ANN]["endpoints"] == 0
    assert b"<basic>closed</basic>" in left_over(ben)[-1].body


@pytest.mark.parametrize(("expires", "status"), [(59, 423), (60, 200), (0, 200)])
def test_less_than_a_minute_is_too_brief(expires: int, status: int) -> None:
    ann = SimpleStage().client(ANN)
    responses = [ann.register(expires=expires), ann.watch(BEN, expires=expires)]
    assert [response.status for response in responses] == [status, status]
    if status == 423:
        assert {response.get("Min-Expires") for response in responses} == {"60"}
        assert responses[0].reason == "Interval Too Brief"


@pytest.mark.parametrize("contact", ["nonsense", "<tel:+1>", "<sip:a b@c>", "<sip:a@c;x= y>"])
def test_a_contact_that_cannot_be_used_is_refused(contact: str) -> None:
    ann = SimpleStage().client(ANN)
    ann.contact = contact
    assert (ann.register().status, ann.watch(BEN).status) == (400, 400)


# ------------------------------------------------------------------ SUBSCRIBE


def test_every_subscription_is_followed_by_the_state() -> None:
    stage = SimpleStage()
    ann, ben = stage.client(ANN), stage.client(BEN)
    ann.publish(document("before"))
    accepted = ben.watch(ANN)
    told = ben.next_request()
    assert (accepted.get("Expires"), told.get("Subscription-State")) == ("120", "active;expires=120")
    assert (told.call_id, told.uri) == (accepted.call_id, ben.contact.strip("<>"))
    assert (tag_of(told, "From"), tag_of(told, "To")) == (tag_of(accepted, "To"), tag_of(accepted, "From"))
    assert notes(told.body) == ["before"]


def test_a_fetch_shows_the_state_once() -> None:
    stage, ann, ben = watching()
    ann.publish(document("probe"))
    left_over(ben)
    ben.watch(ANN, expires=0)
    (told,) = left_over(ben)
    assert told.get("Subscription-State") == "terminated;reason=timeout"
    assert notes(told.body) == ["probe"]
    assert stage.front_end.census()[BEN]["subscriptions"] == 1


def test_unsubscribing_ends_with_a_last_notification() -> None:
    stage = SimpleStage()
    ann, ben = stage.client(ANN), stage.client(BEN)
    accepted = ben.watch(ANN)
    ben.next_request()
    assert ben.watch(ANN, expires=0, dialog=in_dialog(accepted)).status == 200
    assert ben.next_request().get("Subscription-State") == "terminated;reason=timeout"
    ann.publish(document("probe"))
    assert left_over(ben) == []
    assert ben.watch(ANN, dialog=in_dialog(accepted, 20)).status == 481


def test_a_subscription_is_refreshed_in_its_dialog_and_times_out_without() -> None:
    stage = SimpleStage()
    ben = stage.client(BEN)
    accepted = ben.watch(ANN)
    stage.tick(100)
    assert ben.watch(ANN, dialog=in_dialog(accepted)).status == 200
    assert ben.watch(ANN, dialog=in_dialog(accepted, 10)).status == 500
    left_over(ben)
    stage.tick(100)
    assert left_over(ben) == []
    stage.tick(21)
    assert ben.next_request().get("Subscription-State") == "terminated;reason=timeout"
    assert stage.front_end.census()[BEN]["subscriptions"] == 0


def test_a_watcher_who_does_not_know_the_notification_is_none_any_more() -> None:
    stage = SimpleStage()
    ben = stage.client(BEN)
    ben.watch(ANN)
    ben.reply(ben.next_request(), 481)
    census = stage.front_end.census()[BEN]
    assert (census["subscriptions"], census["answers"]) == (0, {"NOTIFY 481": 1})


def test_a_watcher_whose_connection_is_gone_is_none_any_more() -> None:
    stage, _, ben = watching()
    ben.wire.close()  # type: ignore[attr-defined]
    assert stage.front_end.census()[BEN]["subscriptions"] == 0


def test_another_event_is_refused_with_those_that_there_are() -> None:
    ann = SimpleStage().client(ANN)
    responses = [ann.watch(BEN, event="dialog"), ann.publish(document("x"), event="dialog")]
    assert [(item.status, item.get("Allow-Events")) for item in responses] == [(489, "presence")] * 2


@pytest.mark.parametrize(
    ("accept", "status"),
    [("application/pidf+xml", 200), ("text/plain, application/*", 200), ("application/cpim-pidf+xml", 406)],
)
def test_a_watcher_must_read_pidf(accept: str, status: int) -> None:
    assert SimpleStage().client(BEN).watch(ANN, ("Accept", accept)).status == status


def test_an_unknown_presentity_is_404() -> None:
    assert SimpleStage().client(BEN).watch("sip:nobody@contoso.example").status == 404


# -------------------------------------------------------------------- PUBLISH


def test_a_publication_is_told_changed_refreshed_and_withdrawn_under_ever_new_tags() -> None:
    stage, ann, ben = watching()
    tags = [ann.publish(document("one")).get("SIP-ETag") or ""]
    tags.append(ann.publish(document("two"), etag=tags[-1]).get("SIP-ETag") or "")
    tags.append(ann.publish(etag=tags[-1]).get("SIP-ETag") or "")
    assert ann.publish(etag=tags[-1], expires=0).status == 200
    assert len(set(tags)) == 3
    assert [notes(told.body) for told in left_over(ben)] == [["one"], ["two"], []]
    assert stage.front_end.census()[ANN]["publications"] == 0


def test_an_old_tag_is_no_tag() -> None:
    ann = SimpleStage().client(ANN)
    old = ann.publish(document("one")).get("SIP-ETag") or ""
    ann.publish(document("two"), etag=old)
    assert [ann.publish(document("x"), etag=tag).status for tag in (old, "never")] == [412, 412]


def test_a_publication_ends_by_itself() -> None:
    stage, ann, ben = watching()
    ann.publish(document("probe"), expires=60)
    ben.next_request()
    stage.tick(61)
    assert notes(ben.next_request().body) == []


def test_several_publications_are_one_document_with_different_ids() -> None:
    _, ann, ben = watching()
    ann.register()
    extra = '<note xml:lang="en">outside</note><x:mood xmlns:x="urn:x" x:of="&lt;"/>'
    ann.publish(document("one", "t1", extra))
    ann.publish(document("two", "t1"))
    body = left_over(ben)[-1].body
    assert notes(body) == ["one", "two"]
    root = parse(body, "presence")
    ids = [attribute(item, "id") for item in children(root, "tuple")]
    assert len(set(ids)) == 3
    assert [note.text for note in children(root, "note")] == ["outside"]
    assert [mood.attributes for mood in children(root, "mood")] == [{"urn:x}of": "<"}]


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", "", 400),
        (b"<presence", "application/pidf+xml", 400),
        (b"<presence><tuple/></presence>", "application/pidf+xml", 400),
        (b"<!DOCTYPE presence [<!ENTITY a 'b'>]><presence>&a;</presence>", "application/pidf+xml", 400),
        (document("<a>" * 30 + "</a>" * 30), "application/pidf+xml", 400),
        (document("x"), "text/plain", 415),
        (document("x" * 40_000), "application/pidf+xml", 413),
    ],
)
def test_what_cannot_be_published_is_refused(body: bytes, content_type: str, status: int) -> None:
    assert SimpleStage().client(ANN).publish(body, content_type=content_type).status == status


def test_ben_cannot_publish_for_ann() -> None:
    ben = SimpleStage().client(BEN)
    headers = (("Event", "presence"), ("Content-Type", "application/pidf+xml"))
    assert ben.ask("PUBLISH", ANN, *headers, body=document("x")).status == 403


def test_nobody_fills_the_memory() -> None:
    stage = SimpleStage()
    ann = stage.client(ANN)
    statuses = {ann.publish(document("x")).status for _ in range(101)}
    assert statuses == {200, 403}
    assert {ann.watch(BEN).status for _ in range(101)} == {200, 403}
    assert {ann.register(("Contact", f"<sip:ann@192.0.2.1:{port}>")).status for port in range(1, 102)} == {200, 403}
    assert ann.register(("Contact", "*"), expires=0).status == 200


# --------------------------------------------------------------- other messages


@pytest.mark.parametrize(("method", "status"), [("OPTIONS", 200), ("INVITE", 405), ("SERVICE", 405)])
def test_other_methods_are_answered(method: str, status: int) -> None:
    response = SimpleStage().client(ANN).ask(method)
    assert (response.status, response.get("Allow")) == (status, "REGISTER, SUBSCRIBE, PUBLISH, OPTIONS")


def test_ack_is_not_answered() -> None:
    ann = SimpleStage().client(ANN)
    ann.wire.send(ann.build("ACK", ANN))
    with pytest.raises(Silence):
        ann.wire.receive()


def test_an_answer_tells_where_its_request_came_from() -> None:
    ann = SimpleStage().client(ANN)
    via = ann.ask("OPTIONS").get("Via") or ""
    assert via.startswith("SIP/2.0/TLS 192.0.2.9:50000;branch=")
    assert via.endswith(";rport=50000;received=127.0.0.1")


# ---------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("account-unknown", 404),
        ("account-not-allowed", 403),
        ("wrong-password", 401),
        ("service-unavailable", 503),
        ("server-timeout", 504),
        ("redirect-loop", 302),
        ("redirect-foreign", 302),
    ],
)
def test_a_registration_is_refused(fault: str, status: int) -> None:
    assert SimpleStage(fault).client(ANN).register().status == status


def test_a_nonce_may_be_good_for_one_request_only() -> None:
    ann = SimpleStage("stale-nonce").client(ANN)
    assert [ann.register().status, ann.register().status] == [200, 200]
    assert ann.seen == [401, 200, 401, 200]


def test_a_proxy_asks_with_407() -> None:
    ann = SimpleStage("proxy-authentication").client(ANN)
    assert (ann.register().status, ann.seen[0]) == (200, 407)


def test_an_interval_may_be_too_brief() -> None:
    ann = SimpleStage("interval-too-brief").client(ANN)
    assert (ann.register().get("Min-Expires"), ann.register(expires=3600).status) == ("3600", 200)


def test_presence_may_be_no_event() -> None:
    assert SimpleStage("event-refused").client(BEN).watch(ANN).get("Allow-Events") == "dialog"


def test_a_subscription_may_be_accepted_with_202() -> None:
    assert SimpleStage("subscription-accepted-202").client(BEN).watch(ANN).status == 202


def test_the_first_notification_may_come_before_the_answer() -> None:
    stage = SimpleStage("notify-before-answer")
    ben = stage.client(BEN)
    ben.watch(ANN, expires=0)
    (link,) = stage.wires
    headers = [("Event", "presence"), ("Contact", ben.contact)]
    told, accepted = stage.front_end.receive(link, ben.signed(ben.build("SUBSCRIBE", ANN, headers)), stage.now)
    assert (told.activity, accepted.activity) == ("first-notification", "subscribe")
    assert accepted.late > told.late


def test_a_subscription_may_end_at_once() -> None:
    stage = SimpleStage("subscription-ended")
    ben = stage.client(BEN)
    ben.watch(ANN)
    states = [told.get("Subscription-State") for told in left_over(ben)]
    assert states == ["active;expires=120", "terminated;reason=deactivated"]
    assert stage.front_end.census()[BEN]["subscriptions"] == 0


def test_a_watcher_may_be_blocked() -> None:
    stage = SimpleStage("watcher-blocked")
    stage.client(ANN).publish(document("probe"))
    ben = stage.client(BEN)
    assert ben.watch(ANN).status == 200
    (told,) = left_over(ben)
    assert (told.get("Subscription-State"), told.body) == ("terminated;reason=rejected", b"")


def test_a_publication_may_get_no_tag() -> None:
    assert SimpleStage("etag-missing").client(ANN).publish(document("x")).get("SIP-ETag") is None


def test_a_withdrawal_may_fail_because_there_is_nothing_left() -> None:
    stage = SimpleStage("condition-failed")
    ann = stage.client(ANN)
    tag = ann.publish(document("x")).get("SIP-ETag") or ""
    assert ann.publish(etag=tag, expires=0).status == 412
    assert stage.front_end.census()[ANN]["publications"] == 0


def test_publications_may_be_refused() -> None:
    assert SimpleStage("publication-refused").client(ANN).publish(document("x")).status == 403


@pytest.mark.parametrize(
    ("fault", "content_type", "inside"),
    [
        ("notification-wrong-type", "text/plain", b"probe"),
        ("notification-multipart", "multipart/mixed;boundary=", b"\r\n\r\n<?xml"),
        ("xml-bomb", "application/pidf+xml", b"<!ENTITY e9"),
        ("notification-older", "application/pidf+xml", b"an older note"),
        ("notification-other-user", "application/pidf+xml", BEN.encode()),
    ],
)
def test_a_notification_may_say_something_else(fault: str, content_type: str, inside: bytes) -> None:
    _, ann, ben = watching(fault)
    ann.publish(document("probe"))
    (told,) = left_over(ben)
    assert (told.get("Content-Type") or "").startswith(content_type)
    assert inside in told.body
    ben.watch(ANN, expires=0)
    assert notes(ben.next_request().body) == ["probe"]  # who looks anew sees the truth


def test_the_older_note_is_the_one_before() -> None:
    _, ann, ben = watching("notification-older")
    tag = ann.publish(document("one")).get("SIP-ETag") or ""
    ann.publish(document("two"), etag=tag)
    assert [notes(told.body) for told in left_over(ben)] == [["an older note"], ["one"]]


@pytest.mark.parametrize(("fault", "copies"), [("notification-never", 0), ("notification-duplicate", 2)])
def test_notifications_may_come_never_or_twice(fault: str, copies: int) -> None:
    _, ann, ben = watching(fault)
    ann.publish(document("probe"))
    assert len(left_over(ben)) == copies


@pytest.mark.parametrize(
    ("fault", "order"), [("notification-first", ["notify", "publish"]), ("notification-late=3", ["publish", "notify"])]
)
def test_notifications_may_come_early_or_late(fault: str, order: List[str]) -> None:
    stage, ann, _ = watching(fault)
    ann.register()
    ann.publish(document("x"))
    (link, *_) = stage.wires
    headers = [("Event", "presence"), ("Content-Type", "application/pidf+xml")]
    request = ann.signed(ann.build("PUBLISH", ANN, headers, document("probe")))
    sent = stage.front_end.receive(link, request, stage.now)
    assert [item.activity for item in sorted(sent, key=lambda item: item.late)] == order


def test_probes_are_sent_after_the_registration_and_their_answers_counted() -> None:
    stage = SimpleStage("options-probe")
    ann = stage.client(ANN)
    ann.register()
    for status in (200, 405):
        ann.reply(ann.next_request(), status)
    assert stage.front_end.census()[ANN]["answers"] == {"OPTIONS 200": 1, "FOO 405": 1}


def test_without_replication_watchers_elsewhere_are_not_told_and_see_nothing() -> None:
    stage = SimpleStage("not-replicated@127.0.0.1")
    ann, ben = stage.client(ANN, "127.0.0.1"), stage.client(BEN, "127.0.0.2")
    ben.watch(ANN)
    left_over(ben)
    ann.publish(document("stays"))
    assert left_over(ben) == []
    ben.watch(ANN, expires=0)
    assert b"<basic>closed</basic>" in ben.next_request().body
    stage.client(ANN, "127.0.0.2").publish(document("travels"))
    assert notes(left_over(ben)[-1].body) == ["travels"]


@settings(max_examples=300)
@given(st.data())
def test_no_header_makes_it_fall_over(data: st.DataObject) -> None:
    stage = SimpleStage(*data.draw(st.lists(st.sampled_from(FAULTS), max_size=3)))
    ann = stage.client(ANN)
    ann.register()
    ann.publish(document("one"))
    method = data.draw(st.sampled_from(["REGISTER", "SUBSCRIBE", "PUBLISH", "OPTIONS", "NOTIFY"]))
    request = ann.build(method, data.draw(st.sampled_from([ANN, BEN, "sip:x", "tel:1"])), [("Event", "presence")])
    names = ["From", "To", "Contact", "Expires", "Event", "Accept", "SIP-If-Match", "Content-Type", "Via"]
    texts = st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"), max_size=30) | st.sampled_from(
        ["*", "0", "60", f"<{ANN}>;tag=1", "<sip:a@b>;expires=9", "presence", "application/pidf+xml", "99999999999"]
    )
    changed = data.draw(st.dictionaries(st.sampled_from(names), texts))
    headers = [item for item in request.headers if item[0] not in changed]
    body = data.draw(st.sampled_from([b"", document("two"), b"<presence/>"]) | st.binary(max_size=40))
    request = ann.signed(Request(method, request.uri, [*headers, *changed.items()], body))
    (link,) = stage.wires
    out = stage.front_end.receive(link, request, stage.now)
    for item in out:
        assert parse_head(bytes(item.message).partition(b"\r\n\r\n")[0])
    stage.tick(10_000)
