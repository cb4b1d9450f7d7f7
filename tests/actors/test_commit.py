"""What an answer does, all or nothing, and what becomes of it where the store does not answer or does not agree."""

from __future__ import annotations

from array import array
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import trio
from actors.world import World, message, settled
from reflow.wire import messages

from reflow_supervisor.actors.commit import MAX_UNDECLARED, BrokenAnswerError, Committer, RefusedError
from reflow_supervisor.actors.node import Decided
from reflow_supervisor.network.component import PortDecl
from reflow_supervisor.network.inbox import Replay

pytestmark = pytest.mark.trio


def answer(*outputs: tuple[str, Any], state: Any = ()) -> messages.Commit:
    return messages.Commit(outputs=[(port, message(value)) for port, value in outputs], state=list(state))


def taken(world: World, *answers: messages.Commit) -> tuple[Committer, list[Decided]]:
    """So many activations in flight, and what those answers to them would do."""
    world.feed(*range(len(answers)))
    committer, decided = Committer(world.host, world.node), list[Decided]()
    for each in answers:
        activation = world.inbox.take()
        assert activation is not None
        decided.append(committer.decide(activation, each, trio.current_time()))
    return committer, decided


class TestDecide:
    async def test_nothing_is_done_yet(self) -> None:
        world = World()
        _, (decided,) = taken(world, answer(("out", 1), state=[["set", "k", "1", None]]))
        assert (decided.state.actor, decided.state.commit_id) == ("a", "run:1")
        assert (world.arrived(), await world.kept("k"), world.inbox.in_flight) == ([], {}, 1)

    async def test_operations_that_are_none_break_the_protocol(self) -> None:
        world = World()
        with pytest.raises(BrokenAnswerError, match="operation 0: unknown name 'boom'"):
            taken(world, answer(state=[["boom", "k"]]))

    async def test_a_type_that_does_not_fit_is_refused_and_an_error_fits_everywhere(self) -> None:
        committer = Committer((world := World(outports=[PortDecl("out", "integer")])).host, world.node)
        with pytest.raises(RefusedError, match="port 'out' is declared integer, and got a message of type string"):
            committer.check_output("out", message("x", "string"))
        committer.check_output("out", message({"message": "m"}, "error"))
        with pytest.raises(BrokenAnswerError):
            committer.check_output("out", msgspec.Raw(b"\xc1"))

    async def test_a_typed_array_fits_by_its_elements(self) -> None:
        committer = Committer((world := World(outports=[PortDecl("out", "array(integer)")])).host, world.node)
        committer.check_output("out", message(array("h", [1]), "array"))
        committer.check_output("out", message([1.5], "array"))  # of which nothing is known without a look at it
        with pytest.raises(RefusedError, match=r"declared array\(integer\), and got a typed array of floats"):
            committer.check_output("out", message(array("d", [1]), "array"))

    async def test_what_would_break_the_next_agents_protocol_breaks_this_ones(self) -> None:
        committer = Committer((world := World()).host, world.node)
        for raw in (b"", b"\xa1\xff", b"\xcf" + b"\xff" * 8, b"\x81\x01\x01", b"\xd4\x07\x01", b"\xd5\x06\x0a\x00"):
            with pytest.raises(BrokenAnswerError):
                committer.check_output("out", msgspec.Raw(raw))

    async def test_a_value_is_no_deeper_than_the_next_agent_takes(self) -> None:
        """Its frame wraps it six times: one deeper, and that agent would close its link for it."""
        committer = Committer((world := World()).host, world.node)

        def nested(depth: int) -> msgspec.Raw:
            value: object = 1
            for _ in range(depth):
                value = [value]
            return message(value, "array")

        committer.check_output("out", nested(world.node.plan.max_depth - 6))
        with pytest.raises(BrokenAnswerError):
            committer.check_output("out", nested(world.node.plan.max_depth - 5))

    async def test_an_undeclared_port_is_spoken_of_once_and_of_many_only_some_are(self) -> None:
        world = World()
        taken(world, answer(*[("x", n) for n in range(50)]))
        assert world.said() == ["returned port 'x', which it does not declare (declared: out)"]
        taken(world, answer(*[(f"p{n}", n) for n in range(1000)]))
        assert len(world.said()) == 1 + MAX_UNDECLARED
        assert world.said()[-1].endswith("; of further ones nothing is said")

    async def test_open_ports_are_declared_by_using_them(self) -> None:
        world = World(open_ports=True)
        taken(world, answer(("x", 1)))
        assert world.said() == []


class TestRoom:
    async def test_it_waits_until_there_is_some(self) -> None:
        world = World(capacity=1)
        committer, (first, second) = taken(world, answer(("out", 1)), answer(("out", 2)))
        await committer.wait_for_room(first)
        assert not committer.fits([first], second)
        await committer.commit([first])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(committer.wait_for_room, second)
            await settled()
            assert len(nursery.child_tasks) == 1
            assert world.arrived() == [("out", 1)]

    async def test_a_connection_can_refuse_instead(self) -> None:
        world = World(capacity=1, on_full="fail")
        committer, (first, second) = taken(world, answer(("out", 1)), answer(("out", 2)))
        assert not committer.fits([first], second)
        await committer.commit([first])
        with pytest.raises(RefusedError, match="on_full is `fail`") as refused:
            await committer.wait_for_room(second)
        assert refused.value.failure.type == "MailboxFullError"


class TestCommit:
    async def test_without_operations_the_store_is_not_asked(self) -> None:
        world = World()
        committer, batch = taken(world, answer(("out", 1)), answer(("out", 2)))
        await committer.commit(batch)
        assert (world.faulty.calls, world.arrived(), world.inbox.in_flight) == ([], [("out", 1), ("out", 2)], 0)

    @pytest.mark.parametrize("faults", [["before"], ["after"], ["after", "before", "after"]])
    async def test_an_outage_delays_it_and_nothing_is_applied_twice(
        self, faults: list[str], autojump_clock: object
    ) -> None:
        world = World()
        world.faulty.faults.extend(faults)
        committer, batch = taken(world, answer(("out", 1), state=[["append", "k", ["1"], None]]))
        await committer.commit(batch)
        assert (world.arrived(), await world.kept("k")) == ([("out", 1)], {"k": [1]})
        assert len(world.faulty.calls) == len(faults) + 1

    @pytest.mark.parametrize("fault", ["before", "after"])
    async def test_cancelled_it_stays_decided_and_the_same_can_be_finished_later(self, fault: str) -> None:
        world = World()
        world.faulty.faults.append(fault)
        committer, batch = taken(world, answer(("out", 1), state=[["append", "k", ["1"], None]]))
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(committer.commit, batch)
                await settled()
                scope.cancel()
        assert scope.cancelled_caught
        assert (world.node.decided, world.arrived(), world.inbox.in_flight) == (batch, [], 1)
        await committer.commit(world.node.decided)
        assert (world.node.decided, world.arrived()) == ((), [("out", 1)])
        assert await world.kept("k") == {"k": [1]}

    async def test_while_the_store_is_asked_nobody_else_takes_the_room_that_was_found(self) -> None:
        world = World(capacity=1)
        committer, batch = taken(world, answer(("out", 1), state=[["set", "k", "1", None]]))
        world.faulty.open = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(committer.commit, batch)
            await settled()
            assert not world.router.has_room("a", ["out"])
            assert world.consumer.waiting == 0
            world.faulty.open.set()
        assert world.arrived() == [("out", 1)]
        assert world.router.has_room("a", ["out"])

    async def test_a_commit_that_is_cancelled_gives_its_places_back(self) -> None:
        world = World(capacity=1)
        committer, batch = taken(world, answer(("out", 1), state=[["set", "k", "1", None]]))
        world.faulty.open = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(committer.commit, batch)
            await settled()
            nursery.cancel_scope.cancel()
        assert world.router.has_room("a", ["out"])

    async def test_the_replay_of_a_dead_letter_settles_it_also_without_state(self) -> None:
        world = World()
        world.inbox.replay({"in": message(1)}, (), Replay("x1", 3, 1, datetime(2024, 1, 1, tzinfo=UTC)))
        world.router.dead_letters.replaying.add("x1")
        world.router.dead_letters.left.add("x1")
        committer, batch = taken(world, answer(("out", 1)))
        assert (batch[0].state.settles, batch[0].state.commit_id) == ("x1", "run:1")
        await committer.commit(batch)
        assert world.faulty.calls == [["run:1"]]
        assert (world.router.dead_letters.replaying, world.router.dead_letters.left) == (set(), set())
        assert world.said("info") == ["dead letter x1 was replayed"]

    @pytest.mark.parametrize("bad", range(4))
    async def test_those_before_a_refused_one_take_effect_and_it_and_those_behind_do_not(self, bad: int) -> None:
        world = World()
        answers = [answer(("out", n), state=[["append", "k", [str(n)], None]]) for n in range(4)]
        answers[bad] = answer(("out", bad), state=[["set", "v", "1", None], ["append", "v", ["2"], None]])
        committer, batch = taken(world, *answers)
        with pytest.raises(RefusedError, match=r"the key 'v' of its state holds a value .*\(asked for: append to it\)"):
            await committer.commit(batch)
        assert world.arrived() == [("out", n) for n in range(bad)]
        assert await world.kept("k", "v") == ({"k": list(range(bad))} if bad else {})
        assert (world.node.decided, world.inbox.in_flight) == ((), 4 - bad)
