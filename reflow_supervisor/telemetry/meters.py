"""What is counted of one node over all its incarnations: a few integers, the last error, a latency histogram.

Cheap enough for every activation, and read by whoever shows or exports it. It decides the buckets, and how a quantile
is read from them; what counts as a failure its caller decides.
"""

from __future__ import annotations

from bisect import bisect_left

import attrs

BUCKETS_PER_DOUBLING = 4
BOUNDS: tuple[float, ...] = tuple(
    1e-6 * 2 ** (step / BUCKETS_PER_DOUBLING) for step in range(30 * BUCKETS_PER_DOUBLING)
)
"""Upper bounds of the buckets, in seconds: 1 µs to about 15 minutes, each 19 % above the one before. One more bucket
takes what is longer."""


class Histogram:
    """Durations in fixed logarithmic buckets, so that histograms of many nodes or moments can be added."""

    __slots__ = ("count", "counts", "sum")

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        """Seconds."""
        self.counts = [0] * (len(BOUNDS) + 1)

    def record(self, seconds: float) -> None:
        self.count += 1
        self.sum += seconds
        self.counts[bisect_left(BOUNDS, seconds)] += 1

    def quantile(self, q: float) -> float | None:
        """The bound, in seconds, that the fraction `q` (0 to 1) of what was recorded does not exceed: at most 19 % too
        high. Infinite in the last bucket; None where nothing was recorded."""
        if not self.count:
            return None
        wanted, seen = max(1, q * self.count), 0
        for place, count in enumerate(self.counts):
            seen += count
            if seen >= wanted:
                return BOUNDS[place] if place < len(BOUNDS) else float("inf")
        raise AssertionError("the buckets hold fewer than were counted")


@attrs.frozen
class LastError:
    """What went wrong last: a script's exception, or a sandbox's end in the same form. Untrusted text; `at` in seconds
    since the epoch."""

    type: str
    message: str
    traceback: str
    at: float


class NodeMeter:
    """One node's counters. They only grow.

    `done` and `failed` count attempts of activations, `emitted` messages let out (also to unconnected ports),
    `dead_letters` activations that were given up. `latency`: from being handed out to being committed.
    """

    __slots__ = ("dead_letters", "done", "emitted", "failed", "last_error", "latency")

    def __init__(self) -> None:
        self.emitted = 0
        self.done = 0
        self.failed = 0
        self.dead_letters = 0
        self.last_error: LastError | None = None
        self.latency = Histogram()

    def committed(self, outputs: int, seconds: float) -> None:
        """An activation was committed, `seconds` after it was handed out, with so many outputs."""
        self.emitted += outputs
        self.done += 1
        self.latency.record(seconds)

    def failure(self, type: str, message: str, traceback: str, at: float) -> None:
        """An attempt failed, `at` seconds since the epoch."""
        self.failed += 1
        self.last_error = LastError(type, message, traceback, at)
