"""How many sandboxes of one runtime to keep ready, learnt from how they are asked for. Pure: times are passed in.

Sandboxes are asked for in bursts: a network starts, a group of actors is restarted. Those that come faster than new
ones can be started must be ready before, so that is what is counted: the requests within the time that a few starts
take. A number that was needed once is kept until it was not needed for `idle_timeout`; so the target rises at once, and
falls one by one. Whatever the count says, a request that found nothing ready (a miss) raises the target by one.
"""

from __future__ import annotations

from collections import deque

import attrs

SEEN_STARTS = 4
"""Requests within the time of so many starts are one burst."""
SHORTEST_BURST = 0.1
LONGEST_BURST = 10.0
WEIGHT = 0.3
"""Of the last start in the average."""

QUIET = 0.05
"""Seconds after a request in which nothing is started: whoever got a sandbox needs the processor now."""
LONGEST_QUIET = 0.25
"""Seconds after which something is started even though requests keep coming."""
REST = 3.0
"""A start is followed by a rest of so many times its length, where something is ready: whoever is at work gets most of
the processor."""
SHORTEST_REST = 0.05
LONGEST_REST = 1.0


@attrs.define
class Demand:
    """
    Args:
        floor: how many are ready at least; 0 keeps none, whatever is asked for.
        ceiling: how many at most.
        idle_timeout: seconds that one beyond the floor is kept unneeded.
        start: seconds that a start takes, until one has been measured.
    """

    floor: int
    ceiling: int
    idle_timeout: float
    start: float = 0.1
    _recent: deque[float] = attrs.field(factory=deque[float], init=False)
    _needed: list[float] = attrs.field(factory=list[float], init=False)
    """When so many were needed last: of one the first, of two the second. Never rising."""
    _pausing_since: float | None = attrs.field(default=None, init=False)
    _resting_until: float = attrs.field(default=float("-inf"), init=False)

    def asked(self, now: float) -> None:
        """A sandbox was asked for."""
        self._recent.append(now)
        while self._recent[0] < now - self._burst or len(self._recent) > self.ceiling:
            self._recent.popleft()
        self._need(now, len(self._recent))
        if self._pausing_since is None:
            self._pausing_since = now

    def missed(self, now: float) -> None:
        """There was none ready, and one had to be started."""
        self._need(now, min(self.ceiling, self.target(now) + 1))

    def _need(self, now: float, count: int) -> None:
        self._needed[:count] = [now] * count

    def started(self, took: float) -> None:
        """A start has taken so many seconds."""
        self.start += WEIGHT * (took - self.start)

    def target(self, now: float) -> int:
        """How many to keep ready."""
        if not self.floor:
            return 0
        while self._needed and now - self._needed[-1] >= self.idle_timeout:
            self._needed.pop()
        return min(self.ceiling, max(self.floor, len(self._needed)))

    def falls_at(self, now: float) -> float:
        """When the target will be less if nothing is asked for; infinite where it will not."""
        above = self.target(now) > self.floor
        return self._needed[-1] + self.idle_timeout if above else float("inf")

    def pause(self, now: float, ready: int) -> float:
        """Seconds to wait until the next one may be started, while so many are ready."""
        until = self._resting_until if ready else now
        if self._pausing_since is not None:
            until = max(until, min(self._recent[-1] + QUIET, self._pausing_since + LONGEST_QUIET))
        return max(0.0, until - now)

    def begins(self) -> None:
        """One is being started, to be ready."""
        self._pausing_since = None

    def ends(self, now: float, took: float) -> None:
        """It is ready, after so many seconds."""
        self._resting_until = now + min(LONGEST_REST, max(SHORTEST_REST, REST * took))

    @property
    def _burst(self) -> float:
        return min(LONGEST_BURST, max(SHORTEST_BURST, SEEN_STARTS * self.start))
