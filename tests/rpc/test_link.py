"""A link to one agent: how it ends, and that every call gets one outcome. Real Unix sockets; the agent is played."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from reflow.wire.limits import WireLimits
from reflow.wire.messages import Activate, Code, Pong
from reflow.wire.session import Outcome, ProtocolViolationError
from reflow.wire.values import from_plain
from rpc.played import TOKEN, Agent, Calls, Ears, OneByOne, answered, connection, failed, linked
from trio.testing import MockClock, wait_all_tasks_blocked
from wsproto.events import BytesMessage, CloseConnection, TextMessage

from reflow_supervisor.rpc.accept import LinkHub
from reflow_supervisor.rpc.link import (
    MAX_QUEUED,
    ClosedBy,
    Link,
    LinkClosedError,
    LinkEnd,
    RequestFailedError,
)

PING_TIMEOUT = 10.0
"""Seconds, of `Link`'s default."""


@pytest.fixture
def clock(autojump_clock: MockClock) -> MockClock:
    """Time passes when nothing else can happen."""
    return autojump_clock


def ended(link: Link) -> LinkEnd:
    assert link.end is not None
    return link.end


# -- calls -------------------------------------------------------------------------------------------------------


@pytest.mark.trio
async def test_a_request_and_its_result(clock: MockClock) -> None:
    async with linked() as (link, agent), trio.open_nursery() as nursery:

        async def play() -> None:
            message = await agent.heard("ping")
            await agent.answer(message["id"], {"busy": 3, "busy_ms": 20})

        nursery.start_soon(play)
        assert await link.request("ping", {}, Pong) == Pong(busy=3, busy_ms=20)


@pytest.mark.trio
async def test_a_request_and_its_error(clock: MockClock) -> None:
    async with linked() as (link, agent), trio.open_nursery() as nursery:

        async def play() -> None:
            await agent.say(failed((await agent.heard("load"))["id"], -32020))

        nursery.start_soon(play)
        with pytest.raises(RequestFailedError, match=r"load: failed \(-32020\)") as caught:
            await link.request("load", {}, Pong)
        assert caught.value.error.code == Code.LOAD_FAILED


@pytest.mark.trio
async def test_calls_are_answered_in_any_order_and_grouping(clock: MockClock) -> None:
    async with linked() as (link, agent):
        calls = Calls(link)
        first, second, third = (calls.make() for _ in range(3))
        await agent.say([failed(third), answered(first)])
        await agent.answer(second)
        await wait_all_tasks_blocked()
        assert calls.kinds() == ["ok", "ok", "error"]


@pytest.mark.trio
async def test_what_is_ready_together_goes_in_one_frame(clock: MockClock) -> None:
    async with linked() as (link, agent):
        for n in range(20):
            link.notify("note", {"n": n})
        frame = await agent.frame()
        assert isinstance(frame, bytes)
        assert [m["params"]["n"] for m in msgspec.msgpack.decode(frame)[2:]] == list(range(20))


@pytest.mark.trio
async def test_a_result_of_another_shape_ends_the_link(clock: MockClock) -> None:
    async with linked() as (link, agent), trio.open_nursery() as nursery:
        calls = Calls(link)
        calls.make("activate")

        async def play() -> None:
            await agent.heard("activate")
            await agent.answer((await agent.heard("ping"))["id"], {"busy": "very"})
            assert (await agent.until_closed())[0] == 4001

        nursery.start_soon(play)
        with pytest.raises(ProtocolViolationError, match="busy"):
            await link.request("ping", {}, Pong)
        await link.closed.wait()
        assert ended(link).by is ClosedBy.VIOLATION
        assert calls.kinds() == ["unknown"]


@pytest.mark.trio
async def test_a_wait_that_is_cancelled_cancels_its_request_and_the_late_answer_is_nobodys(clock: MockClock) -> None:
    async with linked() as (link, agent):
        calls = Calls(link)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.request, "activate", {}, Pong)
            id = (await agent.heard("activate"))["id"]
            nursery.cancel_scope.cancel()
        assert (await agent.heard("cancel"))["params"] == {"id": id}
        # What waits for nothing any more may be answered all the same, even with what it should not be.
        calls.make()
        await agent.say([answered(id, {"busy": "very"}), answered((await agent.heard("m"))["id"])])
        await wait_all_tasks_blocked()
        assert calls.kinds() == ["ok"]
        assert link.end is None


@pytest.mark.trio
async def test_a_deadline_cancels_the_request_and_no_more(clock: MockClock) -> None:
    async with linked() as (link, agent):
        began = trio.current_time()
        with trio.move_on_after(5) as scope:
            await link.request("activate", {}, Pong)
        assert scope.cancelled_caught
        assert trio.current_time() - began == 5
        id = (await agent.heard("activate"))["id"]
        assert (await agent.heard("cancel"))["params"] == {"id": id}
        await agent.say(failed(id, Code.DEADLINE_EXCEEDED))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.request, "ping", {}, Pong)
            await agent.answer((await agent.heard("ping"))["id"])


@pytest.mark.trio
async def test_a_call_that_is_cancelled_still_has_its_one_outcome(clock: MockClock) -> None:
    async with linked() as (link, agent):
        calls = Calls(link)
        id = calls.make()
        link.cancel(id)
        await agent.heard("m")
        await agent.heard("cancel")
        await agent.say(failed(id, Code.CANCELLED))
        await wait_all_tasks_blocked()
        assert calls.kinds() == ["error"]
        link.cancel(id)  # answered: there is nothing to cancel
        link.notify("last")
        await agent.heard("last")


# -- what the agent asks and tells -------------------------------------------------------------------------------


@pytest.mark.trio
async def test_requests_and_notifications_go_to_the_handler(clock: MockClock) -> None:
    async with linked() as (link, agent):
        ears = Ears()
        link.attach(ears)
        await agent.ask("state.fetch", {"keys": ["k"]}, id="a")
        await agent.ask("state.keys", id=1)
        await agent.say({"jsonrpc": "2.0", "method": "log", "params": {"message": "m"}})
        await wait_all_tasks_blocked()
        assert [(r.id, r.method, r.params.plain()) for r in ears.requests] == [
            ("a", "state.fetch", {"keys": ["k"]}),
            (1, "state.keys", {}),
        ]
        assert [n.method for n in ears.notifications] == ["log"]
        link.fail(1, Code.STATE_UNAVAILABLE, "later")
        link.respond("a", {"k": 5})
        assert (await agent.heard())["error"] == {"code": -32030, "message": "later"}
        assert (await agent.heard())["result"] == {"k": 5}


@pytest.mark.trio
async def test_before_there_is_a_handler_requests_are_refused_and_notifications_dropped(clock: MockClock) -> None:
    async with linked() as (_, agent):
        await agent.say({"jsonrpc": "2.0", "method": "log"})
        await agent.ask("state.fetch", id=1)
        assert (await agent.heard())["error"]["code"] == Code.NOT_ALLOWED


@pytest.mark.trio
async def test_the_agents_pings_are_answered_without_the_handler(clock: MockClock) -> None:
    async with linked() as (link, agent):
        ears = Ears()
        link.attach(ears)
        await agent.ask("ping", id="p")
        assert await agent.heard() == {"jsonrpc": "2.0", "id": "p", "result": {}}
        assert ears.requests == []


@pytest.mark.trio
async def test_an_agent_that_speaks_in_text_is_answered_in_text(clock: MockClock) -> None:
    """Encoded messages once went into the text as they were; the bytes of a float ended every link of the run."""
    async with linked() as (link, agent):
        await agent.say({"jsonrpc": "2.0", "id": "p", "method": "ping"}, text=True)
        assert await agent.heard() == {"jsonrpc": "2.0", "id": "p", "result": {}}
        assert agent.hears_text
        calls = Calls(link)
        inputs = {"a": from_plain(math.pi), "b": from_plain({"k": b"\xff"})}
        id = calls.make("activate", Activate(activation=1, attempt=1, epoch=1, inputs=inputs))
        message = await agent.heard("activate")
        assert message["params"]["inputs"] == {"a": ["float", math.pi], "b": ["object", {"k": "/w=="}]}
        await agent.say(answered(id), text=True)
        await wait_all_tasks_blocked()
        assert calls.kinds() == ["ok"]


# -- the end -----------------------------------------------------------------------------------------------------


@pytest.mark.trio
async def test_closing_with_calls_waiting(clock: MockClock) -> None:
    async with linked() as (link, agent), trio.open_nursery() as nursery:
        calls = Calls(link)
        for _ in range(3):
            calls.make()
        nursery.start_soon(agent.until_closed)

        async def ask() -> None:
            with pytest.raises(LinkClosedError, match="closed"):
                await link.request("ping", {}, Pong)

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        await link.aclose()
        assert calls.kinds() == ["unknown"] * 3
        assert str(ended(link)) == "closed"
    assert agent.closed == (1000, "")


@pytest.mark.trio
async def test_a_link_that_is_over_takes_no_calls(clock: MockClock) -> None:
    async with linked() as (link, agent):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(agent.until_closed)
            await link.aclose()
        called: list[Outcome] = []
        with pytest.raises(LinkClosedError, match="closed"):
            link.call("m", {}, called.append)
        with pytest.raises(LinkClosedError):
            await link.request("m", {}, Pong)
        assert called == []
        # The rest is said to nobody.
        link.notify("n")
        link.respond("any")
        link.fail(1, -1, "m")
        link.cancel(1)
        await link.aclose()
        link.violated("afterwards")
        assert ended(link).by is ClosedBy.US


@pytest.mark.trio
async def test_cancelled_from_outside(clock: MockClock) -> None:
    ours, theirs = connection()
    async with theirs:
        agent = Agent(theirs)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(agent.open)
            link = await LinkHub(nursery, ping_interval=None).accept(OneByOne(ours), TOKEN)
            await wait_all_tasks_blocked()
            calls = Calls(link)
            calls.make()
            nursery.cancel_scope.cancel()
        assert calls.kinds() == ["unknown"]
        assert link.closed.is_set()
        assert ended(link).by is ClosedBy.US


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "going"), (4001, "you broke it: é")])
@pytest.mark.trio
async def test_the_agent_closes(clock: MockClock, code: int, reason: str) -> None:
    async with linked() as (link, agent):
        calls = Calls(link)
        calls.make()
        await agent.heard("m")
        await agent.close(code, reason)
        await link.closed.wait()
        assert ended(link) == LinkEnd(ClosedBy.LOST, reason)
        assert calls.kinds() == ["unknown"]


@pytest.mark.trio
async def test_the_agent_answers_and_closes_at_once(clock: MockClock) -> None:
    async with linked() as (link, agent):
        calls = Calls(link)
        first, second = calls.make(), calls.make()
        assert first != second
        frame = agent.framed(answered(first))
        await agent.stream.send_all(frame + agent._ws.send(CloseConnection(code=1000)))
        await link.closed.wait()
        assert calls.kinds() == ["ok", "unknown"]


@pytest.mark.parametrize("part", [0, 1, 5, -1], ids=["before", "in its header", "in its mask", "before its end"])
@pytest.mark.trio
async def test_the_agent_is_gone_in_the_middle_of_a_frame(clock: MockClock, part: int) -> None:
    async with linked() as (link, agent):
        calls = Calls(link)
        id = calls.make()
        await agent.heard("m")
        frame = agent.framed(answered(id))
        await agent.stream.send_all(frame[:part])
        await agent.stream.aclose()
        await link.closed.wait()
        assert ended(link).by is ClosedBy.LOST
        assert calls.kinds() == ["unknown"]


@pytest.mark.trio
async def test_the_agent_is_gone_while_it_is_written_to(clock: MockClock) -> None:
    async with linked() as (link, agent):
        calls = Calls(link)
        calls.make("m", {"x": b"x" * 8_000_000})
        await wait_all_tasks_blocked()
        await agent.stream.aclose()
        await link.closed.wait()
        assert ended(link).by is ClosedBy.LOST
        assert calls.kinds() == ["unknown"]


# -- an agent that does not answer -------------------------------------------------------------------------------


@pytest.mark.trio
async def test_an_agent_that_answers_pings_stays(clock: MockClock) -> None:
    async with linked(ping_interval=30) as (link, agent):
        for n in range(1, 6):
            message = await agent.heard("ping")
            assert trio.current_time() >= 30 * n
            await agent.answer(message["id"])
        assert link.end is None


@pytest.mark.trio
async def test_an_agent_that_answers_no_ping_is_hung(clock: MockClock) -> None:
    async with linked(ping_interval=30) as (link, agent):
        calls = Calls(link)
        calls.make()
        began = trio.current_time()
        await link.closed.wait()
        # One second more, for the close that is not answered either.
        assert trio.current_time() - began == pytest.approx(30 + PING_TIMEOUT + 1, abs=0.01)
        assert str(ended(link)) == "the agent does not answer: no answer to a ping within 10 s"
        assert calls.kinds() == ["unknown"]
        await agent.stream.aclose()


@pytest.mark.trio
async def test_a_link_that_is_held_reads_nothing_and_its_agent_does_not_count_as_hung(clock: MockClock) -> None:
    async with linked(ping_interval=30) as (link, agent):
        heard = Ears()
        link.attach(heard)
        await trio.sleep(29)
        ping = await agent.heard("ping")
        link.hold()
        link.hold()
        for _ in range(3):  # the first of them is what it waits for already
            await agent.say({"jsonrpc": "2.0", "method": "log"})
        await trio.sleep(100)
        assert (link.held, len(heard.notifications)) == (True, 1)
        link.release()
        link.release()
        await wait_all_tasks_blocked()
        assert (link.held, link.end) == (False, None)
        await agent.answer(ping["id"])
        await wait_all_tasks_blocked()
        assert len(heard.notifications) == 3
        began = trio.current_time()
        await link.closed.wait()
        assert ended(link).by is ClosedBy.HUNG, "when it is listened to again, it has to answer again"
        assert trio.current_time() > began
        await agent.stream.aclose()


@pytest.mark.trio
async def test_an_error_is_an_answer_to_a_ping(clock: MockClock) -> None:
    async with linked(ping_interval=30) as (link, agent):
        for _ in range(2):
            await agent.say(failed((await agent.heard("ping"))["id"], Code.METHOD_NOT_FOUND))
        assert link.end is None


@pytest.mark.trio
async def test_an_agent_that_sends_and_never_reads_is_held_back_and_then_hung(clock: MockClock) -> None:
    """Once each of its pings had its answer stored, without end."""
    async with linked(ping_interval=30) as (link, agent):
        longest = 0

        async def flood() -> None:
            nonlocal longest
            n = 0
            with contextlib.suppress(trio.BrokenResourceError):
                while True:
                    batch = [{"jsonrpc": "2.0", "id": i, "method": "ping"} for i in range(n, n + 500)]
                    n += 500
                    await agent.say(batch)
                    longest = max(longest, link._session.queued)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            await link.closed.wait()
        assert longest <= MAX_QUEUED + 500
        assert longest > 0
        assert ended(link).by is ClosedBy.HUNG
        await agent.stream.aclose()


@pytest.mark.trio
async def test_an_agent_that_reads_again_is_listened_to_again(clock: MockClock) -> None:
    async with linked(ping_interval=None) as (link, agent):
        count, batch = 40_000, 500

        async def flood() -> None:
            for n in range(0, count, batch):
                await agent.say([{"jsonrpc": "2.0", "id": i, "method": "ping"} for i in range(n, n + batch)])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            await wait_all_tasks_blocked()
            heard = [(await agent.heard())["id"] for _ in range(count)]
        assert heard == list(range(count))
        assert link.end is None


# -- an agent that breaks the protocol ---------------------------------------------------------------------------

SMALL = WireLimits(max_message=1000, max_frame=2000, max_batch=4, max_pending=3)


async def violate(play: Callable[[Agent], Any], detail: str, *, limits: WireLimits = SMALL) -> None:
    async with linked(limits) as (link, agent):
        link.attach(Ears(refuse="refused"))
        calls = Calls(link)
        calls.make()
        await agent.heard("m")
        await play(agent)
        code, reason = await agent.until_closed()
        await link.closed.wait()
        assert code == 4001
        assert detail in reason
        assert ended(link).by is ClosedBy.VIOLATION
        assert detail in ended(link).detail
        assert calls.kinds() == ["unknown"]


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (5, "invalid"),
        ([], "a frame without messages"),
        ([{"jsonrpc": "2.0", "method": "n"}] * 5, "a batch of 5"),
        ({"jsonrpc": "1.0", "method": "n"}, "jsonrpc"),
        (answered(99), "not asked"),
        ([answered(1), answered(1)], "answered already"),
        ([answered(1), 5], "invalid"),
        (answered(1) | {"error": {"code": 1, "message": "m"}}, "not both"),
        ({"jsonrpc": "2.0", "id": 1, "error": {"message": "m"}}, "code"),
        ({"jsonrpc": "2.0", "method": "refused"}, "is not wanted"),
        ([{"jsonrpc": "2.0", "method": "refused"}, answered(1)], "is not wanted"),
        ([{"jsonrpc": "2.0", "id": i, "method": "state.fetch"} for i in range(4)], "more than 3 requests"),
        ([{"jsonrpc": "2.0", "id": 1, "method": "state.fetch"}] * 2, "before the first was answered"),
        ({"jsonrpc": "2.0", "method": "é" * 64, "params": [1]}, "é" * 50),
    ],
)
@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
@pytest.mark.trio
async def test_a_violation_closes_with_4001_and_no_call_is_forgotten(
    clock: MockClock, content: Any, detail: str, text: bool
) -> None:
    """A call whose answer stood in the frame that broke the protocol once had no outcome: who asked waited for ever."""
    await violate(lambda agent: agent.say(content, text=text), detail)


@pytest.mark.trio
async def test_bytes_that_are_no_message(clock: MockClock) -> None:
    await violate(lambda agent: agent.stream.send_all(agent._ws.send(BytesMessage(b"\xc1"))), "malformed")
    await violate(lambda agent: agent.stream.send_all(agent._ws.send(TextMessage("[1, 0, {"))), "malformed")


@pytest.mark.trio
async def test_a_waiting_request_is_told_when_the_agent_breaks_the_protocol(clock: MockClock) -> None:
    async with linked() as (link, agent), trio.open_nursery() as nursery:

        async def play() -> None:
            id = (await agent.heard("ping"))["id"]
            await agent.say([answered(id), answered(id)])
            await agent.until_closed()

        nursery.start_soon(play)
        with pytest.raises(LinkClosedError, match="the agent broke the protocol: a response to") as caught:
            await link.request("ping", {}, Pong)
        assert caught.value.end.by is ClosedBy.VIOLATION


@pytest.mark.trio
async def test_a_frame_over_the_limit_ends_the_link(clock: MockClock) -> None:
    async with linked(SMALL) as (link, agent):
        calls = Calls(link)
        calls.make()
        await agent.heard("m")
        await agent.say({"jsonrpc": "2.0", "method": "log", "params": {"x": b"x" * SMALL.max_frame}})
        assert (await agent.until_closed())[0] in (1009, 4001)
        await link.closed.wait()
        assert ended(link).by in (ClosedBy.LOST, ClosedBy.VIOLATION)
        assert calls.kinds() == ["unknown"]


@pytest.mark.trio
async def test_a_violation_does_not_wait_for_an_agent_that_does_not_close(clock: MockClock) -> None:
    async with linked() as (link, agent):
        began = trio.current_time()
        await agent.say(5)
        await link.closed.wait()
        assert trio.current_time() - began == pytest.approx(1, abs=0.01)
        assert ended(link).by is ClosedBy.VIOLATION
        await agent.stream.aclose()


# -- any interleaving --------------------------------------------------------------------------------------------

STEPS = [
    "call", "call", "ok", "ok", "error", "cancel", "ask", "respond", "note", "pause", "large", "batch",
]  # fmt: skip
ENDS = ["close", "agent closes", "agent is gone", "violation", "half a frame", "bad batch"]


@given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9)), max_size=30),
    st.sampled_from(ENDS),
    st.random_module(),
)
@settings(max_examples=60, deadline=None)
def test_every_call_has_one_outcome_whatever_happens(steps: list[tuple[str, int]], end: str, seed: Any) -> None:
    assert seed is not None  # drawn so that Trio schedules in another order each time
    trio.run(play_plan, steps, end, clock=MockClock(autojump_threshold=0))


async def play_plan(steps: list[tuple[str, int]], end: str) -> None:
    async with linked() as (link, agent):
        ears = Ears()
        link.attach(ears)
        calls = Calls(link)
        said: dict[int | str, str] = {}
        asked = 0

        def pick(n: int) -> int | str | None:
            waiting = [id for id in calls.outcomes if id not in said]
            return waiting[n % len(waiting)] if waiting else None

        for step, n in steps:
            id = pick(n)
            match step:
                case "call":
                    calls.make()
                case "large":
                    calls.make("m", {"x": b"x" * 20_000})
                case "ok" if id is not None:
                    said[id] = "ok"
                    await agent.answer(id)
                case "error" if id is not None:
                    said[id] = "error"
                    await agent.say(failed(id))
                case "batch":
                    batch: list[Any] = []
                    while (id := pick(n)) is not None and len(batch) < 3:
                        said[id] = "ok"
                        batch.append(answered(id))
                    if batch:
                        await agent.say(batch)
                case "cancel" if calls.outcomes:
                    link.cancel(list(calls.outcomes)[n % len(calls.outcomes)])
                case "ask":
                    asked += 1
                    await agent.ask("state.fetch", id=asked)
                case "respond" if ears.requests:
                    link.respond(ears.requests.pop().id)
                case "note":
                    await agent.say({"jsonrpc": "2.0", "method": "log"})
                case "pause":
                    await wait_all_tasks_blocked()
                case _:
                    pass
        # What the agent has said arrives, in a batch or alone; then the link ends.
        await wait_all_tasks_blocked()
        lost = pick(0)
        match end:
            case "close":
                link.close()
            case "agent closes":
                await agent.close(1000)
            case "agent is gone":
                await agent.stream.aclose()
            case "violation":
                await agent.say(5)
            case "half a frame":
                await agent.stream.send_all(agent.framed(answered(lost or 1))[:-1])
                await agent.stream.aclose()
            case _:
                await agent.say([answered(lost or "none"), answered("never asked")])
        await link.closed.wait()
        assert dict(zip(calls.outcomes, calls.kinds(), strict=True)) == {
            id: said.get(id, "unknown") for id in calls.outcomes
        }
