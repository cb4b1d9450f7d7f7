"""What only the Redis store does: what stands in Redis, and what becomes of a commit when the connection breaks."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing
from state.redis_servers import BreakingProxy, RedisProcess

from reflow_supervisor.errors import StateUnavailableError, UserError
from reflow_supervisor.state.redis_store import RedisStore
from reflow_supervisor.state.retrying import Availability, RetryDelays, RetryingStore
from reflow_supervisor.state.store import (
    Append,
    Delete,
    Kind,
    Set,
    SetList,
    StateCommit,
    StateCorruptError,
    StateStore,
    Stored,
    Trim,
)

pytestmark = pytest.mark.trio


@pytest.fixture
async def store(redis_server: RedisProcess, namespace: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(redis_server.url, namespace=namespace)
    yield store
    await store.aclose()


def append(actor: str, number: int) -> StateCommit:
    """A commit that, applied twice or not at all, would show."""
    return StateCommit(actor, f"c{number}", (Append("l", (b"%d" % number,)), Set("n", b"%d" % number)))


# ---- what stands in Redis ----


async def test_redis_cli_can_read_and_count(store: RedisStore, redis_server: RedisProcess, namespace: str) -> None:
    await store.commit([StateCommit("node", "c1", (Set("n", b"41"), SetList("l", (b'"x"', b"2"))))])
    assert redis_server.command(f"INCR {namespace}:node:n") == b":42\r\n"
    assert redis_server.command(f"LRANGE {namespace}:node:l 0 -1") == b'*2\r\n$3\r\n"x"\r\n$1\r\n2\r\n'
    assert redis_server.command(f"HGETALL {namespace}#commits") == b"*2\r\n$4\r\nnode\r\n$2\r\nc1\r\n"
    assert (await store.fetch("node", ["n"]))["n"] == Stored(Kind.VALUE, value=b"42")


async def test_what_others_wrote_under_a_key_is_named(
    store: RedisStore, redis_server: RedisProcess, namespace: str
) -> None:
    redis_server.command(f"HSET {namespace}:a:hash f v")
    redis_server.command(f"SET {namespace}:a:text hello")
    redis_server.command(f"RPUSH {namespace}:a:list 1 oops")
    with pytest.raises(StateCorruptError, match="'hash' holds a Redis hash where a value or a list is expected"):
        await store.fetch("a", ["hash"])
    for key in ("text", "list"):
        with pytest.raises(StateCorruptError, match=f"'{key}' holds text that is no JSON"):
            await store.fetch("a", [key])
    with pytest.raises(StateCorruptError, match="'hash' holds a Redis hash where a list"):
        await store.commit([StateCommit("a", "c1", (Set("k", b"1"), Append("hash", (b"1",))))])
    assert await store.fetch("a", ["k"]) == {}
    # What others did does not stop the actor from making the key its own again.
    await store.commit([StateCommit("a", "c1", (Set("hash", b"1"),))])
    assert (await store.fetch("a", ["hash"]))["hash"].value == b"1"


async def test_keys_that_no_script_wrote_are_passed_over(
    store: RedisStore, redis_server: RedisProcess, namespace: str
) -> None:
    redis_server.command(f'SET "{namespace}:a:\\xff" 1')
    await store.commit([StateCommit("a", "c1", (Set("k", b"1"),))])
    assert await store.keys("a") == ["k"]


async def test_a_marker_that_is_no_hash_says_which_key_to_delete(
    store: RedisStore, redis_server: RedisProcess, namespace: str
) -> None:
    redis_server.command(f"SET {namespace}#commits 1")
    with pytest.raises(StateUnavailableError, match=f"begins with {namespace}# is not what"):
        await store.commit([append("a", 1)])
    redis_server.command(f"DEL {namespace}#commits")
    await store.commit([append("a", 1)])


async def test_commits_are_remembered_over_a_restart_of_the_supervisor(
    store: RedisStore, redis_server: RedisProcess, namespace: str
) -> None:
    await store.commit([append("a", 1), append("a", 2)])
    other = RedisStore(redis_server.url, namespace=namespace)
    await other.commit([append("a", 1), append("a", 2), append("a", 3)])
    # The first one believes that 2 is the last, and is put right by the server.
    await store.commit([append("a", 2), append("a", 3), append("a", 4)])
    assert (await store.fetch("a", ["l"]))["l"].items == (b"1", b"2", b"3", b"4")
    await other.aclose()


async def test_state_that_was_set_back_is_told_and_what_is_only_in_doubt_is_not(
    redis_server: RedisProcess, namespace: str, proxy: BreakingProxy
) -> None:
    told: list[str] = []
    store = RedisStore(proxy.url, namespace=namespace, on_set_back=told.append)
    await store.commit([append("a", 1), append("b", 1)])
    proxy.cuts.append(("to client", 0))
    with pytest.raises(StateUnavailableError):
        await store.commit([append("a", 2)])
    await store.commit([append("a", 2), append("a", 3)])
    assert told == []
    redis_server.command(f"HSET {namespace}#commits a c2")
    await store.commit([append("b", 2)])
    assert told == []
    await store.commit([append("a", 4), append("b", 3)])
    assert told == ["a"], "found when it commits"
    redis_server.command(f"DEL {namespace}#commits")
    await store.commit([append("b", 4)])
    await store.commit([append("b", 5)])
    assert told == ["a", "b"]
    await store.clear("b")
    await store.commit([append("b", 6)])
    assert told == ["a", "b"]
    await store.aclose()


async def test_the_scripts_are_sent_again_to_a_server_that_forgot_them(
    store: RedisStore, redis_server: RedisProcess
) -> None:
    await store.commit([append("a", 1)])
    redis_server.command("SCRIPT FLUSH")
    await store.commit([append("a", 2), append("b", 1)])
    assert (await store.fetch("a", ["l"]))["l"].items == (b"1", b"2")


# ---- a Redis that is away ----


async def test_check_tells_the_version(store: RedisStore) -> None:
    assert int((await store.check()).split(".")[0]) >= 6


async def test_nobody_there_is_unavailable_and_shows_no_password() -> None:
    store = RedisStore("redis://user:hunter2@127.0.0.1:1/0", namespace="n")
    with pytest.raises(StateUnavailableError, match=r"redis://127\.0\.0\.1:1/0: .*refused") as caught:
        await store.fetch("a", ["k"])
    assert "hunter2" not in str(caught.value)
    with pytest.raises(StateUnavailableError):
        await store.check()
    await store.aclose()


async def test_what_is_no_url_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match=r"redis\.url: not a Redis URL"):
        RedisStore("http://localhost", namespace="n")


async def test_refused_credentials_are_the_users_mistake(redis_server: RedisProcess, namespace: str) -> None:
    redis_server.command(f"ACL SETUSER {namespace} on >right ~* +@read +info +auth")
    for password, reason in (("wrong", "user and password"), ("right", "allow the user")):
        store = RedisStore(f"unix://{namespace}:{password}@{redis_server.socket}", namespace=namespace)
        with pytest.raises(UserError, match=reason):
            await store.check()
        await store.aclose()
    redis_server.command(f"ACL DELUSER {namespace}")


async def test_a_redis_that_refuses_writes_is_unavailable_with_its_words(
    store: RedisStore, redis_server: RedisProcess
) -> None:
    await store.commit([append("a", 1)])
    redis_server.command("CONFIG SET maxmemory 1")
    try:
        with pytest.raises(StateUnavailableError, match=r"used memory > 'maxmemory'\.$"):
            await store.commit([append("a", 2), append("b", 1)])
        assert (await store.fetch("a", ["l"]))["l"].items == (b"1",)
        # Redis looks at its memory before a script's first write only: all or nothing here too.
        await store.commit([StateCommit("c", "c1", (Delete("n"), Append("l", (b"1",))))])
        assert (await store.fetch("c", ["l"]))["l"].items == (b"1",)
    finally:
        redis_server.command("CONFIG SET maxmemory 0")
    await store.commit([append("a", 2), append("b", 1)])
    assert (await store.fetch("a", ["l"]))["l"].items == (b"1", b"2")


async def test_a_silent_redis_is_given_up_after_the_timeout(proxy: BreakingProxy, namespace: str) -> None:
    proxy.hold = trio.Event()
    store = RedisStore(proxy.url, namespace=namespace, timeout=0.05)
    start = time.monotonic()
    with pytest.raises(StateUnavailableError, match="Timeout"):
        await store.commit([append("a", 1)])
    assert time.monotonic() - start < 1
    await store.aclose()


async def test_a_commit_that_has_started_is_not_cut_short(store: RedisStore) -> None:
    await store.commit([append("a", 1)])
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.commit, [append("a", 2)])
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert (await store.fetch("a", ["l"]))["l"].items == (b"1", b"2")


# ---- once, whatever breaks ----


async def test_a_request_that_arrives_after_it_was_given_up_changes_nothing(
    proxy: BreakingProxy, redis_server: RedisProcess, namespace: str
) -> None:
    direct = RedisStore(redis_server.url, namespace=namespace)
    await direct.commit([append("a", 0), append("b", 0)])
    # The markers are read, then the road is blocked for the commit itself.
    store = RedisStore(proxy.url, namespace=namespace, timeout=0.1)
    await store.commit([append("a", 0), append("b", 0)])
    late = proxy.hold = trio.Event()
    with pytest.raises(StateUnavailableError):
        await store.commit([append("a", 1), append("b", 1)])
    proxy.hold = None
    await store.commit([append("a", 1), append("b", 1)])
    await store.commit([append("a", 2)])
    late.set()
    for _ in range(20):
        await trio.sleep(0.002)
        found = await direct.fetch("a", ["l", "n"])
        assert found["l"].items == (b"0", b"1", b"2")
        assert found["n"].value == b"2"
    await store.aclose()
    await direct.aclose()


def make_batches(rng: random.Random, count: int) -> list[list[StateCommit]]:
    """Batches of several commits of several actors, each with its next number."""
    numbers = dict.fromkeys("abc", 0)
    batches: list[list[StateCommit]] = []
    for _ in range(count):
        batch: list[StateCommit] = []
        for actor in rng.choices("abc", k=rng.randint(1, 6)):
            batch.append(append(actor, numbers[actor]))
            numbers[actor] += 1
        batches.append(batch)
    return batches


async def assert_applied_once(store: StateStore, batches: list[list[StateCommit]]) -> None:
    for actor in "abc":
        expected = [commit.ops[0].items[0] for batch in batches for commit in batch if commit.actor == actor]  # type: ignore[union-attr]
        found = await store.fetch(actor, ["l", "n"])
        assert list(found["l"].items) == expected, f"actor {actor}"
        assert found["n"].value == expected[-1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_every_commit_is_applied_once_over_connections_cut_anywhere(
    proxy: BreakingProxy, redis_server: RedisProcess, namespace: str, seed: int
) -> None:
    rng = random.Random(seed)
    direct = RedisStore(redis_server.url, namespace=namespace)
    changes: list[Availability] = []
    store = RetryingStore(
        RedisStore(proxy.url, namespace=namespace),
        rng=rng,
        on_change=changes.append,
        delays=RetryDelays(initial=0.0005, longest=0.001),
    )
    batches = make_batches(rng, 60)
    for batch in batches:
        # Answers are short, so where to cut them is drawn from fewer bytes.
        for _ in range(rng.randrange(4)):
            proxy.cuts.append(rng.choice([("to server", rng.randrange(6000)), ("to client", rng.randrange(200))]))
        with trio.fail_after(20):
            await store.commit(batch)
    await assert_applied_once(direct, batches)
    assert proxy.done > 30
    assert changes
    await store.aclose()
    await direct.aclose()


async def test_trim_is_applied_once_too(proxy: BreakingProxy, namespace: str) -> None:
    store = RedisStore(proxy.url, namespace=namespace)
    await store.commit([StateCommit("a", "c1", (SetList("l", tuple(b"%d" % i for i in range(5))),))])
    pop = StateCommit("a", "c2", (Trim("l", left=1),))
    proxy.cuts.append(("to client", 0))
    with pytest.raises(StateUnavailableError):
        await store.commit([pop])
    await store.commit([pop])
    assert (await store.fetch("a", ["l"]))["l"].items == (b"1", b"2", b"3", b"4")
    await store.aclose()
