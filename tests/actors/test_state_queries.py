"""What an agent may ask of its state, and in which order it is answered. A real link; the agent is played."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
import trio
from actors.world import Agent, FaultyStore, connected, settled
from reflow.wire.session import RpcError

from reflow_supervisor.actors.state_queries import MAX_WAITING, StateQueries
from reflow_supervisor.rpc.link import ClosedBy, Link
from reflow_supervisor.state.store import Append, Set, StateCommit, StateCorruptError, Stored

pytestmark = pytest.mark.trio


class Slow(FaultyStore):
    """Answers when it is told to. A key named `bad` is corrupt."""

    async def fetch(self, actor: str, keys: Sequence[str]) -> Any:
        await self.open.wait()
        if "bad" in keys:
            raise StateCorruptError(actor, "bad", expected="JSON", found="a hash")
        found: dict[str, Stored] = dict(await super().fetch(actor, keys))
        return found


class Asking:
    def __init__(self) -> None:
        self.store = Slow()
        self.link: Link
        self.agent: Agent
        self.queries: StateQueries
        self.ended = trio.Event()

    def on_request(self, request: Any) -> None:
        self.queries.ask(request)

    def on_notification(self, notification: Any) -> None:
        raise AssertionError(notification)

    async def run(self) -> None:
        await self.queries.run()
        self.ended.set()

    async def ask(self, *questions: tuple[str, Any]) -> list[Any]:
        """The answers; None for what has none."""
        ids = [self.agent.session.request(method, params) for method, params in questions]
        await self.agent.flush()
        await settled()
        found = [self.agent.answers.get(id) for id in ids]
        return [each.message if isinstance(each, RpcError) else each for each in found]


@contextlib.asynccontextmanager
async def asking() -> AsyncGenerator[Asking]:
    it = Asking()
    await it.store.commit(
        [
            StateCommit(
                "a", "1", (Set("v", b'{"x":1}'), Set("short", b"2", 1500), Append("l", (b"1", b'"two"'), 900_000))
            ),
            StateCommit("b", "1", (Set("theirs", b"1"),)),
        ]
    )
    it.link, it.agent = connected()
    it.queries = StateQueries("a", it.store, it.link)
    it.link.attach(it)
    async with trio.open_nursery() as nursery:
        await nursery.start(it.link.run)
        nursery.start_soon(it.agent.run)
        nursery.start_soon(it.run)
        await settled()
        yield it
        nursery.cancel_scope.cancel()


async def test_values_lists_and_what_is_not_there(mock_clock: object) -> None:
    async with asking() as it:
        (found,) = await it.ask(("state.fetch", {"keys": ["v", "short", "l", "none", "theirs"]}))
        assert found == {
            "v": ["value", '{"x":1}', None],
            "short": ["value", "2", 1500],
            "l": ["list", ["1", '"two"'], 900_000],
        }


async def test_names_of_its_own_keys_only() -> None:
    async with asking() as it:
        assert await it.ask(("state.keys", {}), ("state.keys", {"pattern": "s*"})) == [["l", "short", "v"], ["short"]]


@pytest.mark.parametrize(
    ("method", "params", "why"),
    [
        ("state.fetch", {"keys": [""]}, "a key must have 1 to 512 bytes; this one has 0 characters"),
        ("state.fetch", {"keys": ["k"] * 1001}, "1001 keys in one request; at most 1000 are allowed"),
        ("state.keys", {"pattern": "a\x00"}, "the key 'a\\x00' contains a control character"),
        ("state.drop", {}, "no method 'state.drop'"),
    ],
)
async def test_what_is_not_allowed_is_said(method: str, params: Any, why: str) -> None:
    async with asking() as it:
        assert await it.ask((method, params), ("state.keys", {"pattern": "v"})) == [why, ["v"]]


async def test_a_corrupt_key_is_the_answer_of_that_question_alone() -> None:
    async with asking() as it:
        refused, found = await it.ask(("state.fetch", {"keys": ["bad"]}), ("state.fetch", {"keys": ["v"]}))
        assert "the key 'bad' holds a hash where JSON is expected" in refused
        assert found == {"v": ["value", '{"x":1}', None]}


async def test_params_of_another_shape_break_the_protocol() -> None:
    async with asking() as it:
        await it.ask(("state.fetch", {"keys": 3}))
        assert it.link.end is not None
        assert it.link.end.by is ClosedBy.VIOLATION


async def test_too_many_at_once_break_the_protocol() -> None:
    async with asking() as it:
        it.store.open = trio.Event()
        # One is being answered, and so many wait.
        await it.ask(*[("state.fetch", {"keys": ["v"]})] * (MAX_WAITING + 1))
        assert it.link.end is None
        await it.ask(("state.keys", {}))
        assert it.link.end is not None
        assert it.link.end.by is ClosedBy.VIOLATION


async def test_closed_it_answers_what_was_asked_before_and_nothing_after() -> None:
    async with asking() as it:
        it.store.open = trio.Event()
        assert await it.ask(("state.fetch", {"keys": ["short", "v"]}), ("state.keys", {})) == [None, None]
        it.queries.close()
        assert await it.ask(("state.keys", {})) == [None]
        assert not it.ended.is_set()
        it.store.open.set()
        await it.ended.wait()
        await settled()
        assert len(it.agent.answers) == 2
        assert it.link.end is None


async def test_cancelled_while_the_store_is_away() -> None:
    async with asking() as it:
        it.store.open = trio.Event()
        assert await it.ask(("state.fetch", {"keys": ["v"]})) == [None]
    assert not it.ended.is_set()
    assert it.link.closed.is_set()
