"""A state store that waits: while the store behind it is away, every call is tried again until it succeeds.

So commits wait, mailboxes fill and producers slow down, and nothing is lost. This module decides how long to
wait between two attempts and what counts as away. That trying again is harmless is the store's own promise.
Whoever wants to wait only so long cancels the call.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import attrs
import trio

from reflow_supervisor.errors import StateUnavailableError
from reflow_supervisor.state.store import StateCommit, StateStore, Stored

T = TypeVar("T")


@attrs.frozen
class RetryDelays:
    """Seconds between attempts: `initial`, then `factor` times as long each time up to `longest`; all give or
    take the fraction `jitter`, so that many waiting calls do not come back at one moment."""

    initial: float = 0.05
    factor: float = 2.0
    longest: float = 2.0
    jitter: float = 0.2

    def delay(self, failures: int, rng: random.Random) -> float:
        """The wait after this many failed attempts in a row (at least 1)."""
        # The exponent is bounded, since a long outage would overflow a float.
        delay = min(self.longest, self.initial * self.factor ** min(failures - 1, 64))
        return delay * (1 + self.jitter * rng.uniform(-1, 1))


@attrs.frozen
class Availability:
    """That the store went away (and why, in a sentence) or came back; `at` on Trio's clock."""

    available: bool
    at: float
    reason: str = ""


class RetryingStore:
    """See `StateStore`; raises no StateUnavailableError.

    Args:
        store: the store that may be away. Closed with this one.
        rng: where the jitter comes from.
        delays: how long to wait between attempts.
        on_change: called, on the Trio thread, when the first call has to wait and when no call has to any
            more.
    """

    def __init__(
        self,
        store: StateStore,
        *,
        rng: random.Random,
        on_change: Callable[[Availability], None],
        delays: RetryDelays | None = None,
    ) -> None:
        self._store = store
        self._rng = rng
        self._on_change = on_change
        self._delays = delays or RetryDelays()
        self._waiting = 0
        self._available = True

    @property
    def available(self) -> bool:
        """False from the first failure until no call waits for the store any more."""
        return self._available

    async def fetch(self, actor: str, keys: Sequence[str]) -> Mapping[str, Stored]:
        return await self._until_done(lambda: self._store.fetch(actor, keys))

    async def keys(self, actor: str, pattern: str = "*") -> Sequence[str]:
        return await self._until_done(lambda: self._store.keys(actor, pattern))

    async def commit(self, commits: Sequence[StateCommit]) -> None:
        await self._until_done(lambda: self._store.commit(commits))

    async def clear(self, actor: str) -> None:
        await self._until_done(lambda: self._store.clear(actor))

    async def aclose(self) -> None:
        await self._store.aclose()

    async def _until_done(self, attempt: Callable[[], Awaitable[T]]) -> T:
        try:
            result = await attempt()
        except StateUnavailableError as error:
            result = await self._keep_trying(attempt, error)
        # A store that reads but does not write is away for as long as anyone waits for it to write.
        if not self._available and self._waiting == 0:
            self._available = True
            self._on_change(Availability(True, trio.current_time()))
        return result

    async def _keep_trying(self, attempt: Callable[[], Awaitable[T]], error: StateUnavailableError) -> T:
        if self._available:
            self._available = False
            self._on_change(Availability(False, trio.current_time(), str(error)))
        failures = 1
        self._waiting += 1
        try:
            while True:
                await trio.sleep(self._delays.delay(failures, self._rng))
                try:
                    return await attempt()
                except StateUnavailableError:
                    failures += 1
        finally:
            self._waiting -= 1
