"""Subscriptions, publications and notifications (MS-PRES 3.1 to 3.7).

Owns the answers to SUBSCRIBE and SERVICE and who is told what. Must not know how a sender was authenticated.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, FrozenSet, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from ..markup import DocumentError
from ..sip.message import Header, Request
from ..sip.multipart import parse_content_type
from . import documents
from .documents import Action, Item, Resource
from .link import Link, Outgoing, Session, expires, lists, name_addr
from .messages import answer, diagnostics, outbound
from .pool import MAX_SUBSCRIPTIONS, Endpoint, Place, Pool, Refused, Subscription, User, VersionConflict
from .xmltext import bomb

# Seconds that a subscription lives: the server's limits and its default.
SHORTEST, USUAL, LONGEST = 1200, 28800, 43200
HEAD_START = 0.2  # seconds between a notification and the 200 that it overtakes

SELF = "vnd-microsoft-roaming-self"
CONTACTS = "vnd-microsoft-roaming-contacts"
PROVISIONING = "vnd-microsoft-provisioning-v2"
PRESENCE = "presence"
_SILENT = ("vnd-microsoft-provisioning", "vnd-microsoft-roaming-acl", "presence.wpending")
_CONTENT = Tuple[str, bytes]
_NOTHING: _CONTENT = ("", b"")
_UNKNOWN = "Destination URI either not enabled for SIP or does not exist"


class Asked(NamedTuple):
    """A signed request of an endpoint."""

    link: Link
    request: Request
    session: Session
    endpoint: Endpoint
    now: float

    @property
    def user(self) -> User:
        return self.session.user


class Presence:
    """Answers SUBSCRIBE and SERVICE, and notifies."""

    def __init__(self, pool: Pool, token: Callable[[], str]) -> None:
        self._pool = pool
        self._token = token

    # --------------------------------------------------------------- SUBSCRIBE

    def subscribe(self, asked: Asked) -> List[Outgoing]:
        """Begin, change, refresh or end a subscription. Raises DocumentError."""
        request = asked.request
        event = (request.get("Event") or "").partition(";")[0].strip().lower()
        activity = {SELF: "self-subscribe", PRESENCE: "subscribe"}.get(event, "other")
        key = (request.call_id, name_addr(request, "From").tag)
        subscription = asked.endpoint.subscriptions.get(key)
        to_tag = name_addr(request, "To").tag
        if to_tag:
            if subscription is None or (subscription.local_tag, subscription.event) != (to_tag, event):
                return [self._answer(asked, 481, activity, (diagnostics(2014, "Subscription dialog does not exist"),))]
            if request.cseq.number <= subscription.remote_cseq:
                return [self._answer(asked, 500, activity)]
            subscription.remote_cseq = request.cseq.number
            if expires(request) == 0:
                del asked.endpoint.subscriptions[key]
                return [self._ended(asked, event, _NOTHING)]
        else:
            offered = {SELF, CONTACTS, PROVISIONING, PRESENCE, *_SILENT}
            if event not in offered or (event == SELF and "no-enhanced-presence" in asked.link.faults):
                return [self._answer(asked, 489, activity)]
            if len(asked.endpoint.subscriptions) >= MAX_SUBSCRIPTIONS:
                limit = diagnostics(2012, "Category subscription limit exceeded", asked.user.pool)
                return [self._answer(asked, 403, activity, (limit,))]
            subscription = self._new(asked, event)
        if event == PRESENCE:
            return self._watch(asked, subscription)
        if name_addr(request, "To").uri.lower() != asked.user.key:
            refusal = diagnostics(2004, "Subscriber is not authorized", asked.user.pool)
            return [self._answer(asked, 403, activity, (refusal,))]
        return self._accepted(asked, subscription, activity, self._own_state(asked, event))

    def _new(self, asked: Asked, event: str) -> Subscription:
        request = asked.request
        return Subscription(
            event=event,
            call_id=request.call_id,
            remote_tag=name_addr(request, "From").tag,
            local_tag=self._token(),
            remote_cseq=request.cseq.number,
            local_cseq=0,
            lifetime=USUAL,
            expires_at=asked.now + USUAL,
            best_effort=lists(request, "Supported", "ms-benotify"),
            extends=lists(request, "Supported", "com.microsoft.autoextend"),
        )

    def _own_state(self, asked: Asked, event: str) -> _CONTENT:
        """What a subscription to oneself is told first."""
        if event == SELF:
            parts = documents.read_roaming(asked.request.body) if asked.request.body else ("categories",)
            return documents.ROAMING_SELF, documents.roaming_data(asked.user, asked.user.places(), parts)
        if event == CONTACTS:
            return documents.ROAMING_CONTACTS, documents.contact_list()
        if event == PROVISIONING:
            return documents.PROVISIONING, documents.provisioning()
        return _NOTHING

    def _watch(self, asked: Asked, subscription: Subscription) -> List[Outgoing]:
        """Change whom the subscription watches, and tell how they are."""
        request, user = asked.request, asked.user
        target = name_addr(request, "To").uri
        batch = lists(request, "Require", "adhoclist")
        actions: Tuple[Action, ...] = ()
        if request.body:
            if _content_type(request) != documents.BATCH:
                wrong = diagnostics(4013, "Content type is not as expected", user.pool)
                return [self._answer(asked, 400, "subscribe", (wrong,))]
            watcher, actions = documents.read_batch(request.body)
            if watcher.lower() != user.key:
                return [self._answer(asked, 400, "subscribe")]
        elif not subscription.watched:
            raise DocumentError("nobody to watch")
        if batch and "no-adhoclist" in asked.link.faults:
            return [self._answer(asked, 400, "subscribe")]
        if not batch and not subscription.watched:
            if any(uri.lower() != target.lower() for action in actions for uri in action.resources):
                return [self._answer(asked, 400, "subscribe")]
            if self._presentity(asked, target) is None:
                return [self._answer(asked, 404, "subscribe", (diagnostics(4005, _UNKNOWN, user.pool),))]
        elif batch and not name_addr(request, "To").tag and target.lower() != user.key:
            return [self._answer(asked, 400, "subscribe")]
        resources = [item for action in actions for item in self._act(asked, subscription, action)]
        if not actions:
            resources = [self._resource(asked, subscription, address) for address in subscription.watched]
        if batch or len(resources) != 1 or not resources[0].document:
            content = documents.resource_list(user.address, resources, self._token().lower())
        else:
            content = (documents.CATEGORIES, resources[0].document)
        return self._accepted(asked, subscription, "subscribe", content)

    def _act(self, asked: Asked, subscription: Subscription, action: Action) -> List[Resource]:
        resources = []
        for uri in action.resources:
            presentity = self._presentity(asked, uri)
            if presentity is None:
                resources.append(Resource(uri, "resubscribe"))
            elif action.subscribe:
                subscription.watched[presentity.key] = frozenset(action.categories)
                if presentity is not asked.user:
                    presentity.subscribers.setdefault(asked.user.key.partition(":")[2], False)
                resources.append(self._resource(asked, subscription, presentity.key, uri))
            else:
                subscription.watched.pop(presentity.key, None)
                resources.append(Resource(uri, "terminated"))
        return resources

    def _resource(self, asked: Asked, subscription: Subscription, address: str, uri: str = "") -> Resource:
        presentity = self._pool.users[address]
        document = self._view(asked.endpoint, presentity, subscription.watched[address])
        return Resource(uri or presentity.address, "active", document)

    def _presentity(self, asked: Asked, address: str) -> Optional[User]:
        user = self._pool.find(address)
        if user is not None and "presentity-unknown" in asked.link.faults and "publisher" in user.roles:
            return None
        return user

    def _accepted(self, asked: Asked, subscription: Subscription, activity: str, content: _CONTENT) -> List[Outgoing]:
        """200 with the state, or the state in a notification behind it. Without a life time it ends at once."""
        request = asked.request
        if expires(request) == 0:
            return [self._ended(asked, subscription.event, content)]
        asked.endpoint.subscriptions[(subscription.call_id, subscription.remote_tag)] = subscription
        subscription.lifetime = max(SHORTEST, min(expires(request) or USUAL, LONGEST))
        subscription.expires_at = asked.now + subscription.lifetime
        headers = [
            ("Contact", f"<sip:{asked.user.pool}:{asked.link.local_port};transport={asked.link.transport}>"),
            ("Expires", str(subscription.lifetime)),
            ("Event", subscription.event),
            ("subscription-state", f"active;expires={subscription.lifetime}"),
            ("Supported", "ms-benotify, ms-piggyback-first-notify, com.microsoft.autoextend"),
        ]
        if subscription.event == PRESENCE:
            headers.append(("Require", "eventlist"))
        piggyback = lists(request, "Supported", "ms-piggyback-first-notify") and "no-piggyback" not in asked.link.faults
        if not (piggyback and content[0]):
            accepted = self._answer(asked, 200, activity, headers, _NOTHING, subscription.local_tag)
            first = self._notification(asked.endpoint, subscription, content, "first-notification", asked.now)
            return [accepted, first]
        subscription.local_cseq += 1
        headers.append(("ms-piggyback-cseq", str(subscription.local_cseq)))
        return [self._answer(asked, 200, activity, headers, content, subscription.local_tag)]

    def _ended(self, asked: Asked, event: str, content: _CONTENT) -> Outgoing:
        headers = [("Expires", "0"), ("Event", event), ("subscription-state", "terminated;expires=0")]
        if content[0]:
            headers.append(("ms-piggyback-cseq", "1"))
        return self._answer(asked, 200, "unsubscribe", headers, content)

    # ----------------------------------------------------------------- SERVICE

    def service(self, asked: Asked) -> List[Outgoing]:
        """Publish, change the members of containers, acknowledge subscribers. Raises DocumentError."""
        kind = _content_type(asked.request)
        if name_addr(asked.request, "To").uri.lower() != asked.user.key:
            refusal = diagnostics(4268, "Delegate operation not allowed", asked.user.pool)
            return [self._answer(asked, 403, "publish", (refusal,))]
        if kind == documents.SOAP:
            documents.read_soap(asked.request.body)
            return [self._answer(asked, 200, "other")]
        if "survivable-mode" in asked.link.faults:
            return [self._answer(asked, 503, "publish")]
        if "publication-refused" in asked.link.faults:
            return [self._refused(asked, Refused(2003, "Publication is read-only"))]
        if kind == documents.PUBLISH:
            return self._publish(asked)
        if kind == documents.MEMBERS:
            return self._set_members(asked)
        if kind == documents.SUBSCRIBERS:
            for address in documents.read_subscribers(asked.request.body):
                if address in asked.user.subscribers:
                    asked.user.subscribers[address] = True
            return [self._answer(asked, 200, "other")]
        return [
            self._answer(asked, 415, "other", (diagnostics(4013, "Content type is not as expected", asked.user.pool),))
        ]

    def _publish(self, asked: Asked) -> List[Outgoing]:
        user, faults = asked.user, asked.link.faults
        address, items = documents.read_publications(asked.request.body)
        activity = "withdraw" if all(item.deletes for item in items) else "publish"
        if address.lower() != user.key:
            refusal = diagnostics(4268, "Delegate operation not allowed", user.pool)
            return [self._answer(asked, 403, activity, (refusal,))]
        if "note-instance-refused" in faults and any(item.category == "note" and item.instance for item in items):
            return [self._refused(asked, Refused(2003, "Publication is read-only"))]
        interference: List[Outgoing] = []
        if faults.has("version-conflict", "always") or faults.once("version-conflict", user.key):
            interference = self._interfere(asked, items)
        only_at = asked.link.front_end if "not-replicated" in faults else ""
        try:
            changed = self._pool.publish(user, asked.session.epid, items, asked.now, only_at)
        except VersionConflict as refused:
            content = (documents.FAULT, documents.conflict(refused.conflicts))
            return [*interference, self._answer(asked, 409, activity, (), content)]
        except Refused as refused:
            return [self._refused(asked, refused)]
        categories = {category for category, _ in changed}
        touched = changed | {place for place in user.places() if place[0] in categories}
        content = (documents.ROAMING_SELF, documents.roaming_data(user, touched))
        accepted = self._answer(asked, 200, activity, (), content)
        told = self.announce(user, changed, asked.now, only_at)
        if "notification-first" in faults:
            return [*told, accepted._replace(late=HEAD_START)]
        return [accepted, *told]

    def _interfere(self, asked: Asked, items: Sequence[Item]) -> List[Outgoing]:
        """Let somebody else write what `items` are about to write, so that their versions are old."""
        user = asked.user
        item = next((item for item in items if item.category == "note"), items[0])
        content = documents.note("written by somebody else") if item.category == "note" else item.content
        if not content:
            return []
        foreign = item._replace(version=self._pool.version(user, item), expires=item.expires or None, content=content)
        changed = self._pool.publish(user, asked.session.epid, [foreign], asked.now)
        return self.announce(user, changed, asked.now)

    def _set_members(self, asked: Asked) -> List[Outgoing]:
        user = asked.user
        changes = documents.read_members(asked.request.body)
        before = [
            (*watching, self._pool.container_of(watching[0].user, user)) for watching in self._pool.watchers(user)
        ]
        try:
            self._pool.set_members(user, changes)
        except VersionConflict as refused:
            content = (documents.FAULT, documents.conflict(refused.conflicts))
            return [self._answer(asked, 409, "members", (), content)]
        except Refused as refused:
            return [self._refused(asked, refused)]
        told = self._tell_self(user, documents.roaming_data(user, (), ("containers",)), asked.now)
        for endpoint, subscription, container in before:
            if self._pool.container_of(endpoint.user, user) != container:
                told += self._tell_watcher(endpoint, subscription, user, subscription.watched[user.key], asked.now)
        return [self._answer(asked, 200, "members"), *told]

    def _refused(self, asked: Asked, refused: Refused) -> Outgoing:
        return self._answer(asked, 403, "publish", (diagnostics(refused.code, refused.reason, asked.user.pool),))

    # ------------------------------------------------------------ notification

    def announce(self, user: User, changed: FrozenSet[Place], now: float, only_at: str = "") -> List[Outgoing]:
        """Tell the user's own endpoints and his watchers, if need be `only_at` one front end, what changed."""
        if not changed:
            return []
        told = self._tell_self(user, documents.roaming_data(user, changed), now)
        for endpoint, subscription in self._pool.watchers(user):
            if only_at not in ("", endpoint.link.front_end):
                continue
            container = self._pool.container_of(endpoint.user, user)
            names = {category for category, number in changed if number == container}
            told += self._tell_watcher(endpoint, subscription, user, names & subscription.watched[user.key], now)
        return told

    def _tell_self(self, user: User, document: bytes, now: float) -> List[Outgoing]:
        return [
            self._notification(endpoint, subscription, (documents.ROAMING_SELF, document), "self-notification", now)
            for endpoint in user.endpoints.values()
            for subscription in endpoint.subscriptions.values()
            if subscription.event == SELF
        ]

    def _tell_watcher(
        self, endpoint: Endpoint, subscription: Subscription, user: User, names: Iterable[str], now: float
    ) -> List[Outgoing]:
        names, faults = frozenset(names), endpoint.link.faults
        if not names or "notification-never" in faults:
            return []
        document = bomb("categories") if "xml-bomb" in faults else self._view(endpoint, user, names, told=True)
        late = faults.seconds("notification-late")
        return [
            self._notification(endpoint, subscription, (documents.CATEGORIES, document), "notify", now, late)
            for _ in range(2 if "notification-duplicate" in faults else 1)
        ]

    def _view(self, watcher: Endpoint, user: User, names: FrozenSet[str], told: bool = False) -> bytes:
        """The categories `names` of `user` as `watcher` sees them. `told`: in a notification, where faults strike."""
        container, link = self._pool.container_of(watcher.user, user), watcher.link
        seen = {
            name: [item for item in user.at((name, container)) if item.only_at in ("", link.front_end)]
            for name in sorted(names)
        }
        uri = user.address
        if told and "notification-other-user" in link.faults:
            uri = watcher.user.address
        if told and "notification-older" in link.faults and "note" in seen:
            seen["note"] = [
                replace(item, content=item.previous or documents.note("an older note")) for item in seen["note"]
            ]
        return documents.categories(uri, seen)

    def _notification(
        self,
        endpoint: Endpoint,
        subscription: Subscription,
        content: _CONTENT,
        activity: str,
        now: float,
        late: float = 0.0,
    ) -> Outgoing:
        subscription.local_cseq += 1
        if subscription.extends:
            subscription.expires_at = now + subscription.lifetime
        state = f"active;expires={max(0, int(subscription.expires_at - now))}"
        headers: List[Header] = [("Event", subscription.event), ("subscription-state", state)]
        if subscription.event == PRESENCE:
            headers.insert(0, ("Require", "eventlist"))
        return outbound(
            "BENOTIFY" if subscription.best_effort and "notify" not in endpoint.link.faults else "NOTIFY",
            endpoint,
            (subscription.call_id, subscription.local_tag, subscription.remote_tag, subscription.local_cseq),
            self._token(),
            activity,
            headers,
            content,
            late,
        )

    def _answer(
        self,
        asked: Asked,
        status: int,
        activity: str,
        headers: Iterable[Header] = (),
        content: _CONTENT = _NOTHING,
        to_tag: str = "",
    ) -> Outgoing:
        display = asked.user.address.partition(":")[2].partition("@")[0].title()
        response = answer(asked.link, asked.request, status, to_tag or self._token(), headers, content, display)
        return Outgoing(asked.link, response, asked.session, activity)


def _content_type(request: Request) -> str:
    return parse_content_type(request.get("Content-Type") or "")[0]
