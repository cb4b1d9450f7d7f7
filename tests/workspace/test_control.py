"""What an operator's commands do to a network that is up: real supervisors, mailboxes and router, no sandboxes."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio
import trio.testing
from reflow.wire import values
from reflow.wire.messages import Failure

from reflow_supervisor.control.protocol import ControlError, ErrorCode
from reflow_supervisor.network.component import Component, PortDecl, Runtime
from reflow_supervisor.network.dead_letters import DeadLetters
from reflow_supervisor.network.graph import Graph
from reflow_supervisor.network.inbox import Inbox
from reflow_supervisor.network.router import Router
from reflow_supervisor.state.letters import Bounds
from reflow_supervisor.state.memory_letters import MemoryLetters
from reflow_supervisor.supervision import (
    Backoff,
    ChildSpec,
    ChildState,
    ChildType,
    SupervisorFlags,
    open_supervisor,
    run_supervisor,
)
from reflow_supervisor.telemetry.logs import Logs
from reflow_supervisor.telemetry.meters import NodeMeter
from reflow_supervisor.workspace.control import Control
from reflow_supervisor.workspace.letter_desk import LetterDesk
from reflow_supervisor.workspace.letters import LetterKeeper, Place
from reflow_supervisor.workspace.nodes import Node
from reflow_supervisor.workspace.replays import LetterNode
from reflow_supervisor.workspace.status import Status


class NoSink:
    def write(self, line: str) -> None:
        pass

    async def run(self) -> None:
        await trio.sleep_forever()

    def finish(self, timeout: float) -> None:
        pass


@attrs.define(eq=False)
class FakeRun:
    calls: list[str] = attrs.field(factory=list[str])

    def drain(self, why: str) -> None:
        self.calls.append("drain")

    def end(self) -> None:
        self.calls.append("end")


@attrs.define(eq=False)
class Bench:
    """One actor, `a`, that fails to start while `broken`, and counts its starts."""

    control: Control
    status: Status
    inbox: Inbox
    meter: NodeMeter
    router: Router
    run: FakeRun
    keeper: LetterKeeper
    broken: bool = False
    starts: int = 0

    async def body(self, *, task_status: trio.TaskStatus[None]) -> None:
        self.starts += 1
        if self.broken:
            raise ValueError("bad script\nsecond line")
        task_status.started()
        await trio.sleep_forever()

    def state(self) -> str:
        return self.control.snapshot().actors[0].state


@asynccontextmanager
async def bench() -> AsyncGenerator[Bench]:
    inbox, meter = Inbox("a", ("v",)), NodeMeter()
    router = Router(Graph(), {"a": inbox}, {}, DeadLetters("run", bounded=True))
    component = Component("A", Runtime.PYTHON, (PortDecl("v"),))
    nodes = {"a": Node("a", component, inbox, meter)}
    status = Status("w", nodes, router, Logs(NoSink()), wall_clock=lambda: 100.0)
    run = FakeRun()
    place = Place(MemoryLetters(Bounds(1000, 10**6)), expected=False)

    def letter_node(id: str) -> LetterNode | None:
        return LetterNode(component, inbox) if id == "a" else None

    keeper = LetterKeeper(router.dead_letters, router, place, letter_node, report=lambda *_: None, rng=random.Random(0))
    desk = LetterDesk(keeper, letter_node)
    it = Bench(Control(run, status, nodes, router, desk), status, inbox, meter, router, run, keeper)
    flags = SupervisorFlags(backoff=Backoff(initial=5, jitter=0))
    network = partial(run_supervisor, [ChildSpec("a", it.body)], flags, name="network", on_event=status.heard)
    spec = ChildSpec("network", network, type=ChildType.SUPERVISOR)
    async with open_supervisor([spec], name="w", on_event=status.heard) as root:
        status.root, status.state = root, "running"
        yield it


@pytest.mark.trio
async def test_stop_start_and_restart() -> None:
    async with bench() as it:
        assert it.state() == "running"
        await it.control.stop_actor("a")
        assert it.state() == "stopped"
        await it.control.start_actor("a")
        assert it.state() == "running"
        with pytest.raises(ControlError, match="a is running") as refused:
            await it.control.start_actor("a")
        assert refused.value.code == ErrorCode.REFUSED
        await it.control.restart_actor("a")
        assert (it.state(), it.starts) == ("running", 3)


@pytest.mark.trio
async def test_an_actor_that_does_not_start_says_why_and_stays_stopped() -> None:
    async with bench() as it:
        it.broken = True
        with pytest.raises(ControlError, match=r"a did not start: .*bad script"):
            await it.control.restart_actor("a")
        snapshot = it.control.snapshot()
        assert snapshot.actors[0].state == "failed"
        assert snapshot.actors[0].last_error is not None
        assert snapshot.actors[0].last_error.type == "ValueError"
        failure = snapshot.failures[-1]
        assert (failure.actor, failure.kind) == ("a", "load")
        assert "\n" not in failure.reason
        assert failure.detail == "bad script\nsecond line"


@pytest.mark.trio
async def test_a_paused_actor_stays_up_and_gets_nothing() -> None:
    async with bench() as it:
        await it.control.pause_actor("a")
        it.inbox.offer("v", values.from_plain(1))
        assert it.state() == "paused"
        assert it.inbox.take() is None
        changed = it.router.changed
        await it.control.resume_actor("a")
        assert changed.is_set()
        assert it.state() == "running"
        assert it.inbox.take() is not None


@pytest.mark.trio
async def test_an_unknown_actor_and_a_network_that_is_not_up() -> None:
    async with bench() as it:
        for command in (it.control.restart_actor, it.control.stop_actor, it.control.pause_actor):
            with pytest.raises(ControlError, match="there is no actor 'x' \\(there are: a\\)") as refused:
                await command("x")
            assert refused.value.code == ErrorCode.NO_SUCH_ACTOR
        it.status.root = None
        with pytest.raises(ControlError, match="a is not up"):
            await it.control.pause_actor("a")


@pytest.mark.trio
async def test_the_workspace_is_drained_and_killed() -> None:
    async with bench() as it:
        await it.control.stop()
        await it.control.kill()
        assert it.run.calls == ["drain", "end"]


def give_up(it: Bench, number: int) -> str:
    """A dead letter of the input `{"n": number}`; its id."""
    it.inbox.offer("v", values.from_plain({"n": number}))
    activation = it.inbox.take()
    assert activation is not None
    activation.failures = 2  # the third is the last
    letter = it.inbox.failed(activation, Failure(type="ValueError", message=f"no {number}"), at=100.0 + number)
    assert letter is not None
    return it.router.dead_letters.bury(letter)


@pytest.mark.trio
async def test_dead_letters_newest_first_with_a_preview_of_their_input() -> None:
    async with bench() as it, trio.open_nursery() as nursery:
        for number in range(3):
            give_up(it, number)
        for state in ("unkept", "dead"):
            answer = await it.control.dead_letters(2, "")
            assert answer.total == 3
            assert [(d.error.message, d.preview, d.attempts, d.state, d.at) for d in answer.letters] == [
                ("no 2", 'v={"n":2}', 3, state, 102.0),
                ("no 1", 'v={"n":1}', 3, state, 101.0),
            ]
            assert (await it.control.dead_letters(2, "b")).total == 0
            nursery.start_soon(it.keeper.run)
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_dead_letter_is_shown_replayed_and_dropped_and_one_that_is_not_there_is_said_to_be_none() -> None:
    async with bench() as it, trio.open_nursery() as nursery:
        nursery.start_soon(it.keeper.run)
        first, second = give_up(it, 1), give_up(it, 2)
        it.router.bump()
        await trio.testing.wait_all_tasks_blocked()
        assert (await it.control.dead_letter(first)).letter.cause.message == "no 1"
        with pytest.raises(ControlError, match="there is no dead letter 'zz'") as refused:
            await it.control.dead_letter("zz")
        assert refused.value.code == ErrorCode.NO_SUCH_LETTER
        done = await it.control.replay_dead_letters([first, "zz"], "")
        assert (done.done, done.refused) == ((first,), {"zz": "there is no such dead letter"})
        done = await it.control.drop_dead_letters(None, "a")
        assert (done.done, done.refused) == ((second,), {first: "it is being replayed"})
        it.status.state = "draining"
        with pytest.raises(ControlError, match="the network is draining"):
            await it.control.replay_dead_letters(None, "")
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_backoff_and_counters_are_shown(autojump_clock: object) -> None:
    async with bench() as it:
        it.meter.committed(2, 0.001)
        it.meter.failure("KeyError", "'x'", "Traceback…", at=99.0)
        it.inbox.offer("v", values.from_plain(1))
        it.broken = True
        await it.control.stop_actor("a")
        it.broken = False
        await it.control.start_actor("a")
        snapshot = it.control.snapshot()
        (a,) = snapshot.actors
        assert (a.received, a.emitted, a.failed, a.mailbox) == (1, 2, 1, 1)
        assert snapshot.totals.emitted == 2
        assert a.last_error is not None
        assert a.last_error.type == "KeyError"


@pytest.mark.trio
async def test_a_failing_actor_is_shown_in_backoff_with_its_restarts(autojump_clock: object) -> None:
    async def failing(gate: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await gate.wait()
        raise RuntimeError("gone")

    async with bench() as it:
        network = it.status.network
        assert network is not None
        gate = trio.Event()
        await network.terminate_child("a")
        await network.delete_child("a")
        await network.start_child(ChildSpec("a", partial(failing, gate)))
        gate.set()
        await trio.testing.wait_all_tasks_blocked()
        (a,) = it.control.snapshot().actors
        assert (a.state, a.restarts, a.restarts_in_window) == ("backoff", 1, 1)
        assert a.next_retry_in == 5
        assert it.status.restarts == 1


@pytest.mark.trio
async def test_an_actor_is_found_among_the_nodes_and_nowhere_else() -> None:
    """A service of the run may have the name of a node that is not there any more."""
    async with bench() as it:
        root = it.status.root
        assert root is not None
        await root.start_child(ChildSpec("a", it.body))
        network = it.status.network
        assert network is not None
        await network.terminate_child("a")
        await network.delete_child("a")
        with pytest.raises(ControlError, match="a is not there: it has ended, and is not kept"):
            await it.control.stop_actor("a")
        assert root.child("a").state is ChildState.RUNNING
        assert it.state() == "stopped"
