"""The restart intensity: how many restarts a supervisor has counted within its period."""

from __future__ import annotations

from collections import Counter, deque


class RestartWindow:
    """OTP's algorithm: a restart is counted before it is tried, and counts for `period` seconds, both ends included.

    OTP measures in whole seconds, so that there a restart can count for up to a second longer than the period.
    Here times are floats, and it counts for exactly the period. `period` may be changed at any time.
    """

    def __init__(self, period: float) -> None:
        self.period = period
        self._restarts: deque[tuple[float, str]] = deque()
        self._by_child: Counter[str] = Counter()

    def add(self, now: float, child_id: str) -> int:
        """Counts a restart and returns how many there are in the window, this one included."""
        self._restarts.append((now, child_id))
        self._by_child[child_id] += 1
        return self.count(now)

    def count(self, now: float, child_id: str | None = None) -> int:
        """How many restarts are in the window, of one child or of all."""
        while self._restarts and self._restarts[0][0] < now - self.period:
            _, gone = self._restarts.popleft()
            self._by_child[gone] -= 1
            if not self._by_child[gone]:
                del self._by_child[gone]
        return len(self._restarts) if child_id is None else self._by_child[child_id]
