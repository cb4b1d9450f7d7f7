"""One incarnation after another of a node whose sandboxes are played: why each ends, and what the next one finds.

The property at the end is the promise that the rest is there for: whatever happens, every message is committed once or
becomes a dead letter, state and outputs belong together, and outputs leave in order.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import attrs
import pytest
import trio
import trio.testing
from actors.world import WALL, Agent, FakePool, FakeSandbox, World, settled
from hypothesis import given, settings
from hypothesis import strategies as st
from reflow.wire import messages, values
from reflow.wire.messages import Code, Failure
from reflow.wire.session import RequestReceived

from reflow_supervisor.actors.endings import LinkDown, LoadFailedError
from reflow_supervisor.actors.files import Found
from reflow_supervisor.actors.instance import EXIT_PATIENCE, Instance
from reflow_supervisor.actors.modules import ModuleSet
from reflow_supervisor.actors.registry import LoadedSource
from reflow_supervisor.network.component import PortDecl, Runtime
from reflow_supervisor.rpc.link import ClosedBy
from reflow_supervisor.sandbox.backend import ExitKind, Limits, SandboxExit
from reflow_supervisor.supervision import ChildExit, Exited, ExitReason, Killed, OutOfMemory, TimedOut


class Life:
    """A world with a pool, and one incarnation at a time."""

    def __init__(self, world: World, pool: FakePool) -> None:
        self.world, self.pool = world, pool
        self.host = attrs.evolve(world.host, pool=cast("Any", pool))
        self.ready = 0

    async def incarnation(self) -> BaseException | None:
        """Until it ends: why."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(Instance(self.host, self.world.node).run)
                self.ready += 1
        except ExceptionGroup as group:
            (error,) = group.exceptions
            return error
        return None

    async def started(self, times: int = 1) -> None:
        """So many incarnations have become ready. Not for `settled` to tell: a thread copies the files."""
        await until(lambda: self.ready >= times)
        await settled()

    @property
    def agent(self) -> Agent:
        return self.pool.agents[-1]

    @property
    def sandbox(self) -> FakeSandbox:
        return self.pool.sandboxes[-1]


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await trio.lowlevel.checkpoint()


async def lived(world: World, path: Path, scenario: Callable[[Life], Any]) -> ExitReason:
    """The reason for which one incarnation ends to which that happens once it is ready."""
    reason: list[ExitReason] = []
    async with trio.open_nursery() as nursery:
        life = Life(world, FakePool(nursery, path))

        async def live() -> None:
            error = await life.incarnation()
            assert isinstance(error, ChildExit), error
            reason.append(error.reason)

        nursery.start_soon(live)
        await life.started()
        await scenario(life)
    assert (world.node.sandbox, world.node.started_at, world.inbox.in_flight) == (None, None, 0)
    return reason[0]


@pytest.mark.trio
class TestLoading:
    async def test_the_agent_is_told_what_it_needs_and_readiness_waits_for_its_answer(self, tmp_path: Path) -> None:
        world = World(outports=[PortDecl("out"), PortDecl("error")], ttl=1.5, runtime=Runtime.JAVASCRIPT)
        asked: list[RequestReceived] = []

        def heard(agent: Agent, sandbox: FakeSandbox) -> None:
            agent.on_load = asked.append

        async with trio.open_nursery() as nursery:
            pool = FakePool(nursery, tmp_path)
            pool.on_agent = heard
            life = Life(world, pool)
            nursery.start_soon(life.incarnation)
            await until(lambda: bool(asked))
            world.feed(1)
            await settled()
            load = asked[0].params.decode(messages.Load)
            assert (load.node, load.component, load.file, load.source) == ("a", "A", "a.actor.py", "pass")
            assert (load.config, load.incarnation, load.inports, load.outports) == (
                {"k": 1},
                1,
                ["in"],
                ["out", "error"],
            )
            assert (load.error_port, load.state.ttl_ms) == (True, 1500)
            assert (life.ready, life.agent.asked, pool.leased) == (0, [], [("javascript", Limits())])
            assert (pool.sandboxes[0].workspace / "a.actor.py").read_bytes() == b"pass"
            life.agent.loaded(asked[0])
            await life.agent.flush()
            await settled()
            assert (life.ready, len(life.agent.activations())) == (1, 1)
            present = world.node.status()
            assert (present.incarnation, present.sandbox, present.pid, present.started_at) == (1, "box", 7, WALL)
            assert (present.cpu_seconds, present.memory) == (1.5, 2048)
            nursery.cancel_scope.cancel()
        assert world.node.status().sandbox is None

    async def failing(self, tmp_path: Path, world: World, on_load: Callable[[Agent, RequestReceived], None]) -> Any:
        async with trio.open_nursery() as nursery:
            pool = FakePool(nursery, tmp_path)

            def heard(agent: Agent, sandbox: FakeSandbox) -> None:
                agent.on_load = lambda request: on_load(agent, request)

            pool.on_agent = heard
            life = Life(world, pool)
            error = await life.incarnation()
            assert (life.ready, life.sandbox.exit is not None) == (0, True)
            nursery.cancel_scope.cancel()
        return error

    async def test_a_script_that_raises(self, tmp_path: Path) -> None:
        world = World()
        failure = Failure(type="NameError", message="x\ny", traceback="its own", file="a.actor.py", line=7)
        error = await self.failing(
            tmp_path, world, lambda agent, r: agent.session.fail(r.id, Code.LOAD_FAILED, "no", failure)
        )
        assert isinstance(error, LoadFailedError)
        assert str(error.reason) == "could not be loaded: NameError: x y (a.actor.py:7)"
        assert world.said("error") == ["its own"]

    async def test_a_script_that_takes_too_long(self, tmp_path: Path, autojump_clock: object) -> None:
        world = World()
        error = await self.failing(tmp_path, world, lambda agent, r: None)
        assert str(error) == "could not be loaded: TimeoutError: it was not loaded within 5 s (a.actor.py)"

    async def test_an_answer_of_another_shape_breaks_the_protocol(self, tmp_path: Path) -> None:
        error = await self.failing(tmp_path, World(), lambda agent, r: agent.session.respond(r.id, {"name": 3}))
        assert isinstance(error, ChildExit)
        assert isinstance(error.reason, LinkDown)
        assert error.reason.end.by is ClosedBy.VIOLATION

    async def test_a_file_that_has_vanished_is_named(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        root.mkdir()
        world = World(
            source=LoadedSource("a.actor.py", b"pass", "pass", "0"),
            modules=ModuleSet(root, (Found("helper.py", "helper.py"),)),
        )
        error = await self.failing(tmp_path, world, lambda agent, r: agent.loaded(r))
        assert isinstance(error, LoadFailedError), "one exception with a reason, and no group"
        assert "helper.py" in str(error.reason)
        assert "is not there any more" in str(error.reason)


@pytest.mark.trio
class TestEnding:
    @pytest.mark.parametrize(
        ("gone", "reason"),
        [
            (SandboxExit(ExitKind.EXITED, code=3), Exited(3)),
            (SandboxExit(ExitKind.SIGNALED, signal=11), Killed(11)),
            (SandboxExit(ExitKind.OUT_OF_MEMORY), OutOfMemory(Limits().memory)),
        ],
    )
    async def test_a_sandbox_that_is_gone_says_why(self, tmp_path: Path, gone: SandboxExit, reason: ExitReason) -> None:
        world = World()

        async def scenario(life: Life) -> None:
            world.feed(1)
            await settled()
            life.sandbox.end(gone)

        assert await lived(world, tmp_path, scenario) == reason
        assert (world.inbox.waiting, world.inbox.epoch) == (1, 2)

    async def test_a_link_that_is_lost_has_its_sandbox_killed_after_a_while(
        self, tmp_path: Path, autojump_clock: trio.testing.MockClock
    ) -> None:
        world, began = World(), list[float]()
        sandboxes: list[FakeSandbox] = []

        async def scenario(life: Life) -> None:
            began.append(trio.current_time())
            sandboxes.append(life.sandbox)
            life.agent.hang_up()

        reason = await lived(world, tmp_path, scenario)
        assert isinstance(reason, LinkDown)
        assert reason.end.by is ClosedBy.LOST
        assert sandboxes[0].exit is not None
        assert trio.current_time() - began[0] >= EXIT_PATIENCE

    async def test_an_overrun(self, tmp_path: Path, autojump_clock: object) -> None:
        async def scenario(life: Life) -> None:
            life.world.feed(1)

        reason = await lived(World(timeout=2), tmp_path, scenario)
        assert reason == TimedOut("activation 1", 2)

    async def test_stopped_from_outside_nothing_is_to_blame(self, tmp_path: Path) -> None:
        world = World()
        async with trio.open_nursery() as nursery:
            life = Life(world, FakePool(nursery, tmp_path))
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as inner:
                    inner.start_soon(life.incarnation)
                    await life.started()
                    world.feed(1)
                    await settled()
                    assert world.inbox.in_flight == 1
                    scope.cancel()
            assert life.sandbox.exit is not None
            nursery.cancel_scope.cancel()
        assert (world.inbox.in_flight, world.inbox.waiting, len(world.router.dead_letters)) == (0, 1, 0)
        again = world.inbox.take()
        assert again is not None
        assert (again.attempt, again.failures) == (2, 0)


@pytest.mark.trio
class TestNextSandbox:
    async def test_an_agent_whose_state_was_refused_is_replaced_in_the_same_incarnation(self, tmp_path: Path) -> None:
        world = World(max_attempts=1)
        async with trio.open_nursery() as nursery:
            life = Life(world, FakePool(nursery, tmp_path))
            nursery.start_soon(life.incarnation)
            await life.started()
            world.feed(1, 2)
            await settled()
            first = life.agent
            first.commit(0, state=[["set", "k", "1", None], ["append", "k", ["1"], None]])
            await first.flush()
            await until(lambda: len(life.pool.agents) == 2 and bool(life.agent.asked))
            assert [(a.activation, a.epoch) for a in life.agent.activations()] == [(2, 2)]
            assert (life.ready, world.node.incarnation) == (1, 1)
            assert life.pool.sandboxes[0].exit is not None
            life.agent.commit(0, ("out", "second"))
            await life.agent.flush()
            await settled()
            assert (world.arrived(), world.inbox.idle) == ([("out", "second")], True)
            nursery.cancel_scope.cancel()

    @pytest.mark.parametrize("fault", ["before", "after"])
    async def test_what_was_decided_is_finished_before_anything_else(self, tmp_path: Path, fault: str) -> None:
        world = World()
        world.faulty.faults.append(fault)
        async with trio.open_nursery() as nursery:
            life = Life(world, FakePool(nursery, tmp_path))
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as inner:
                    inner.start_soon(life.incarnation)
                    await life.started()
                    world.feed(1, 2)
                    await settled()
                    life.agent.commit(0, ("out", "first"), state=[["append", "k", ["1"], None]])
                    await life.agent.flush()
                    await settled()
                    scope.cancel()
            assert (len(world.node.decided), world.arrived(), world.inbox.in_flight) == (1, [], 0)
            nursery.start_soon(life.incarnation)
            await until(lambda: len(life.pool.agents) == 2 and bool(life.agent.asked))
            assert [a.activation for a in life.agent.activations()] == [2]
            assert (world.arrived(), await world.kept("k")) == ([("out", "first")], {"k": [1]})
            nursery.cancel_scope.cancel()


# -- the property ------------------------------------------------------------------------------------------------------

BEHAVIOURS = ("commit", "commit", "commit", "fail", "die", "corrupt", "hang up", "late", "mismatch")


class Script:
    """An agent that runs one activation at a time, each as the plan says: it tells of it, appends what it got to its
    state, and puts it out. It skips behind a failure, as agents do."""

    def __init__(self, agent: Agent, sandbox: FakeSandbox, plan: list[str], epochs: list[int]) -> None:
        self.agent, self.sandbox, self.plan = agent, sandbox, plan
        self.failed_epoch = 0
        self._send, self._receive = trio.open_memory_channel[RequestReceived](1000)

        def given(request: RequestReceived) -> None:
            epochs.append(request.params.decode(messages.Activate).epoch)
            self._send.send_nowait(request)

        agent.on_request = given

    async def run(self) -> None:
        async for request in self._receive:
            asked = request.params.decode(messages.Activate)
            session, value = self.agent.session, asked.activation
            if asked.epoch <= self.failed_epoch:
                session.fail(request.id, Code.SKIPPED, "skipped")
                await self.agent.flush()
                continue
            what = self.plan.pop() if self.plan else "commit"
            good = messages.Commit(outputs=[("out", _integer(value))], state=[["append", "seen", [str(value)], None]])
            try:
                told = messages.Send(
                    activation=value, attempt=asked.attempt, index=0, port="told", message=_integer(value)
                )
                session.notify("send", told)
                if what in ("die", "hang up"):
                    await self.agent.flush()
                match what:
                    case "fail":
                        self.failed_epoch = asked.epoch
                        failure = Failure(type="ValueError", message="no")
                        session.fail(request.id, Code.SCRIPT_FAILED, "no", failure)
                    case "die":
                        self.sandbox.end(SandboxExit(ExitKind.EXITED, code=1))
                    case "hang up":
                        self.agent.hang_up()
                    case "corrupt":
                        ops = [["append", "seen", ["-1"], None], ["set", "v", "1", None], ["trim", "v", 1, 0]]
                        session.respond(request.id, messages.Commit(outputs=good.outputs, state=ops))
                    case "mismatch":
                        bad = [("out", _text("no integer"))]
                        session.respond(request.id, messages.Commit(outputs=bad, state=[["set", "w", "1", None]]))
                    case _:
                        if what == "late":
                            await trio.sleep(0.3)
                        session.respond(request.id, good)
            except Exception:
                if self.sandbox.exit is None and what not in ("die", "hang up"):
                    raise
            await self.agent.flush()


def _integer(value: int) -> messages.msgspec.Raw:
    return values.encode("integer", value)


def _text(value: str) -> messages.msgspec.Raw:
    return values.encode("string", value)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    plan=st.lists(st.sampled_from(BEHAVIOURS), max_size=14),
    faults=st.lists(st.sampled_from(["", "", "before", "after"]), max_size=8),
    count=st.integers(1, 12),
    stops=st.lists(st.floats(0.01, 2), max_size=3),
    capacity=st.sampled_from([None, 1, 3]),
    window=st.sampled_from([1, 4, 64]),
)
def test_every_message_is_committed_once_or_a_dead_letter(
    seed: int,
    plan: list[str],
    faults: list[str],
    count: int,
    stops: list[float],
    capacity: int | None,
    window: int,
) -> None:
    # Hypothesis gives Trio's scheduler the same seed for every example: one of our own explores its orders too.
    trio._core._run._r.seed(seed)  # type: ignore[attr-defined]
    rng = random.Random(seed)
    out: list[int] = []
    told: list[int] = []
    epochs: list[list[int]] = []
    """Of each agent, those of the activations that it was given."""
    incarnations: list[int] = []

    async def main(path: Path) -> None:
        outports = [PortDecl("out", "integer"), PortDecl("told")]
        world = World(outports=outports, edges=["out", "told"], capacity=capacity, window=window)
        world.faulty.faults.extend(faults)
        remaining = list(stops)

        def read() -> None:
            for port, value in world.arrived():
                (out if port == "out" else told).append(value)

        async def consume() -> None:
            while True:
                read()
                await trio.sleep(0.01 + rng.random() / 10)

        async with trio.open_nursery() as nursery:
            pool = FakePool(nursery, path)

            def heard(agent: Agent, sandbox: FakeSandbox) -> None:
                epochs.append([])
                nursery.start_soon(Script(agent, sandbox, plan, epochs[-1]).run)

            pool.on_agent = heard
            life = Life(world, pool)

            async def supervise() -> None:
                while True:
                    with trio.move_on_after(remaining.pop() if remaining else float("inf")):
                        error = await life.incarnation()
                        assert isinstance(error, ChildExit), error
                    incarnations.append(world.node.incarnation)
                    assert world.inbox.in_flight == 0

            nursery.start_soon(consume)
            nursery.start_soon(supervise)
            for value in range(count):
                world.feed(value)
                await trio.sleep(rng.random() / 20)
            with trio.fail_after(1000):
                while not (world.inbox.idle and world.consumer.idle):
                    await trio.sleep(0.05)
            read()
            seen = (await world.kept("seen", "v", "w")).copy()
            nursery.cancel_scope.cancel()

        dead = [letter.activation.id for letter in world.router.dead_letters]
        assert sorted(out + dead) == list(range(1, count + 1)), "each once"
        assert out == sorted(out), "in order"
        assert told == sorted(set(told)), "what is sent is sent once, in order"
        assert set(out) <= set(told)
        assert seen == ({"seen": out} if out else {}), "state and outputs belong together, and failures leave none"
        assert world.node.decided == ()
        assert world.node.meter.done == len(out)
        assert incarnations == sorted(set(incarnations))

    with TemporaryDirectory() as name:
        trio.run(main, Path(name), clock=trio.testing.MockClock(autojump_threshold=0.001))
    given = [epoch for of_one in epochs for epoch in of_one]
    assert given == sorted(given), "epochs only rise"
