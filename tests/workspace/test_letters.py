"""How dead letters come to where they outlast the run, whatever is wrong with that place."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import trio
from workspace.letters_world import FaultyLetters, LettersWorld, settled

from reflow_supervisor.errors import StateUnavailableError
from reflow_supervisor.network import dead_letters
from reflow_supervisor.state.letters import Bounds
from reflow_supervisor.workspace import letters as letters_module

pytestmark = pytest.mark.trio


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two letters may wait in memory."""
    monkeypatch.setattr(dead_letters, "MOST_WAITING", 2)
    return iter(())


async def test_what_is_given_up_is_kept_in_order_at_once() -> None:
    world = LettersWorld()
    async with world.kept():
        ids = world.give_up(1, 2, 3)
        await settled()
        assert await world.store.ids() == ids
        assert (len(world.letters), world.letters.left, world.said) == (0, set(ids), [])


async def test_while_the_store_is_away_letters_wait_nothing_is_lost_and_it_is_said_once(
    autojump_clock: object, few: None
) -> None:
    world = LettersWorld()
    assert isinstance(world.store, FaultyLetters)
    async with world.kept():
        world.store.away = True
        ids = world.give_up(1, 2)
        await trio.sleep(30)
        assert world.letters.full
        assert world.texts("warning") == ["dead letters wait, 2 of them in memory: away"]
        assert world.texts("error") == [], "nothing goes to the log while there is hope"
        world.store.away = False
        await trio.sleep(5)
        assert not world.letters.full
        assert await world.store.ids() == ids
        assert world.texts("info") == ["the store of dead letters is back"]


async def test_an_answer_that_was_lost_keeps_a_letter_once(autojump_clock: object) -> None:
    world = LettersWorld()
    assert isinstance(world.store, FaultyLetters)
    async with world.kept():
        world.store.lost_answers = 3
        world.give_up(1)
        await trio.sleep(10)
        assert (len(world.letters), (await world.store.find(limit=9)).total) == (0, 1)


async def test_what_there_is_no_room_for_is_in_the_log_in_full_and_counted() -> None:
    world = LettersWorld(bounds=Bounds(1, 10**8))
    async with world.kept():
        first, second = world.give_up(1, "é" * 9000)
        await settled()
        assert await world.store.ids() == [first]
        assert (world.letters.lost, world.letters.left) == (1, {first})
        why, *pieces = world.texts("error")
        assert why.startswith(f"dead letter {second} cannot be kept: there is no room for more (limits.dead_letters")
        heads, documents = zip(*(piece.split(": ", 1) for piece in pieces), strict=True)
        assert heads == tuple(f"dead letter {second} ({n} of {len(pieces)})" for n in range(1, len(pieces) + 1))
        document = json.loads("".join(documents))
        assert document["id"] == second
        assert len(pieces) > 1


async def test_one_that_is_too_large_for_the_store_is_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters_module, "LARGEST", 500)
    world = LettersWorld()
    async with world.kept():
        _, small = world.give_up("x" * 500, 1)
        await settled()
        assert await world.store.ids() in ([small], [])
        assert world.letters.lost >= 1
        assert "bytes are more than 500" in world.texts("error")[0]


class TestBroughtUp:
    """A network that needs no store for its state."""

    async def test_not_before_a_letter_is_there(self) -> None:
        world = LettersWorld(at_hand=False, expected=False)
        async with world.kept():
            assert (world.opened, world.router.idle) == (0, True)
            ids = world.give_up(1)
            await settled()
            assert (world.opened, await world.store.ids()) == (1, ids)
            world.give_up(2)
            await settled()
            assert world.opened == 1

    async def test_at_the_beginning_where_there_may_be_letters_and_the_run_waits_for_it(self) -> None:
        world = LettersWorld(at_hand=False, expected=True)
        assert not world.router.idle
        async with world.kept():
            assert (world.opened, world.router.idle) == (1, True)

    async def test_what_it_cannot_be_opened_for_is_said_once_and_tried_again(self, autojump_clock: object) -> None:
        world = LettersWorld(at_hand=False, expected=False)
        world.openings.extend(["no disk"] * 4)
        async with world.kept():
            ids = world.give_up(1)
            await trio.sleep(60)
            assert await world.store.ids() == ids
            assert world.texts("error") == [
                "dead letters can be neither kept nor read now (1 wait in memory; trying again): no disk (do something)"
            ]

    async def test_the_oldest_goes_to_the_log_where_there_never_was_a_store_so_that_the_flow_goes_on(
        self, autojump_clock: object, few: None
    ) -> None:
        world = LettersWorld(at_hand=False, expected=False)
        world.openings.extend(["no disk"] * 100)
        async with world.kept():
            ids: list[str] = []
            for n in range(4):
                ids += world.give_up(n)
                await trio.sleep(1)
                assert not world.letters.full
            assert (world.letters.lost, len(world.letters)) == (3, 1)
            assert [text for text in world.texts("error") if ids[0] in text][1].startswith(
                f'dead letter {ids[0]} (1 of 1): {{"id":"{ids[0]}"'
            )
        await world.keeper.finish()
        world.keeper.abandon()
        assert (world.letters.lost, len(world.letters), world.letters.left_behind) == (4, 0, 4)

    async def test_one_that_crashes_is_opened_again_and_meanwhile_letters_wait(self, autojump_clock: object) -> None:
        world = LettersWorld(at_hand=False, expected=False)
        crash = world.crash = trio.Event()
        async with world.kept():
            world.give_up(1)
            await settled()
            crash.set()
            await settled()
            world.give_up(2)
            await trio.sleep(5)
            assert (world.opened, (await world.store.find(limit=9)).total) == (2, 2)
            assert "it ended by itself" in world.texts("error")[0]

    async def test_an_operator_has_it_opened_and_is_told_where_that_fails(self, autojump_clock: object) -> None:
        world = LettersWorld(at_hand=False, expected=True)
        world.openings.extend(["no disk", "no disk"])
        async with world.kept():
            with pytest.raises(StateUnavailableError, match="no disk"):
                await world.desk.find(limit=1)
            assert (await world.desk.find(limit=1)).total == 0
            assert world.opened == 1

    async def test_where_no_letter_ever_was_nothing_is_opened_for_an_operator(self) -> None:
        world = LettersWorld(at_hand=False, expected=False)
        async with world.kept():
            assert (await world.desk.find(limit=1)).total == 0
            assert await world.desk.get("x") is None
            assert (await world.desk.replay(["x"])).refused == {"x": "there is no such dead letter"}
            assert (await world.desk.drop(None)).done == ()
            assert world.opened == 0


class TestEnd:
    async def test_it_waits_for_what_is_not_kept_yet(self, autojump_clock: object) -> None:
        world = LettersWorld()
        assert isinstance(world.store, FaultyLetters)
        async with world.kept():
            world.store.away = True
            world.give_up(1)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.keeper.finish)
                await trio.sleep(5)
                assert len(world.letters) == 1
                world.store.away = False
        world.keeper.abandon()
        assert (world.letters.lost, (await world.store.find(limit=9)).total) == (0, 1)

    async def test_but_not_for_ever(self, autojump_clock: object) -> None:
        world = LettersWorld()
        assert isinstance(world.store, FaultyLetters)
        async with world.kept():
            world.store.away = True
            world.give_up(1)
            await world.keeper.finish()
        world.keeper.abandon()
        assert (world.letters.lost, world.letters.left_behind, len(world.letters)) == (1, 1, 0)

    async def test_ended_at_once_it_keeps_what_it_can(self) -> None:
        world = LettersWorld()
        async with world.kept():
            ids = world.give_up(1, 2)  # and not a moment passes
        assert await world.store.ids() == ids
        assert len(world.letters) == 0
