"""What waits until nothing else is being done to the children that it concerns."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Generic, TypeVar

from ._children import Child, Operation

ItemT = TypeVar("ItemT")


class Inbox(Generic[ItemT]):
    """Items in order of arrival. One that is blocked is not looked at again before what blocks it is gone, so that
    thousands may wait at no cost."""

    def __init__(self) -> None:
        self._last = 0
        self._next: list[tuple[int, ItemT]] = []
        self._blocked: dict[Child | Operation, list[tuple[int, ItemT]]] = {}

    def add(self, item: ItemT) -> None:
        self._last += 1
        heappush(self._next, (self._last, item))

    def take(self, blocker: Callable[[ItemT], Child | Operation | None]) -> ItemT | None:
        """The oldest item that nothing blocks.

        `blocker` names a child that must be free, or an operation that must be over, before the item can be done.
        """
        while self._next:
            entry = heappop(self._next)
            obstacle = blocker(entry[1])
            if obstacle is None:
                return entry[1]
            self._blocked.setdefault(obstacle, []).append(entry)
        return None

    def unblock(self, obstacle: Child | Operation) -> None:
        for entry in self._blocked.pop(obstacle, ()):
            heappush(self._next, entry)

    def clear(self) -> list[ItemT]:
        """Empties it and returns what was in it, oldest first."""
        entries = sorted([*self._next, *(entry for entries in self._blocked.values() for entry in entries)])
        self._next.clear()
        self._blocked.clear()
        return [item for _, item in entries]
