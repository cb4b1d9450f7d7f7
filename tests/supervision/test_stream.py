"""Events for several readers."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from reflow_supervisor.supervision import (
    ChildSpec,
    ChildStarted,
    Event,
    EventsLost,
    EventStream,
    Subscription,
    SupervisorStarted,
    open_supervisor,
)


def run_in_virtual_time(*args: Any, clock: object, **fields: Any) -> Any:
    return trio.run(*args, clock=MockClock(autojump_threshold=0), **fields)


pytestmark = pytest.mark.trio(run=run_in_virtual_time)


def event(number: int) -> Event:
    return Event(supervisor="sup", time=float(number))


async def test_every_reader_gets_every_event_from_every_supervisor() -> None:
    async def child(*, task_status: trio.TaskStatus[Any]) -> None:
        task_status.started()
        await trio.sleep_forever()

    stream = EventStream()
    with stream.subscribe() as one, stream.subscribe() as two:
        async with (
            open_supervisor([ChildSpec("a", child)], name="x", on_event=stream.publish),
            open_supervisor(name="y", on_event=stream.publish),
        ):
            for reader in (one, two):
                read = [await anext(reader) for _ in range(3)]
                assert [type(event) for event in read] == [ChildStarted, SupervisorStarted, SupervisorStarted]
                assert [event.supervisor for event in read if isinstance(event, Event)] == ["x", "x", "y"]


async def test_a_slow_reader_loses_the_oldest_and_is_told_how_many_and_the_others_lose_none() -> None:
    stream = EventStream()
    with stream.subscribe(capacity=2) as slow, stream.subscribe(capacity=10) as fast:
        for number in range(5):
            stream.publish(event(number))
        assert [await anext(slow) for _ in range(3)] == [EventsLost(3), event(3), event(4)]
        assert [await anext(fast) for _ in range(5)] == [event(number) for number in range(5)]
        stream.publish(event(5))
        assert await anext(slow) == event(5), "what was lost is told once"


async def test_a_reader_waits_for_what_comes() -> None:
    stream, read = EventStream(), list[object]()

    async def reader() -> None:
        with stream.subscribe() as subscription:
            async for one in subscription:
                read.append(one)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        for number in range(3):
            await wait_all_tasks_blocked()
            stream.publish(event(number))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert read == [event(number) for number in range(3)]
    stream.publish(event(4))
    assert len(read) == 3


async def test_without_waiting() -> None:
    stream = EventStream()
    with stream.subscribe() as subscription:
        assert subscription.receive_nowait() is None
        stream.publish(event(1))
        assert subscription.receive_nowait() == event(1)
        assert subscription.receive_nowait() is None


async def test_before_and_after_its_block_it_gets_nothing() -> None:
    stream = EventStream()
    stream.publish(event(0))
    with stream.subscribe() as subscription:
        pass
    stream.publish(event(1))
    assert subscription.receive_nowait() is None


@pytest.mark.parametrize("capacity", [0, -1])
async def test_a_reader_needs_room(capacity: int) -> None:
    with pytest.raises(ValueError, match="at least 1"), EventStream().subscribe(capacity):
        raise AssertionError("not reached")


async def test_reading_is_a_checkpoint_even_when_there_is_something() -> None:
    stream = EventStream()
    with stream.subscribe() as subscription:
        stream.publish(event(1))
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(subscription)
        assert scope.cancelled_caught
        assert await anext(subscription) == event(1), "a cancelled reader has lost nothing"


async def test_two_tasks_that_read_share_the_events() -> None:
    stream, read = EventStream(), list[object]()

    async def reader(subscription: Subscription) -> None:
        read.append(await anext(subscription))

    with stream.subscribe() as subscription:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader, subscription)
            nursery.start_soon(reader, subscription)
            await wait_all_tasks_blocked()
            stream.publish(event(1))
            await wait_all_tasks_blocked()
            stream.publish(event(2))
    assert read == [event(1), event(2)]
