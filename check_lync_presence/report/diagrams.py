"""The two drawings of a report, as SVG: how long each activity took, and who sent what to whom.

Owns their geometry; colours are the style's. What stands in them is escaped here.
"""

from __future__ import annotations

import math
from typing import Dict, List, Optional, Sequence

from ..outcome import Activity
from ..value import NamedTuple
from .text import escaped

WIDTH = 960
ROW = 26  # height of a row
NAMES = 230  # where the bars of the waterfall begin
TIMES = 70  # width of the column with the times of the ladder
HEAD = 40  # height of the ladder's head
TIP = 5  # half the height of an arrow's tip
ROUND = (1.0, 2.0, 5.0)


class Arrow(NamedTuple):
    """A row of the ladder: something between a user and a server. `kind` are classes of the style, `link` an anchor."""

    at: float
    role: str
    server: str
    sent: bool
    label: str
    kind: str = ""
    link: str = ""


def span(seconds: float) -> str:
    """Seconds as a person reads them."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s"


def waterfall(activities: Sequence[Activity], roles: Dict[str, str], users: Dict[str, str], until: float) -> str:
    """The activities below each other, each from its beginning to its end. `roles` are by address, `users` are names
    by role; `until`: seconds, the right edge.
    """
    last = max([until, 1e-3, *(item.ended or item.started for item in activities)])
    scale = (WIDTH - NAMES - 80) / last
    height = ROW * len(activities) + 30
    parts = []
    for tick in _ticks(last):
        x = NAMES + tick * scale
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{height - 22}"/>')
        parts.append(f'<text class="soft middle" x="{x:.1f}" y="{height - 6}">{escaped(_tick_label(tick))}</text>')
    for row, activity in enumerate(activities):
        role, y = roles.get(activity.user, "publisher"), row * ROW
        ended = activity.ended if activity.ended is not None else last
        x, width = NAMES + activity.started * scale, max((ended - activity.started) * scale, 2)
        kind = "bad" if activity.error else role
        note = span(ended - activity.started)
        if activity.ended is None:
            kind, note = f"{role} open", "not over"
        name = users[role].partition("@")[0]
        parts.append(f'<text x="0" y="{y + 17}">{escaped(activity.name)}</text>')
        parts.append(f'<text class="{role} end" x="{NAMES - 14}" y="{y + 17}">{escaped(name)}</text>')
        parts.append(f'<rect class="{kind}" x="{x:.1f}" y="{y + 6}" width="{width:.1f}" height="14"/>')
        parts.append(f'<text class="soft" x="{x + width + 7:.1f}" y="{y + 17}">{escaped(note)}</text>')
    return _svg(height, "How long each activity took", parts)


def ladder(arrows: Sequence[Arrow], users: Dict[str, str]) -> str:
    """Who sent what to whom, from above to below. `users` are names by role."""
    servers = list(dict.fromkeys(arrow.server for arrow in arrows))
    lives = ["publisher", *servers, "subscriber"]
    first, last = TIMES + 100, WIDTH - 100
    places = {name: first + index * (last - first) / (len(lives) - 1) for index, name in enumerate(lives)}
    height = HEAD + ROW * len(arrows) + 14
    parts = []
    for name, x in places.items():
        kind = f"head {name}" if name in users else "head"
        parts.append(f'<text class="{kind} middle" x="{x:.1f}" y="16">{escaped(users.get(name, name))}</text>')
        parts.append(f'<line class="life" x1="{x:.1f}" y1="26" x2="{x:.1f}" y2="{height}"/>')
    former: Optional[float] = None
    for row, arrow in enumerate(arrows):
        y = HEAD + row * ROW + 18
        if arrow.at != former:
            parts.append(f'<text class="soft end" x="{TIMES - 12}" y="{y + 4}">{escaped(span(arrow.at))}</text>')
            former = arrow.at
        parts.append(_arrow(arrow, places[arrow.role], places[arrow.server], y))
    return _svg(height, "Who sent what to whom", parts)


def _arrow(arrow: Arrow, user: float, server: float, y: int) -> str:
    start, end = (user, server) if arrow.sent else (server, user)
    back = -8 if end > start else 8
    failed = " failed" if "failed" in arrow.kind else ""
    proof = " proof" if "proof" in arrow.kind else ""
    text = f'<text class="{arrow.kind} middle" x="{(start + end) / 2:.1f}" y="{y - 5}">{escaped(arrow.label)}</text>'
    line = f'<line class="arrow {arrow.role}{failed}{proof}" x1="{start:.1f}" y1="{y}" x2="{end:.1f}" y2="{y}"/>'
    tip = f"M{end + back:.1f} {y - TIP} L{end:.1f} {y} L{end + back:.1f} {y + TIP}"
    tip = f'<path class="arrow {arrow.role}{proof}" d="{tip}"/>'
    drawn = f"{line}{'' if failed else tip}{text}"
    return f'<a href="#{arrow.link}">{drawn}</a>' if arrow.link else drawn


def _svg(height: int, title: str, parts: List[str]) -> str:
    box = f'<svg viewBox="0 0 {WIDTH} {height}" role="group" aria-label="{title}">'
    return "\n".join(['<div class="wide">', box, *parts, "</svg>", "</div>"])


def _ticks(last: float) -> List[float]:
    """About five round numbers from 0 to `last`."""
    step = last / 5
    power = 10.0 ** math.floor(math.log10(step))
    step = next((power * number for number in ROUND if power * number >= step), 10 * power)
    return [number * step for number in range(int(last / step * (1 + 1e-9)) + 1)]


def _tick_label(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 or not seconds else f"{seconds * 1000:g} ms"
