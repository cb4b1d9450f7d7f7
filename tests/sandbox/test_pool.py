"""The pool with real processes where the point is a process, and with a backend in memory where it is a decision."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
import trio
import trio.testing

from reflow_supervisor.errors import SandboxError
from reflow_supervisor.sandbox.backend import (
    ExitKind,
    Finding,
    Isolation,
    Limits,
    Sandbox,
    SandboxExit,
    SandboxRuntime,
)
from reflow_supervisor.sandbox.bubblewrap import BubblewrapBackend
from reflow_supervisor.sandbox.demand import QUIET
from reflow_supervisor.sandbox.pool import SandboxPool, preload_counts

MakeBackend = Callable[..., Any]
OTHER_LIMITS = Limits(memory=1 << 30)


@attrs.define(eq=False)
class MemorySandbox:
    id: str
    runtime: SandboxRuntime
    backend: MemoryBackend
    ended: trio.Event = attrs.Factory(trio.Event)
    exit: SandboxExit | None = None
    closed: bool = False
    stderr: trio.abc.ReceiveStream = attrs.field(factory=lambda: trio.testing.memory_stream_one_way_pair()[1])

    async def wait(self) -> SandboxExit:
        await self.ended.wait()
        assert self.exit is not None
        return self.exit

    def end(self, kind: ExitKind) -> None:
        if self.exit is None:
            self.exit = SandboxExit(kind)
            self.ended.set()

    def kill(self, detail: str = "") -> None:
        self.end(ExitKind.KILLED)

    async def aclose(self) -> None:
        await trio.sleep(0.01)
        self.kill()
        self.backend.alive.discard(self.id)
        self.closed = True


@attrs.define(eq=False)
class MemoryBackend:
    """Starts a sandbox in a second, which either works or fails."""

    started: list[MemorySandbox] = attrs.Factory(list)
    alive: set[str] = attrs.Factory(set)
    most_alive: int = 0
    starting: int = 0
    most_starting: int = 0
    broken: bool = False
    name: str = "memory"
    isolation: Isolation = Isolation.NONE

    def probe(self) -> Sequence[Finding]:
        return ()

    async def prepare(self, runtimes: Sequence[SandboxRuntime]) -> None:
        pass

    async def start(self, runtime: SandboxRuntime, limits: Limits) -> Sandbox:
        self.starting += 1
        self.most_starting = max(self.most_starting, self.starting)
        try:
            await trio.sleep(1)
        finally:
            self.starting -= 1
        if self.broken:
            raise SandboxError("broken")
        sandbox = MemorySandbox(f"{runtime}-{len(self.started)}", runtime, self)
        self.started.append(sandbox)
        self.alive.add(sandbox.id)
        self.most_alive = max(self.most_alive, len(self.alive))
        return cast("Sandbox", sandbox)

    async def aclose(self) -> None:
        pass


@attrs.define(eq=False)
class MemoryLink:
    sandbox: Sandbox
    closed: bool = False

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


async def connect(sandbox: Sandbox) -> MemoryLink:
    await trio.lowlevel.checkpoint()
    return MemoryLink(sandbox)


def memory_pool(backend: MemoryBackend, **options: Any) -> SandboxPool[MemoryLink]:
    options = {"preload": {"python": 2}, "concurrent_starts": 4, **options}
    return SandboxPool(backend, connect, **options)


def test_preload_counts() -> None:
    assert preload_counts(5, {"python": 3, "javascript": 9}) == {"python": 3, "javascript": 5}
    assert preload_counts(5, {}) == {}


@pytest.mark.trio
async def test_a_warm_one_at_once_and_then_another_is_warmed(autojump_clock: trio.testing.MockClock) -> None:
    backend = MemoryBackend()
    pool = memory_pool(backend)
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        await trio.sleep(5)
        assert pool.statistics().warm == {"python": 2, "javascript": 0}
        assert backend.most_starting == 1, "one refill at a time"
        before = trio.current_time()
        lease = await pool.lease("python")
        assert trio.current_time() == before
        assert lease.sandbox is lease.link.sandbox
        await trio.sleep(5)
        assert pool.statistics().warm["python"] == 2
        assert pool.statistics().total == 3
        nursery.cancel_scope.cancel()
    # What is leased outlives the pool.
    assert lease.sandbox.exit is None
    assert backend.alive == {lease.sandbox.id}
    async with lease:
        pass
    await lease.aclose()
    assert backend.alive == set()
    assert lease.link.closed
    assert pool.statistics().total == 0


@pytest.mark.trio
async def test_other_limits_or_runtime_are_a_cold_start(autojump_clock: trio.testing.MockClock) -> None:
    backend = MemoryBackend()
    pool = memory_pool(backend)
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        await trio.sleep(5)
        before = trio.current_time()
        async with await pool.lease("python", OTHER_LIMITS), await pool.lease("javascript"):
            assert trio.current_time() - before >= 2
            assert pool.statistics().warm == {"python": 2, "javascript": 0}
        nursery.cancel_scope.cancel()
    assert backend.alive == set()


@pytest.mark.trio
async def test_never_used_twice(autojump_clock: trio.testing.MockClock) -> None:
    backend = MemoryBackend()
    pool = memory_pool(backend)
    seen: list[str] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        for _ in range(10):
            async with await pool.lease("python") as lease:
                seen.append(lease.sandbox.id)
        nursery.cancel_scope.cancel()
    assert len(set(seen)) == 10


@pytest.mark.trio
async def test_full_pool_makes_leases_wait_in_order(autojump_clock: trio.testing.MockClock) -> None:
    backend = MemoryBackend()
    pool = memory_pool(backend, preload={}, max_size=2)
    order: list[int] = []

    async def actor(number: int) -> None:
        await trio.sleep(number * 0.01)
        async with await pool.lease("python"):
            order.append(number)
            await trio.sleep(10)

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(actor, number)
        await trio.sleep(5)
        assert (pool.statistics().total, pool.statistics().waiting) == (2, 4)
    assert order == list(range(6))
    assert backend.most_alive == 2
    assert pool.statistics().total == 0


@pytest.mark.trio
async def test_an_actor_comes_before_a_warm_sandbox_of_no_use_to_it(autojump_clock: trio.testing.MockClock) -> None:
    backend = MemoryBackend()
    pool = memory_pool(backend, preload={"javascript": 2}, max_size=2)
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        await trio.sleep(5)
        assert pool.statistics().warm["javascript"] == 2
        with trio.fail_after(5):
            async with await pool.lease("python"), await pool.lease("python"):
                assert pool.statistics().warm["javascript"] == 0
        await trio.sleep(5)
        assert pool.statistics().warm["javascript"] == 2
        nursery.cancel_scope.cancel()
    assert backend.most_alive == 2


@pytest.mark.trio
async def test_a_warm_one_that_dies_is_replaced(autojump_clock: trio.testing.MockClock) -> None:
    backend = MemoryBackend()
    pool = memory_pool(backend)
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        await trio.sleep(5)
        dead = backend.started[0]
        dead.end(ExitKind.SIGNALED)
        # At this very moment it still stands in line, and is not given out.
        async with await pool.lease("python") as lease:
            assert lease.sandbox.id != dead.id
            await trio.sleep(5)
            assert dead.closed
            assert pool.statistics().warm["python"] == 2
        nursery.cancel_scope.cancel()
    assert backend.alive == set()


@pytest.mark.trio
async def test_more_are_kept_warm_for_as_long_as_they_are_needed(autojump_clock: trio.testing.MockClock) -> None:
    backend = MemoryBackend()
    pool = memory_pool(backend, preload={"python": 1}, idle_timeout=60)
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        await trio.sleep(30)
        assert pool.statistics().warm["python"] == 1
        for _ in range(3):
            async with trio.open_nursery() as actors:
                for _ in range(3):
                    actors.start_soon(one_actor, pool)
        await trio.sleep(30)
        assert pool.statistics().warm["python"] >= 3
        before = len(backend.started)
        async with trio.open_nursery() as actors:
            for _ in range(3):
                actors.start_soon(one_actor, pool)
        assert len(backend.started) == before, "all three were warm"
        await trio.sleep(100)
        assert pool.statistics().warm["python"] == 1
        nursery.cancel_scope.cancel()
    assert backend.alive == set()


@pytest.mark.trio
async def test_a_preload_of_none_keeps_none(autojump_clock: trio.testing.MockClock) -> None:
    backend = MemoryBackend()
    pool = memory_pool(backend, preload={"python": 0})
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        for _ in range(5):
            await one_actor(pool)
        await trio.sleep(5)
        assert pool.statistics().total == 0
        assert len(backend.started) == 5
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_refill_leaves_the_processor_to_who_got_a_sandbox(autojump_clock: trio.testing.MockClock) -> None:
    backend = MemoryBackend()
    pool = memory_pool(backend, preload={"python": 1, "javascript": 1})
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        await trio.sleep(5)
        assert backend.most_starting == 1, "one refill at a time, whatever its runtime"
        async with await pool.lease("python"):
            await trio.sleep(QUIET / 2)
            assert backend.starting == 0
            await trio.sleep(QUIET)
            assert backend.starting == 1
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_what_is_left_of_a_sandbox_is_removed_in_the_background(autojump_clock: trio.testing.MockClock) -> None:
    backend = MemoryBackend()
    pool = memory_pool(backend, preload={}, max_size=1)
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        lease = await pool.lease("python")
        before = trio.current_time()
        await lease.aclose()
        assert trio.current_time() == before
        assert lease.sandbox.exit is not None
        assert pool.statistics().total == 0, "there is room, though it is not removed"
        assert backend.alive == {lease.sandbox.id}
        await lease.aclose()
        await trio.sleep(1)
        assert backend.alive == set()
        await (await pool.lease("python")).aclose()
        nursery.cancel_scope.cancel()
    assert backend.alive == set(), "removed with the pool at the latest"


async def one_actor(pool: SandboxPool[MemoryLink]) -> None:
    async with await pool.lease("python"):
        pass


@pytest.mark.trio
async def test_preload_follows_the_network(autojump_clock: trio.testing.MockClock) -> None:
    backend = MemoryBackend()
    pool = memory_pool(backend)
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        await trio.sleep(5)
        pool.set_preload({"javascript": 1})
        await trio.sleep(5)
        assert pool.statistics().warm == {"python": 0, "javascript": 1}
        assert len(backend.alive) == 1
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_refills_that_fail_are_tried_again_ever_more_seldom(autojump_clock: trio.testing.MockClock) -> None:
    backend = MemoryBackend(broken=True)
    failures: list[float] = []
    pool = memory_pool(backend, on_refill_failure=lambda runtime, error: failures.append(trio.current_time()))
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        await trio.sleep(600)
        gaps = [later - earlier - 1 for earlier, later in itertools.pairwise(failures)]
        assert gaps[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
        assert gaps[-1] == pytest.approx(30)
        assert pool.statistics().total == 0
        with pytest.raises(SandboxError, match="broken"):
            await pool.lease("python")
        backend.broken = False
        await trio.sleep(60)
        assert pool.statistics().warm["python"] == 2
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_cancelled_leases_give_their_places_back(autojump_clock: trio.testing.MockClock) -> None:
    backend = MemoryBackend()
    pool = memory_pool(backend, preload={}, max_size=1)
    with trio.move_on_after(0.5):
        await pool.lease("python")
    assert pool.statistics().total == 0
    async with await pool.lease("python"):
        with trio.move_on_after(0.5):
            await pool.lease("python")
        assert (pool.statistics().total, pool.statistics().waiting) == (1, 0)
    assert backend.alive == set()


@pytest.mark.trio
async def test_starts_are_bounded(autojump_clock: trio.testing.MockClock) -> None:
    backend = MemoryBackend()
    pool = memory_pool(backend, preload={}, concurrent_starts=3)
    async with trio.open_nursery() as nursery:

        async def actor() -> None:
            async with await pool.lease("python"):
                pass

        for _ in range(10):
            nursery.start_soon(actor)
    assert backend.most_starting == 3


@pytest.mark.trio
async def test_an_agent_that_does_not_connect(autojump_clock: trio.testing.MockClock) -> None:
    backend = MemoryBackend()

    async def never(sandbox: Sandbox) -> MemoryLink:
        await trio.sleep_forever()
        raise AssertionError

    pool = SandboxPool(backend, never, preload={}, start_timeout=7)
    with pytest.raises(SandboxError, match="did not connect within 7 s"):
        await pool.lease("python")
    assert backend.alive == set()
    assert pool.statistics().total == 0


async def accept(sandbox: Sandbox) -> trio.SocketStream:
    return await sandbox.listener.accept()


@pytest.mark.slow
@pytest.mark.trio
async def test_real_agents(make_backend: MakeBackend, base: Path) -> None:
    backend = make_backend(
        "import os, socket; s = socket.socket(socket.AF_UNIX); s.connect(os.environ['REFLOW_LINK']); s.recv(1)"
    )
    await backend.prepare(["python"])
    pool: SandboxPool[trio.SocketStream] = SandboxPool(backend, accept, preload={"python": 1})
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        with trio.fail_after(20):
            while not pool.statistics().warm["python"]:
                await trio.sleep(0.01)
            async with await pool.lease("python") as lease:
                assert lease.sandbox.exit is None
                assert lease.link.socket.fileno() >= 0
        nursery.cancel_scope.cancel()
    await backend.aclose()
    assert list(base.iterdir()) == []  # noqa: ASYNC240


@pytest.mark.slow
@pytest.mark.trio
async def test_last_words_of_an_agent_that_dies(make_backend: MakeBackend) -> None:
    backend: BubblewrapBackend = make_backend("import sys; sys.stderr.write('x' * 9999 + 'the reason'); sys.exit(3)")
    await backend.prepare(["python"])
    pool: SandboxPool[trio.SocketStream] = SandboxPool(backend, accept, preload={})
    with pytest.raises(SandboxError, match="exited with code 3") as caught:
        await pool.lease("python")
    assert str(caught.value).endswith("the reason")
    assert len(str(caught.value)) < 5000
    await backend.aclose()
