"""A link whose connections are cut: what waits, what is sent again, and when it is over. Real Unix sockets."""

from __future__ import annotations

import contextlib
import errno
from typing import Any

import msgspec
import pytest
import trio
from reflow.wire.limits import WireLimits
from reflow.wire.messages import Pong
from rpc.played import TOKEN, Agent, Calls, Ears, OneByOne, answered, connection, resumable
from trio.testing import MockClock, wait_all_tasks_blocked

from reflow_supervisor.rpc import link as link_module
from reflow_supervisor.rpc.accept import CONNECTION_BURST, CONNECTION_RATE, MAX_HANDSHAKES, LinkHub
from reflow_supervisor.rpc.link import MAX_QUEUED, ClosedBy, LinkClosedError, LinkEnd

pytestmark = pytest.mark.trio

WINDOW = 10.0
PING_TIMEOUT = 10.0


@pytest.fixture
def clock(autojump_clock: MockClock) -> MockClock:
    """Time passes when nothing else can happen."""
    return autojump_clock


async def hang_up(agent: Agent) -> None:
    await trio.aclose_forcefully(agent.stream)
    await wait_all_tasks_blocked()


# -- going on ----------------------------------------------------------------------------------------------------


async def test_a_call_outlives_its_connection(clock: MockClock) -> None:
    async with resumable() as (link, agent, connect):
        calls = Calls(link)
        id = calls.make()
        await agent.heard("m")
        await hang_up(agent)
        assert (link.is_up, link.end, link.cuts, link.resumes) == (False, None, 1, 0)
        assert calls.outcomes[id] == []
        await agent.resume(connect())
        assert (link.is_up, link.cuts, link.resumes) == (True, 1, 1)
        await agent.answer(id)
        await wait_all_tasks_blocked()
        assert calls.kinds() == ["ok"]


async def test_what_is_said_while_it_is_cut_comes_with_the_next_connection(clock: MockClock) -> None:
    async with resumable() as (link, agent, connect):
        await hang_up(agent)
        calls = Calls(link)
        ids = [calls.make() for _ in range(3)]
        link.notify("n")
        await agent.resume(connect())
        assert [(await agent.heard("m"))["id"] for _ in ids] == ids
        await agent.heard("n")


async def test_what_the_agent_has_not_is_sent_again_and_what_it_has_is_not(clock: MockClock) -> None:
    async with resumable() as (link, agent, connect):
        for n in range(3):
            link.notify("n", {"n": n})
            await wait_all_tasks_blocked()
        assert (await agent.heard("n"))["params"] == {"n": 0}
        await hang_up(agent)
        await agent.resume(connect(), received=1)
        agent.came = 1
        assert [(await agent.heard("n"))["params"]["n"] for _ in range(2)] == [1, 2]


async def test_what_the_agent_sends_again_counts_once(clock: MockClock) -> None:
    async with resumable() as (link, agent, connect):
        ears = Ears()
        link.attach(ears)
        calls = Calls(link)
        id = calls.make()
        await agent.heard("m")
        await agent.answer(id)
        await agent.say({"jsonrpc": "2.0", "method": "log"})
        await wait_all_tasks_blocked()
        await hang_up(agent)
        assert await agent.resume(connect()) == 2
        await agent.say(answered(id), number=1)
        await agent.say({"jsonrpc": "2.0", "method": "log"}, number=2)
        await agent.say({"jsonrpc": "2.0", "method": "log"})
        await wait_all_tasks_blocked()
        assert calls.kinds() == ["ok"]
        assert len(ears.notifications) == 2
        assert link.end is None


@pytest.mark.parametrize("part", [1, 5, -1])
async def test_half_a_frame_is_none_and_the_whole_comes_again(clock: MockClock, part: int) -> None:
    async with resumable() as (link, agent, connect):
        calls = Calls(link)
        id = calls.make()
        await agent.heard("m")
        await agent.stream.send_all(agent.framed(answered(id))[:part])
        await hang_up(agent)
        assert await agent.resume(connect()) == 0
        await agent.say(answered(id), number=1)
        await wait_all_tasks_blocked()
        assert calls.kinds() == ["ok"]


async def test_an_agent_that_is_gone_while_it_is_written_to_comes_back_for_it(clock: MockClock) -> None:
    async with resumable() as (link, agent, connect):
        calls = Calls(link)
        ids = [calls.make("m", {"x": b"x" * 1_000_000}) for _ in range(3)]
        await wait_all_tasks_blocked()  # the socket is full: a write is under way
        for id in ids:
            await agent.answer(id)
        await hang_up(agent)
        # What the kernel still had of its answers may have come, or be lost.
        came = await agent.resume(connect(), received=0)
        assert [len(heard) for heard in calls.outcomes.values()].count(1) == came
        for number in range(came + 1, 4):
            await agent.say(answered(ids[number - 1]), number=number)
        assert [(await agent.heard("m"))["id"] for _ in ids] == ids
        await wait_all_tasks_blocked()
        assert calls.kinds() == ["ok"] * 3


async def test_a_handler_is_told_of_the_cut_and_of_the_return(clock: MockClock) -> None:
    told: list[Any] = []
    async with resumable() as (link, agent, connect):
        link.attach(Ears(), on_cut=told.append, on_resumed=told.append)
        await hang_up(agent)
        assert told == []  # most often there would be more to say in a moment
        await trio.sleep(2)
        assert told == ["the link went down"]
        await agent.resume(connect())
        assert told == ["the link went down", 2.0]
        await hang_up(agent)
        await agent.resume(connect())
        assert told[2:] == ["the link went down", 0.0]


async def test_an_agent_that_was_cut_off_amid_its_return_comes_again(clock: MockClock) -> None:
    async with resumable() as (link, agent, connect):
        link.notify("n")
        await wait_all_tasks_blocked()
        for _ in range(3):
            await hang_up(agent)
            agent.use(connect())
            await agent.upgrade()
            await agent.say_hello(resume={"received": 0})
            await hang_up(agent)  # before the answer was read, or sent
        await agent.resume(connect(), received=0)
        await agent.heard("n")
        assert link.end is None


async def test_a_session_in_text_goes_on_in_text(clock: MockClock) -> None:
    async with resumable() as (link, agent, connect):
        await agent.say({"jsonrpc": "2.0", "method": "log"}, text=True)
        await wait_all_tasks_blocked()
        link.notify("n", {"b": b"\x00"})
        await wait_all_tasks_blocked()
        await hang_up(agent)
        await agent.resume(connect(), received=0)
        await agent.heard("n")
        assert agent.hears_text


# -- acknowledgements --------------------------------------------------------------------------------------------


async def test_what_came_is_acknowledged_when_nothing_is_said_for_a_while(clock: MockClock) -> None:
    async with resumable() as (_, agent, _):
        await agent.say({"jsonrpc": "2.0", "method": "log"})
        began = trio.current_time()
        assert msgspec.msgpack.decode(await agent.frame()) == [0, 1]
        assert trio.current_time() - began == pytest.approx(0.2)


async def test_many_frames_are_acknowledged_at_once(clock: MockClock) -> None:
    async with resumable() as (_, agent, _):
        began = trio.current_time()
        for _ in range(64):
            await agent.say({"jsonrpc": "2.0", "method": "log"})
        assert msgspec.msgpack.decode(await agent.frame()) == [0, 64]
        assert trio.current_time() == began


async def test_an_agent_that_acknowledges_nothing_is_sent_no_more_than_is_kept(clock: MockClock) -> None:
    async with resumable() as (link, agent, _):
        for n in range(1, 1025):
            link.notify("n", {"n": n})
            assert msgspec.msgpack.decode(await agent.frame())[0] == n
        link.notify("n", {"n": 1025})
        with trio.move_on_after(5) as scope:
            await agent.frame()
        assert scope.cancelled_caught
        agent.came = 1024
        await agent.acknowledge()
        assert (await agent.heard("n"))["params"]["n"] == 1025


async def test_an_agent_that_asks_on_and_acknowledges_nothing_breaks_the_protocol(clock: MockClock) -> None:
    async with resumable() as (link, agent, _), trio.open_nursery() as nursery:

        async def read() -> None:
            while agent.closed is None:
                await agent._read()

        nursery.start_soon(read)
        n = 0
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while link.end is None:
                batch = [{"jsonrpc": "2.0", "id": i, "method": "x" * 64} for i in range(n, n + 1000)]
                n += 1000
                # Its answers are errors of some size, of which 8 MiB are kept, and the rest waits.
                await agent.say(batch)
                await wait_all_tasks_blocked()
        await link.closed.wait()
        assert link.end == LinkEnd(ClosedBy.VIOLATION, "it asks on and on, and acknowledges none of the answers")
        assert n > MAX_QUEUED


# -- the end -----------------------------------------------------------------------------------------------------


async def test_an_agent_that_does_not_come_back_is_lost(clock: MockClock) -> None:
    async with resumable() as (link, agent, _):
        calls = Calls(link)
        calls.make()
        began = trio.current_time()
        await hang_up(agent)
        calls.make()
        await link.closed.wait()
        assert trio.current_time() - began == pytest.approx(WINDOW)
        assert link.end == LinkEnd(ClosedBy.LOST, "it did not come back within 10 s")
        assert calls.kinds() == ["unknown", "unknown"]
        with pytest.raises(LinkClosedError):
            link.call("m", {}, lambda outcome: None)


async def test_an_agent_that_comes_back_late_is_told_that_the_session_is_over(clock: MockClock) -> None:
    async with resumable() as (link, agent, connect):
        await hang_up(agent)
        await link.closed.wait()
        agent.use(connect())
        await agent.upgrade()
        answer = await agent.hello(resume={"received": 0})
        assert answer["error"]["code"] == -32002
        assert (await agent.until_closed())[0] == 4003


async def test_when_nobody_is_left_who_could_come_back_it_is_over_at_once(clock: MockClock) -> None:
    gone = trio.Event()
    async with resumable(gone=gone.wait) as (link, agent, _):
        calls = Calls(link)
        calls.make()
        await hang_up(agent)
        began = trio.current_time()
        gone.set()
        await link.closed.wait()
        assert trio.current_time() == began
        assert link.end == LinkEnd(ClosedBy.LOST)
        assert calls.kinds() == ["unknown"]


async def test_what_was_said_before_the_sandbox_was_gone_is_still_read(clock: MockClock) -> None:
    gone = trio.Event()
    told: list[Any] = []
    async with resumable(gone=gone.wait) as (link, agent, _):
        link.attach(Ears(), on_cut=told.append)
        calls = Calls(link)
        id = calls.make()
        await agent.heard("m")
        gone.set()
        await agent.answer(id)
        await trio.aclose_forcefully(agent.stream)
        await link.closed.wait()
        assert calls.kinds() == ["ok"]
        assert link.end == LinkEnd(ClosedBy.LOST)
        assert told == []  # that it was cut says nothing: its sandbox's end is the reason


async def test_a_connection_that_outlives_its_sandbox_does_so_for_a_moment(clock: MockClock) -> None:
    gone = trio.Event()
    async with resumable(gone=gone.wait) as (link, _, _):
        began = trio.current_time()
        gone.set()
        await link.closed.wait()
        assert trio.current_time() - began <= link_module.LAST_WORDS + 2 * link_module.CLOSING_TIMEOUT
        assert link.end == LinkEnd(ClosedBy.LOST)


@pytest.mark.parametrize("code", [1000, 4001, 4002, 4003])
async def test_after_these_closes_it_is_over(clock: MockClock, code: int) -> None:
    async with resumable() as (link, agent, _):
        began = trio.current_time()
        await agent.close(code, "why")
        await link.closed.wait()
        assert trio.current_time() == began
        assert link.end == LinkEnd(ClosedBy.LOST, "why")


@pytest.mark.parametrize("code", [1001, 1011, 4004])
async def test_after_others_it_is_not(clock: MockClock, code: int) -> None:
    async with resumable() as (link, agent, connect):
        await agent.close(code)
        await wait_all_tasks_blocked()
        assert (link.end, link.is_up) == (None, False)
        await agent.resume(connect())
        assert link.is_up


async def test_a_frame_over_the_limit_is_the_end_and_not_sent_again_for_ever(clock: MockClock) -> None:
    async with resumable(WireLimits(max_frame=2000, max_message=1000)) as (link, agent, _):
        await agent.say({"jsonrpc": "2.0", "method": "log", "params": {"x": b"x" * 2000}})
        await link.closed.wait()
        assert link.end is not None
        assert link.end.by is ClosedBy.VIOLATION


async def test_a_violation_is_the_end_also_on_a_later_connection(clock: MockClock) -> None:
    async with resumable() as (link, agent, connect):
        await hang_up(agent)
        await agent.resume(connect())
        await agent.say(5)
        assert (await agent.until_closed())[0] == 4001
        await link.closed.wait()
        assert link.end is not None
        assert link.end.by is ClosedBy.VIOLATION


async def test_connections_that_come_and_go_for_nothing_do_not_keep_it_alive(clock: MockClock) -> None:
    async with resumable() as (link, agent, connect):
        await hang_up(agent)
        began = trio.current_time()
        with contextlib.suppress(AssertionError):  # it is refused in the end
            while link.end is None:
                await agent.resume(connect())
                await trio.sleep(0.2)
                await hang_up(agent)
        await link.closed.wait()
        assert WINDOW <= trio.current_time() - began < WINDOW + 1
        assert link.resumes > 10


async def test_connections_over_which_something_came_do(clock: MockClock) -> None:
    async with resumable() as (link, agent, connect):
        for _ in range(100):
            await hang_up(agent)
            await agent.resume(connect())
            await agent.say({"jsonrpc": "2.0", "method": "log"})
            await trio.sleep(0.5)
        assert (link.end, link.resumes) == (None, 100)


async def test_a_limit_of_time_is_extended_by_one_window_at_most(clock: MockClock) -> None:
    async with resumable() as (link, agent, connect):
        began = trio.current_time()
        assert link.patience(began) == 0
        await trio.sleep(1)
        await hang_up(agent)
        assert link.patience(began) == link.patience(trio.current_time()) == WINDOW
        await agent.resume(connect())
        await trio.sleep(1)
        assert (link.patience(began), link.patience(trio.current_time())) == (WINDOW, 0)


# -- pings -------------------------------------------------------------------------------------------------------


async def test_an_agent_that_answers_no_ping_may_come_back_and_answer_it(clock: MockClock) -> None:
    async with resumable(ping_interval=30) as (link, agent, connect):
        id = (await agent.heard("ping"))["id"]
        assert await agent.until_closed() == (4004, "")
        await agent.resume(connect())
        await agent.answer(id, {"busy": None})
        assert (await agent.heard("ping"))["id"] != id
        assert trio.current_time() >= 60
        assert link.end is None


async def test_an_agent_that_answers_no_ping_and_does_not_come_back_is_hung(clock: MockClock) -> None:
    async with resumable(ping_interval=30) as (link, agent, _):
        began = trio.current_time()
        await link.closed.wait()
        assert trio.current_time() - began == pytest.approx(30 + PING_TIMEOUT + WINDOW, abs=0.01)
        assert link.end == LinkEnd(ClosedBy.HUNG, "no answer to a ping within 10 s; it did not come back within 10 s")
        assert not agent.cut


async def test_an_agent_that_comes_back_and_does_not_answer_then_is_hung(clock: MockClock) -> None:
    async with resumable(ping_interval=30) as (link, agent, connect):
        await agent.heard("ping")
        await agent.until_closed()
        began = trio.current_time()
        await agent.resume(connect())
        await link.closed.wait()
        assert trio.current_time() - began == pytest.approx(PING_TIMEOUT + 1, abs=0.01)
        assert link.end == LinkEnd(ClosedBy.HUNG, "no answer to a ping within 10 s")


async def test_no_ping_is_sent_while_it_is_cut_nor_held_against_an_agent(clock: MockClock) -> None:
    async with resumable(ping_interval=4) as (link, agent, connect):
        await agent.heard("ping")
        await trio.sleep(PING_TIMEOUT - 2)
        await hang_up(agent)
        await trio.sleep(WINDOW - 1)
        assert link.end is None  # the time of the ping would be over long ago
        await agent.resume(connect())
        await agent.answer(1, {"busy": None})
        message = await agent.heard("ping")
        await agent.answer(message["id"], {"busy": None})
        assert message["id"] == 2
        assert link.end is None


async def test_an_answer_of_another_shape_to_a_ping_is_a_violation(clock: MockClock) -> None:
    async with resumable(ping_interval=30) as (link, agent, _):
        await agent.answer((await agent.heard("ping"))["id"], {"busy": "very"})
        await link.closed.wait()
        assert link.end is not None
        assert link.end.by is ClosedBy.VIOLATION


# -- who comes ---------------------------------------------------------------------------------------------------


async def test_a_second_connection_takes_the_place_of_the_first(clock: MockClock) -> None:
    async with resumable() as (link, agent, connect):
        ears = Ears()
        link.attach(ears)
        calls = Calls(link)
        id = calls.make()
        await agent.heard("m")
        first = Agent(agent.stream)
        first._ws, first.sent, first.came = agent._ws, 0, agent.came
        await agent.resume(connect())
        assert await first.until_closed() == (4003, "")
        # What comes over the first counts no more, whatever it is.
        with contextlib.suppress(trio.BrokenResourceError):
            await first.stream.send_all(b"\x00" * 100)
        await trio.aclose_forcefully(first.stream)
        await agent.answer(id)
        await wait_all_tasks_blocked()
        assert calls.kinds() == ["ok"]
        assert (link.end, link.resumes) == (None, 1)


async def turned_away(agent: Agent, stream: trio.SocketStream, secret: str) -> int | None:
    stranger = Agent(stream)
    await stranger.upgrade(secret)
    assert stranger.status != 101
    return stranger.status


async def test_nobody_without_the_secret_can_disturb_it(clock: MockClock, capfd: pytest.CaptureFixture[str]) -> None:
    async with resumable() as (link, agent, connect), resumable() as (_, other, _):
        calls = Calls(link)
        id = calls.make()
        secrets = [TOKEN, "", "x", agent.secret[:-1], agent.secret + "x", other.secret]
        for secret in secrets:
            assert await turned_away(agent, connect(), secret) == 401
        await agent.heard("m")
        await agent.answer(id)
        await wait_all_tasks_blocked()
        assert calls.kinds() == ["ok"]
        assert (link.cuts, link.resumes) == (0, 0)
    assert capfd.readouterr() == ("", "")  # standard output is the network's


async def test_with_the_secret_and_without_saying_where_to_go_on_nobody_comes_in(clock: MockClock) -> None:
    async with resumable() as (link, agent, connect):
        stranger = Agent(connect())
        await stranger.upgrade(agent.secret)
        assert (await stranger.hello())["error"]["code"] == -32002
        assert (await stranger.until_closed())[0] == 4003
        assert (link.cuts, link.is_up) == (0, True)


async def test_there_is_nothing_to_resume_before_there_was_a_session(clock: MockClock) -> None:
    ours, theirs = connection()
    second, genuine = connection()
    async with trio.open_nursery() as nursery:
        stranger, agent = Agent(theirs), Agent(genuine)
        listener = OneByOne(ours)

        async def come() -> None:
            await stranger.upgrade()
            assert (await stranger.hello(resume={"received": 0}))["error"]["code"] == -32002
            assert (await stranger.until_closed())[0] == 4003
            listener.add(second)
            await agent.open()

        nursery.start_soon(come)
        link = await LinkHub(nursery, ping_interval=None, resume_window=10).accept(listener, TOKEN)
        await wait_all_tasks_blocked()
        assert link.is_up
        for stream in (theirs, genuine):
            await trio.aclose_forcefully(stream)
        nursery.cancel_scope.cancel()


async def test_of_two_that_show_the_token_the_first_to_say_hello_comes_in(clock: MockClock) -> None:
    pairs = [connection(), connection()]
    async with trio.open_nursery() as nursery:
        listener = OneByOne(*(ours for ours, _ in pairs))
        one, other = (Agent(theirs) for _, theirs in pairs)
        nursery.start_soon(one.upgrade)
        nursery.start_soon(other.upgrade)

        async def come() -> None:
            while (one.status, other.status) != (101, 101):
                await trio.lowlevel.checkpoint()
            assert (await other.hello())["result"]["protocol"] == 1
            assert (await one.hello())["error"]["code"] == -32031
            assert (await one.until_closed())[0] == 4003

        nursery.start_soon(come)
        link = await LinkHub(nursery, ping_interval=None).accept(listener, TOKEN)
        await wait_all_tasks_blocked()
        assert link.end is None
        for _, theirs in pairs:
            await trio.aclose_forcefully(theirs)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("received", "detail"),
    [
        (99, "the peer says that it has frame 99, and only 2 were sent"),
        (0, "the peer says that it has 0 frames, after it had acknowledged 2"),
    ],
)
async def test_an_agent_cannot_have_received_what_was_not_sent_nor_lose_what_it_acknowledged(
    clock: MockClock, received: int, detail: str
) -> None:
    async with resumable() as (link, agent, connect):
        for _ in range(2):
            link.notify("n")
            await wait_all_tasks_blocked()
            await agent.heard("n")
        await agent.acknowledge()
        await wait_all_tasks_blocked()
        await hang_up(agent)
        agent.use(connect())
        await agent.upgrade()
        assert "error" in await agent.hello(resume={"received": received})
        assert (await agent.until_closed())[0] == 4001
        await link.closed.wait()
        assert link.end == LinkEnd(ClosedBy.VIOLATION, detail)


@pytest.mark.parametrize("received", [-1, 2**53, "0", None, 1.5])
async def test_a_hello_of_another_shape_is_turned_away_and_does_no_harm(clock: MockClock, received: Any) -> None:
    async with resumable() as (link, agent, connect):
        stranger = Agent(connect())
        await stranger.upgrade(agent.secret)
        await stranger.say_hello(resume={"received": received})
        assert (await stranger.until_closed())[0] == 4001
        assert (link.cuts, link.is_up) == (0, True)


async def test_a_frame_that_acknowledges_what_was_never_sent_is_a_violation(clock: MockClock) -> None:
    async with resumable() as (link, agent, _):
        agent.came = 5
        await agent.say({"jsonrpc": "2.0", "method": "log"})
        assert (await agent.until_closed())[0] == 4001
        await link.closed.wait()
        assert link.end == LinkEnd(ClosedBy.VIOLATION, "frame 5 is acknowledged, and only 0 were sent")


async def test_where_a_frame_is_missing_the_connection_is_cut_and_the_session_goes_on(clock: MockClock) -> None:
    async with resumable() as (link, agent, connect):
        ears = Ears()
        link.attach(ears)
        note = {"jsonrpc": "2.0", "method": "log"}
        await agent.say(note, number=2)
        assert (await agent.until_closed())[0] == 4004
        assert await agent.resume(connect()) == 0
        await agent.say(note, number=1)
        await agent.say(note, number=2)
        await wait_all_tasks_blocked()
        assert (len(ears.notifications), link.end) == (2, None)


async def test_where_there_is_no_window_nobody_comes_back_nor_ends_it(clock: MockClock) -> None:
    async with resumable(resume_window=0) as (link, agent, connect):
        stranger = Agent(connect())
        await stranger.upgrade(agent.secret)
        assert (await stranger.hello(resume={"received": 0}))["error"]["code"] == -32002
        assert link.is_up
        await hang_up(agent)
        await link.closed.wait()
        assert link.end == LinkEnd(ClosedBy.LOST)


# -- many of them ------------------------------------------------------------------------------------------------


async def test_silent_connections_do_not_keep_an_agent_from_coming_back(clock: MockClock) -> None:
    async with resumable() as (link, agent, connect):
        await hang_up(agent)
        silent = [connect() for _ in range(2 * MAX_HANDSHAKES)]
        await wait_all_tasks_blocked()
        began = trio.current_time()
        await agent.resume(connect())
        assert trio.current_time() == began
        assert link.is_up
        # The oldest were given up for it.
        assert await silent[0].receive_some() == b""


async def test_thousands_of_connections_are_looked_at_a_few_a_second_and_cost_the_link_nothing(
    clock: MockClock,
) -> None:
    count = 3000
    async with resumable() as (link, agent, connect):
        calls = Calls(link)
        began, open_at_once = trio.current_time(), 0
        strangers: list[trio.SocketStream] = []
        for n in range(count):
            stream = connect()
            strangers.append(stream)
            if n % 3:
                await stream.send_all((b"GET /agent HTTP/1.1\r\n", b"\x00" * 50)[n % 2])
            if len(strangers) > 300:
                await trio.sleep(1)
                open_at_once = max(open_at_once, len(link_handshakes(link)))
                for _ in range(int(CONNECTION_RATE)):
                    await trio.aclose_forcefully(strangers.pop(0))
        assert 1 <= open_at_once <= MAX_HANDSHAKES
        id = calls.make()
        await agent.heard("m")
        await agent.answer(id)
        await wait_all_tasks_blocked()
        assert calls.kinds() == ["ok"]
        assert trio.current_time() - began >= (count - 300 - CONNECTION_BURST) / CONNECTION_RATE * 0.9


def link_handshakes(link: Any) -> list[str]:
    """The tasks that are about the opening of a connection."""
    found: list[str] = []
    tasks = [trio.lowlevel.current_root_task()]
    while tasks:
        task = tasks.pop()
        if task is None:
            continue
        if task.name.endswith("_Door._meet"):
            found.append(task.name)
        tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


class Failing(OneByOne):
    """Has no room for some connections."""

    errors = 3

    async def accept(self) -> trio.SocketStream:
        if self.errors:
            self.errors -= 1
            raise OSError(errno.EMFILE, "too many open files")
        return await super().accept()


async def test_a_machine_without_room_for_a_connection_is_asked_again(clock: MockClock) -> None:
    ours, theirs = connection()
    async with trio.open_nursery() as nursery:
        agent = Agent(theirs)
        nursery.start_soon(agent.open)
        link = await LinkHub(nursery, ping_interval=None).accept(Failing(ours), TOKEN)
        await wait_all_tasks_blocked()
        assert link.is_up
        assert agent.secret != TOKEN
        await trio.aclose_forcefully(theirs)
        nursery.cancel_scope.cancel()


async def test_a_listener_that_fails_for_good_is_told_to_who_waits(clock: MockClock) -> None:
    listener = OneByOne()
    listener.close()
    async with trio.open_nursery() as nursery:
        with pytest.raises(trio.ClosedResourceError):
            await LinkHub(nursery).accept(listener, TOKEN)


async def test_nobody_is_let_in_when_nobody_waits_any_more(clock: MockClock) -> None:
    ours, theirs = connection()
    listener = OneByOne()
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(1):
            await LinkHub(nursery).accept(listener, TOKEN)
        listener.add(ours)
        await wait_all_tasks_blocked()
        assert not nursery.child_tasks
    await ours.aclose()
    await theirs.aclose()


async def test_pings_of_the_websocket_are_answered_over_every_connection(clock: MockClock) -> None:
    async with resumable() as (link, agent, connect), trio.open_nursery() as nursery:
        await hang_up(agent)
        await agent.resume(connect())

        async def play() -> None:
            id = (await agent.heard("ping"))["id"]
            await agent.answer(id, {"busy": 1})

        nursery.start_soon(play)
        assert await link.request("ping", {}, Pong) == Pong(busy=1)
