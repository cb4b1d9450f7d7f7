"""Warm sandboxes, and a bound on how many there are.

The pool decides when a sandbox is started, which one a lease gets, and when one that nobody uses is retired. It keeps
some standing by for each runtime, connected, so that an actor starts (and starts again) in milliseconds; how many,
`demand` says. A sandbox that has been leased is never leased again, whatever its actor did with it.

Whoever has just got a sandbox, or waits for one, needs the processor more than what stands by: so these are started one
at a time and after a pause, and what is left of a dead sandbox is removed later, in the background.

What a connection is, the pool does not know: `connect` makes it, and whoever holds the lease speaks on it.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar, get_args

import attrs
import trio

from reflow_supervisor.errors import ReflowError, SandboxError
from reflow_supervisor.sandbox.backend import Limits, Sandbox, SandboxBackend, SandboxRuntime
from reflow_supervisor.sandbox.demand import QUIET, Demand

STDERR_TAIL = 4096
STDERR_TIMEOUT = 1.0
REFILL_BACKOFF = (0.1, 30.0)
"""Seconds before a failed refill is tried again: the first time, and at most."""
END_TIMEOUT = 10.0
"""Seconds that a killed sandbox may take to be gone; then it is as good as that."""
RUNTIMES: tuple[SandboxRuntime, ...] = get_args(SandboxRuntime)


class Link(Protocol):
    """What `connect` returns."""

    async def aclose(self) -> None: ...


LinkT = TypeVar("LinkT", bound=Link)


def preload_counts(preload_count: int, nodes: Mapping[SandboxRuntime, int]) -> dict[SandboxRuntime, int]:
    """How many sandboxes to keep warm, by the number of nodes of each runtime in the network: no more than it has."""
    return {runtime: min(preload_count, count) for runtime, count in nodes.items()}


@attrs.frozen
class PoolStatistics:
    warm: Mapping[SandboxRuntime, int]
    total: int
    """All there are: warm, leased, starting and ending."""
    waiting: int
    """Leases that wait for room."""


@attrs.define(eq=False)
class _Member(Generic[LinkT]):
    """A connected sandbox. It stands for its own place in the pool."""

    sandbox: Sandbox
    limits: Limits
    link: LinkT
    place: object
    watch: trio.CancelScope = attrs.Factory(trio.CancelScope)
    leased: bool = False
    removed: bool = False
    """What is left of it is being removed, or is."""


class Lease(Generic[LinkT]):
    """A sandbox and its link, for one actor. Closing it kills the sandbox and makes room in the pool."""

    def __init__(self, member: _Member[LinkT], close: Callable[[_Member[LinkT]], Awaitable[None]]) -> None:
        self._member = member
        self._close = close

    @property
    def sandbox(self) -> Sandbox:
        return self._member.sandbox

    @property
    def link(self) -> LinkT:
        return self._member.link

    async def aclose(self) -> None:
        """Shielded from cancellation. May be called twice."""
        await self._close(self._member)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def _ignore(runtime: SandboxRuntime, error: SandboxError) -> None:
    pass


class SandboxPool(Generic[LinkT]):
    """
    Args:
        backend: makes the sandboxes; it is prepared already.
        connect: waits for the agent in a sandbox, and shakes hands with it.
        preload: how many to keep warm at least, by runtime (see `preload_counts`); of a runtime with 0, none.
        max_size: how many there may be at once. Leases beyond wait.
        idle_timeout: seconds that a warm one beyond these is kept without being needed.
        limits: of the warm ones. A lease with other limits is always a cold start.
        start_timeout: how many seconds an agent may take to connect.
        concurrent_starts: how many are started at once, so that a big network does not choke the machine.
        on_refill_failure: told when a warm sandbox could not be started; it is tried again, with backoff.
    """

    def __init__(
        self,
        backend: SandboxBackend,
        connect: Callable[[Sandbox], Awaitable[LinkT]],
        *,
        preload: Mapping[SandboxRuntime, int],
        max_size: int = 20,
        idle_timeout: float = 300.0,
        limits: Limits | None = None,
        start_timeout: float = 30.0,
        concurrent_starts: int | None = None,
        on_refill_failure: Callable[[SandboxRuntime, SandboxError], None] = _ignore,
    ) -> None:
        self._backend = backend
        self._connect = connect
        self._demands: dict[SandboxRuntime, Demand] = {
            runtime: Demand(preload.get(runtime, 0), max_size, idle_timeout) for runtime in RUNTIMES
        }
        self._limits = limits or Limits()
        self._start_timeout = start_timeout
        self._on_refill_failure = on_refill_failure
        self._places = trio.CapacityLimiter(max_size)
        self._starts = trio.CapacityLimiter(concurrent_starts or os.cpu_count() or 1)
        self._cold_starts = 0
        self._warm: list[_Member[LinkT]] = []  # the longest idle first
        self._refilling = trio.Lock()
        self._nursery: trio.Nursery | None = None
        self._changed = trio.Event()

    def set_preload(self, preload: Mapping[SandboxRuntime, int]) -> None:
        """Changes how many are kept warm at least, when the network has changed."""
        for runtime, demand in self._demands.items():
            demand.floor = preload.get(runtime, 0)
        self._wake()

    def statistics(self) -> PoolStatistics:
        places = self._places.statistics()
        warm: dict[SandboxRuntime, int] = {runtime: len(self._warm_of(runtime)) for runtime in RUNTIMES}
        return PoolStatistics(warm, places.borrowed_tokens, places.tasks_waiting)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keeps sandboxes warm until it is cancelled, and then removes them. Leases may be taken before it runs, and
        outlive it."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                for runtime in RUNTIMES:
                    nursery.start_soon(self._keep_warm, runtime, nursery)
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def lease(self, runtime: SandboxRuntime, limits: Limits | None = None) -> Lease[LinkT]:
        """A sandbox for one actor: a warm one with exactly these limits, else a new one.

        Raises:
            SandboxError: it could not be started, with what its agent wrote to stderr.
        """
        limits = limits or self._limits
        await trio.lowlevel.checkpoint()
        member = self._take_warm(runtime, limits)
        if limits == self._limits:
            # Warm ones are of no use to others.
            self._demands[runtime].asked(trio.current_time())
        if member is None:
            place = object()
            self._cold_starts += 1
            try:
                await self._make_room(place)
                try:
                    member = await self._start(runtime, limits, place)
                except BaseException:
                    self._places.release_on_behalf_of(place)
                    raise
                if limits == self._limits:
                    self._demands[runtime].missed(trio.current_time())
            finally:
                self._cold_starts -= 1
                self._wake()
        member.leased = True
        self._wake()
        return Lease(member, self._discard)

    def _warm_of(self, runtime: SandboxRuntime) -> list[_Member[LinkT]]:
        return [member for member in self._warm if member.sandbox.runtime == runtime]

    def _take_warm(self, runtime: SandboxRuntime, limits: Limits) -> _Member[LinkT] | None:
        for member in self._warm_of(runtime):
            if member.limits == limits and member.sandbox.exit is None:
                self._warm.remove(member)
                member.leased = True
                member.watch.cancel()
                return member
        return None

    async def _make_room(self, place: object) -> None:
        try:
            self._places.acquire_on_behalf_of_nowait(place)
        except trio.WouldBlock:
            # An actor that waits comes before a sandbox that nobody uses.
            if self._warm:
                self._retire(self._warm[0])
            await self._places.acquire_on_behalf_of(place)

    async def _start(self, runtime: SandboxRuntime, limits: Limits, place: object) -> _Member[LinkT]:
        async with self._starts:
            began = trio.current_time()
            sandbox = await self._backend.start(runtime, limits)
            try:
                member = _Member(sandbox, limits, await self._connected(sandbox), place)
            except BaseException:
                await sandbox.aclose()
                raise
            self._demands[runtime].started(trio.current_time() - began)
            return member

    async def _connected(self, sandbox: Sandbox) -> LinkT:
        link: LinkT | None = None
        why = f"did not connect within {self._start_timeout:.0f} s"
        cause: Exception | None = None

        async def give_up_when_it_ends(scope: trio.CancelScope) -> None:
            nonlocal why
            why = str(await sandbox.wait())
            scope.cancel()

        try:
            with trio.move_on_after(self._start_timeout):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(give_up_when_it_ends, nursery.cancel_scope)
                    try:
                        link = await self._connect(sandbox)
                    except (ReflowError, OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                        why, cause = str(error) or repr(error), error
                    nursery.cancel_scope.cancel()
        except BaseException:
            if link is not None:
                await _close_now(link)
            raise
        if link is not None:
            return link
        tail = await _stderr_tail(sandbox)
        said = f"\nIts last words:\n{tail}" if tail else ""
        raise SandboxError(f"the {sandbox.runtime} agent in sandbox {sandbox.id} {why}{said}") from cause

    async def _keep_warm(self, runtime: SandboxRuntime, nursery: trio.Nursery) -> None:
        """Never while an actor waits for a cold start: it needs the processor more."""
        demand = self._demands[runtime]
        first, longest = REFILL_BACKOFF
        backoff = first
        while True:
            now = trio.current_time()
            warm = self._warm_of(runtime)
            target = demand.target(now)
            wait = demand.falls_at(now) - now
            if len(warm) > target:
                self._retire(warm[0])
                continue
            if len(warm) < target and not self._cold_starts and self._places.available_tokens:
                wait = demand.pause(now, len(warm))
                if not wait:
                    try:
                        async with self._refilling:
                            await self._refill(runtime, nursery)
                        backoff = first
                    except SandboxError as error:
                        self._on_refill_failure(runtime, error)
                        await trio.sleep(backoff)
                        backoff = min(longest, backoff * 2)
                    continue
            changed = self._changed
            with trio.move_on_after(wait):
                await changed.wait()

    async def _refill(self, runtime: SandboxRuntime, nursery: trio.Nursery) -> None:
        place = object()
        try:
            self._places.acquire_on_behalf_of_nowait(place)
        except trio.WouldBlock:
            return  # the other runtime was first
        demand, began = self._demands[runtime], trio.current_time()
        demand.begins()
        try:
            member = await self._start(runtime, self._limits, place)
        except BaseException:
            self._places.release_on_behalf_of(place)
            raise
        demand.ends(trio.current_time(), trio.current_time() - began)
        self._warm.append(member)
        nursery.start_soon(self._guard, member)

    async def _guard(self, member: _Member[LinkT]) -> None:
        """Removes a warm sandbox that dies, that is retired, or that the pool leaves behind."""
        try:
            with member.watch:
                await member.sandbox.wait()
        finally:
            if not member.leased:
                if member in self._warm:
                    self._warm.remove(member)
                await self._discard(member)

    def _retire(self, member: _Member[LinkT]) -> None:
        self._warm.remove(member)
        member.watch.cancel()

    async def _discard(self, member: _Member[LinkT]) -> None:
        """Ends a sandbox. Its place is free when its processes are gone; the rest of it goes in the background."""
        sandbox = member.sandbox
        with trio.CancelScope(shield=True):
            sandbox.kill()
            await _close_now(member.link)
            with trio.move_on_after(END_TIMEOUT):
                await sandbox.wait()
            if self._nursery is None:
                await sandbox.aclose()
            elif not member.removed:
                self._nursery.start_soon(_remove, sandbox)
            member.removed = True
        if member.place in self._places.statistics().borrowers:
            self._places.release_on_behalf_of(member.place)
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


async def _remove(sandbox: Sandbox) -> None:
    try:
        await trio.sleep(QUIET)  # whoever lost it is being started again
    finally:
        with trio.CancelScope(shield=True):
            await sandbox.aclose()


async def _close_now(link: Link) -> None:
    """Without a goodbye: its agent is dead, or is about to be."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await link.aclose()


async def _stderr_tail(sandbox: Sandbox) -> str:
    """What the agent wrote last, at most STDERR_TAIL bytes of it. Ends the sandbox."""
    sandbox.kill("it did not start")
    tail = b""
    with trio.move_on_after(STDERR_TIMEOUT):
        while part := await sandbox.stderr.receive_some():
            tail = (tail + part)[-STDERR_TAIL:]
    return tail.decode(errors="replace").strip()
