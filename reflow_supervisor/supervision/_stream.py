"""Events for several readers at once, none of which can hold up the supervisor or another reader."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager

import attrs
import trio

from ._events import Event


@attrs.frozen
class EventsLost:
    """In the place of `count` events that the reader was too slow for."""

    count: int


class Subscription(AsyncIterator[Event | EventsLost]):
    """What one reader has not read yet, oldest first. Made by `EventStream.subscribe`.

    Several tasks may read it: they share the events.
    """

    def __init__(self, capacity: int) -> None:
        self._events: deque[Event] = deque(maxlen=capacity)
        self._lost = 0
        self._arrived = trio.Event()

    async def __anext__(self) -> Event | EventsLost:
        await trio.lowlevel.checkpoint()
        while not self._events:
            if self._arrived.is_set():
                self._arrived = trio.Event()
            await self._arrived.wait()
        return self._take()

    def receive_nowait(self) -> Event | EventsLost | None:
        """None, if there is nothing."""
        return self._take() if self._events else None

    def _take(self) -> Event | EventsLost:
        if self._lost:
            lost, self._lost = self._lost, 0
            return EventsLost(lost)
        return self._events.popleft()

    def _put(self, event: Event) -> None:
        if len(self._events) == self._events.maxlen:
            self._lost += 1
        self._events.append(event)
        self._arrived.set()


class EventStream:
    """Give its `publish` to any number of supervisors as `on_event`, and `subscribe` as often as you like.

    A reader that is too slow loses the oldest events and is told how many: it gets `EventsLost` in their place.
    """

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()

    def publish(self, event: Event) -> None:
        for subscription in self._subscriptions:
            subscription._put(event)  # pyright: ignore[reportPrivateUsage] - the other half of this module

    @contextmanager
    def subscribe(self, capacity: int = 1024) -> Generator[Subscription]:
        """What is published within the block.

        Args:
            capacity: how many events it keeps for its reader, at least 1.
        """
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity}")
        subscription = Subscription(capacity)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
