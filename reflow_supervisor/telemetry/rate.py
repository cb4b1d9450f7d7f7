"""How many lines of output a script may write: a token bucket, and the count of what it refuses. Pure.

It decides which line is kept and when the dropped ones are to be spoken of. Where lines come from, and what is said
about the dropped, the caller decides.
"""

from __future__ import annotations


class LineLimiter:
    """Lets `rate` lines a second through, and as many at once after a quiet second.

    Args:
        rate: lines a second, above 0.
        now: seconds on any clock that does not go back; the same one for every call.
    """

    SAY_EVERY = 1.0
    """Seconds between two reports of dropped lines."""

    def __init__(self, rate: float, now: float) -> None:
        if rate <= 0:
            raise ValueError(f"the rate must be above 0, not {rate}")
        self._rate = rate
        self._burst = max(1.0, rate)
        self._tokens = self._burst
        self._then = now
        self._dropped = 0
        self._due = float("inf")

    @property
    def due(self) -> float:
        """When dropped lines are to be spoken of next; infinite while there are none."""
        return self._due

    def admit(self, now: float) -> bool:
        """Whether a line that comes now is kept; counts it where it is not."""
        self._tokens = min(self._burst, self._tokens + (now - self._then) * self._rate)
        self._then = now
        if self._tokens >= 1:
            self._tokens -= 1
            return True
        if not self._dropped:
            self._due = now + self.SAY_EVERY
        self._dropped += 1
        return False

    def take_dropped(self) -> int:
        """How many were dropped since the last call."""
        dropped, self._dropped, self._due = self._dropped, 0, float("inf")
        return dropped
