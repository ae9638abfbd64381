"""Presence: subscriptions, versions, who sees what, what ends with an endpoint."""

from __future__ import annotations

import re

import pytest

from check_lync_presence.sip.message import Response
from check_lync_presence.sip.multipart import split_multipart

from .client import ANN, BEN, NS, Client, Silence, Stage, no_note, note, state, tag_of


def pair(*faults: str) -> tuple[Stage, Client, Client]:
    """ann and ben, both signed in."""
    stage = Stage(*faults)
    ann, ben = stage.client(ANN), stage.client(BEN, epid="0f1e2d3c4b5a")
    assert ann.sign_in().status == 200
    assert ben.sign_in().status == 200
    return stage, ann, ben


def watching(*faults: str) -> tuple[Stage, Client, Client]:
    """ann and ben, who watches ann."""
    stage, ann, ben = pair(*faults)
    assert ben.watch(ANN).status == 200
    return stage, ann, ben


def parts_of(response: Response) -> list[bytes]:
    return [part.body for part in split_multipart(response.get("Content-Type") or "", response.body)]


def silent(client: Client) -> bool:
    try:
        client.next_request()
    except Silence:
        return True
    return False


def test_what_ann_publishes_reaches_ben_in_his_dialog() -> None:
    _, ann, ben = pair()
    subscribed = ben.watch(ANN)
    assert ann.publish(note("probe &lt;1&gt;"), state(3500)).status == 200
    told = ben.next_request()
    assert told.method == "BENOTIFY"
    assert told.call_id == subscribed.call_id
    assert (tag_of(subscribed, "To"), tag_of(subscribed, "From")) == (tag_of(told, "From"), tag_of(told, "To"))
    assert b">probe &lt;1&gt;</body>" in told.body
    assert b"<availability>3500</availability>" in told.body
    assert b"container=" not in told.body


def test_the_first_state_is_in_the_200_and_every_part_ends_with_an_empty_line() -> None:
    _, _, ben = pair()
    response = ben.watch(ANN)
    assert response.get("ms-piggyback-cseq") == "1"
    listed, document = parts_of(response)
    assert b'state="active" cid="ann@contoso.example"' in listed
    assert b"<availability>18500</availability>" in document
    assert b'<category name="note"/>' in document
    assert listed.endswith(b"\r\n")
    assert document.endswith(b"\r\n")


def test_without_piggyback_the_state_follows_in_a_notify() -> None:
    _, _, ben = pair("no-piggyback")
    response = ben.watch(ANN)
    assert (response.status, response.body) == (200, b"")
    assert b"18500" in ben.next_request().body


def test_a_single_subscription_gets_one_document() -> None:
    _, ann, ben = pair()
    response = ben.watch(ANN, batch=False)
    assert response.get("Content-Type") == "application/msrtc-event-categories+xml"
    ann.publish(note("probe"))
    assert b"probe" in ben.next_request().body


def test_an_unknown_presentity_is_resubscribe_in_the_batch_and_404_alone() -> None:
    _, _, ben = pair()
    (listed,) = parts_of(ben.watch("sip:nobody@contoso.example"))
    assert b'state="resubscribe"' in listed
    response = ben.watch("sip:nobody@contoso.example", batch=False)
    assert response.status == 404
    assert (response.get("ms-diagnostics") or "").startswith("4005;")


def test_a_batch_must_be_sent_to_oneself() -> None:
    _, _, ben = pair()
    assert ben.watch(ANN, to=ANN).status == 400


def test_a_single_subscription_must_be_sent_to_whom_it_is_about() -> None:
    _, _, ben = pair()
    assert ben.watch(ANN, batch=False, to=BEN).status == 400


def test_the_answer_to_service_has_all_publications_of_the_category() -> None:
    _, ann, _ = pair()
    ann.publish(note("one", container=300))
    body = ann.publish(note("two")).body
    assert b'container="300" version="1"' in body
    assert b'container="200" version="1"' in body


def test_publishing_with_an_old_version_applies_nothing() -> None:
    stage, ann, _ = pair()
    ann.publish(note("one"))
    response = ann.publish(note("other", container=300), note("two"))
    assert response.status == 409
    assert response.get("Content-Type") == "application/msrtc-fault+xml"
    assert b'<operation index="2" version="0" curVersion="1"/>' in response.body
    assert b'index="1"' not in response.body
    assert stage.front_end.census()[ANN]["publications"] == 1


def test_publishing_with_the_current_version_counts_it_up() -> None:
    _, ann, _ = pair()
    ann.publish(note("one"))
    assert b'version="2"' in ann.publish(note("two", version=1)).body


def test_a_deleted_note_is_told_as_no_note() -> None:
    stage, ann, ben = watching()
    ann.publish(note("one"))
    ben.next_request()
    assert ann.publish(no_note(version=1)).status == 200
    assert b'<category name="note"/>' in ben.next_request().body
    assert stage.front_end.census()[ANN]["publications"] == 0


def test_deleting_with_an_old_version_is_a_conflict() -> None:
    _, ann, _ = pair()
    ann.publish(note("one"))
    assert ann.publish(no_note(version=3)).status == 409


def test_a_deletion_in_the_manner_of_ucma_needs_no_version() -> None:
    _, ann, _ = pair()
    ann.publish(note("one"))
    assert ann.publish(no_note(version=0).replace("static", "time")).status == 200


def test_the_servers_own_state_is_read_only() -> None:
    _, ann, _ = pair()
    response = ann.publish(state(3500, instance=1))
    assert response.status == 403
    assert (response.get("ms-diagnostics") or "").startswith("2003;")


def test_ben_gets_all_notes_of_his_container_whatever_their_instance() -> None:
    _, ann, ben = watching()
    ann.publish(note("usual"))
    ben.next_request()
    ann.publish(note("mine", instance=974859325))
    told = ben.next_request().body
    assert b"usual" in told
    assert b"mine" in told


def test_ben_is_not_told_what_is_in_other_containers() -> None:
    _, ann, ben = watching()
    ann.publish(note("for friends", container=400))
    assert silent(ben)


def test_ann_is_told_her_own_changes_in_her_self_subscription() -> None:
    _, ann, _ = pair()
    response = ann.subscribe_self()
    assert b'<container id="200" version="1"><member type="sameEnterprise"/></container>' in response.body
    ann.publish(note("one"))
    told = ann.next_request()
    assert (told.method, told.get("Event")) == ("BENOTIFY", "vnd-microsoft-roaming-self")
    assert b'version="1"' in told.body


def test_the_self_subscription_tells_who_watches() -> None:
    _, ann, _ = watching()
    assert b'<subscriber user="ben@contoso.example"' in ann.subscribe_self().body


def test_a_member_of_the_friends_sees_what_friends_may() -> None:
    _, ann, ben = watching()
    ann.publish(note("for friends", container=400))
    member = (
        '<container id="400" version="0"><member action="add" type="user" value="ben@contoso.example"/></container>'
    )
    assert ann.set_members(member).status == 200
    assert b"for friends" in ben.next_request().body


def test_members_are_changed_with_the_current_version_only() -> None:
    _, ann, _ = pair()
    member = '<container id="200" version="0"><member action="add" type="everyone"/></container>'
    response = ann.set_members(member)
    assert response.status == 409
    assert b'curVersion="1"' in response.body


def test_nobody_sees_a_fresh_account_until_it_has_members() -> None:
    _, ann, ben = watching("fresh-account")
    ann.publish(note("probe"))
    assert silent(ben)
    ann.set_members('<container id="200" version="0"><member action="add" type="sameEnterprise"/></container>')
    assert b"probe" in ben.next_request().body


def test_a_blocked_watcher_sees_nothing() -> None:
    _, ann, ben = watching("watcher-blocked")
    ann.publish(note("probe"), state(3500))
    assert silent(ben)


def test_a_request_in_a_dialog_needs_the_right_tags() -> None:
    _, _, ben = pair()
    first = ben.watch(ANN)
    call_id, mine = first.call_id, tag_of(first, "From")
    assert ben.watch(ANN, call_id=call_id, cseq=2, tags=(mine, "FFFFFFFF")).status == 481
    assert ben.watch(ANN, call_id=call_id, cseq=2, tags=("else", tag_of(first, "To"))).status == 481
    assert ben.watch(ANN, call_id=call_id, cseq=2, tags=(mine, tag_of(first, "To"))).status == 200
    assert ben.watch(ANN, call_id=call_id, cseq=2, tags=(mine, tag_of(first, "To"))).status == 500


def test_after_unsubscribing_ben_is_told_nothing() -> None:
    stage, ann, ben = pair()
    first = ben.watch(ANN)
    tags = (tag_of(first, "From"), tag_of(first, "To"))
    response = ben.subscribe("presence", b"", ("Expires", "0"), call_id=first.call_id, cseq=2, tags=tags)
    assert (response.status, response.get("subscription-state")) == (200, "terminated;expires=0")
    ann.publish(note("probe"))
    assert silent(ben)
    assert stage.front_end.census()[BEN]["subscriptions"] == 0


def test_a_subscription_that_is_not_refreshed_ends() -> None:
    stage, _, ben = pair()
    ben.subscribe("vnd-microsoft-provisioning-v2", b"", ("Expires", "1200"))
    for left in (1, 1, 0):
        stage.tick(500)
        ben.answer_of(ben.register(sign=True))
        assert stage.front_end.census()[BEN]["subscriptions"] == left


def test_a_lost_connection_ends_the_endpoint_and_what_belongs_to_it() -> None:
    stage, ann, ben = watching()
    ann.publish(note("stays"), state(3500))
    ben.next_request()
    ann.wire.close()  # type: ignore[attr-defined]
    told = ben.next_request().body
    assert b"<availability>18500</availability>" in told
    assert stage.front_end.census()[ANN] == {"endpoints": 0, "publications": 1, "subscriptions": 0, "answers": {}}


def test_signing_out_ends_what_was_published_for_the_endpoint() -> None:
    stage, ann, ben = watching()
    ann.publish(state(3500))
    ben.next_request()
    ann.sign_out()
    assert b"<availability>18500</availability>" in ben.next_request().body
    assert stage.front_end.census()[ANN]["publications"] == 0


def test_being_busy_at_one_machine_counts_before_being_there_at_another() -> None:
    _, ann, ben = watching()
    ann.publish(state(3500))
    assert b">3500<" in ben.next_request().body
    ann.publish(state(6500, instance=805306369))
    assert b">6500<" in ben.next_request().body


def test_the_persons_own_choice_counts_before_her_machines() -> None:
    _, ann, ben = watching()
    ann.publish(state(15500, kind="userState", instance=536870912))
    assert b">15500<" in ben.next_request().body
    ann.publish(state(3500))
    assert silent(ben)


def test_a_timed_publication_ends_with_its_time() -> None:
    stage, ann, ben = watching()
    ann.publish(note("for a minute").replace('expireType="static"', 'expireType="time" expires="60"'))
    ben.next_request()
    stage.tick(61)
    assert b'<category name="note"/>' in ben.next_request().body


def test_who_does_not_offer_benotify_gets_notify_and_answers_it() -> None:
    stage, ann, ben = watching("notify")
    ann.publish(note("probe"))
    told = ben.next_request()
    assert told.method == "NOTIFY"
    ben.reply(told, 200)
    assert stage.front_end.census()[BEN]["answers"] == {"NOTIFY 200": 1}


@pytest.mark.parametrize(
    ("content", "body"),
    [
        ("application/msrtc-category-publish+xml", "<publish"),
        ("application/msrtc-category-publish+xml", "<other/>"),
        ("application/msrtc-category-publish+xml", f'<publish><publications uri="{ANN}"/></publish>'),
        (
            "application/msrtc-category-publish+xml",
            f'<publish><publications uri="{ANN}">{note("x").replace("static", "ever")}</publications></publish>',
        ),
        (
            "application/msrtc-category-publish+xml",
            f'<publish><publications uri="{ANN}">{note("x", container=99999)}</publications></publish>',
        ),
        (
            "application/msrtc-category-publish+xml",
            f'<publish><publications uri="{ANN}">{note("x") + note("y")}</publications></publish>',
        ),
        ("application/msrtc-category-publish+xml", '<!DOCTYPE x [<!ENTITY y "z">]><publish/>'),
        ("application/msrtc-category-publish+xml", "<publish>" + "<a>" * 5000 + "</a>" * 5000 + "</publish>"),
        ("application/msrtc-setcontainermembers+xml", "<setContainerMembers/>"),
        ("application/soap+xml", "<Envelope/>"),
    ],
)
def test_a_document_that_cannot_be_read_is_400(content: str, body: str) -> None:
    _, ann, _ = pair()
    response = ann.signed("SERVICE", [("Content-Type", content)], body.encode())
    assert response.status == 400
    assert (response.get("ms-diagnostics") or "").startswith("4001;")


def test_an_element_inside_an_element_without_end_is_400() -> None:
    _, ann, _ = pair()
    deep = note("<a>" * 3000 + "</a>" * 3000)
    assert ann.publish(deep).status == 400


def test_publications_have_limits() -> None:
    _, ann, _ = pair()
    assert ann.publish(note("x" * 40000)).status == 403
    statuses = [
        ann.publish(*(note("x", instance=number + 100 * step) for number in range(100))).status for step in range(5)
    ]
    assert statuses == [200, 200, 200, 403, 403]


def test_nobody_publishes_for_somebody_else() -> None:
    _, ann, _ = pair()
    assert ann.signed("SERVICE", [("Content-Type", "text/plain")], b"", to=BEN).status == 403


def test_other_events_are_489() -> None:
    _, ann, _ = pair()
    assert ann.subscribe("dialog", b"").status == 489


@pytest.mark.parametrize("event", ["vnd-microsoft-roaming-contacts", "vnd-microsoft-provisioning-v2"])
def test_what_other_clients_ask_for_is_answered(event: str) -> None:
    _, ann, _ = pair()
    response = ann.subscribe(event, b"")
    assert response.status == 200
    assert response.get("Content-Type") is not None
    assert re.match(rb"<(contactList|provisionGroupList) ", response.body)


def test_a_fetch_leaves_no_subscription() -> None:
    stage, ann, _ = pair()
    response = ann.subscribe("vnd-microsoft-provisioning-v2", b"", ("Expires", "0"))
    assert response.get("subscription-state") == "terminated;expires=0"
    assert stage.front_end.census()[ANN]["subscriptions"] == 0


def test_a_look_at_somebody_leaves_no_subscription() -> None:
    stage, ann, ben = pair()
    response = ben.watch(ANN, extra=(("Expires", "0"),))
    assert b"18500" in response.body
    assert stage.front_end.census()[BEN]["subscriptions"] == 0
    ann.publish(note("probe"))
    assert silent(ben)


def test_adding_a_contact_is_accepted() -> None:
    _, ann, _ = pair()
    body = (
        b"<SOAP-ENV:Envelope xmlns:SOAP-ENV='x'><SOAP-ENV:Body><m:setContact xmlns:m='y'/></SOAP-ENV:Body>"
        b"</SOAP-ENV:Envelope>"
    )
    assert ann.signed("SERVICE", [("Content-Type", "application/SOAP+xml")], body).status == 200


def test_acknowledged_subscribers_stay_acknowledged() -> None:
    _, ann, _ = watching()
    body = (
        f'<setSubscribers xmlns="{NS}/presence-subscribers">'
        '<subscriber user="ben@contoso.example" acknowledged="true"/></setSubscribers>'
    ).encode()
    assert ann.signed("SERVICE", [("Content-Type", "application/msrtc-presence-setsubscriber+xml")], body).status == 200
    assert b'acknowledged="true"' in ann.subscribe_self().body
