"""Enhanced presence documents (MS-PRES 2.2.2): what is published, what is asked for, what is told.

Owns the XML of the categories, containers and batched subscriptions as a client writes and reads it.
Must not know who signed the message that carried them.
"""

from __future__ import annotations

from typing import Dict, Iterable, List, Optional, Tuple

from ..markup import DocumentError, Element, attribute, child, children, escape, number, parse, quoteattr
from ..sip.multipart import MultipartError, parse_content_type, split_multipart
from ..value import NamedTuple

SELF_TYPE = "application/vnd-microsoft-roaming-self+xml"
SUBSCRIPTION_TYPE = "application/msrtc-adrl-categorylist+xml"
CATEGORIES_TYPE = "application/msrtc-event-categories+xml"
LIST_TYPE = "application/rlmi+xml"
PUBLISH_TYPE = "application/msrtc-category-publish+xml"
MEMBERS_TYPE = "application/msrtc-setcontainermembers+xml"

AVAILABLE = 3500  # MS-PRES: lower end of the range 3000-4499 is "available"
STATE_CONTAINERS = (2, 3)  # what goes in here is aggregated for the watchers
NOTE_CONTAINERS = (200, 300, 400)  # colleagues, work group, friends and family
COLLEAGUES = 200  # its default member is the own enterprise
BLOCKED = 32000
USUAL_NOTE_INSTANCE = 0  # the one note that a person's own client writes

_CATEGORIES_NS = "http://schemas.microsoft.com/2006/09/sip"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"


class Publication(NamedTuple):
    """One item of a publication; (category, instance, container) is its key, `version` the last one known;
    an item without content deletes what stands there."""

    category: str
    instance: int
    container: int
    version: int
    expire_type: str
    content: str

    @property
    def key(self) -> Tuple[str, int, int]:
        return self.category, self.instance, self.container


class Category(NamedTuple):
    """A category as the server tells it. `instance` and `container` are None where it gives none."""

    name: str
    instance: Optional[int]
    container: Optional[int]
    version: int
    expire_type: str
    note: str
    content: Optional[Element]


class Container(NamedTuple):
    """An audience: its version, and its members as (type, value in lower case)."""

    version: int
    members: Tuple[Tuple[str, str], ...]


class SelfPresence(NamedTuple):
    """What a user's self subscription tells: own publications, and containers by number (None: not told)."""

    categories: Tuple[Category, ...]
    containers: Optional[Dict[int, Container]]

    def find(self, category: str, instance: int, container: int) -> Optional[Category]:
        for item in self.categories:
            if (item.name, item.instance, item.container) == (category, instance, container):
                return item
        return None


class Presence(NamedTuple):
    """The categories of one user, as a watcher sees them."""

    uri: str
    categories: Tuple[Category, ...]


class Resource(NamedTuple):
    """One line of a resource list (RFC 4662): how the subscription to `uri` stands."""

    uri: str
    state: str
    reason: str
    pool: str


class Notification(NamedTuple):
    """What a notification or a piggybacked answer tells about users."""

    resources: Tuple[Resource, ...]
    presences: Tuple[Presence, ...]


class Conflict(NamedTuple):
    """A publication that was refused because its version is not the server's; `position` counts from 0."""

    position: int
    current_version: int


# ------------------------------------------------------------------ writing


def note(text: str) -> str:
    """A personal note."""
    return f'<note xmlns="{_CATEGORIES_NS}/note"><body type="personal" uri="">{escape(text)}</body></note>'


def machine_state(availability: int) -> str:
    """The state of an endpoint; the server aggregates it with the user's other endpoints."""
    return (
        f'<state xmlns="{_CATEGORIES_NS}/state" xmlns:xsi="{_XSI}" manual="false" xsi:type="machineState">'
        f"<availability>{availability}</availability><endpointLocation/></state>"
    )


def publish_document(uri: str, publications: Iterable[Publication]) -> bytes:
    """The body of a SERVICE that publishes; an item without content is deleted."""
    items = []
    for item in publications:
        head = (
            f'<publication categoryName="{item.category}" instance="{item.instance}" container="{item.container}" '
            f'version="{item.version}" expireType="{item.expire_type}"'
        )
        items.append(f"{head}>{item.content}</publication>" if item.content else f'{head} expires="0"/>')
    return (
        f'<publish xmlns="{_CATEGORIES_NS}/rich-presence"><publications uri={quoteattr(uri)}>'
        + "".join(items)
        + "</publications></publish>"
    ).encode()


def self_subscription_document() -> bytes:
    """The body of a SUBSCRIBE to oneself: own publications and who may see them."""
    return (
        f'<roamingList xmlns="{_CATEGORIES_NS}/roaming-self">'
        '<roaming type="categories"/><roaming type="containers"/></roamingList>'
    ).encode()


def subscription_document(watcher: str, presentity: str) -> bytes:
    """The body of a SUBSCRIBE to another user's notes and state."""
    return (
        f'<batchSub xmlns="http://schemas.microsoft.com/2006/01/sip/batch-subscribe" uri={quoteattr(watcher)} name="">'
        f'<action name="subscribe" id="1"><adhocList><resource uri={quoteattr(presentity)}/></adhocList>'
        f'<categoryList xmlns="{_CATEGORIES_NS}/categorylist"><category name="note"/><category name="state"/>'
        "</categoryList></action></batchSub>"
    ).encode()


def add_colleagues_document(version: int) -> bytes:
    """The body of a SERVICE that lets the own enterprise see what is published for colleagues."""
    return (
        f'<setContainerMembers xmlns="{_CATEGORIES_NS}/container-management"><container id="{COLLEAGUES}" '
        f'version="{version}"><member action="add" type="sameEnterprise"/></container></setContainerMembers>'
    ).encode()


# ------------------------------------------------------------------ reading


def parse_self(body: bytes) -> SelfPresence:
    """Read ``roamingData``. Raises DocumentError."""
    root = parse(body, "roamingData")
    categories = [_category(item) for group in children(root, "categories") for item in children(group, "category")]
    listed = child(root, "containers")
    containers = None
    if listed is not None:
        containers = {
            number(attribute(item, "id"), -1): Container(
                number(attribute(item, "version")),
                tuple((attribute(m, "type"), attribute(m, "value").lower()) for m in children(item, "member")),
            )
            for item in children(listed, "container")
        }
    return SelfPresence(tuple(categories), containers)


def parse_notification(content_type: str, body: bytes) -> Notification:
    """Read what a watcher is told: a list with documents, or one document. Raises DocumentError."""
    resources: Tuple[Resource, ...] = ()
    presences: Tuple[Presence, ...] = ()
    for kind, document in _documents(content_type, body):
        if kind == CATEGORIES_TYPE:
            presences += (_presence(document),)
        elif kind == LIST_TYPE:
            resources += _resources(document)
    return Notification(resources, presences)


def parse_resources(content_type: str, body: bytes) -> Tuple[Resource, ...]:
    """Of that, how the subscriptions stand; the documents are not looked at. Raises DocumentError."""
    lists = (document for kind, document in _documents(content_type, body) if kind == LIST_TYPE)
    return tuple(resource for document in lists for resource in _resources(document))


def _documents(content_type: str, body: bytes) -> List[Tuple[str, bytes]]:
    """The documents of a notification, by type. Raises DocumentError."""
    kind, _ = parse_content_type(content_type)
    if not body:
        return []
    if kind in (CATEGORIES_TYPE, LIST_TYPE):
        return [(kind, body)]
    if kind != "multipart/related":
        raise DocumentError(f"a notification of the unexpected type {kind[:60]}")
    try:
        return [(part.content_type, part.body) for part in split_multipart(content_type, body)]
    except MultipartError as error:
        raise DocumentError(str(error)) from None


def parse_conflicts(body: bytes) -> Tuple[Conflict, ...]:
    """Read the ``WrongDelta`` fault of a 409; what names no publication is passed over. Raises DocumentError."""
    details = child(parse(body, "Fault"), "details")
    if details is None:
        return ()
    return tuple(
        Conflict(number(attribute(item, "index")) - 1, number(attribute(item, "curVersion")))
        for item in children(details, "operation")
        if number(attribute(item, "index"))
    )


def fault_code(body: bytes) -> str:
    """The fault's code, ``""`` where the body is no readable fault."""
    try:
        found = child(parse(body, "Fault"), "Faultcode")
    except DocumentError:
        return ""
    return found.text.strip() if found is not None else ""


def container_of(watcher_domain: str, watcher: str, own_domain: str, containers: Dict[int, Container]) -> Optional[int]:
    """The container that a watcher (``user@domain``) falls into, None: the public one (MS-PRES 3.1)."""
    enterprise = watcher_domain.lower() == own_domain.lower()
    wanted = [("user", watcher.lower()), ("domain", watcher_domain.lower())]
    wanted += [("sameEnterprise", "")] if enterprise else [("federated", "")]
    wanted += [("publicCloud", ""), ("everyone", "")] if not enterprise else [("everyone", "")]
    for member in wanted:
        for candidate in (BLOCKED, 400, 300, 200, 100):
            container = containers.get(candidate)
            if container is not None and member in container.members:
                return candidate
    return None


def _presence(body: bytes) -> Presence:
    root = parse(body, "categories")
    return Presence(attribute(root, "uri"), tuple(_category(item) for item in children(root, "category")))


def _category(item: Element) -> Category:
    instance, container = attribute(item, "instance"), attribute(item, "container")
    content = next(iter(item), None)
    return Category(  # by position: a pool tells of hundreds
        attribute(item, "name"),
        number(instance, -1) if instance else None,
        number(container, -1) if container else None,
        number(attribute(item, "version")),
        attribute(item, "expireType"),
        _note_text(content),
        content,
    )


def _note_text(content: Optional[Element]) -> str:
    if content is None or content.name != "note":
        return ""
    body = child(content, "body")
    return body.text.strip() if body is not None else ""


def _resources(body: bytes) -> Tuple[Resource, ...]:
    resources = []
    for item in children(parse(body, "list"), "resource"):
        instance = child(item, "instance")
        if instance is not None:
            resources.append(
                Resource(
                    attribute(item, "uri"),
                    attribute(instance, "state"),
                    attribute(instance, "reason"),
                    attribute(instance, "poolFqdn"),
                )
            )
    return tuple(resources)
