"""How dead letters come back: once each, in order, over the ends of runs; and what an operator may do with them."""

from __future__ import annotations

import random

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from workspace.letters_world import FaultyLetters, LettersWorld, plain, settled

from reflow_supervisor.network.component import Component, PortDecl, Runtime
from reflow_supervisor.state.letters import Bounds, DamagedLetterError, Letter
from reflow_supervisor.state.memory_letters import MemoryLetters
from reflow_supervisor.workspace.replays import AT_ONCE


@pytest.mark.trio
class TestLive:
    async def test_a_replay_that_is_committed_takes_its_letter_away(self) -> None:
        world = LettersWorld()
        async with world.kept():
            first, second = world.give_up(1, 2)
            await settled()
            assert (await world.desk.replay([first])).done == [first]
            await settled()
            listed = await world.desk.find(limit=9)
            assert ([e.id for e in listed.entries], listed.replaying) == ([second, first], frozenset([first]))
            activation = world.take()
            assert plain(activation) == [1]
            assert not world.router.idle
            world.commit(activation)
            assert await world.store.ids() == [second]
            assert world.router.idle
            assert world.letters.left == {second}

    async def test_one_that_fails_again_is_the_same_letter_with_its_count_going_on(self) -> None:
        world = LettersWorld()
        async with world.kept():
            (id,) = world.give_up(1)
            await settled()
            for times in (2, 3):
                await world.desk.replay([id])
                await settled()
                assert await world.store.marked() == [id]
                assert world.fail(world.take()) == id
                await settled()
                (entry,) = (await world.desk.find(limit=9)).entries
                assert (entry.id, entry.attempts, entry.burials, entry.marked) == (id, times, times, False)
            assert world.router.idle

    async def test_all_in_the_order_in_which_they_died_each_to_its_node(self) -> None:
        world = LettersWorld()
        async with world.kept():
            world.give_up(1, 2)
            world.give_up(10, node="b")
            world.give_up(3)
            await settled()
            done = await world.desk.replay(None)
            assert (len(done.done), done.refused) == (4, {})
            await settled()
            assert [plain(world.take()) for _ in range(3)] == [[1], [2], [3]]
            assert plain(world.take("b")) == [10, 10], "the whole input set"

    async def test_of_one_node_only(self) -> None:
        world = LettersWorld()
        async with world.kept():
            world.give_up(1)
            (b,) = world.give_up(10, node="b")
            await settled()
            assert (await world.desk.replay(None, "b")).done == [b]
            assert [e.id for e in (await world.desk.find(limit=9, node="b")).entries] == [b]

    async def test_asked_for_twice_it_comes_once(self) -> None:
        world = LettersWorld()
        async with world.kept():
            (id,) = world.give_up(1)
            await settled()
            dones = []
            async with trio.open_nursery() as nursery:

                async def ask() -> None:
                    dones.append(await world.desk.replay([id, id]))

                nursery.start_soon(ask)
                nursery.start_soon(ask)
            again = await world.desk.replay([id])
            assert again.refused == {id: "it is being replayed already"}
            assert (await world.desk.replay(None)).done == []
            await settled()
            world.take()
            assert world.inboxes["a"].take() is None

    async def test_a_node_gets_only_so_many_at_once_and_another_does_not_wait_for_it(self) -> None:
        world = LettersWorld()
        async with world.kept():
            world.give_up(*range(AT_ONCE + 5))
            world.give_up(100, node="b")
            await settled()
            await world.desk.replay(None)
            await settled()
            assert world.inboxes["a"].replays == AT_ONCE
            assert plain(world.take("b")) == [100, 100]
            for n in range(AT_ONCE + 5):
                activation = world.take()
                assert plain(activation) == [n]
                world.commit(activation)
                await settled()

    async def test_why_a_letter_cannot_come_back(self) -> None:
        world = LettersWorld()
        async with world.kept():
            a, b = *world.give_up(1), *world.give_up(10, node="b")
            await settled()
            world.components["a"] = Component("A2", Runtime.PYTHON, (PortDecl("other"),))
            del world.components["b"]
            done = await world.desk.replay([a, b, "zz"])
            assert done.done == []
            assert done.refused == {
                a: "A2 has no inport 'in' any more",
                b: "the network has no node 'b' any more",
                "zz": "there is no such dead letter",
            }
            assert await world.store.marked() == []
            assert world.router.idle

    async def test_one_that_changed_its_node_between_is_unmarked_and_said(self, autojump_clock: object) -> None:
        world = LettersWorld()
        assert isinstance(world.store, FaultyLetters)
        async with world.kept():
            a, b = world.give_up(1, 2)
            await settled()
            world.store.away = True
            await world.desk.replay([a, b])
            world.components["a"] = Component("A2", Runtime.PYTHON, (PortDecl("other"),))
            world.store.away = False
            await trio.sleep(5)
            assert await world.store.marked() == []
            assert world.texts("warning")[-1] == f"dead letter {b} cannot be replayed: A2 has no inport 'in' any more"
            assert (world.letters.replaying, world.router.idle) == (set(), True)

    async def test_one_that_somebody_took_away_between_is_no_longer_waited_for(self, autojump_clock: object) -> None:
        world = LettersWorld()
        assert isinstance(world.store, FaultyLetters)
        async with world.kept():
            a, b = world.give_up(1, 2)
            await settled()
            world.store.away = True
            await world.desk.replay([a, b])
            await world.store.remove([a])
            world.store.away = False
            await trio.sleep(5)
            activation = world.take()
            assert plain(activation) == [2]
            world.commit(activation)
            assert world.router.idle

    async def test_what_is_being_replayed_or_not_kept_yet_is_not_dropped(self, autojump_clock: object) -> None:
        world = LettersWorld()
        assert isinstance(world.store, FaultyLetters)
        async with world.kept():
            a, b = world.give_up(1, 2)
            await settled()
            await world.desk.replay([a])
            world.store.away = True
            (c,) = world.give_up(3)
            done = await world.desk.drop([a, b, c, "zz"])
            assert list(done.done) == [b]
            assert done.refused == {
                a: "it is being replayed",
                c: "it is not in the store yet",
                "zz": "there is no such dead letter",
            }
            assert (await world.desk.replay([c])).refused == {c: "there is no such dead letter"}
            assert world.letters.left == {a, c}
            letter = await world.desk.get(c)
            assert letter is not None
            assert letter.cause.message == "3"


@pytest.mark.trio
class TestOverRuns:
    async def test_what_was_marked_is_taken_up_first_thing_and_the_run_waits_for_it(self) -> None:
        before = LettersWorld()
        async with before.kept():
            a, b, c = before.give_up(1, 2, 3)
        await before.store.mark([c, a])
        world = LettersWorld(store=before.store, run="run2")
        assert not world.router.idle, "it does not end before it has looked"
        async with world.kept():
            first, second = world.take(), world.take()
            assert (plain(first), plain(second)) == ([3], [1])
            assert first.replay is not None
            assert first.replay.letter == c
            world.commit(first)
            world.commit(second)
            assert (world.router.idle, await world.store.ids()) == (True, [b])

    async def test_killed_before_the_outcome_the_next_run_has_it_again(self) -> None:
        before = LettersWorld()
        async with before.kept():
            (id,) = before.give_up(1)
            await settled()
            await before.desk.replay([id])
            await settled()
            before.take()
        world = LettersWorld(store=before.store, run="run2")
        async with world.kept():
            world.commit(world.take())
        assert await world.store.ids() == []

    async def test_when_the_network_drains_what_waits_stays_marked_for_the_next_run(self) -> None:
        world = LettersWorld()
        async with world.kept():
            ids = world.give_up(*range(AT_ONCE + 3))
            await settled()
            await world.desk.replay(None)
            await settled()
            world.router.drain()
            world.router.bump()
            await settled()
            assert world.texts("info") == ["3 dead letters wait for the next run to be replayed"]
            for _ in range(AT_ONCE):
                world.commit(world.take())
            assert (world.router.idle, await world.store.marked()) == (True, ids[AT_ONCE:])
            assert world.letters.replaying == set()

    async def test_a_network_that_drains_before_it_was_looked_what_is_marked_ends(self, autojump_clock: object) -> None:
        world = LettersWorld()
        assert isinstance(world.store, FaultyLetters)
        world.store.away = True
        async with world.kept():
            await trio.sleep(5)
            assert not world.router.idle
            world.router.drain()
            await settled()
            assert world.router.idle

    async def test_a_store_that_cannot_be_had_holds_up_no_run(self, autojump_clock: object) -> None:
        world = LettersWorld(at_hand=False, expected=True)
        world.openings.extend(["no"] * 3)
        assert not world.router.idle
        async with world.kept():
            assert world.router.idle
            await trio.sleep(100)
            assert len(world.openings) == 2, "nobody needs it, so nobody tries again"


class Damaged(MemoryLetters):
    async def get(self, id: str) -> Letter | None:
        await trio.lowlevel.checkpoint()
        raise DamagedLetterError("no JSON")


@pytest.mark.trio
async def test_a_letter_that_somebody_damaged_is_said_to_be_and_holds_up_nothing() -> None:
    world = LettersWorld(store=Damaged(Bounds(10, 10**6)))
    async with world.kept():
        (id,) = world.give_up(1)
        await settled()
        await world.desk.replay([id])
        await settled()
        assert world.texts("warning") == [f"dead letter {id} cannot be replayed: it is damaged: no JSON"]
        assert (world.router.idle, await world.store.ids(), await world.store.marked()) == (True, [id], [])


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.sampled_from("fcdrk"), min_size=5, max_size=60))
def test_whatever_is_done_in_whatever_order_each_letter_ends_once(seed: int, steps: list[str]) -> None:
    """f: something fails for good; c: a replay is committed; d: one fails again; r: a replay is asked for; k: the
    supervisor is killed. What was committed is gone, everything else is there, and nothing is committed twice."""
    trio._core._run._r.seed(seed)  # type: ignore[attr-defined]
    rng = random.Random(seed)
    alive: set[str] = set()
    committed: list[str] = []

    async def main() -> None:
        store = LettersWorld().store
        number = 0
        left = list(steps)
        while left:
            number += 1
            world = LettersWorld(store=store, run=f"run{number}")
            async with world.kept():
                await settled()
                while left and (step := left.pop(0)) != "k":
                    match step:
                        case "f":
                            if not world.inboxes["a"].replays:  # those come first
                                alive.update(world.give_up(len(alive)))
                        case "r":
                            some = rng.sample(sorted(alive), min(len(alive), 2))
                            await world.desk.replay(some)
                        case _:
                            activation = world.inboxes["a"].take()
                            if activation is None:
                                continue
                            assert activation.replay is not None
                            id = activation.replay.letter
                            if step == "c":
                                world.commit(activation)
                                committed.append(id)
                                alive.discard(id)
                            else:
                                assert world.fail(activation) == id
                    await settled()
        assert set(await store.ids()) == alive
        assert set(await store.marked()) <= alive

    trio.run(main)
    assert len(committed) == len(set(committed))
