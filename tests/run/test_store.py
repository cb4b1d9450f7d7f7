"""The state store in trouble while sandboxes are killed: a counter's results and its state are exact."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest
import trio
from run.harness import COLLECT_ONE, FEED_ONE, IN_PORT, OUT_PORT, Workspace, command_line, descendants
from run.live import Live, live
from state.redis_servers import BreakingProxy, RedisProcess

from reflow_supervisor.network import dead_letters
from reflow_supervisor.state.redis_store import RedisStore
from reflow_supervisor.workspace import services

pytestmark = pytest.mark.slow

COUNTER = """from reflow import actor, Message

@actor(name="A", inports=["v"], outports=["o"])
async def a(context):
    v = context.get_payload().get("v").unwrap()
    state = context.get_state()
    state.push("seen", v)
    return {"o": Message.object({"n": state.increment("n"), "v": v})}
"""


def network(redis: str) -> str:
    return (
        f"workspace: {{sandbox: {{preload_count: 2}}, redis: {redis}}}\n"
        "network:\n  processes: {a: {component: A}}\n" + IN_PORT + OUT_PORT + "supervision:\n"
        "  {intensity: 1000, period: 1s, backoff: {initial: 1ms, max: 1ms}}\n"
    )


@pytest.fixture
def redis() -> Iterator[RedisProcess]:
    with tempfile.TemporaryDirectory(prefix="rs-", dir="/tmp") as name:
        server = RedisProcess(Path(name))
        try:
            server.start()
            yield server
        finally:
            server.kill()


@pytest.fixture
async def proxy(redis: RedisProcess) -> AsyncIterator[BreakingProxy]:
    path = redis.socket.with_name("proxy.sock")
    with trio.socket.socket(trio.socket.AF_UNIX) as server:
        await server.bind(os.fspath(path))
        server.listen(16)
        made = BreakingProxy(trio.SocketListener(server), redis.socket, path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.run)
            yield made
            nursery.cancel_scope.cancel()


async def counted(ws: Workspace, it: Live, count: int) -> None:
    """Waits until all results are there, and looks whether everything was counted once."""
    assert await it.until(lambda: it.collected >= count), it.log.getvalue()[-2000:]
    assert await it.state("a", "n", "seen") == {"n": count, "seen": list(range(1, count + 1))}


def exact(ws: Workspace, it: Live, count: int) -> None:
    assert it.outcome is not None
    assert (it.outcome.code, it.outcome.dead_letters) == (0, 0), it.log.getvalue()[-2000:]
    assert ws.rows() == [{"n": i, "v": i} for i in range(1, count + 1)]


@pytest.mark.trio
async def test_connections_are_cut_before_and_after_the_server_has_done_it(ws: Workspace, proxy: BreakingProxy) -> None:
    count, rng = 900, random.Random(7)
    ws.write("actors/a.actor.py", COUNTER)
    ws.write("reflow.yaml", network(f"{{url: '{proxy.url}'}}"))
    ws.feed(range(1, count + 1))
    async with live(ws, *FEED_ONE, *COLLECT_ONE, stays=True) as it, trio.open_nursery() as nursery:

        async def cut() -> None:
            for at in range(50, count, 20):
                await it.until(lambda at=at: it.collected >= at)  # type: ignore[misc]
                proxy.cuts.append(rng.choice([("to server", rng.randrange(4000)), ("to client", rng.randrange(60))]))

        nursery.start_soon(cut)
        assert await it.kill("a", 4, count // 5) == 4
        await counted(ws, it, count)
    exact(ws, it, count)
    assert proxy.done > 10


@pytest.mark.trio
async def test_the_embedded_server_is_killed_and_started_again(ws: Workspace) -> None:
    count = 900
    ws.write("actors/a.actor.py", COUNTER)
    ws.write("reflow.yaml", network("{fsync: always}"))
    ws.feed(range(1, count + 1))
    killed: set[int] = set()
    async with live(ws, *FEED_ONE, *COLLECT_ONE, stays=True) as it, trio.open_nursery() as nursery:

        async def kill_server() -> None:
            for at in range(100, count, 250):
                await it.until(lambda at=at: it.collected >= at)  # type: ignore[misc]
                while not (fresh := servers() - killed):
                    await trio.sleep(0.01)
                for pid in fresh:
                    os.kill(pid, signal.SIGKILL)
                killed.update(fresh)

        nursery.start_soon(kill_server)
        assert await it.kill("a", 4, count // 5) == 4
        await counted(ws, it, count)
    exact(ws, it, count)
    assert len(killed) == 4
    assert "the state store is back" in it.log.getvalue()


def servers() -> set[int]:
    return {pid for pid in descendants(os.getpid()) if "redis-server" in command_line(pid)}


@pytest.mark.trio
async def test_a_server_that_is_stopped_and_does_what_it_was_told_when_everybody_had_given_up(
    ws: Workspace, redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 600
    monkeypatch.setattr(services, "RedisStore", partial(RedisStore, timeout=0.2))
    ws.write("actors/a.actor.py", COUNTER)
    ws.write("reflow.yaml", network(f"{{url: '{redis.url}'}}"))
    ws.feed(range(1, count + 1))
    async with live(ws, *FEED_ONE, *COLLECT_ONE, stays=True) as it, trio.open_nursery() as nursery:

        async def stop() -> None:
            for at in (100, 300):
                await it.until(lambda at=at: it.collected >= at)  # type: ignore[misc]
                redis.signal(signal.SIGSTOP)
                said = it.log.getvalue().count("the state store is away")
                while it.log.getvalue().count("the state store is away") == said:
                    await trio.sleep(0.01)
                await trio.sleep(0.5)  # a few more are given up
                redis.signal(signal.SIGCONT)

        nursery.start_soon(stop)
        assert await it.kill("a", 3, count // 4) == 3
        await counted(ws, it, count)
    exact(ws, it, count)
    assert it.log.getvalue().count("the state store is back") >= 2


@pytest.mark.trio
async def test_dead_letters_wait_for_a_store_that_is_away_and_then_what_gives_something_up_waits_too(
    ws: Workspace, redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MOST_WAITING", 3)
    ws.actor('if v % 2:\n    raise ValueError("odd")\nreturn {"o": v}', options=', state_backend="memory"')
    ws.write("actors/b.actor.py", COUNTER.replace('"A"', '"B"'))
    ws.write(
        "reflow.yaml",
        network(f"{{url: '{redis.url}'}}").replace("{a: {component: A}}", "{a: {component: A}, b: {component: B}}"),
    )
    ws.feed([2])
    read, write = os.pipe()
    with os.fdopen(write, "wb", buffering=0) as feed:
        async with live(ws, *COLLECT_ONE, "--feed", f"v=/dev/fd/{read}", stays=True) as it:
            os.close(read)
            feed.write(b"2\n")
            assert await it.until(lambda: it.collected == 1)
            redis.kill()
            feed.write("".join(f"{n}\n" for n in range(1, 20)).encode())
            letters = it.router.dead_letters
            assert await it.until(lambda: letters.full)
            assert await it.until(lambda: it.collected == 4)  # 2, 4 and 6: those before the fourth odd one
            await trio.sleep(0.2)
            assert (it.collected, len(letters)) == (4, 3), "poison goes no further than that"
            redis.start()
            assert await it.until(lambda: it.collected == 10 and len(letters.left) == 10 and not len(letters))
            found = json.loads(redis.command("ZCARD reflow#dead-letters")[1:])
            assert found == 10
            assert "dead letters wait, " in it.log.getvalue()
            feed.close()
    assert it.outcome is not None
    assert (it.outcome.code, it.outcome.dead_letters, it.outcome.unkept) == (1, 10, 0)


def test_what_a_killed_supervisor_leaves_is_a_prefix_of_what_it_was_fed_with_nothing_half(ws: Workspace) -> None:
    """Mailboxes are gone with it: what was fed and not committed is lost, and so are results on their way. State is
    not."""
    ws.write("actors/a.actor.py", COUNTER)
    ws.write("actors/s.actor.py", SHOW)
    config = network("{fsync: always}")
    ws.write("reflow.yaml", config)
    ws.feed(range(1, 5001))
    run = [sys.executable, "-m", "reflow_supervisor", "run", "--headless", *FEED_ONE, *COLLECT_ONE]
    with (ws.path / "stderr").open("wb") as stderr, subprocess.Popen(run, cwd=ws.path, stderr=stderr) as process:
        out = ws.path / "out.jsonl"
        deadline = time.monotonic() + 40
        while not (out.exists() and out.stat().st_size > 10_000):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
    complete = (ws.path / "out.jsonl").read_text().rpartition("\n")[0].splitlines()
    results = [json.loads(line) for line in complete]
    assert results == [{"n": i, "v": i} for i in range(1, len(results) + 1)]
    # The next run shows the state that the last one left.
    ws.write("reflow.yaml", config.replace("component: A", "component: Show"))
    ws.feed([0])
    done = ws.run()
    assert done.code == 0, done.stderr
    (state,) = ws.rows()
    assert state["seen"] == list(range(1, state["n"] + 1)), "each once, in order, and no commit in part"
    assert len(results) <= state["n"] < 5000


SHOW = """from reflow import actor

@actor(name="Show", inports=["v"], outports=["o"])
async def show(context):
    state = context.get_state()
    return {"o": {"n": state.get("n"), "seen": state.get("seen")}}
"""
