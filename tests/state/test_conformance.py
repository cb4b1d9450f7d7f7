"""What every store does, checked of each of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from reflow_supervisor.state.store import (
    Append,
    Delete,
    Expire,
    Kind,
    Set,
    SetList,
    StateCommit,
    StateCorruptError,
    StateOp,
    StateStore,
    Stored,
    Trim,
)

pytestmark = pytest.mark.trio

_ids = iter(range(1_000_000))


async def commit(store: StateStore, *ops: StateOp, actor: str = "a") -> None:
    await store.commit([StateCommit(actor, f"c{next(_ids)}", ops)])


async def items(store: StateStore, key: str, actor: str = "a") -> list[bytes]:
    found = await store.fetch(actor, [key])
    return list(found[key].items) if key in found else []


async def test_fetch_gives_what_was_set(store: StateStore) -> None:
    await commit(store, Set("k", b'{"x":[1,2.5,null]}'), Set("n", b"7"), SetList("l", (b"1", b'"two"')))
    assert await store.fetch("a", ["k", "n", "l", "absent"]) == {
        "k": Stored(Kind.VALUE, value=b'{"x":[1,2.5,null]}'),
        "n": Stored(Kind.VALUE, value=b"7"),
        "l": Stored(Kind.LIST, items=(b"1", b'"two"')),
    }


async def test_fetch_of_no_keys_is_empty(store: StateStore) -> None:
    assert await store.fetch("a", []) == {}


async def test_an_empty_batch_changes_nothing(store: StateStore) -> None:
    await store.commit([])
    assert await store.keys("a") == []


async def test_a_commit_without_operations_is_remembered(store: StateStore) -> None:
    empty = StateCommit("a", "c1", ())
    await store.commit([empty])
    await store.commit([empty, StateCommit("a", "c2", (Append("l", (b"1",)),))])
    assert await items(store, "l") == [b"1"]


async def test_set_replaces_a_list_and_set_list_a_value(store: StateStore) -> None:
    await commit(store, SetList("k", (b"1",)), Set("v", b"1"))
    await commit(store, Set("k", b"2"), SetList("v", (b"3",)))
    assert await store.fetch("a", ["k", "v"]) == {
        "k": Stored(Kind.VALUE, value=b"2"),
        "v": Stored(Kind.LIST, items=(b"3",)),
    }


async def test_an_empty_list_is_no_key(store: StateStore) -> None:
    await commit(store, SetList("l", (b"1", b"2")), SetList("m", (b"1",)))
    await commit(store, SetList("l", ()), Trim("m", left=1))
    await commit(store, Append("n", ()))
    assert await store.fetch("a", ["l", "m", "n"]) == {}
    assert await store.keys("a") == []


async def test_append_makes_a_list_and_adds_at_its_end(store: StateStore) -> None:
    await commit(store, Append("l", (b"1",)))
    await commit(store, Append("l", (b"2", b"3")))
    assert await items(store, "l") == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    ("left", "right", "rest"),
    [(0, 0, "1234"), (1, 0, "234"), (0, 1, "123"), (1, 2, "2"), (2, 2, ""), (3, 3, ""), (9, 0, ""), (0, 9, "")],
)
async def test_trim_takes_from_both_ends(store: StateStore, left: int, right: int, rest: str) -> None:
    await commit(store, SetList("l", (b"1", b"2", b"3", b"4")))
    await commit(store, Trim("l", left, right))
    assert b"".join(await items(store, "l")).decode() == rest


async def test_trim_of_an_absent_list_is_nothing(store: StateStore) -> None:
    await commit(store, Trim("l", left=1))
    assert await store.keys("a") == []


async def test_a_list_of_many_items_comes_back_whole(store: StateStore) -> None:
    many = tuple(b"%d" % i for i in range(9001))
    await commit(store, Append("l", many))
    assert await items(store, "l") == list(many)


async def test_a_big_value_comes_back_whole(store: StateStore) -> None:
    big = b'"' + "ä€𝄞".encode() * 100_000 + b'"'
    await commit(store, Set("k", big))
    assert (await store.fetch("a", ["k"]))["k"].value == big


async def test_delete_takes_values_and_lists(store: StateStore) -> None:
    await commit(store, Set("k", b"1"), SetList("l", (b"1",)))
    await commit(store, Delete("k"), Delete("l"), Delete("absent"))
    assert await store.keys("a") == []


async def test_operations_of_one_commit_apply_in_order(store: StateStore) -> None:
    await commit(store, Set("k", b"1"), Delete("k"), Append("k", (b"1", b"2")), Trim("k", left=1), Append("k", (b"3",)))
    assert await items(store, "k") == [b"2", b"3"]


async def test_actors_do_not_meet(store: StateStore) -> None:
    await commit(store, Set("b:k", b"1"), actor="a")
    await commit(store, Set("k", b"2"), actor="a:b")
    await commit(store, Set("k", b"3"), actor="a%3Ab")
    assert (await store.fetch("a", ["b:k"]))["b:k"].value == b"1"
    assert (await store.fetch("a:b", ["k"]))["k"].value == b"2"
    assert await store.keys("a") == ["b:k"]
    assert await store.keys("a*") == []
    await store.clear("a")
    assert await store.keys("a:b") == ["k"]


# ---- once ----


async def test_a_commit_given_again_is_not_applied_again(store: StateStore) -> None:
    batch = [StateCommit("a", f"c{i}", (Append("l", (b"%d" % i,)),)) for i in range(3)]
    await store.commit(batch)
    await store.commit(batch)
    await store.commit([*batch, StateCommit("a", "c3", (Append("l", (b"3",)),))])
    assert await items(store, "l") == [b"0", b"1", b"2", b"3"]


async def test_a_commit_that_stands_twice_in_a_batch_is_applied_once(store: StateStore) -> None:
    twice = StateCommit("a", "c1", (Append("l", (b"1",)),))
    await store.commit([twice, twice])
    assert await items(store, "l") == [b"1"]


async def test_actors_in_one_batch_are_told_apart(store: StateStore) -> None:
    first = [StateCommit(actor, "c1", (Append("l", (b"1",)),)) for actor in "ab"]
    await store.commit(first[:1])
    await store.commit([*first, StateCommit("a", "c2", (Append("l", (b"2",)),))])
    assert await items(store, "l", "a") == [b"1", b"2"]
    assert await items(store, "l", "b") == [b"1"]


async def test_calls_for_different_actors_may_overlap(store: StateStore) -> None:
    async def write(actor: str) -> None:
        for i in range(10):
            await store.commit([StateCommit(actor, f"c{i}", (Append("l", (b"%d" % i,)),))])

    async with trio.open_nursery() as nursery:
        for actor in "abcdefgh":
            nursery.start_soon(write, actor)
    for actor in "abcdefgh":
        assert await items(store, "l", actor) == [b"%d" % i for i in range(10)]


# ---- nothing ----


@pytest.mark.parametrize("op", [Append("v", (b"1",)), Trim("v", left=1)])
async def test_a_list_operation_on_a_value_refuses_the_whole_commit(store: StateStore, op: StateOp) -> None:
    await commit(store, Set("v", b"1"))
    with pytest.raises(StateCorruptError, match=r"actor 'a': the key 'v' holds a value where a list") as caught:
        await commit(store, Set("before", b"1"), Append("l", (b"1",)), op, Set("behind", b"1"))
    assert (caught.value.actor, caught.value.key) == ("a", "v")
    assert await store.keys("a") == ["v"]


async def test_what_a_commit_itself_made_decides_what_fits(store: StateStore) -> None:
    await commit(store, Set("v", b"1"))
    with pytest.raises(StateCorruptError, match="'new'"):
        await commit(store, Set("new", b"1"), Append("new", (b"1",)))
    await commit(store, Delete("v"), Append("v", (b"1",)))
    await commit(store, Set("w", b"1"), Expire("w", 0), Append("w", (b"2",)))
    assert await items(store, "v") == [b"1"]
    assert await items(store, "w") == [b"2"]


async def test_a_refused_commit_holds_up_its_own_actor_only(store: StateStore) -> None:
    await commit(store, Set("v", b"1"), actor="bad")
    bad = StateCommit("bad", "b1", (Append("v", (b"1",)),))
    behind = StateCommit("bad", "b2", (Set("behind", b"1"),))
    good = [StateCommit("good", f"g{i}", (Append("l", (b"%d" % i,)),)) for i in range(2)]
    with pytest.raises(StateCorruptError, match="'bad'"):
        await store.commit([good[0], bad, behind, good[1]])
    assert await items(store, "l", "good") == [b"0", b"1"]
    assert await store.keys("bad") == ["v"]
    await store.commit(good)
    await store.commit([behind])
    assert await items(store, "l", "good") == [b"0", b"1"]
    assert await store.keys("bad") == ["behind", "v"]


# ---- life ----


async def test_a_key_without_ttl_stays(store: StateStore) -> None:
    await commit(store, Set("k", b"1"), Append("l", (b"1",)))
    assert {stored.ttl for stored in (await store.fetch("a", ["k", "l"])).values()} == {None}


async def test_a_key_expires(store: StateStore) -> None:
    await commit(store, Set("k", b"1", ttl=40), SetList("l", (b"1",), ttl=40), Append("m", (b"1",), ttl=40))
    ttls = {stored.ttl for stored in (await store.fetch("a", ["k", "l", "m"])).values()}
    assert all(ttl is not None and 0 < ttl <= 40 for ttl in ttls)
    await trio.sleep(0.06)
    assert await store.fetch("a", ["k", "l", "m"]) == {}
    assert await store.keys("a") == []
    await commit(store, Append("k", (b"2",)))
    assert await items(store, "k") == [b"2"]


async def test_expire_sets_lifts_and_ends_a_life(store: StateStore) -> None:
    await commit(store, Set("k", b"1"), Set("m", b"1", ttl=50_000), Set("n", b"1"))
    await commit(store, Expire("k", 60_000), Expire("m", None), Expire("n", 0), Expire("absent", 1000))
    found = await store.fetch("a", ["k", "m", "n", "absent"])
    assert found.keys() == {"k", "m"}
    assert 59_000 < (found["k"].ttl or 0) <= 60_000
    assert found["m"].ttl is None


async def test_set_forgets_an_earlier_life_and_append_keeps_it(store: StateStore) -> None:
    await commit(store, Set("k", b"1", ttl=60_000), SetList("l", (b"1", b"2", b"3"), ttl=60_000))
    await commit(store, Set("k", b"2"), Append("l", (b"4",)), Trim("l", left=1))
    found = await store.fetch("a", ["k", "l"])
    assert found["k"].ttl is None
    assert 59_000 < (found["l"].ttl or 0) <= 60_000


async def test_every_write_gets_the_default_life_but_where_it_has_its_own(
    make_store: Callable[..., StateStore],
) -> None:
    store = make_store(ttl=100)
    await commit(store, Set("k", b"1"), SetList("l", (b"1", b"2")), Append("m", (b"1",)), Set("own", b"1", ttl=5_000))
    await commit(store, Expire("l", 1_000), Expire("k", None))
    found = await store.fetch("a", ["k", "l", "m", "own"])
    assert found["k"].ttl is None
    assert 0 < (found["l"].ttl or 0) <= 1_000
    assert 99_000 < (found["m"].ttl or 0) <= 100_000
    assert 4_000 < (found["own"].ttl or 0) <= 5_000
    await commit(store, Trim("l", left=1))
    assert 99_000 < ((await store.fetch("a", ["l"]))["l"].ttl or 0) <= 100_000


# ---- keys ----


async def test_keys_are_matched_sorted_and_without_prefix(store: StateStore) -> None:
    names = ["user:1", "user:2", "user:10", "weird*[?]\\^-", "ü", "other"]
    await commit(store, *(Set(name, b"1") for name in names))
    await commit(store, Set("user:1", b"1"), actor="b")
    assert await store.keys("a") == sorted(names)
    assert await store.keys("a", "user:*") == ["user:1", "user:10", "user:2"]
    assert await store.keys("a", "user:?") == ["user:1", "user:2"]
    assert await store.keys("a", "user:[^1]") == ["user:2"]
    assert await store.keys("a", r"weird\*\[\?\]\\\^-") == ["weird*[?]\\^-"]
    assert await store.keys("a", "?") == ["ü"]
    assert await store.keys("nobody") == []


@pytest.mark.parametrize("actor", ["*", "[a-z]", "a?", "back\\slash", "ü:%"])
async def test_an_actor_may_be_named_like_a_pattern(store: StateStore, actor: str) -> None:
    await commit(store, Set("k", b"1"), actor=actor)
    await commit(store, Set("k", b"1"), actor="ab")
    assert await store.keys(actor) == ["k"]
    await store.clear(actor)
    assert await store.keys(actor) == []
    assert await store.keys("ab") == ["k"]


async def test_clear_forgets_keys_and_commits(store: StateStore) -> None:
    first = StateCommit("a", "c1", (Append("l", (b"1",)), Set("k", b"1")))
    await store.commit([first])
    await store.clear("a")
    assert await store.keys("a") == []
    await store.commit([first])
    assert await items(store, "l") == [b"1"]
    await store.clear("nobody")
