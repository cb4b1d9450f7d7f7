"""What is in a dead letter, and what every store of them does."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import trio
from reflow.wire import values
from state.letter_samples import AT, make_letter

from reflow_supervisor.state.letters import (
    SHOWN,
    Bounds,
    Cause,
    DamagedLetterError,
    Input,
    LetterStore,
    Port,
    decode,
    encode,
    entry_of,
)
from reflow_supervisor.state.memory import MemoryStore
from reflow_supervisor.state.memory_letters import MemoryLetters
from reflow_supervisor.state.redis_letters import RedisLetters
from reflow_supervisor.state.redis_store import RedisStore
from reflow_supervisor.state.settling import SettlingStore
from reflow_supervisor.state.store import Append, Set, StateCommit, StateCorruptError, StateStore

MANY = Bounds(1000, 10**9)


class TestDocument:
    def test_it_is_json_that_people_can_read(self) -> None:
        document = json.loads(encode(make_letter("x1")))
        assert document["first"] == "2024-05-17T12:30:00.250000Z"
        assert document["cause"]["message"] == "no"
        assert document["inputs"]["v"] == {
            "type": "integer",
            "declared": "any",
            "size": 9,
            "shown": "1",
            "exact": "kqdpbnRlZ2VyAQ==",
        }

    @pytest.mark.parametrize("value", [2**63 - 1, -(2**63), float("nan"), float("-inf"), -0.0, b"\x00\xff", None])
    def test_every_value_comes_back_to_the_last_bit(self, value: object) -> None:
        raw = values.from_plain({"deep": [value]})
        letter = make_letter("x1", inputs={"v": Input(type="object", size=1, shown="", exact=bytes(raw))})
        back = decode(encode(letter))
        assert back.inputs["v"].exact == bytes(raw)
        assert back == letter

    @pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b'{"id": 3}', b"\xff"])
    def test_what_is_no_letter_is_said_to_be_none(self, text: bytes) -> None:
        with pytest.raises(DamagedLetterError):
            decode(text)

    def test_a_list_shows_little_of_it(self) -> None:
        long = make_letter("x1", cause=Cause(type="E", message="m" * 1000))
        entry = entry_of(long, 5)
        assert (len(entry.message), entry.size, entry.ports, entry.last) == (SHOWN, 5, {"v": Port("integer")}, AT)


class Places:
    """A store of letters of either kind, and the store whose commits settle them."""

    def __init__(self, letters: LetterStore, commits: StateStore) -> None:
        self.letters, self.commits = letters, commits

    async def bury(self, *ids: str) -> None:
        for id in ids:
            assert await self.letters.bury(make_letter(id, run=f"run-of-{id}"))

    async def listed(self, node: str = "", limit: int = 100) -> list[str]:
        return [entry.id for entry in (await self.letters.find(limit=limit, node=node)).entries]


@pytest.fixture(params=["memory", "redis"])
async def make_places(request: pytest.FixtureRequest, namespace: str) -> Callable[..., Places]:
    def make(bounds: Bounds = MANY) -> Places:
        if request.param == "memory":
            letters = MemoryLetters(bounds)
            return Places(letters, MemoryStore(clock=trio.current_time, letters=letters))
        store = RedisStore(request.getfixturevalue("redis_server").url, namespace=namespace)
        request.addfinalizer(store._client.close)  # type: ignore[attr-defined]
        return Places(RedisLetters(store, bounds), store)

    return make


@pytest.fixture
def places(make_places: Callable[..., Places]) -> Places:
    return make_places()


@pytest.mark.trio
class TestStore:
    async def test_what_was_buried_is_there_until_it_is_removed(self, places: Places) -> None:
        assert (await places.letters.find(limit=10)).total == 0
        assert await places.letters.get("x1") is None
        await places.bury("x1", "x2")
        letter = await places.letters.get("x1")
        assert letter is not None
        assert (letter.id, letter.cause.line) == ("x1", 7)
        assert await places.letters.remove(["x1", "x9"]) == ["x1"]
        assert await places.letters.get("x1") is None
        assert await places.listed() == ["x2"]
        assert await places.letters.remove(["x1"]) == []

    async def test_newest_first_in_lists_oldest_first_otherwise(self, places: Places) -> None:
        for n in range(5):
            await places.letters.bury(make_letter(f"x{n}", n=n + 1, node="ab"[n % 2]))
        found = await places.letters.find(limit=2)
        assert (found.total, [e.id for e in found.entries]) == (5, ["x4", "x3"])
        found = await places.letters.find(limit=1, node="b")
        assert (found.total, [e.id for e in found.entries]) == (2, ["x3"])
        assert (await places.letters.find(limit=5, node="zz")).total == 0
        assert await places.letters.ids() == ["x0", "x1", "x2", "x3", "x4"]
        assert await places.letters.ids("b") == ["x1", "x3"]
        assert [e.id for e in await places.letters.entries(["x3", "no", "x0"])] == ["x3", "x0"]

    async def test_one_that_comes_again_keeps_its_place_and_is_no_longer_marked(self, places: Places) -> None:
        await places.bury("x1", "x2")
        await places.letters.mark(["x1"])
        assert await places.letters.bury(make_letter("x1", run="run2", attempts=6, burials=2))
        found = await places.letters.find(limit=10)
        assert [(e.id, e.attempts, e.burials, e.marked) for e in found.entries] == [
            ("x2", 3, 1, False),
            ("x1", 6, 2, False),
        ]
        assert await places.letters.marked() == []

    async def test_burying_one_twice_is_burying_it_once(self, places: Places) -> None:
        assert await places.letters.bury(make_letter("x1"))
        await places.letters.mark(["x1"])
        assert await places.letters.bury(make_letter("x1"))
        assert (await places.letters.find(limit=10)).total == 1

    async def test_marks_keep_the_order_in_which_they_were_set(self, places: Places) -> None:
        await places.bury("x1", "x2", "x3", "x4")
        assert await places.letters.mark(["x3", "no", "x1"]) == ["x3", "x1"]
        assert await places.letters.mark(["x1", "x2", "x3"]) == ["x1", "x2", "x3"]
        assert await places.letters.marked() == ["x3", "x1", "x2"]
        await places.letters.unmark("x1")
        await places.letters.unmark("x4")
        assert await places.letters.mark(["x1"]) == ["x1"]
        assert await places.letters.marked() == ["x3", "x2", "x1"]
        await places.letters.remove(["x2"])
        assert await places.letters.marked() == ["x3", "x1"]
        entries = (await places.letters.find(limit=10)).entries
        assert {e.id: e.marked for e in entries} == {"x1": True, "x3": True, "x4": False}

    async def test_no_more_than_the_bounds_but_always_one_that_is_there(
        self, make_places: Callable[..., Places]
    ) -> None:
        size = len(encode(make_letter("y1", run="run-of-y1")))
        places = make_places(Bounds(2, 10**9))
        await places.bury("x1", "x2")
        assert not await places.letters.bury(make_letter("x3", n=3))
        assert await places.letters.bury(make_letter("x2", run="run2"))
        await places.letters.remove(["x1"])
        assert await places.letters.bury(make_letter("x3", n=3))
        places.letters = make_places(Bounds(1000, 2 * size)).letters
        await places.letters.remove(await places.letters.ids())
        await places.bury("y1", "y2")
        assert not await places.letters.bury(make_letter("y3", n=3))
        assert await places.listed() == ["y2", "y1"]

    async def test_a_commit_settles_a_letter_once_and_with_its_state(self, places: Places) -> None:
        await places.bury("x1", "x2")
        await places.letters.mark(["x1", "x2"])
        settling = StateCommit("a", "c1", (Append("l", (b"1",)),), settles="x1")
        await places.commits.commit([settling])
        await places.commits.commit([settling])
        assert await places.listed() == ["x2"]
        assert await places.letters.marked() == ["x2"]
        assert (await places.commits.fetch("a", ["l"]))["l"].items == (b"1",)
        await places.commits.commit([StateCommit("b", "c1", (), settles="x2"), StateCommit("b", "c2", (), "gone")])
        assert await places.listed() == []
        assert await places.letters.bury(make_letter("x3", n=9)), "its bytes were given back"

    async def test_a_commit_that_is_refused_settles_nothing(self, places: Places) -> None:
        await places.bury("x1")
        with pytest.raises(StateCorruptError):
            await places.commits.commit([StateCommit("b", "c1", (Set("k", b"1"), Append("k", (b"1",))), settles="x1")])
        assert await places.listed() == ["x1"]

    async def test_state_elsewhere_and_letters_here(self, places: Places) -> None:
        await places.bury("x1", "x2")
        state = MemoryStore(clock=trio.current_time)
        both = SettlingStore(state, places.commits)
        commit = StateCommit("a", "c1", (Append("l", (b"1",)),), settles="x1")
        await both.commit([commit, StateCommit("a", "c2", ())])
        await both.commit([commit, StateCommit("a", "c2", ())])
        assert (await both.fetch("a", ["l"]))["l"].items == (b"1",)
        assert await both.keys("a") == ["l"]
        assert await places.listed() == ["x2"]
        assert await places.commits.fetch("a", ["l"]) == {}
        await both.clear("a")
        assert await both.keys("a") == []
        await both.aclose()
