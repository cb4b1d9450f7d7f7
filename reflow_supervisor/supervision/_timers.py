"""Any number of timers in one Trio task, which sleeps until the first of them is due."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush

import trio


class Timers:
    """Each timer has a number of its own and fires once, on Trio's clock; those due together fire in the order set."""

    def __init__(self, fire: Callable[[int], None]) -> None:
        self._fire = fire
        self._due: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []
        """Also has timers that were cleared; they are dropped when they come to the top, or are half of it."""
        self._sleep = trio.CancelScope()

    def set(self, timer: int, delay: float) -> None:
        deadline = trio.current_time() + delay
        self._due[timer] = deadline
        heappush(self._heap, (deadline, timer))
        self._adjust()

    def clear(self, timer: int) -> None:
        self._due.pop(timer, None)
        if len(self._heap) > 2 * len(self._due) + 64:
            self._heap = [(deadline, timer) for timer, deadline in self._due.items()]
            heapify(self._heap)
        self._adjust()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            with trio.CancelScope() as self._sleep:
                self._adjust()
                await trio.sleep_forever()
            while self._next() <= trio.current_time():
                _, timer = heappop(self._heap)
                del self._due[timer]
                self._fire(timer)

    def _next(self) -> float:
        """When the first timer is due."""
        while self._heap and self._heap[0][1] not in self._due:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def _adjust(self) -> None:
        deadline = self._next()
        if self._sleep.deadline != deadline:
            self._sleep.deadline = deadline
