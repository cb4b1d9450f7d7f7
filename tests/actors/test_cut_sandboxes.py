"""Actors in real sandboxes, in both languages, whose links are cut again and again: nothing is lost, nothing comes
twice, and nothing is started again."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
import trio
from actors.world import World
from reflow.wire import messages

from reflow_supervisor.actors.instance import Instance
from reflow_supervisor.actors.javascript_syntax import transform
from reflow_supervisor.actors.registry import LoadedSource
from reflow_supervisor.network.component import Runtime
from reflow_supervisor.rpc.accept import LinkHub
from reflow_supervisor.rpc.link import Link
from reflow_supervisor.sandbox.backend import ExitKind, Limits, Sandbox, SandboxRuntime
from reflow_supervisor.sandbox.bubblewrap import BubblewrapBackend
from reflow_supervisor.sandbox.pool import Lease, SandboxPool
from reflow_supervisor.state.memory import MemoryStore
from reflow_supervisor.state.store import Stored
from reflow_supervisor.supervision import ChildExit, Killed

pytestmark = [pytest.mark.slow, pytest.mark.trio]

PATIENCE = 60
RUNTIMES: tuple[SandboxRuntime, ...] = ("python", "javascript")
both = pytest.mark.parametrize("runtime", RUNTIMES)

COUNTING = {
    "python": """
from reflow import actor

@actor(name="A", inports=["in"], outports=["out"])
def run(context):
    value = context.payload["in"].unwrap()
    context.state.push("seen", value)
    return {"out": [value, context.state.increment("n")]}
""",
    "javascript": """
const { actor } = require('reflow');

@actor({ name: "A", inports: ["in"], outports: ["out"] })
function run(context) {
  const value = context.getInput('in');
  context.state.push('seen', value);
  return { out: [value, context.state.increment('n')] };
}
""",
}

SENDING = {
    "python": """
import asyncio
from reflow import actor

@actor(name="A", inports=["in"], outports=["out"])
async def run(context):
    for i in range(context.payload["in"].unwrap()):
        context.send("out", i)
        if i % 10 == 0:
            await asyncio.sleep(0.01)
    return {"out": "end"}
""",
    "javascript": """
const { actor } = require('reflow');

@actor({ name: "A", inports: ["in"], outports: ["out"] })
async function run(context) {
  for (let i = 0; i < context.getInput('in'); i += 1) {
    context.send('out', i);
    if (i % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return { out: 'end' };
}
""",
}


@pytest.fixture(scope="module")
def cache() -> Iterator[Path]:
    # Not pytest's own directory: sandboxes run under other user ids, which may not enter that.
    path = Path(tempfile.mkdtemp(prefix="reflow-cut-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


class Cuttable(trio.abc.Listener[trio.SocketStream]):
    """A sandbox's listener that keeps hold of what it accepted."""

    def __init__(self, listener: trio.abc.Listener[trio.SocketStream]) -> None:
        self._listener = listener
        self._last: trio.SocketStream | None = None

    async def accept(self) -> trio.SocketStream:
        self._last = await self._listener.accept()
        return self._last

    async def aclose(self) -> None:
        await self._listener.aclose()

    def cut(self) -> None:
        """Both ends find their connection gone, wherever they are with it."""
        assert self._last is not None
        if self._last.socket.fileno() >= 0:
            self._last.socket.shutdown(socket.SHUT_RDWR)


@attrs.define
class Boxes:
    """Real sandboxes whose links can be cut."""

    pool: SandboxPool[Link]
    listeners: list[Cuttable]
    links: list[Link]

    def cut(self) -> None:
        self.listeners[-1].cut()


@asynccontextmanager
async def boxes(runtime: SandboxRuntime, cache: Path, *, window: float = 10) -> AsyncGenerator[Boxes]:
    backend = BubblewrapBackend(cache=cache)
    await backend.prepare([runtime])
    try:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                hub = LinkHub(nursery, resume_window=window)
                found = Boxes(cast("Any", None), [], [])

                async def connect(sandbox: Sandbox) -> Link:
                    listener = Cuttable(sandbox.listener)
                    found.listeners.append(listener)
                    found.links.append(await hub.accept(listener, sandbox.token, sandbox.wait))
                    return found.links[-1]

                found.pool = SandboxPool[Link](backend, connect, preload={}, limits=Limits(cpu=None))
                yield found
                nursery.cancel_scope.cancel()
    finally:
        await backend.aclose()


def world(runtime: SandboxRuntime, sources: dict[str, str], **settings: Any) -> World:
    text = sources[runtime]
    code = text if runtime == "python" else transform(text)
    file = "a.actor.py" if runtime == "python" else "a.actor.js"
    source = LoadedSource(file, text.encode(), code, "0")
    return World(source=source, runtime=Runtime(runtime), window=8, **settings)


@asynccontextmanager
async def running(world: World, boxes: Boxes) -> AsyncGenerator[None]:
    """One incarnation."""
    async with trio.open_nursery() as nursery:
        host = attrs.evolve(world.host, pool=cast("Any", boxes.pool))
        await nursery.start(Instance(host, world.node).run)
        yield
        nursery.cancel_scope.cancel()


async def collect(world: World, count: int, cut: Callable[[], None] = lambda: None, every: int = 1) -> list[Any]:
    """What comes out, so many, with a cut after every so many of them."""
    found: list[Any] = []
    last = 0
    while len(found) < count:
        found += [value for _, value in world.arrived()]
        if len(found) - last >= every and len(found) < count:
            last = len(found)
            cut()
        await trio.sleep(0.002)
    return found


def nothing_happened(world: World) -> bool:
    """To the actor: it was neither started again nor blamed for anything."""
    meter = world.node.meter
    return (world.node.incarnation, meter.failed, meter.dead_letters, len(world.router.dead_letters)) == (1, 0, 0, 0)


def said(world: World, event: str) -> list[str]:
    return [line.text for line in world.lines if line.fields.get("event") == event]


@both
async def test_state_and_outputs_are_exact_however_often_the_link_is_cut(runtime: SandboxRuntime, cache: Path) -> None:
    count = 600
    it = world(runtime, COUNTING)
    async with boxes(runtime, cache) as found, running(it, found):
        it.feed(*range(count))
        out = await collect(it, count, found.cut, every=10)
        (link,) = found.links
        assert out == [[n, n + 1] for n in range(count)]
        assert await it.kept("n", "seen") == {"n": count, "seen": list(range(count))}
        assert link.resumes >= 20
        assert (link.end, nothing_happened(it)) == (None, True)
        assert len(said(it, "link-cut")) == len(said(it, "link-resumed")) == link.resumes
        assert said(it, "link-cut")[0] == "the link went down; waiting for it to come back"


@both
async def test_what_a_script_sends_meanwhile_comes_once_and_in_order(runtime: SandboxRuntime, cache: Path) -> None:
    count = 400
    it = world(runtime, SENDING)
    async with boxes(runtime, cache) as found, running(it, found):
        it.feed(count)
        out = await collect(it, count + 1, found.cut, every=25)
        assert out == [*range(count), "end"]
        assert found.links[0].resumes >= 5
        assert nothing_happened(it)


class SlowStore(MemoryStore):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__(clock=trio.current_time)
        self.asked = trio.Event()
        self.open = trio.Event()

    async def fetch(self, actor: str, keys: Sequence[str]) -> dict[str, Stored]:
        self.asked.set()
        await self.open.wait()
        return dict(await super().fetch(actor, keys))


@both
@pytest.mark.parametrize("when", ["question", "answer"])
async def test_state_that_is_being_fetched_comes(runtime: SandboxRuntime, cache: Path, when: str) -> None:
    store = SlowStore()
    it = world(runtime, COUNTING, store=store)
    async with boxes(runtime, cache) as found, running(it, found):
        it.feed(7)
        await store.asked.wait()
        found.cut()
        if when == "answer":
            while found.links[0].resumes == 0:
                await trio.sleep(0.001)
            store.open.set()
            found.cut()
        else:
            store.open.set()
        assert await collect(it, 1) == [[7, 1]]
        assert found.links[0].resumes >= 1
        assert nothing_happened(it)


async def lease(found: Boxes, runtime: SandboxRuntime) -> Lease[Link]:
    return await found.pool.lease(runtime)


def load(runtime: SandboxRuntime, sources: dict[str, str]) -> messages.Load:
    text = sources[runtime]
    return messages.Load(
        node="a",
        component="A",
        file="a.actor.py" if runtime == "python" else "a.actor.js",
        source=text if runtime == "python" else transform(text),
        export="run",
        inports=["in"],
        outports=["out"],
    )


@both
@pytest.mark.parametrize("seed", range(3))
async def test_a_script_is_loaded_and_stopped_although_the_link_is_cut(
    runtime: SandboxRuntime, cache: Path, seed: int
) -> None:
    rng = random.Random(seed)

    async def cut_some(found: Boxes) -> None:
        for _ in range(3):
            await trio.sleep(rng.random() / 50)
            found.cut()

    async with boxes(runtime, cache) as found, await lease(found, runtime) as leased:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut_some, found)
            answer = await leased.link.request("load", load(runtime, COUNTING), messages.LoadResult)
            assert answer.name == "A"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut_some, found)
            # Its answer may be lost with a connection whose end the agent has no reason to look at any more.
            await leased.link.request("stop", messages.Stop(), messages.Pong)
            nursery.cancel_scope.cancel()
        exit_ = await leased.sandbox.wait()
        assert (exit_.kind, exit_.code) == (ExitKind.EXITED, 0)
        await leased.link.closed.wait()


@both
async def test_a_sandbox_that_is_killed_while_its_link_is_cut_says_so_at_once(
    runtime: SandboxRuntime, cache: Path
) -> None:
    it = world(runtime, COUNTING)
    async with boxes(runtime, cache, window=1000) as found:
        with pytest.RaisesGroup(pytest.RaisesExc(ChildExit), allow_unwrapped=True, flatten_subgroups=True) as caught:
            async with running(it, found):
                sandbox = it.node.sandbox
                assert sandbox is not None
                assert sandbox.pid is not None
                it.feed(*range(100))
                await collect(it, 1)
                os.kill(sandbox.pid, signal.SIGSTOP)  # so that it does not come back
                found.cut()
                while found.links[0].is_up:
                    await trio.sleep(0.001)
                os.kill(sandbox.pid, signal.SIGKILL)
                await trio.sleep_forever()
        (error,) = caught.value.exceptions
        assert isinstance(cast("Any", error).reason, Killed)
        assert it.inbox.in_flight == 0


@both
async def test_an_agent_that_cannot_come_back_in_time_is_replaced_and_its_work_done_once(
    runtime: SandboxRuntime, cache: Path
) -> None:
    it = world(runtime, COUNTING)
    async with boxes(runtime, cache, window=0.3) as found:
        it.feed(*range(50))
        out: list[Any] = []
        with pytest.RaisesGroup(pytest.RaisesExc(ChildExit), allow_unwrapped=True, flatten_subgroups=True) as caught:
            async with running(it, found):
                out += await collect(it, 5)
                sandbox = it.node.sandbox
                assert sandbox is not None
                assert sandbox.pid is not None
                os.kill(sandbox.pid, signal.SIGSTOP)
                found.cut()
                await trio.sleep_forever()
        (error,) = caught.value.exceptions
        assert "it did not come back within 0.3 s" in str(cast("Any", error).reason)
        async with running(it, found):
            out += await collect(it, 50 - len(out))
        assert out == [[n, n + 1] for n in range(50)]
        assert it.node.incarnation == 2
