"""What is shown, worked out from successive snapshots: rates, rows, their order and which of them.

Pure: it knows neither Textual nor the connection. A snapshot carries its own time (`uptime`), so rates are right
however late it arrives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from reflow_supervisor.control.protocol import ActorStatus, Snapshot

SEVERITY: Mapping[str, int] = {
    "failed": 0,
    "backoff": 1,
    "stopped": 2,
    "paused": 3,
    "starting": 4,
    "running": 5,
}
"""Worst first; a state of a later version counts as a bad one."""

NEAR_FULL = 0.8
"""The share of its mailbox from which an actor counts as too slow for what it gets."""


@attrs.frozen
class Rate:
    """Per second; `cpu` in cores. None: not known yet, or not told."""

    received: float | None = None
    emitted: float | None = None
    cpu: float | None = None


@attrs.frozen
class Row:
    actor: ActorStatus
    rate: Rate

    @property
    def near_full(self) -> bool:
        return bool(self.actor.mailbox_capacity) and (self.actor.mailbox >= NEAR_FULL * self.actor.mailbox_capacity)

    @property
    def faulty(self) -> bool:
        """Whether it is one that the operator looks for when something is wrong."""
        return self.actor.state in ("failed", "backoff") or self.actor.last_error is not None or self.near_full


class Rates:
    """Turns counters into rates over the last `window` seconds: over a single interval they would flicker."""

    def __init__(self, window: float = 3.0) -> None:
        self._window = window
        self._past: deque[tuple[float, int, Mapping[str, ActorStatus]]] = deque()

    def rows(self, snapshot: Snapshot) -> list[Row]:
        """Takes the next snapshot in, and gives its actors in their own order."""
        now = {actor.id: actor for actor in snapshot.actors}
        if self._past and (self._past[-1][0] > snapshot.uptime or self._past[-1][1] != snapshot.pid):
            self._past.clear()  # another supervisor, which counts from nothing
        while len(self._past) > 1 and self._past[1][0] <= snapshot.uptime - self._window:
            self._past.popleft()
        since, _, then = self._past[0] if self._past else (snapshot.uptime, 0, now)
        elapsed = snapshot.uptime - since
        if not self._past or self._past[-1][0] < snapshot.uptime:
            self._past.append((snapshot.uptime, snapshot.pid, now))
        return [Row(actor, _rate(then.get(actor.id), actor, elapsed)) for actor in snapshot.actors]


def _rate(then: ActorStatus | None, now: ActorStatus, elapsed: float) -> Rate:
    if then is None or elapsed <= 0:
        return Rate()
    cpu = None
    if then.cpu_seconds is not None and now.cpu_seconds is not None and then.incarnation == now.incarnation:
        cpu = max(0.0, now.cpu_seconds - then.cpu_seconds) / elapsed
    return Rate(
        received=max(0, now.received - then.received) / elapsed,
        emitted=max(0, now.emitted - then.emitted) / elapsed,
        cpu=cpu,
    )


SortKey = Callable[[Row], tuple[float | str, ...]]

SORTS: Mapping[str, SortKey] = {
    "state": lambda row: (SEVERITY.get(row.actor.state, -1), row.actor.id),
    "id": lambda row: (row.actor.id,),
    "in": lambda row: (-(row.rate.received or 0), row.actor.id),
    "out": lambda row: (-(row.rate.emitted or 0), row.actor.id),
    "mailbox": lambda row: (-row.actor.mailbox, row.actor.id),
    "cpu": lambda row: (-(row.rate.cpu or 0), row.actor.id),
    "memory": lambda row: (-(row.actor.memory or 0), row.actor.id),
    "restarts": lambda row: (-row.actor.restarts, row.actor.id),
}
"""By column: what matters most comes first, and the id decides between equals, so that rows do not dance."""


@attrs.frozen
class View:
    """Which rows the operator wants, and in what order. `sort` is a key of SORTS, "" for the workspace's own order;
    a `filter` that begins with "!" keeps what does not match."""

    sort: str = ""
    reverse: bool = False
    filter: str = ""
    faults_only: bool = False

    def apply(self, rows: Iterable[Row]) -> list[Row]:
        kept = [row for row in rows if self._wants(row)]
        if self.sort:
            kept.sort(key=SORTS[self.sort])
        if self.reverse:
            kept.reverse()
        return kept

    def next_sort(self) -> View:
        order = ["", *SORTS]
        return attrs.evolve(self, sort=order[(order.index(self.sort) + 1) % len(order)])

    def _wants(self, row: Row) -> bool:
        if self.faults_only and not row.faulty:
            return False
        needle = self.filter.removeprefix("!").strip().casefold()
        if not needle:
            return True
        actor = row.actor
        error = f"{actor.last_error.type} {actor.last_error.message}" if actor.last_error else ""
        found = needle in f"{actor.id}\n{actor.component}\n{actor.runtime}\n{actor.state}\n{error}".casefold()
        return found != self.filter.startswith("!")


def total_rate(rows: Sequence[Row]) -> Rate:
    """Of all actors together; not known while it is known of none."""

    def add(rates: Iterable[float | None]) -> float | None:
        known = [rate for rate in rates if rate is not None]
        return sum(known) if known else None

    return Rate(
        received=add(row.rate.received for row in rows),
        emitted=add(row.rate.emitted for row in rows),
        cpu=add(row.rate.cpu for row in rows),
    )
