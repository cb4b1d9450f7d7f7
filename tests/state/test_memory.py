from __future__ import annotations

import pytest

from reflow_supervisor.state.memory import MemoryStore
from reflow_supervisor.state.store import Append, Set, StateCommit

pytestmark = pytest.mark.trio


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_life_goes_by_the_clock_it_was_given() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock, ttl=10)
    await store.commit([StateCommit("a", "c1", (Set("k", b"1"), Set("own", b"1", ttl=2_500)))])
    clock.now += 2
    found = await store.fetch("a", ["k", "own"])
    assert (found["k"].ttl, found["own"].ttl) == (8_000, 500)
    clock.now += 0.5
    assert await store.keys("a") == ["k"]
    await store.commit([StateCommit("a", "c2", (Append("own", (b"1",)),))])
    clock.now += 7.5
    assert await store.keys("a") == ["own"]


async def test_expired_keys_that_nobody_asks_for_are_dropped() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock, ttl=1)
    for i in range(3_000):
        clock.now += 0.125
        await store.commit([StateCommit("a", str(i), (Set(f"k{i}", b"1"),))])
    assert len(store._actors["a"].entries) < 300
    assert len(await store.keys("a")) == 8


async def test_what_was_fetched_does_not_change_later() -> None:
    store = MemoryStore(clock=Clock())
    await store.commit([StateCommit("a", "c1", (Append("l", (b"1",)),))])
    before = await store.fetch("a", ["l"])
    await store.commit([StateCommit("a", "c2", (Append("l", (b"2",)),))])
    assert before["l"].items == (b"1",)
