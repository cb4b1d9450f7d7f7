"""What is decided about zygotes, with zygotes in memory. Real ones are in `test_zygote`."""

from __future__ import annotations

from typing import Any, cast

import attrs
import pytest
import trio
import trio.testing

from reflow_supervisor.errors import SandboxError
from reflow_supervisor.sandbox.backend import Limits
from reflow_supervisor.sandbox.forks import CannotForkError, ZygoteLostError
from reflow_supervisor.sandbox.host import Slot
from reflow_supervisor.sandbox.warm_starts import LASTING, LONGEST_REST, MOST_AHEAD, Attempts, WarmStarts
from reflow_supervisor.sandbox.zygote import Zygote


@attrs.define(eq=False)
class FakeSlot:
    world: World
    id: str = "python-1"

    async def aclose(self) -> None:
        self.world.slots -= 1


@attrs.define(eq=False)
class FakeSandbox:
    world: World

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.world.slots -= 1


@attrs.define(eq=False)
class FakeFork:
    zygote: FakeZygote
    limits: Limits
    alive: bool = True

    async def confined(self) -> None:
        await trio.sleep(0.01)
        if not self.zygote.alive:
            raise ZygoteLostError("it ended")
        if self.zygote.world.unable:
            raise CannotForkError(self.zygote.world.unable)
        if self.zygote.world.slow:
            raise SandboxError("too slow")

    def go(self) -> FakeSandbox:
        self.zygote.world.went += 1
        return FakeSandbox(self.zygote.world)

    async def aclose(self) -> None:
        self.zygote.world.slots -= 1


@attrs.define(eq=False)
class FakeZygote:
    world: World
    ready_at: float
    alive: bool = True
    closed: bool = False
    forks: int = 0
    full: bool = False

    async def ready(self) -> None:
        await trio.sleep_until(self.ready_at)
        self.try_ready()

    def try_ready(self) -> bool:
        if not self.alive:
            raise ZygoteLostError("it ended")
        return trio.current_time() >= self.ready_at

    def fork(self, slot: FakeSlot, limits: Limits) -> FakeFork:
        if not self.alive:
            raise ZygoteLostError("it ended")
        if self.world.few_descriptors:
            raise OSError(24, "Too many open files")
        self.forks += 1
        return FakeFork(self, limits)

    def kill(self) -> None:
        self.alive = False

    async def last_words(self) -> str:
        return "it said nothing"

    async def aclose(self) -> None:
        self.closed = True


@attrs.define(eq=False)
class World:
    zygotes: list[FakeZygote] = attrs.Factory(list)
    notices: list[str] = attrs.Factory(list)
    slots: int = 0
    went: int = 0
    unable: str = ""
    slow: bool = False
    few_descriptors: bool = False
    launches_fail: bool = False

    async def launch(self) -> Zygote:
        await trio.lowlevel.checkpoint()
        if self.launches_fail:
            raise SandboxError("no bwrap")
        self.zygotes.append(FakeZygote(self, trio.current_time() + 1))
        return cast("Zygote", self.zygotes[-1])

    async def slot(self, limits: Limits) -> Slot:
        self.slots += 1
        return cast("Slot", FakeSlot(self))

    def starts(self) -> WarmStarts:
        return WarmStarts(self.launch, self.slot, notice=self.notices.append)


def test_attempts_rest_ever_longer() -> None:
    attempts = Attempts()
    rests: list[float] = []
    now = 0.0
    for _ in range(10):
        attempts.failed(now)
        rests.append(attempts.not_before - now)
        assert attempts.due(attempts.not_before)
        assert not rests[-1] or not attempts.due(attempts.not_before - 0.01)
        now = attempts.not_before
    assert rests == [0, 1, 2, 4, 8, 16, 32, LONGEST_REST, LONGEST_REST, LONGEST_REST]


def test_what_has_lasted_is_tried_again_at_once() -> None:
    attempts = Attempts()
    attempts.failed(0)
    attempts.failed(0)
    attempts.succeeded(1)
    attempts.succeeded(1 + LASTING - 1)
    attempts.failed(1 + LASTING)
    assert attempts.due(1 + LASTING)
    attempts.succeeded(100)
    attempts.failed(101)
    assert not attempts.due(101)


@pytest.mark.trio
async def test_the_first_zygote_is_waited_for_and_no_other(autojump_clock: trio.testing.MockClock) -> None:
    world = World()
    starts = world.starts()
    await starts.prepare()
    assert await starts.start(Limits()) is not None
    assert trio.current_time() == pytest.approx(1, abs=0.1)
    world.zygotes[0].alive = False
    before = trio.current_time()
    assert await starts.start(Limits()) is None
    assert await starts.start(Limits()) is None
    assert trio.current_time() - before < 0.5
    assert world.zygotes[0].closed
    await trio.sleep(1)
    assert await starts.start(Limits()) is not None
    assert len(world.zygotes) == 2
    assert [notice.split(";")[0].split(" (")[0] for notice in world.notices] == [
        "the zygote was lost: it ended",
        "Python sandboxes start from a zygote again",
    ]
    await starts.aclose()
    assert world.zygotes[1].closed


@pytest.mark.trio
async def test_one_ahead_for_each_of_a_few_limits(autojump_clock: trio.testing.MockClock) -> None:
    world = World()
    starts = world.starts()
    for _ in range(3):
        assert await starts.start(Limits()) is not None
    assert world.zygotes[0].forks == 4
    for pids in range(10, 15):
        assert await starts.start(Limits(pids=pids)) is not None
    assert (world.went, world.slots) == (8, 8 + MOST_AHEAD)
    await starts.aclose()
    assert world.slots == 8


@pytest.mark.trio
async def test_one_ahead_that_has_died_is_replaced(autojump_clock: trio.testing.MockClock) -> None:
    world = World()
    starts = world.starts()
    await starts.start(Limits())
    (ahead,) = cast("list[Any]", list(starts._ahead.values()))
    ahead.alive = False
    assert await starts.start(Limits()) is not None
    assert world.notices == []
    assert world.slots == 3
    await starts.aclose()


@pytest.mark.trio
async def test_forks_that_cannot_be_confined_are_tried_again_ever_more_seldom(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World(unable="mounting: Operation not permitted")
    starts = world.starts()
    for _ in range(600):
        assert await starts.start(Limits()) is None
        await trio.sleep(1)
    assert world.zygotes[0].forks < 20
    assert len(world.zygotes) == 1, "sandboxes may live that were forked from it"
    assert len(world.notices) == 1
    assert starts.trouble.endswith("mounting: Operation not permitted")
    assert world.slots == 0
    world.unable = ""
    await trio.sleep(LONGEST_REST)
    assert await starts.start(Limits()) is not None
    assert len(world.notices) == 2
    assert starts.trouble == ""
    await starts.aclose()


@pytest.mark.trio
async def test_what_would_fail_in_any_way_fails(autojump_clock: trio.testing.MockClock) -> None:
    world = World(slow=True)
    starts = world.starts()
    with pytest.raises(SandboxError, match="too slow"):
        await starts.start(Limits())
    world.slow, world.few_descriptors = False, True
    with pytest.raises(SandboxError, match="Too many open files"):
        await starts.start(Limits())
    assert world.slots == 0
    world.few_descriptors = False
    assert await starts.start(Limits()) is not None
    world.few_descriptors = True
    assert await starts.start(Limits()) is not None, "the one ahead; that there is no other is no failure"
    await starts.aclose()


@pytest.mark.trio
async def test_a_full_zygote_is_asked_for_no_more(autojump_clock: trio.testing.MockClock) -> None:
    world = World()
    starts = world.starts()
    assert await starts.start(Limits()) is not None
    world.zygotes[0].full = True
    assert await starts.start(Limits()) is None
    world.zygotes[0].full = False
    assert await starts.start(Limits()) is not None
    assert world.notices == []
    await starts.aclose()


@pytest.mark.trio
async def test_launches_that_fail(autojump_clock: trio.testing.MockClock) -> None:
    world = World(launches_fail=True)
    starts = world.starts()
    await starts.prepare()
    for _ in range(5):
        assert await starts.start(Limits()) is None
    assert len(world.notices) == 1
    assert "no bwrap" in world.notices[0]
    await starts.aclose()


@pytest.mark.trio
async def test_a_cancelled_start_leaves_nothing(autojump_clock: trio.testing.MockClock) -> None:
    world = World()
    starts = world.starts()
    for delay in (0.5, 1.0, 1.005):
        with trio.move_on_at(delay):
            await starts.start(Limits())
    assert world.slots == 0
    assert await starts.start(Limits()) is not None
    await starts.aclose()
    assert world.slots == 1


@pytest.mark.trio
async def test_many_starts_at_once_launch_one_zygote(autojump_clock: trio.testing.MockClock) -> None:
    world = World()
    starts = world.starts()
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(starts.start, Limits())
    assert (len(world.zygotes), world.went) == (1, 10)
    assert world.slots == 11
    await starts.aclose()
