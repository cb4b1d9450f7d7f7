"""Stores of every kind for the tests of this room, and the servers behind them."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import trio
from state.redis_servers import BreakingProxy, RedisProcess

from reflow_supervisor.state.memory import MemoryStore
from reflow_supervisor.state.redis_store import RedisStore
from reflow_supervisor.state.store import StateStore


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path leaves room for the name of a socket, which pytest's own may not."""
    with tempfile.TemporaryDirectory(prefix="rs-") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisProcess]:
    with tempfile.TemporaryDirectory(prefix="rs-") as name:
        server = RedisProcess(Path(name))
        try:
            server.start()
            yield server
        finally:
            server.kill()


@pytest.fixture
def namespace() -> str:
    """One that no other test uses."""
    return f"test-{random.getrandbits(64):x}"


@pytest.fixture(params=["memory", "redis"])
async def make_store(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[Callable[..., StateStore]]:
    """Makes a store of either kind; `ttl` is its default."""
    made: list[StateStore] = []

    def make(ttl: float | None = None) -> StateStore:
        store: StateStore
        if request.param == "memory":
            store = MemoryStore(clock=trio.current_time, ttl=ttl)
        else:
            server: RedisProcess = request.getfixturevalue("redis_server")
            store = RedisStore(server.url, namespace=namespace, ttl=ttl)
        made.append(store)
        return store

    yield make
    for store in made:
        await store.aclose()


@pytest.fixture
def store(make_store: Callable[..., StateStore]) -> StateStore:
    return make_store()


@pytest.fixture
async def proxy(redis_server: RedisProcess, short_path: Path) -> AsyncIterator[BreakingProxy]:
    path = short_path / "proxy.sock"
    with trio.socket.socket(trio.socket.AF_UNIX) as server:
        await server.bind(os.fspath(path))
        server.listen(16)
        made = BreakingProxy(trio.SocketListener(server), redis_server.socket, path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.run)
            yield made
            nursery.cancel_scope.cancel()
