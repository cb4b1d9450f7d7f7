"""What all actors of a run share: the state store, the sandboxes and their links, the control endpoint.

Each is a child of the services supervisor, so that one that crashes is started again while the actors wait. It decides
the order in which they start and what each needs; how often a crash is forgiven is in `SERVICE_FLAGS`.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path

import trio
from reflow.wire.limits import WireLimits

from reflow_supervisor.config import Config
from reflow_supervisor.control.protocol import RedisStatus
from reflow_supervisor.control.server import ControlProvider, serve_control
from reflow_supervisor.errors import EnvironmentError_, StateUnavailableError
from reflow_supervisor.rpc.accept import LinkHub
from reflow_supervisor.rpc.link import Link
from reflow_supervisor.sandbox.backend import Limits, SandboxBackend, SandboxRuntime
from reflow_supervisor.sandbox.pool import SandboxPool, preload_counts
from reflow_supervisor.state.embedded import EmbeddedRedis
from reflow_supervisor.state.letters import Bounds
from reflow_supervisor.state.redis_letters import RedisLetters
from reflow_supervisor.state.redis_store import RedisStore
from reflow_supervisor.state.retrying import Availability, RetryingStore
from reflow_supervisor.state.store import StateStore
from reflow_supervisor.supervision import Backoff, ChildSpec, StartFunction, SupervisorFlags
from reflow_supervisor.telemetry.logs import Report

from .letters import LetterKeeper, Place

SERVICE_FLAGS = SupervisorFlags(intensity=5, period=60, backoff=Backoff(initial=0.1, factor=2, max=5, jitter=0.2))
CONTROL_SOCKET = "control.sock"


def control_path(config: Config) -> Path:
    """Where a run of that workspace serves its control endpoint."""
    return config.data_dir / CONTROL_SOCKET


def make_data_dir(config: Config) -> None:
    """
    Raises:
        EnvironmentError_: it cannot be made.
    """
    try:
        config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as e:
        raise EnvironmentError_(
            f"cannot make {config.data_dir}: {e.strerror}",
            hint="set workspace.data_dir in reflow.yaml to a directory that this user can write to",
        ) from None


class RedisPlace:
    """The Redis of a workspace: the store of its state, and of its dead letters. Nothing is started or connected to
    before somebody asks.

    `server` is the embedded one, None where another one is configured.
    """

    def __init__(self, config: Config, on_set_back: Callable[[str], None] = lambda actor: None) -> None:
        settings, limits = config.workspace.redis, config.limits
        url = settings.url
        directory = config.data_dir / "redis"
        self.server = EmbeddedRedis(directory, fsync=settings.fsync) if url == "embedded" else None
        self.store = RedisStore(
            url if self.server is None else self.server.url,
            namespace=settings.namespace,
            ttl=settings.ttl,
            on_set_back=on_set_back,
        )
        self.letters = RedisLetters(self.store, Bounds(limits.dead_letters, limits.dead_letters_size))
        self.kind = "embedded" if self.server else "unix" if url.startswith("unix:") else "tcp"
        self._data = (directory / "appendonlydir", directory / "appendonly.aof")

    @property
    def may_hold_something(self) -> bool:
        return self.server is None or any(path.exists() for path in self._data)

    async def check(self) -> None:
        """
        Raises:
            UserError: it does not answer, or not as it must.
        """
        try:
            await self.store.check()
        except StateUnavailableError as e:
            raise EnvironmentError_(str(e), hint="start it, or set workspace.redis.url to `embedded`") from None

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Around a block in which it answers.

        Raises:
            UserError: it cannot be had.
            EmbeddedRedisError: it ended by itself.
        """
        async with trio.open_nursery() as nursery:
            if self.server is not None:
                await nursery.start(self.server.run)
            await self.check()
            yield
            nursery.cancel_scope.cancel()

    async def aclose(self) -> None:
        with trio.move_on_after(5, shield=True), contextlib.suppress(StateUnavailableError):
            await self.store.aclose()


class Services:
    """
    Args:
        needed: how many nodes of each runtime the network has.
        stateful: whether any of them keeps its state in Redis.
    """

    def __init__(
        self,
        config: Config,
        backend: SandboxBackend,
        *,
        needed: Mapping[SandboxRuntime, int],
        stateful: bool,
        limits: Limits,
        report: Report,
        rng: random.Random,
    ) -> None:
        self._config = config
        self._backend = backend
        self._needed = needed
        self._limits = limits
        self._report = report
        self._pool: SandboxPool[Link] | None = None
        self._changed = trio.Event()
        self._stateful = stateful
        self.redis = RedisPlace(config, self._tell_set_back)
        self._retrying = RetryingStore(self.redis.store, rng=rng, on_change=self._tell)

    @property
    def store(self) -> StateStore:
        """What is in Redis. Without a node that keeps its state there, for dead letters only."""
        return self._retrying

    @property
    def letters(self) -> Place:
        redis = self.redis
        if self._stateful:
            return Place(redis.letters)
        return Place(redis.letters, redis.opened, at_hand=False, expected=redis.may_hold_something)

    def redis_status(self) -> RedisStatus:
        return RedisStatus(kind=self.redis.kind if self._stateful else "memory", available=self._retrying.available)

    def _tell(self, now: Availability) -> None:
        if now.available:
            self._report("info", "", "the state store is back")
        else:
            self._report("warning", "", f"the state store is away, commits wait: {now.reason}")

    def _tell_set_back(self, actor: str) -> None:
        self._report(
            "error",
            actor,
            "its state in Redis is not the one that was committed last: Redis lost its last moments (workspace.redis."
            f"fsync), was emptied, or somebody else writes there; `reflow-supervise restart {actor}` has it read anew",
        )

    def specs(self, provider: ControlProvider, keeper: LetterKeeper) -> list[ChildSpec]:
        """The children, in the order of their start."""
        children: list[ChildSpec] = [ChildSpec("control", self._control(provider))]
        if self._stateful:
            if self.redis.server is not None:
                # It has its own bound on stopping, which ends in a kill; the supervisor's is for a bug in that.
                children.append(ChildSpec("redis", self.redis.server.run, shutdown=30))
            children.append(ChildSpec("state", self._state))
        children.append(ChildSpec("dead-letters", keeper.run, shutdown=30))
        if self._needed:
            children.append(ChildSpec("sandboxes", self._sandboxes, shutdown=30))
        return children

    async def pool(self) -> SandboxPool[Link]:
        """The sandboxes; waits while they are being started again."""
        while self._pool is None:
            await self._changed.wait()
        return self._pool

    def _control(self, provider: ControlProvider) -> StartFunction:
        async def serve(*, task_status: trio.TaskStatus[Path]) -> None:
            await serve_control(control_path(self._config), provider, task_status=task_status)

        return serve

    async def _state(self, *, task_status: trio.TaskStatus[None]) -> None:
        await self.redis.check()
        task_status.started()
        await trio.sleep_forever()

    async def _sandboxes(self, *, task_status: trio.TaskStatus[None]) -> None:
        config = self._config
        sandbox, most = config.workspace.sandbox, config.limits.max_message_size
        wire = WireLimits(max_message=most, max_frame=most * 5 // 4 + 65536, max_depth=config.limits.max_depth)
        await self._backend.prepare(list(self._needed))
        async with trio.open_nursery() as links:
            websocket = config.workspace.websocket
            hub = LinkHub(links, wire, ping_interval=websocket.ping_interval, resume_window=websocket.resume_window)
            pool = SandboxPool[Link](
                self._backend,
                lambda s: hub.accept(s.listener, s.token, s.wait),
                preload=preload_counts(sandbox.preload_count, self._needed),
                max_size=sandbox.max_pool_size,
                idle_timeout=sandbox.idle_timeout or float("inf"),
                limits=self._limits,
                start_timeout=sandbox.start_timeout,
                on_refill_failure=lambda runtime, e: self._report("error", "", f"no {runtime} sandbox: {e}"),
            )
            await links.start(pool.run)
            self._pool = pool
            self._changed.set()
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._pool, self._changed = None, trio.Event()

    async def aclose(self) -> None:
        await self.redis.aclose()
