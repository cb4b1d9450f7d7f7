"""What becomes of an activation that failed, and what is said, counted and kept of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import trio
from actors.world import WALL, World, message, settled
from reflow.wire import messages
from reflow.wire.messages import Failure

from reflow_supervisor.actors.endings import LinkDown
from reflow_supervisor.actors.failures import MAX_MESSAGE, MAX_TRACEBACK, Failures, bounded, text_of
from reflow_supervisor.network.component import PortDecl
from reflow_supervisor.network.dead_letters import DeadLetters
from reflow_supervisor.network.inbox import Activation, Replay
from reflow_supervisor.rpc.link import ClosedBy, LinkEnd
from reflow_supervisor.supervision import Exited, ExitReason

NO = Failure(type="ValueError", message="no", traceback="Traceback: no\n")


def taken(world: World, count: int = 1) -> list[Activation]:
    world.feed(*range(count))
    found = [world.inbox.take() for _ in range(count)]
    return [activation for activation in found if activation is not None]


class TestTexts:
    def test_of_a_message_the_beginning_is_kept_of_a_traceback_the_end(self) -> None:
        long = Failure(
            type="T" * 300,
            message="a" + "m" * MAX_MESSAGE,
            traceback="t" * MAX_TRACEBACK + "z",
            file="f" * 2000,
            line=3,
        )
        kept = bounded(long)
        assert (len(kept.type), len(kept.message), len(kept.traceback)) == (200, MAX_MESSAGE, MAX_TRACEBACK)
        assert (kept.message[0], kept.traceback[-1], len(kept.file or ""), kept.line) == ("a", "z", 1000, 3)

    def test_the_log_has_the_traceback_where_there_is_one(self) -> None:
        assert text_of(NO) == "Traceback: no"
        assert text_of(Failure(type="ValueError", message="no")) == "ValueError: no"


@pytest.mark.trio
class TestFailed:
    async def test_it_is_counted_and_said_and_waits_again_before_what_came_after_it(self) -> None:
        world = World()
        first, _ = taken(world, 2)
        await Failures(world.host, world.node).failed(first, NO)
        assert (world.inbox.in_flight, world.inbox.waiting, world.inbox.epoch) == (0, 2, 2)
        assert world.inbox.take() is first
        assert world.told == [("a", "activation", "ValueError: no", "Traceback: no\n")]
        assert [(line.level, line.text, line.fields) for line in world.lines] == [
            ("error", "Traceback: no", {"activation": 1})
        ]
        assert world.node.meter.failed == 1
        assert world.node.meter.last_error is not None
        assert world.node.meter.last_error.at == WALL

    async def test_tried_often_enough_it_is_a_dead_letter(self) -> None:
        world = World(max_attempts=2)
        failures = Failures(world.host, world.node)
        (first,) = taken(world)
        await failures.failed(first, NO)
        assert world.inbox.take() is first
        await failures.failed(first, NO)
        (letter,) = world.router.dead_letters
        assert (letter.activation, letter.failure, letter.at) == (first, NO, WALL)
        assert (world.node.meter.failed, world.node.meter.dead_letters, world.inbox.idle) == (2, 1, True)
        assert world.said()[-1].startswith("dead letter after 2 attempts: no (ValueError); input: in=0; id: ")

    async def test_an_error_port_takes_it_when_there_is_room(self) -> None:
        world = World(outports=[PortDecl("error")], edges=["error"], capacity=1)
        first, second = taken(world, 2)
        failures = Failures(world.host, world.node)
        await failures.failed(first, NO)
        assert world.inbox.take() is second
        async with trio.open_nursery() as nursery:
            nursery.start_soon(failures.failed, second, NO)
            await settled()
            assert world.inbox.is_in_flight(second)
            assert world.arrived() == [("error", {"message": "no", "code": "ValueError"})]
        assert world.arrived() == [("error", {"message": "no", "code": "ValueError"})]
        assert (world.inbox.idle, len(world.router.dead_letters), world.node.meter.emitted) == (True, 0, 2)

    async def test_cancelled_while_there_is_no_room_it_is_still_in_flight(self) -> None:
        world = World(outports=[PortDecl("error")], edges=["error"], capacity=1)
        world.consumer.offer(world.router.edges[0], message("full"))
        (first,) = taken(world)
        failures = Failures(world.host, world.node)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(failures.failed, first, NO)
                await settled()
                scope.cancel()
        assert world.inbox.is_in_flight(first)
        failures.give_back()
        assert (world.inbox.waiting, world.inbox.in_flight, first.failures) == (1, 0, 0)

    async def test_an_error_port_whose_connection_refuses_is_not_filled_beyond_its_capacity(self) -> None:
        world = World(outports=[PortDecl("error")], edges=["error"], capacity=1, on_full="fail", max_attempts=1)
        failures = Failures(world.host, world.node)
        for _ in range(3):
            (activation,) = taken(world)
            await failures.failed(activation, NO)
        assert world.router.edges[0].queued == 1
        assert [letter.activation.id for letter in world.router.dead_letters] == [2, 3]


@pytest.mark.trio
class TestRoom:
    async def test_while_too_many_letters_wait_the_next_one_stays_in_flight_and_uncounted(self) -> None:
        world = World(max_attempts=2)
        failures, letters = Failures(world.host, world.node), Full(world)
        (first,) = taken(world)
        await failures.failed(first, NO)
        assert world.inbox.take() is first, "what has attempts left does not wait"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(failures.failed, first, NO)
            await settled()
            assert (world.inbox.is_in_flight(first), first.failures, len(letters)) == (True, 1, 0)
            letters.is_full = False
            world.router.bump()
        assert (world.inbox.idle, [letter.activation for letter in letters]) == (True, [first])

    async def test_a_lost_sandbox_waits_too_and_cancelled_blames_nobody(self) -> None:
        world = World(max_attempts=1)
        failures, letters = Failures(world.host, world.node), Full(world)
        (first,) = taken(world)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(failures.lost, Exited(3))
            await settled()
            nursery.cancel_scope.cancel()
        failures.give_back()
        assert (first.failures, world.inbox.waiting, len(letters)) == (0, 1, 0)


class Full(DeadLetters):
    """Has no room until it is told so."""

    def __init__(self, world: World) -> None:
        super().__init__("run", bounded=True)
        self.is_full = True
        world.router.dead_letters = self

    @property
    def full(self) -> bool:
        return self.is_full


@pytest.mark.trio
class TestReplays:
    def replayed(self, world: World) -> Activation:
        world.inbox.replay({"in": message(1)}, (), Replay("x1", 3, 1, datetime(2024, 1, 1, tzinfo=UTC)))
        world.router.dead_letters.replaying.add("x1")
        activation = world.inbox.take()
        assert activation is not None
        return activation

    async def test_one_that_fails_again_is_the_same_letter(self) -> None:
        world = World(max_attempts=1)
        await Failures(world.host, world.node).failed(self.replayed(world), NO)
        assert world.router.dead_letters.left == {"x1"}
        assert world.said("error")[-1].startswith("again a dead letter after 1 attempts: no")
        assert world.said("error")[-1].endswith("id: x1")

    async def test_one_whose_failure_went_to_the_error_port_is_settled_under_an_id_of_its_own(self) -> None:
        world = World(outports=[PortDecl("error")], edges=["error"])
        await Failures(world.host, world.node).failed(self.replayed(world), NO)
        assert world.faulty.calls == [["run:1:failed"]]
        assert [port for port, _ in world.arrived()] == ["error"]
        assert (world.router.dead_letters.replaying, world.inbox.idle) == (set(), True)


@pytest.mark.trio
class TestLost:
    @pytest.mark.parametrize(
        ("reason", "text"),
        [
            (Exited(3), "the sandbox exited with code 3"),
            (LinkDown(LinkEnd(ClosedBy.HUNG, "no answer")), "the agent does not answer: no answer"),
        ],
    )
    async def test_one_alone_is_blamed(self, reason: ExitReason, text: str) -> None:
        world = World(max_attempts=1)
        taken(world)
        await Failures(world.host, world.node).lost(reason)
        assert [letter.failure.message for letter in world.router.dead_letters] == [text]

    async def test_of_several_none_is_and_they_go_alone_next_time(self) -> None:
        world = World(max_attempts=1)
        first, second = taken(world, 2)
        await Failures(world.host, world.node).lost(Exited(3))
        assert (len(world.router.dead_letters), first.failures, second.failures) == (0, 0, 0)
        assert (world.inbox.take(), world.inbox.take()) == (first, None)

    async def test_without_any_only_the_last_error_is_kept(self) -> None:
        world = World()
        await Failures(world.host, world.node).lost(Exited(3))
        assert world.node.meter.failed == 0
        assert world.node.meter.last_error is not None
        assert world.node.meter.last_error.message == "exited with code 3"
        assert world.inbox.epoch == 1

    async def test_loading_that_failed_is_said_and_kept(self) -> None:
        world = World()
        Failures(world.host, world.node).loading_failed(messages.Failure(type="SyntaxError", message="bad"))
        assert world.said("error") == ["SyntaxError: bad"]
        assert world.node.meter.last_error is not None
        assert world.node.meter.last_error.type == "SyntaxError"
