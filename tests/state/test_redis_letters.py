"""What only letters in Redis do: what redis-cli sees, and what becomes of requests that were given up."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator

import pytest
import trio
from state.letter_samples import make_letter
from state.redis_servers import BreakingProxy, RedisProcess

from reflow_supervisor.errors import StateUnavailableError
from reflow_supervisor.state.letters import Bounds, DamagedLetterError
from reflow_supervisor.state.redis_letters import RedisLetters
from reflow_supervisor.state.redis_store import RedisStore
from reflow_supervisor.state.store import Append, Set, StateCommit

pytestmark = pytest.mark.trio

MANY = Bounds(1000, 10**9)


@pytest.fixture
async def store(redis_server: RedisProcess, namespace: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(redis_server.url, namespace=namespace)
    yield store
    await store.aclose()


@pytest.fixture
def letters(store: RedisStore) -> RedisLetters:
    return RedisLetters(store, MANY)


async def test_redis_cli_can_read_them(
    store: RedisStore, letters: RedisLetters, redis_server: RedisProcess, namespace: str
) -> None:
    await letters.bury(make_letter("x1"))
    await letters.mark(["x1"])
    answer = redis_server.command(f"HGET {namespace}#dead-letter:x1 letter")
    document = json.loads(answer.split(b"\r\n", 1)[1])
    assert (document["node"], document["cause"]["type"]) == ("a", "ValueError")
    size = int(answer.split(b"\r\n")[0][1:])
    assert redis_server.command(f"ZRANGE {namespace}#dead-letters 0 -1") == b"*1\r\n$2\r\nx1\r\n"
    assert redis_server.command(f"ZRANGE {namespace}#dead-letters-marked 0 -1") == b"*1\r\n$2\r\nx1\r\n"
    total = redis_server.command(f"HGET {namespace}#dead-letters-totals bytes")
    assert int(total.split(b"\r\n")[1]) == size
    await store.commit([StateCommit("a", "c1", (), settles="x1")])
    assert redis_server.command(f"EXISTS {namespace}#dead-letter:x1") == b":0\r\n"
    assert redis_server.command(f"HGET {namespace}#dead-letters-totals bytes") == b"$1\r\n0\r\n"


async def test_what_others_did_there_is_passed_over_or_named(
    letters: RedisLetters, redis_server: RedisProcess, namespace: str
) -> None:
    for n in range(1, 4):
        await letters.bury(make_letter(f"x{n}", n=n))
    redis_server.command(f"DEL {namespace}#dead-letter:x1")
    redis_server.command(f"HSET {namespace}#dead-letter:x2 entry oops letter oops")
    assert [e.id for e in (await letters.find(limit=10)).entries] == ["x3"]
    assert await letters.get("x1") is None
    with pytest.raises(DamagedLetterError):
        await letters.get("x2")
    redis_server.command(f"HSET {namespace}#dead-letters-totals bytes oops")
    assert await letters.remove(["x1", "x2", "x3"]) == ["x1", "x2", "x3"]
    assert await letters.bury(make_letter("x4", n=4))


@pytest.mark.parametrize("key", ["dead-letters", "dead-letters-marked", "dead-letters-totals", "dead-letter:x1"])
async def test_a_key_of_another_type_stops_everything_before_its_first_write(
    store: RedisStore, letters: RedisLetters, redis_server: RedisProcess, namespace: str, key: str
) -> None:
    await store.commit([StateCommit("a", "c0", (Set("k", b"0"),))])
    redis_server.command(f"SET {namespace}#{key} 1")
    why = f"begins with {namespace}# is not what docs/state.md says"
    with pytest.raises(StateUnavailableError, match=why):
        await store.commit([StateCommit("a", "c1", (Set("k", b"1"),), settles="x1")])
    with pytest.raises(StateUnavailableError, match=why):
        await letters.bury(make_letter("x1"))
    with pytest.raises(StateUnavailableError, match=why):
        await letters.remove(["x1"])
    assert (await store.fetch("a", ["k"]))["k"].value == b"0"
    redis_server.command(f"DEL {namespace}#{key}")
    assert await letters.bury(make_letter("x1"))
    await store.commit([StateCommit("a", "c1", (Set("k", b"1"),), settles="x1")])
    assert (await letters.find(limit=1)).total == 0


async def test_a_burial_whose_answer_was_lost_counts_once(
    proxy: BreakingProxy, letters: RedisLetters, namespace: str
) -> None:
    broken = RedisLetters(through := RedisStore(proxy.url, namespace=namespace), MANY)
    await broken.bury(make_letter("x0", n=9))
    proxy.cuts.append(("to client", 0))
    with pytest.raises(StateUnavailableError):
        await broken.bury(make_letter("x1"))
    assert (await letters.find(limit=9)).total == 2, "it was carried out"
    await letters.mark(["x1"])
    assert await broken.bury(make_letter("x1"))
    assert await letters.marked() == ["x1"], "and is not carried out again"
    await through.aclose()


async def test_a_burial_that_arrives_after_its_letter_was_replayed_brings_nothing_back(
    proxy: BreakingProxy, store: RedisStore, letters: RedisLetters, namespace: str
) -> None:
    broken = RedisLetters(through := RedisStore(proxy.url, namespace=namespace, timeout=0.1), MANY)
    await broken.bury(make_letter("x0", n=9))
    late = proxy.hold = trio.Event()
    with pytest.raises(StateUnavailableError):
        await broken.bury(make_letter("x1"))
    proxy.hold = None
    assert await broken.bury(make_letter("x1"))
    await letters.mark(["x1"])
    await store.commit([StateCommit("a", "run1:2", (Append("l", (b"1",)),), settles="x1")])
    late.set()
    for _ in range(20):
        await trio.sleep(0.002)
        assert [e.id for e in (await letters.find(limit=9)).entries] == ["x0"]
    await through.aclose()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_buried_marked_and_settled_over_connections_cut_anywhere(
    proxy: BreakingProxy, store: RedisStore, letters: RedisLetters, namespace: str, seed: int
) -> None:
    """Every letter that is settled had its effect once, and every other one is there."""
    rng = random.Random(seed)
    through = RedisStore(proxy.url, namespace=namespace)
    broken = RedisLetters(through, MANY)
    settled: list[int] = []

    async def persistently(call: object, *args: object) -> object:
        while True:
            try:
                return await call(*args)  # type: ignore[operator]
            except StateUnavailableError:
                continue

    with trio.fail_after(30):
        for n in range(1, 60):
            for _ in range(rng.randrange(4)):
                proxy.cuts.append(rng.choice([("to server", rng.randrange(4000)), ("to client", rng.randrange(100))]))
            await persistently(broken.bury, make_letter(f"x{n}", n=n))
            if rng.random() < 0.7:
                await persistently(broken.mark, [f"x{n}"])
                commit = StateCommit("a", f"r:{n}", (Append("l", (b"%d" % n,)),), settles=f"x{n}")
                await persistently(through.commit, [commit])
                settled.append(n)
    assert proxy.done > 20
    assert (await store.fetch("a", ["l"]))["l"].items == tuple(b"%d" % n for n in settled)
    assert await letters.ids() == [f"x{n}" for n in range(1, 60) if n not in settled]
    assert await letters.marked() == []
    await through.aclose()
