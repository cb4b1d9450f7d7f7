from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
import trio
from trio.testing import MockClock

from reflow_supervisor.errors import StateUnavailableError
from reflow_supervisor.state.memory import MemoryStore
from reflow_supervisor.state.retrying import Availability, RetryDelays, RetryingStore
from reflow_supervisor.state.store import Append, Set, StateCommit, StateCorruptError

NO_JITTER = RetryDelays(initial=0.1, factor=2, longest=1, jitter=0)


class AwayStore(MemoryStore):
    """A memory store that is away until a time, or does not take writes until one."""

    def __init__(self, back_at: float = 0, writes_at: float = 0) -> None:
        super().__init__(clock=trio.current_time)
        self.back_at = back_at
        self.writes_at = writes_at
        self.attempts: list[float] = []

    async def fetch(self, actor: str, keys: Sequence[str]):  # type: ignore[no-untyped-def]
        self._answer(self.back_at)
        return await super().fetch(actor, keys)

    async def commit(self, commits: Sequence[StateCommit]) -> None:
        self.attempts.append(round(trio.current_time(), 3))
        self._answer(max(self.back_at, self.writes_at))
        await super().commit(commits)

    def _answer(self, at: float) -> None:
        if trio.current_time() < at:
            raise StateUnavailableError("nobody there")


def run(main: Callable[[], object]) -> None:
    trio.run(main, clock=MockClock(autojump_threshold=0))  # type: ignore[arg-type]


def commit(name: str = "c1") -> list[StateCommit]:
    return [StateCommit("a", name, (Append("l", (b"1",)),))]


def retrying(store: MemoryStore, changes: list[Availability], delays: RetryDelays = NO_JITTER) -> RetryingStore:
    return RetryingStore(store, rng=random.Random(1), on_change=changes.append, delays=delays)


def test_a_commit_waits_longer_and_longer_until_the_store_is_back() -> None:
    async def main() -> None:
        start = trio.current_time()
        store, changes = AwayStore(back_at=start + 4), list[Availability]()
        await retrying(store, changes).commit(commit())
        assert [round(at - start, 1) for at in store.attempts] == [0, 0.1, 0.3, 0.7, 1.5, 2.5, 3.5, 4.5]
        assert [(c.available, c.reason, round(c.at - start, 1)) for c in changes] == [
            (False, "nobody there", 0),
            (True, "", 4.5),
        ]
        assert (await store.fetch("a", ["l"]))["l"].items == (b"1",)

    run(main)


def test_many_waiting_calls_are_one_outage() -> None:
    async def main() -> None:
        store, changes = AwayStore(back_at=trio.current_time() + 2), list[Availability]()
        waiting = retrying(store, changes, RetryDelays())
        async with trio.open_nursery() as nursery:
            for actor in "abc":
                nursery.start_soon(waiting.commit, [StateCommit(actor, "c1", (Set("k", b"1"),))])
                nursery.start_soon(waiting.fetch, actor, ["k"])
                nursery.start_soon(waiting.keys, actor)
            await trio.sleep(0.5)
            assert not waiting.available
        assert waiting.available
        assert [change.available for change in changes] == [False, True]

    run(main)


def test_a_store_that_only_reads_is_away_while_a_write_waits() -> None:
    async def main() -> None:
        store, changes = AwayStore(writes_at=trio.current_time() + 2), list[Availability]()
        waiting = retrying(store, changes)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiting.commit, commit())
            for _ in range(10):
                await trio.sleep(0.1)
                await waiting.fetch("a", ["k"])
                assert not waiting.available
        assert [change.available for change in changes] == [False, True]

    run(main)


def test_whoever_gives_up_waiting_leaves_the_outage_to_the_next_call() -> None:
    async def main() -> None:
        store, changes = AwayStore(back_at=trio.current_time() + 1), list[Availability]()
        waiting = retrying(store, changes)
        with trio.move_on_after(0.5) as scope:
            await waiting.commit(commit())
        assert scope.cancelled_caught
        assert not waiting.available
        await trio.sleep(1)
        await waiting.commit(commit())
        assert [change.available for change in changes] == [False, True]

    run(main)


def test_what_waiting_does_not_cure_is_raised_at_once() -> None:
    async def main() -> None:
        store, changes = AwayStore(), list[Availability]()
        waiting = retrying(store, changes)
        await waiting.commit([StateCommit("a", "c0", (Set("l", b"1"),))])
        with pytest.raises(StateCorruptError):
            await waiting.commit(commit())
        await waiting.clear("a")
        await waiting.commit(commit())
        await waiting.aclose()
        assert changes == []

    run(main)


def test_delays_stay_within_their_bounds_however_long_it_takes() -> None:
    delays, rng = RetryDelays(initial=0.1, factor=3, longest=2, jitter=0.5), random.Random(7)
    for failures in (1, 2, 5, 1000, 10**6):
        plain = min(2, 0.1 * 3 ** min(failures - 1, 50))
        assert 0.5 * plain <= delays.delay(failures, rng) <= 1.5 * plain
