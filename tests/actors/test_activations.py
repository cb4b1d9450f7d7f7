"""Which answers of an agent count, what is handed out when, and which activations take effect together."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from actors.world import Working, message, settled
from reflow.wire.messages import Code, Failure

from reflow_supervisor.actors.activations import KILL_GRACE, MAX_BATCH, MAX_SENT, MAX_SENT_BYTES
from reflow_supervisor.network.component import PortDecl
from reflow_supervisor.rpc.link import ClosedBy

NO_MESSAGE = msgspec.msgpack.Ext(7, b"what")

pytestmark = pytest.mark.trio


def ended_by(world: Working) -> tuple[ClosedBy, str] | None:
    return None if world.link.end is None else (world.link.end.by, world.link.end.detail)


class TestHandingOut:
    async def test_an_activation_carries_its_id_attempt_epoch_and_time(self) -> None:
        world = Working(timeout=2.5)
        async with world.at_work():
            world.feed("x", "y")
            await settled()
            given = world.agent.activations()
            assert [(a.activation, a.attempt, a.epoch, a.timeout_ms) for a in given] == [
                (1, 1, 1, 2500),
                (2, 1, 1, 2500),
            ]
            assert [dict(a.inputs) for a in given] == [{"in": message("x")}, {"in": message("y")}]

    async def test_no_more_than_the_window(self) -> None:
        world = Working(window=2)
        async with world.at_work():
            world.feed(1, 2, 3)
            await settled()
            assert len(world.agent.asked) == 2
            world.agent.commit(0)
            await world.agent_says()
            assert len(world.agent.asked) == 3

    async def test_nothing_goes_to_a_link_that_is_over_and_nothing_is_blamed_on_what_did_not(self) -> None:
        world = Working()
        async with world.at_work():
            world.link.close()  # its connection takes a moment to close, in which a message comes
            world.feed(1)
            await world.over.wait()
            assert world.replace is False
            assert (world.inbox.in_flight, world.inbox.waiting) == (0, 1)

    async def test_while_a_failure_waits_for_room_nothing_is_handed_out(self) -> None:
        world = Working(outports=[PortDecl("error")], edges=["error"], capacity=1)
        async with world.at_work():
            world.feed(1, 2)
            await settled()
            world.agent.fail(0, "first")
            await world.agent_says()
            world.agent.fail(2, "second")  # 2 again, in the next epoch
            await world.agent_says()
            world.feed(3)
            await settled()
            assert [(a.activation, a.epoch) for a in world.agent.activations()] == [(1, 1), (2, 1), (2, 2)]
            assert [value["message"] for _, value in world.arrived()] == ["first"]
            await settled()
            assert [value["message"] for _, value in world.arrived()] == ["second"]
            assert [(a.activation, a.epoch) for a in world.agent.activations()][3:] == [(3, 3)]


class TestAnswers:
    async def test_outputs_and_state_take_effect_in_order(self) -> None:
        world = Working()
        async with world.at_work():
            world.feed(1, 2, 3)
            await settled()
            for place in range(3):
                world.agent.commit(place, ("out", place), state=[["append", "seen", [str(place)], None]])
            await world.agent_says()
            assert world.arrived() == [("out", 0), ("out", 1), ("out", 2)]
            assert await world.kept("seen") == {"seen": [0, 1, 2]}
            assert (world.inbox.in_flight, world.node.meter.done, world.node.meter.emitted) == (0, 3, 3)

    async def test_one_out_of_order_breaks_the_protocol(self) -> None:
        world = Working()
        async with world.at_work():
            world.feed(1, 2)
            await settled()
            world.agent.commit(1, ("out", "late"))
            await world.agent_says()
            assert ended_by(world) == (ClosedBy.VIOLATION, "activation 2 was answered before 1")
            assert (world.arrived(), world.inbox.in_flight) == ([], 2)

    async def test_one_skipped_without_a_failure_breaks_the_protocol(self) -> None:
        world = Working()
        async with world.at_work():
            world.feed(1)
            await settled()
            world.agent.skip(0)
            await world.agent_says()
            assert ended_by(world) == (ClosedBy.VIOLATION, "activation 1 was skipped, and none before it had failed")

    async def test_those_behind_a_failure_are_stale_and_handed_out_again_in_order(self) -> None:
        world = Working()
        async with world.at_work():
            world.feed(1, 2, 3)
            await settled()
            world.agent.commit(0, ("out", "one"))
            world.agent.fail(1)
            world.agent.skip(2)
            await world.agent_says()
            assert [(a.activation, a.attempt, a.epoch) for a in world.agent.activations()[3:]] == [(2, 2, 2), (3, 2, 2)]
            assert ended_by(world) is None
            assert world.arrived() == [("out", "one")]

    async def test_a_commit_behind_a_failure_is_ignored(self) -> None:
        world = Working()
        async with world.at_work():
            world.feed(1, 2)
            await settled()
            world.agent.fail(0)
            world.agent.commit(1, ("out", "stale"), state=[["set", "k", "1", None]])
            await world.agent_says()
            assert (world.arrived(), await world.kept("k")) == ([], {})

    @pytest.mark.parametrize("code", [Code.SCRIPT_FAILED, Code.UNSENDABLE_RESULT, Code.DEADLINE_EXCEEDED, -1])
    async def test_every_other_error_is_a_failure(self, code: int) -> None:
        world = Working(max_attempts=1)
        async with world.at_work():
            world.feed(1)
            await settled()
            world.agent.fail(0, "why", code)
            await world.agent_says()
            (letter,) = world.router.dead_letters
            assert (letter.failure.type, letter.failure.message) == ("ValueError", "why")

    async def test_of_an_interrupted_one_the_time_is_said_and_where_it_was(self) -> None:
        world = Working(max_attempts=1, timeout=2.5)
        async with world.at_work():
            world.feed(1)
            await settled()
            failure = Failure(type="CancelledError", message="", traceback="where")
            world.agent.session.fail(world.agent.asked[0].id, Code.DEADLINE_EXCEEDED, "late", failure)
            await world.agent_says()
            (letter,) = world.router.dead_letters
            assert (letter.failure.type, letter.failure.message) == ("TimeoutError", "it took longer than 2.5 s")
            assert letter.failure.traceback == "where"

    async def test_an_error_without_a_failure_has_its_message(self) -> None:
        world = Working(max_attempts=1)
        async with world.at_work():
            world.feed(1)
            await settled()
            world.agent.session.fail(world.agent.asked[0].id, Code.SCRIPT_FAILED, "bare", ["no", "failure"])
            await world.agent_says()
            (letter,) = world.router.dead_letters
            assert (letter.failure.type, letter.failure.message) == ("Error", "bare")

    async def test_a_result_that_is_no_commit_breaks_the_protocol(self) -> None:
        world = Working()
        async with world.at_work():
            world.feed(1)
            await settled()
            world.agent.session.respond(world.agent.asked[0].id, {"outputs": 3})
            await world.agent_says()
            assert world.link.end is not None
            assert world.link.end.by is ClosedBy.VIOLATION
            assert world.inbox.in_flight == 1

    @pytest.mark.parametrize(
        ("outputs", "state"),
        [
            ([("out", message(1)), ("out", msgspec.msgpack.Ext(7, b"what"))], []),
            ([("out", message(1))], [["explode", "k"]]),
        ],
    )
    async def test_what_no_agent_answers_breaks_the_protocol_and_nothing_of_it_is_done(
        self, outputs: list[Any], state: list[Any]
    ) -> None:
        world = Working()
        async with world.at_work():
            world.feed(1, 2)
            await settled()
            world.agent.commit(0, ("out", "good"))
            raw = {"outputs": [list(output) for output in outputs], "state": state}
            world.agent.session.respond(world.agent.asked[1].id, raw)
            await world.agent_says()
            assert world.link.end is not None
            assert world.link.end.by is ClosedBy.VIOLATION
            assert world.link.end.detail.startswith("activation 2: ")
            assert world.arrived() == [("out", "good")]
            assert world.replace is False

    async def test_those_that_came_before_the_link_ended_take_effect(self) -> None:
        world = Working()
        async with world.at_work():
            world.feed(1, 2)
            await settled()
            world.agent.commit(0, ("out", 1))
            await world.agent.flush()
            world.agent.hang_up()
            await world.over.wait()
            assert world.arrived() == [("out", 1)]
            assert world.inbox.in_flight == 1


class TestBatches:
    async def test_answers_that_come_while_one_waits_for_room(self) -> None:
        world = Working(capacity=1)
        async with world.at_work():
            world.feed(*range(6))
            await settled()
            for place in range(6):
                world.agent.commit(place, ("out", place))
                await world.agent_says()  # each on its own, the first of them while there is no room
            got: list[Any] = []
            while not got or got[-1] != ("out", 5):
                found = world.arrived()
                assert len(found) == 1, "one waits at a time"
                got += found
                await settled()
            assert got == [("out", place) for place in range(6)]
            assert ended_by(world) is None

    async def test_those_that_are_ready_go_to_the_store_together_up_to_a_bound(self) -> None:
        world = Working(window=200)
        async with world.at_work():
            world.faulty.open = trio.Event()
            world.feed(*range(MAX_BATCH + 2))
            await settled()
            world.agent.commit(0, state=[["set", "k", "0", None]])
            await world.agent_says()
            for place in range(1, MAX_BATCH + 2):
                world.agent.commit(place, state=[["set", "k", str(place), None]])
            await world.agent_says()
            world.faulty.open.set()
            await settled()
            assert [len(call) for call in world.faulty.calls] == [1, MAX_BATCH, 1]
            assert await world.kept("k") == {"k": MAX_BATCH + 1}

    async def test_a_refused_one_fails_after_those_before_it_and_the_agent_is_replaced(self) -> None:
        world = Working(max_attempts=1)
        async with world.at_work():
            world.feed(1, 2, 3)
            await settled()
            world.agent.commit(0, ("out", 1), state=[["set", "k", "1", None]])
            world.agent.commit(1, ("out", 2), state=[["append", "k", ["2"], None]])
            world.agent.commit(2, ("out", 3), state=[["set", "other", "3", None]])
            await world.agent_says()
            assert world.replace is True
            assert world.arrived() == [("out", 1)]
            assert await world.kept("k", "other") == {"k": 1}
            assert [letter.activation.id for letter in world.router.dead_letters] == [2]
            assert (world.inbox.in_flight, world.inbox.waiting) == (0, 1)

    async def test_a_refused_one_that_waits_for_room_leaves_nothing_in_flight_and_places_nothing_sent_after_it(
        self,
    ) -> None:
        world = Working(outports=[PortDecl("out"), PortDecl("error")], edges=["out", "error"], capacity=1)
        async with world.at_work():
            world.consumer.offer(world.router.edges[1], message("full"))
            world.feed(1, 2, 3)
            await settled()
            world.agent.commit(0, state=[["set", "k", "1", None]])
            world.agent.commit(1, state=[["append", "k", ["2"], None]])
            await world.agent_says()
            world.agent.send(2, 0, "out", "from a state that was refused")
            world.feed(4)
            await world.agent_says()
            assert world.replace is None
            (_, first) = world.arrived()[0]
            assert first == "full"
            await world.over.wait()
            assert world.replace is True
            assert [port for port, _ in world.arrived()] == ["error"]
            assert (world.inbox.in_flight, world.inbox.waiting) == (0, 2)
            assert len(world.agent.asked) == 3

    async def test_a_message_of_the_wrong_type_fails_its_activation_only(self) -> None:
        world = Working(outports=[PortDecl("out", "integer")], max_attempts=1)
        async with world.at_work():
            world.feed(1, 2)
            await settled()
            world.agent.commit(0, ("out", message(1, "integer")))
            world.agent.commit(1, ("out", message("x", "string")), state=[["set", "k", "1", None]])
            await world.agent_says()
            assert world.replace is True
            assert (world.arrived(), await world.kept("k")) == ([("out", 1)], {})
            assert [letter.failure.type for letter in world.router.dead_letters] == ["PortTypeError"]


class TestSent:
    async def test_it_leaves_at_once_and_counts(self) -> None:
        world = Working()
        async with world.at_work():
            world.feed(1)
            await settled()
            world.agent.send(0, 0, "out", "a")
            world.agent.send(0, 1, "out", "b")
            await world.agent_says()
            assert world.arrived() == [("out", "a"), ("out", "b")]
            assert (world.node.meter.emitted, world.node.meter.done, world.inbox.in_flight) == (2, 0, 1)

    async def test_a_later_attempt_sends_only_what_no_earlier_one_did(self) -> None:
        world = Working()
        async with world.at_work():
            world.feed(1)
            await settled()
            world.agent.send(0, 0, "out", "a")
            world.agent.fail(0)
            await world.agent_says()
            world.agent.send(1, 0, "out", "a")
            world.agent.send(1, 1, "out", "b")
            world.agent.send(0, 1, "out", "stale")
            await world.agent_says()
            assert world.arrived() == [("out", "a"), ("out", "b")]

    async def test_a_gap_breaks_the_protocol(self) -> None:
        world = Working()
        async with world.at_work():
            world.feed(1)
            await settled()
            world.agent.send(0, 1, "out", "b")
            await world.agent_says()
            assert ended_by(world) == (ClosedBy.VIOLATION, "message 1 of an activation came after 0 others")

    async def test_no_message_breaks_the_protocol(self) -> None:
        world = Working()
        async with world.at_work():
            world.feed(1)
            await settled()
            given = world.agent.activations()[0]
            world.agent.session.notify(
                "send",
                {
                    "activation": given.activation,
                    "attempt": 1,
                    "index": 0,
                    "port": "out",
                    "message": msgspec.msgpack.Ext(7, b"what"),
                },
            )
            await world.agent_says()
            assert world.link.end is not None
            assert world.link.end.by is ClosedBy.VIOLATION

    async def test_only_of_the_one_that_runs(self) -> None:
        world = Working()
        async with world.at_work():
            world.feed(1, 2)
            await settled()
            world.agent.send(1, 0, "out", "too early")
            world.agent.commit(0)
            world.agent.send(0, 0, "out", "too late")
            await world.agent_says()
            assert (world.arrived(), ended_by(world)) == ([], None)

    async def test_one_that_does_not_fit_its_port_fails_the_activation_whatever_is_sent_behind_it(self) -> None:
        world = Working(outports=[PortDecl("out", "integer")], max_attempts=1)
        async with world.at_work():
            world.feed(1, 2)
            await settled()
            world.agent.send(0, 0, "out", message("x", "string"))
            world.agent.send(0, 1, "out", message(1, "integer"))
            world.agent.send(0, 2, "out", message("y", "string"))
            world.agent.commit(0, state=[["set", "k", "1", None]])
            await world.agent_says()
            assert ended_by(world) is None, "a script's mistake is no breach of the protocol"
            assert (world.arrived(), await world.kept("k"), world.replace) == ([], {}, True)
            (letter,) = world.router.dead_letters
            assert (letter.activation.id, letter.failure.type) == (1, "PortTypeError")

    async def test_one_that_failed_for_another_reason_says_that(self) -> None:
        world = Working(outports=[PortDecl("out", "integer")], max_attempts=1)
        async with world.at_work():
            world.feed(1)
            await settled()
            world.agent.send(0, 0, "out", message("x", "string"))
            world.agent.fail(0, "its own")
            await world.agent_says()
            assert [letter.failure.message for letter in world.router.dead_letters] == ["its own"]


class TestCutLinks:
    async def test_nothing_is_handed_out_while_the_link_is_cut(self) -> None:
        world = Working(resume_window=10)
        async with world.at_work():
            world.feed("before")
            await settled()
            await world.cut()
            world.feed("meanwhile")
            await settled()
            assert (world.inbox.in_flight, world.inbox.waiting) == (1, 1)
            async with world.resumed():
                assert [dict(a.inputs) for a in world.agent.activations()] == [
                    {"in": message("before")},
                    {"in": message("meanwhile")},
                ]

    async def test_what_the_agent_did_meanwhile_counts(self) -> None:
        world = Working(resume_window=10)
        async with world.at_work():
            world.feed(1, 2)
            await settled()
            await world.cut()
            world.agent.send(0, 0, "out", "sent")
            world.agent.commit(0, ("out", "first"))
            world.agent.commit(1, ("out", "second"))
            async with world.resumed():
                await world.agent_says()
                assert world.arrived() == [("out", "sent"), ("out", "first"), ("out", "second")]
                assert (world.inbox.in_flight, world.node.meter.failed) == (0, 0)

    async def test_while_it_is_cut_no_activation_overruns(self, mock_clock: trio.testing.MockClock) -> None:
        world = Working(timeout=2, resume_window=10)
        async with world.at_work():
            world.feed(1)
            await settled()
            await world.cut()
            mock_clock.jump(9)
            await settled()
            assert not world.killed
            async with world.resumed():
                world.agent.commit(0)
                await world.agent_says()
                assert (world.killed, world.inbox.in_flight) == ([], 0)

    async def test_a_script_that_cuts_its_own_link_gains_one_window(self, mock_clock: trio.testing.MockClock) -> None:
        world = Working(timeout=2, resume_window=10)
        async with world.at_work():
            world.feed(1)
            await settled()
            for seconds in (2.9, 3.0, 3.0, 3.0):
                await world.cut()
                mock_clock.jump(seconds)
                async with world.resumed():
                    await settled()
                assert not world.killed
            mock_clock.jump(2 + KILL_GRACE + 10 - 11.9 + 0.1)
            await settled()
            assert world.killed
            assert str(world.activations.overran) == "timed out: activation 1 took longer than 2 s"


class TestSentWaits:
    """What is sent has its turn: behind the commits before it, and as there is room."""

    async def test_it_does_not_overtake_the_commit_of_an_activation_before_it(self) -> None:
        world = Working()
        async with world.at_work():
            world.faulty.open = trio.Event()
            world.feed(1, 2)
            await settled()
            world.agent.commit(0, ("out", "first"), state=[["set", "k", "1", None]])
            world.agent.send(1, 0, "out", "second")
            await world.agent_says()
            assert world.arrived() == []
            world.faulty.open.set()
            await settled()
            assert world.arrived() == [("out", "first"), ("out", "second")]

    async def test_it_waits_for_room_and_the_commit_behind_it_too(self) -> None:
        world = Working(capacity=1)
        async with world.at_work():
            world.feed(1)
            await settled()
            for index in range(3):
                world.agent.send(0, index, "out", index)
            world.agent.commit(0, ("out", "last"))
            await world.agent_says()
            got: list[Any] = []
            for _ in range(4):
                found = world.arrived()
                assert len(found) == 1, "no more than there is room for"
                got += found
                await settled()
            assert got == [("out", 0), ("out", 1), ("out", 2), ("out", "last")]
            assert (world.node.meter.emitted, world.inbox.idle) == (4, True)

    async def test_where_too_much_waits_the_agent_is_not_listened_to_until_half_of_it_has_left(self) -> None:
        world = Working(capacity=1, timeout=2)
        async with world.at_work():
            world.feed(1)
            await settled()
            for index in range(MAX_SENT + 10):
                world.agent.send(0, index, "out", index)
                if index % 100 == 0:
                    await world.agent_says()
            await world.agent_says()
            assert world.link.held
            world.agent.commit(0)
            await world.agent_says()
            assert world.inbox.in_flight == 1
            got: list[Any] = []
            while world.link.held:
                got += world.arrived()
                await settled()
            assert MAX_SENT // 2 <= len(got) < MAX_SENT
            while world.inbox.in_flight:
                got += world.arrived()
                await settled()
            got += world.arrived()
            assert got == [("out", index) for index in range(MAX_SENT + 10)]

    async def test_the_bytes_of_what_waits_count_too(self) -> None:
        world = Working(capacity=1)
        async with world.at_work():
            world.feed(1)
            await settled()
            for index in range(3):
                world.agent.send(0, index, "out", "x" * (MAX_SENT_BYTES // 2))
                await world.agent_says()
            assert world.link.held

    async def test_an_agent_that_is_held_up_is_no_overrun(self, mock_clock: trio.testing.MockClock) -> None:
        world = Working(capacity=1, timeout=2)
        async with world.at_work():
            world.feed(1)
            await settled()
            for index in range(2):
                world.agent.send(0, index, "out", "x" * MAX_SENT_BYTES)
                await world.agent_says()
            assert world.link.held
            for _ in range(5):
                mock_clock.jump(3)
                await settled()
            assert not world.killed
            world.arrived()
            await settled()
            assert not world.link.held
            mock_clock.jump(2.9)
            await settled()
            assert not world.killed, "its time begins anew"
            mock_clock.jump(0.2)
            await world.over.wait()
            assert len(world.killed) == 1

    async def test_a_connection_that_refuses_it_fails_the_activation_and_what_left_before_has_left(self) -> None:
        world = Working(capacity=1, on_full="fail", max_attempts=1)
        async with world.at_work():
            world.feed(1)
            await settled()
            for index in range(3):
                world.agent.send(0, index, "out", index)
            world.agent.commit(0, state=[["set", "k", "1", None]])
            await world.agent_says()
            assert (world.arrived(), await world.kept("k"), world.replace) == ([("out", 0)], {}, True)
            (letter,) = world.router.dead_letters
            assert (letter.failure.type, letter.activation.sent) == ("MailboxFullError", 1)

    async def test_what_an_agent_sent_before_its_link_ended_is_placed(self) -> None:
        world = Working(capacity=1)
        async with world.at_work():
            world.feed(1)
            await settled()
            world.agent.send(0, 0, "out", 0)
            world.agent.send(0, 1, "out", 1)
            await world.agent.flush()
            world.agent.hang_up()
            await settled()
            assert not world.over.is_set()
            assert world.arrived() == [("out", 0)]
            await world.over.wait()
            assert world.arrived() == [("out", 1)]
            again = world.inbox.current(1, 1)
            assert again is not None
            assert again.sent == 2


class TestOverruns:
    async def test_a_sandbox_that_does_not_yield_is_killed(self, autojump_clock: trio.testing.MockClock) -> None:
        world = Working(timeout=2)
        async with world.at_work():
            world.feed(1)
            await world.over.wait()
            assert trio.current_time() == pytest.approx(2 + KILL_GRACE)
            assert world.killed == ["an activation did not end within 2 s, nor when it was interrupted"]
            assert str(world.activations.overran) == "timed out: activation 1 took longer than 2 s"

    async def test_the_time_of_each_runs_from_the_answer_before_it(self, mock_clock: trio.testing.MockClock) -> None:
        world = Working(timeout=2)
        async with world.at_work():
            world.feed(1, 2)
            await settled()
            mock_clock.jump(2.9)
            world.agent.commit(0)
            await world.agent_says()
            mock_clock.jump(2.9)
            await settled()
            assert not world.killed
            mock_clock.jump(0.2)
            await world.over.wait()
            assert str(world.activations.overran) == "timed out: activation 2 took longer than 2 s"

    async def test_an_idle_one_is_left_alone(self, mock_clock: trio.testing.MockClock) -> None:
        world = Working(timeout=2)
        async with world.at_work():
            mock_clock.jump(2.5)
            world.feed(1)
            await settled()
            mock_clock.jump(2.9)  # past the time that was looked at first
            await settled()
            assert not world.killed
            world.agent.commit(0)
            await world.agent_says()
            mock_clock.jump(100)
            await settled()
            assert (world.killed, world.activations.overran) == ([], None)

    async def test_waiting_for_room_is_no_overrun(self, mock_clock: trio.testing.MockClock) -> None:
        world = Working(timeout=2, capacity=1)
        async with world.at_work():
            world.feed(1, 2)
            await settled()
            world.agent.commit(0, ("out", 1))
            world.agent.commit(1, ("out", 2))
            await world.agent_says()
            mock_clock.jump(100)
            await settled()
            assert not world.killed
            assert world.arrived() == [("out", 1)]
            await settled()
            assert world.arrived() == [("out", 2)]
