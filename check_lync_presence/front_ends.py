"""``--all-front-ends``: the round trip on every server of a pool, and from each server to the one before it.

Owns which round trips run side by side: a wrong password must be tried once and not on every server, and a pool throws
endpoints out of which a user has too many. Must not know what a round trip consists of.
"""

from __future__ import annotations

import contextlib
from typing import Any, Dict, List, Optional, Sequence

from .locate import Located, Server
from .net.deadline import Deadline
from .net.tasks import Gate, Slots, together
from .outcome import PUBLISH, REGISTER, Cause, Failure, Outcome, Path
from .roundtrip import GRACE, RoundTrip, Run

# A Lync pool lets a user have 8 endpoints (MaxEndpointsPerUser); two are left to other monitors and to people. And each
# publication is told to every watcher: what all at once would cost grows with the square of their number.
AT_ONCE = 6
# Front ends that may be asked about a password of which it is not known whether it is right. Where all are slow, each
# one more would count a wrong password once more; with one alone, whoever hangs in a sign-in would stop the run.
UNJUDGED = 2


async def round_trips(run: Run, located: Located) -> Outcome:
    """The round trips on all addresses of the pool, as one Outcome."""
    servers = _one_by_one(located.servers)
    stations = [_Station(run, name, Located((server,), located.remarks)) for name, server in servers.items()]
    pool = _Pool(run, stations)
    results = await pool.run()
    outcomes = [outcome for outcome in results if outcome is not None]
    if pool.refused:
        refused = next(outcome for station, outcome in zip(stations, results) if outcome and station.trip.refused)
        untried = len(stations) - len(outcomes)
        remark = f"The other {untried} front ends were not tried, so as not to lock an account out."
        return refused._replace(server="", remarks=(*refused.remarks, *([remark] if untried else [])))
    outcomes = [
        outcome or _not_tried(station, "Not tried: another front end had refused the password before it proved right.")
        for station, outcome in zip(stations, results)
    ]
    failures = [_here(failure)._replace(server=outcome.server) for outcome in outcomes for failure in outcome.failures]
    failures += [
        path.failure._replace(server=outcome.server)
        for outcome in outcomes
        for path in outcome.paths.values()
        if path.failure is not None
    ]
    remarks = [remark for outcome in outcomes for remark in outcome.remarks]
    return Outcome(
        target=run.settings.target,
        failures=tuple(failures),
        activities=tuple(activity for outcome in outcomes for activity in outcome.activities),
        latency=max((item.latency for item in outcomes if item.latency is not None), default=None),
        notified_after=None,
        certificate_expires=min(
            (item.certificate_expires for item in outcomes if item.certificate_expires is not None), default=None
        ),
        remarks=tuple(dict.fromkeys(remarks)),
        messages=run.log(),
        dialect=outcomes[0].dialect,
        front_ends=tuple(outcomes),
        left_out=run.left_out,
    )


class _Station:
    """One front end: its round trip, and what others wait for: `may_begin`, and `left`, when nothing more leads from
    it to its neighbour.
    """

    def __init__(self, run: Run, name: str, place: Located) -> None:
        self.name = name
        self.trip = RoundTrip(run, place, place)
        self.may_begin = Gate()
        self.left = Gate()


class _Pool:
    """All front ends of a pool, each with the one before it as its neighbour; the first has the last one where all can
    be tried at once.
    """

    def __init__(self, run: Run, stations: Sequence[_Station]) -> None:
        self._whole = run.whole
        self._stations = stations
        self._slots = Slots(AT_ONCE)
        self._to_come = len(stations)

    @property
    def refused(self) -> bool:
        """Whether a password is wrong as far as anybody knows."""
        trips = [station.trip for station in self._stations]
        return bool(set().union(*(trip.refused for trip in trips)).difference(*(trip.accepted for trip in trips)))

    async def run(self) -> List[Optional[Outcome]]:
        """The Outcome of each front end, None for one that was not tried."""
        return list(map(_raised, await together(*map(self._visit, range(len(self._stations))), grace=0.0)))

    async def _visit(self, index: int) -> Optional[Outcome]:
        station = self._stations[index]
        try:
            if index:  # one that hangs does not keep the next from trying for long
                await self._turn(station, GRACE * index)
            with contextlib.suppress(TimeoutError):
                await self._slots.take(self._whole)
                try:
                    return None if self.refused else await self._try(index, station)
                finally:
                    self._to_come -= 1
                    self._slots.give()
            return _not_tried(station, "Not tried: the other front ends took all the time.")
        finally:
            station.trip.over.open()
            station.left.open()

    async def _turn(self, station: _Station, patience: float) -> None:
        """Wait until `station` may begin: it is told so, or is not in `patience` seconds and few are asked."""
        while self._whole.remaining:
            with contextlib.suppress(TimeoutError):
                await station.may_begin.passed(self._whole.within(patience))
                return
            if sum(station.trip.unjudged for station in self._stations) < UNJUDGED:
                return
            patience = GRACE

    async def _try(self, index: int, station: _Station) -> Outcome:
        # Whoever hangs, those who wait for a slot must have their share of the time.
        rounds = -(-self._to_come // AT_ONCE)
        share = self._whole.within(self._whole.remaining / rounds)
        paths: Dict[str, Path] = {}
        results = await together(
            station.trip.run(share, lambda: self._across(index, share, paths)), self._learn(index), grace=0.0
        )
        outcome: Outcome = next(map(_raised, results))
        return outcome._replace(server=station.name, paths=paths)

    async def _learn(self, index: int) -> None:
        """Let the others begin once the passwords are known to be right, or nobody once one is known to be wrong."""
        trip = self._stations[index].trip
        await trip.signed_in.passed(self._whole)
        known = self.refused or not trip.failures
        for station in self._stations if known else self._stations[index + 1 : index + 2]:
            station.may_begin.open()

    async def _across(self, index: int, share: Deadline, paths: Dict[str, Path]) -> None:
        """From this front end to its neighbour; then wait until nobody needs this one any more."""
        station, count = self._stations[index], len(self._stations)
        ring = 1 < count <= AT_ONCE
        if station.trip.succeeded and (index or ring):
            before = self._stations[index - 1]
            try:
                await before.trip.over.passed(share)
                if before.trip.succeeded:
                    paths[before.name] = await station.trip.reaches(before.trip)
            except TimeoutError:
                text = f"Not tried: no time was left when {before.name} had answered."
                paths[before.name] = Path(None, _no_time(PUBLISH, text))
        station.left.open()
        if station.trip.succeeded and (index + 1 < count or ring):
            with contextlib.suppress(TimeoutError):
                await self._stations[(index + 1) % count].left.passed(share)


def _raised(result: Any) -> Any:
    """A result of `together`; what is a mistake of ours is raised."""
    if isinstance(result, BaseException):
        raise result
    return result


def _here(failure: Failure) -> Failure:
    """A failure of one front end among others: what it refuses and they take is not the account's fault."""
    return failure._replace(cause=Cause.REFUSED_HERE) if failure.cause is Cause.REFUSED_CREDENTIALS else failure


def _not_tried(station: _Station, text: str) -> Outcome:
    return Outcome(station.trip.target, (_no_time(REGISTER, text),), (), None, None, None, server=station.name)


def _no_time(activity: str, text: str) -> Failure:
    return Failure(activity, "", Cause.NO_TIME, text, None, (), "", "")


def _one_by_one(servers: Sequence[Server]) -> Dict[str, Server]:
    """A server for each address, by what a person calls it: the address, with its port where that tells them apart."""
    single = {address: server._replace(addresses=(address,)) for server in servers for address in server.addresses}
    hosts = [address.host for address in single]
    return {
        address.host if hosts.count(address.host) == 1 else str(address): server for address, server in single.items()
    }
