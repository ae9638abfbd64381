"""Presence documents as a front end reads and writes them (MS-PRES 2.2.2, RFC 4662).

Owns the XML, and shares nothing of it with the check but the parser. Must not know who may do what with it.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Iterable, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..lync.identity import instance_id
from ..markup import DocumentError, Element, attribute, child, children, escape, parse, quoteattr
from .xmltext import XSI, text_of

if TYPE_CHECKING:
    from .pool import Conflict, Container, Place, Publication, User

ROAMING_SELF = "application/vnd-microsoft-roaming-self+xml"
ROAMING_CONTACTS = "application/vnd-microsoft-roaming-contacts+xml"
PROVISIONING = "application/vnd-microsoft-roaming-provisioning-v2+xml"
BATCH = "application/msrtc-adrl-categorylist+xml"
CATEGORIES = "application/msrtc-event-categories+xml"
RESOURCE_LIST = "application/rlmi+xml"
PUBLISH = "application/msrtc-category-publish+xml"
MEMBERS = "application/msrtc-setcontainermembers+xml"
SUBSCRIBERS = "application/msrtc-presence-setsubscriber+xml"
SOAP = "application/soap+xml"
FAULT = "application/msrtc-fault+xml"

MAX_ITEMS = 200  # publications, resources, members of one request
MAX_CONTAINER = 32767
EXPIRE_TYPES = ("static", "endpoint", "user", "time")
MEMBER_TYPES = ("user", "domain", "sameEnterprise", "federated", "publicCloud", "everyone")

_NS = "http://schemas.microsoft.com/2006/09/sip"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


class State(NamedTuple):
    """What a state says: its xsi:type and its availability."""

    kind: str
    availability: int


class Item(NamedTuple):
    """One item of a SERVICE. `content` is XML text, `state` what it says if it is one."""

    category: str
    instance: int
    container: int
    version: int
    expire_type: str
    expires: Optional[int]
    content: str
    state: Optional[State]

    @property
    def key(self) -> Tuple[str, int, int]:
        return (self.category, self.instance, self.container)

    @property
    def deletes(self) -> bool:
        return self.expires == 0

    @property
    def unconditional(self) -> bool:
        """UCMA deletes without knowing the version."""
        return self.deletes and self.version == 0 and self.expire_type == "time"


class MemberChange(NamedTuple):
    """What changes in one container; members as (type, value in lower case)."""

    container: int
    version: int
    added: Tuple[Tuple[str, str], ...]
    removed: Tuple[Tuple[str, str], ...]


class Action(NamedTuple):
    """One action of a batched subscription: addresses to watch, or not any more."""

    subscribe: bool
    resources: Tuple[str, ...]
    categories: Tuple[str, ...]


class Resource(NamedTuple):
    """How the subscription to one address stands; `document` are its categories if it is active."""

    uri: str
    state: str
    document: bytes = b""


# ------------------------------------------------------------------ reading


def read_publications(body: bytes) -> Tuple[str, Tuple[Item, ...]]:
    """(address, items) of a ``publish``. Raises DocumentError."""
    group = _only(parse(body, "publish"), "publications")
    items = tuple(_item(element) for element in children(group, "publication"))
    if not items:
        raise DocumentError("nothing is published")
    if len(items) > MAX_ITEMS or len({item.key for item in items}) < len(items):
        raise DocumentError("too many publications, or two for the same key")
    return attribute(group, "uri"), items


def read_members(body: bytes) -> Tuple[MemberChange, ...]:
    """Read ``setContainerMembers``. Raises DocumentError."""
    changes = []
    for element in children(parse(body, "setContainerMembers"), "container"):
        members: dict[str, list[Tuple[str, str]]] = {"add": [], "remove": []}
        for member in children(element, "member"):
            action, kind = attribute(member, "action"), attribute(member, "type")
            if action not in members or kind not in MEMBER_TYPES:
                raise DocumentError("a member without a known action and type")
            members[action].append((kind, attribute(member, "value").lower()))
        changes.append(
            MemberChange(
                _unsigned(attribute(element, "id"), MAX_CONTAINER),
                _unsigned(attribute(element, "version")),
                tuple(members["add"][:MAX_ITEMS]),
                tuple(members["remove"][:MAX_ITEMS]),
            )
        )
    if not changes or len(changes) > MAX_ITEMS:
        raise DocumentError("no containers, or too many")
    return tuple(changes)


def read_subscribers(body: bytes) -> Tuple[str, ...]:
    """The addresses (``user@domain``, lower case) that a ``setSubscribers`` acknowledges. Raises DocumentError."""
    root = parse(body, "setSubscribers")
    return tuple(
        attribute(element, "user").lower()
        for element in children(root, "subscriber")
        if attribute(element, "acknowledged") == "true"
    )


def read_batch(body: bytes) -> Tuple[str, Tuple[Action, ...]]:
    """(watcher, actions) of a ``batchSub``. Raises DocumentError."""
    root = parse(body, "batchSub")
    actions = tuple(_action(element) for element in children(root, "action"))
    if not actions or sum(len(action.resources) for action in actions) > MAX_ITEMS:
        raise DocumentError("nothing to subscribe to, or too much")
    return attribute(root, "uri"), actions


def read_roaming(body: bytes) -> Tuple[str, ...]:
    """What a ``roamingList`` asks for: categories, containers, subscribers. Raises DocumentError."""
    return tuple(attribute(element, "type") for element in children(parse(body, "roamingList"), "roaming"))


def read_soap(body: bytes) -> str:
    """The name of a SOAP call. Raises DocumentError."""
    call = next(iter(_only(parse(body, "Envelope"), "Body")), None)
    if call is None:
        raise DocumentError("a SOAP envelope without a call")
    return call.name


def _item(element: Element) -> Item:
    category = attribute(element, "categoryName")
    expire_type = attribute(element, "expireType")
    expires = attribute(element, "expires")
    if not _NAME.match(category) or expire_type not in EXPIRE_TYPES or (expire_type == "time" and not expires):
        raise DocumentError("a publication without a category or a usable expireType")
    content = next(iter(element), None)
    seconds = _unsigned(expires) if expires else None
    if content is None and seconds != 0:
        raise DocumentError("a publication without content")
    return Item(
        category,
        _unsigned(attribute(element, "instance")),
        _unsigned(attribute(element, "container"), MAX_CONTAINER),
        _unsigned(attribute(element, "version")),
        expire_type,
        seconds,
        "" if content is None else text_of(content),
        _state(content) if category == "state" and content is not None else None,
    )


def _state(element: Element) -> State:
    availability = child(element, "availability")
    if availability is None or availability.text is None:
        raise DocumentError("a state without availability")
    return State(attribute(element, "type").rpartition(":")[2], _unsigned(availability.text.strip()))


def _action(element: Element) -> Action:
    name = attribute(element, "name")
    if name not in ("subscribe", "unsubscribe"):
        raise DocumentError("neither subscribe nor unsubscribe")
    resources = tuple(attribute(item, "uri") for item in children(_only(element, "adhocList"), "resource"))
    wanted = child(element, "categoryList")
    categories = [] if wanted is None else [attribute(item, "name") for item in children(wanted, "category")]
    if not resources or len(categories) > MAX_ITEMS or not all(_NAME.match(item) for item in categories):
        raise DocumentError("no resources, or categories that are none")
    if name == "subscribe" and not categories:
        raise DocumentError("a subscription to no categories")
    return Action(name == "subscribe", resources, tuple(categories))


def _only(parent: Element, name: str) -> Element:
    found = child(parent, name)
    if found is None:
        raise DocumentError(f"no <{name}>")
    return found


def _unsigned(text: str, most: int = 0xFFFFFFFF) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= most):
        raise DocumentError("not the number that belongs there")
    return int(text)


# ------------------------------------------------------------------ writing


def aggregate_state(availability: int) -> str:
    return (
        f'<state xsi:type="aggregateState" xmlns:xsi="{XSI}" xmlns="{_NS}/state">'
        f"<availability>{availability}</availability></state>"
    )


def note(text: str) -> str:
    return f'<note xmlns="{_NS}/note"><body type="personal" uri="">{escape(text)}</body></note>'


def roaming_data(user: User, places: Iterable[Place], parts: Sequence[str] = ("categories",)) -> bytes:
    """What a user's own endpoints are told: the publications at `places`, containers and subscribers if wanted."""
    inner = ""
    if "categories" in parts:
        categories = "".join(_own_categories(user, place) for place in sorted(places))
        inner += f'<categories xmlns="{_NS}/categories" uri={quoteattr(user.address)}>{categories}</categories>'
    if "containers" in parts:
        inner += _containers(user.containers)
    if "subscribers" in parts:
        inner += _subscribers(user.subscribers)
    return f'<roamingData xmlns="{_NS}/roaming-self">{inner}</roamingData>'.encode()


def categories(uri: str, told: Mapping[str, Sequence[Publication]]) -> bytes:
    """What a watcher is told of `uri`: every category by name, with all its publications in his container."""
    inner = ""
    for name, publications in told.items():
        if not publications:
            inner += f'<category name="{name}"/>'
        for item in publications:
            time = _time(item.publish_time)
            inner += (
                f'<category name="{name}" instance="{item.instance}" publishTime="{time}">{item.content}</category>'
            )
    return f'<categories xmlns="{_NS}/categories" uri={quoteattr(uri)}>{inner}</categories>'.encode()


def resource_list(watcher: str, resources: Sequence[Resource], boundary: str) -> Tuple[str, bytes]:
    """(Content-Type, body) of a list of resources with their documents."""
    lines = []
    for item in resources:
        cid = f" cid={quoteattr(item.uri.partition(':')[2])}" if item.document else ""
        lines.append(f'<resource uri={quoteattr(item.uri)}><instance id="0" state="{item.state}"{cid}/></resource>')
    listed = (
        f'<list xmlns="urn:ietf:params:xml:ns:rlmi" uri={quoteattr(watcher)} version="0" fullState="true">'
        + "".join(lines)
        + "</list>"
    ).encode()
    body = _part(boundary, "resourceList", RESOURCE_LIST, listed)
    for item in resources:
        if item.document:
            body += _part(boundary, item.uri.partition(":")[2], CATEGORIES, item.document)
    content_type = f'multipart/related;type="{RESOURCE_LIST}";start=resourceList;boundary={boundary}'
    return content_type, body + f"--{boundary}--\r\n".encode()


def conflict(items: Sequence[Conflict]) -> bytes:
    details = "".join(
        f'<operation index="{item.position}" version="{item.version}" curVersion="{item.current}"/>' for item in items
    )
    return f"<Fault><Faultcode>Client.BadCall.WrongDelta</Faultcode><details>{details}</details></Fault>".encode()


def contact_list() -> bytes:
    """An empty list of contacts: nobody's list is kept here."""
    return b'<contactList deltaNum="1"><group id="1" name="~" externalURI=""/></contactList>'


def provisioning() -> bytes:
    return f'<provisionGroupList xmlns="{_NS}/provisiongrouplist-notification"/>'.encode()


def _own_categories(user: User, place: Place) -> str:
    name, container = place
    publications = user.at(place)
    if not publications:
        return f'<category name="{name}" container="{container}"/>'
    return "".join(
        f'<category name="{name}" instance="{item.instance}" publishTime="{_time(item.publish_time)}" '
        f'container="{container}" version="{item.version}" expireType="{item.expire_type}"'
        + (f' endpointId="{instance_id(item.endpoint)}"' if item.expire_type == "endpoint" else "")
        + f">{item.content}</category>"
        for item in publications
    )


def _containers(containers: Mapping[int, Container]) -> str:
    inner = ""
    for number, container in sorted(containers.items()):
        members = "".join(
            f'<member type="{kind}"' + (f" value={quoteattr(value)}" if value else "") + "/>"
            for kind, value in sorted(container.members)
        )
        inner += f'<container id="{number}" version="{container.version}">{members}</container>'
    return f'<containers xmlns="{_NS}/container-management">{inner}</containers>'


def _subscribers(subscribers: Mapping[str, bool]) -> str:
    inner = "".join(
        f'<subscriber user={quoteattr(address)} displayName="" acknowledged="{"true" if known else "false"}" '
        'type="sameEnterprise"/>'
        for address, known in subscribers.items()
    )
    return f'<subscribers xmlns="{_NS}/presence-subscribers">{inner}</subscribers>'


def _part(boundary: str, name: str, content_type: str, document: bytes) -> bytes:
    head = (
        f"--{boundary}\r\nContent-Transfer-Encoding: binary\r\nContent-ID: {name}\r\nContent-Type: {content_type}\r\n"
    )
    # The empty line at the end is no decoration: pidgin-sipe cuts four octets before a boundary.
    return head.encode() + b"\r\n" + document + b"\r\n\r\n"


def _time(seconds: float) -> str:
    """Universal time to the millisecond, without a zone, as front ends write it."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}"
