"""A link through a proxy that cuts it after any number of bytes: amid a frame, a handshake, or an answer to hello.

Real Unix sockets, the real link, and an agent that speaks through a session of its own and comes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from reflow.wire.session import NotificationReceived, Outcome, RequestReceived, Session
from rpc.played import TOKEN, Agent, Calls, CutOffError, OneByOne, connection
from trio.testing import MockClock
from wsproto.events import BytesMessage
from wsproto.utilities import ProtocolError

from reflow_supervisor.rpc.accept import LinkHub
from reflow_supervisor.rpc.link import Link

COUNT = 40
"""Messages of each kind, in each direction."""

WINDOW = 10.0

GONE = (CutOffError, trio.BrokenResourceError, trio.ClosedResourceError, ProtocolError)
"""What an agent sees when its connection was cut."""


class Proxy:
    """Makes connections that end after so many bytes to the link, and so many from it; None: they do not."""

    def __init__(self, nursery: trio.Nursery, listener: OneByOne, budgets: list[tuple[int, int]]) -> None:
        self._nursery = nursery
        self._listener = listener
        self._budgets = budgets
        self._streams: list[trio.SocketStream] = []

    def connect(self) -> trio.SocketStream:
        (agents, near), (far, links) = connection(), connection()
        self._listener.add(links)
        self._streams += (agents, near, far, links)
        there, back = self._budgets.pop() if self._budgets else (None, None)
        self._nursery.start_soon(self._pump, near, far, there)
        self._nursery.start_soon(self._pump, far, near, back)
        return agents

    async def aclose(self) -> None:
        for stream in self._streams:
            await trio.aclose_forcefully(stream)

    async def _pump(self, source: trio.SocketStream, target: trio.SocketStream, budget: int | None) -> None:
        try:
            while budget is None or budget > 0:
                data = await source.receive_some(65536 if budget is None else min(budget, 65536))
                if not data:
                    break
                budget = None if budget is None else budget - len(data)
                await target.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        for stream in (source, target):
            await trio.aclose_forcefully(stream)


@attrs.define
class Returning:
    """An agent that answers what it is asked, and asks and notifies itself; it comes back until it is told to stop."""

    connect: Callable[[], trio.SocketStream]
    agent: Agent
    session: Session = attrs.Factory(Session)
    heard: list[int] = attrs.Factory(list[int])
    answers: Counter[int | str] = attrs.Factory(Counter[int | str])
    wake: trio.Event = attrs.Factory(trio.Event)
    cuts: int = 0

    async def run(self) -> None:
        await self.agent.open()
        while True:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    await self._read()
            except* GONE:
                self.cuts += 1
            await trio.aclose_forcefully(self.agent.stream)
            await self._come_back()

    async def _come_back(self) -> None:
        while True:
            await trio.sleep(0.05)
            try:
                self.session.resume(await self.agent.resume(self.connect(), received=self.session.received))
                return
            except GONE:
                await trio.aclose_forcefully(self.agent.stream)

    async def _read(self) -> None:
        while True:
            for event in self.session.receive(await self.agent.frame()):
                match event:
                    case RequestReceived(id, method, params):
                        assert method == "m"
                        self.session.respond(id, {"n": params.plain()["n"]})
                    case NotificationReceived(_, params):
                        self.heard.append(params.plain()["n"])
                    case Outcome(id):
                        assert event.result is not None
                        self.answers[id] += 1
            self.wake.set()

    async def _write(self) -> None:
        while True:
            while (frame := self.session.data_to_send()) is not None:
                assert isinstance(frame, bytes)
                await self.agent.stream.send_all(self.agent._ws.send(BytesMessage(frame)))
            await self.wake.wait()
            self.wake = trio.Event()


class Asked:
    """The holder of the link."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.heard: list[int] = []
        self.asked: list[int | str] = []

    def on_request(self, request: RequestReceived) -> None:
        self.asked.append(request.id)
        self.link.respond(request.id, {})

    def on_notification(self, notification: NotificationReceived) -> None:
        self.heard.append(notification.params.plain()["n"])


async def talk(budgets: list[tuple[int, int]], sizes: list[int]) -> int:
    """Everything is said, a little at a time, and must have come. Returns how often the link was resumed."""
    async with trio.open_nursery() as nursery:
        hub = LinkHub(nursery, ping_interval=3, resume_window=WINDOW)
        listener = OneByOne()
        proxy = Proxy(nursery, listener, list(budgets))
        ours, theirs = connection()
        listener.add(ours)
        returning = Returning(proxy.connect, Agent(theirs))
        nursery.start_soon(returning.run)
        link = await hub.accept(listener, TOKEN)
        holder, calls = Asked(link), Calls(link)
        link.attach(holder)
        await trio.sleep(0.01)
        for n in range(COUNT):
            text = "x" * (sizes[n % len(sizes)] if sizes else 0)
            calls.make("m", {"n": n, "x": text})
            link.notify("n", {"n": n, "x": text})
            returning.session.request("ask", {"x": text})
            returning.session.notify("n", {"n": n, "x": text})
            returning.wake.set()
            if n == COUNT // 2:
                await trio.aclose_forcefully(theirs)  # the first connection has no proxy
            await trio.sleep(0.02)
        with trio.move_on_after(100 * WINDOW):
            while not (
                all(calls.outcomes.values())
                and sum(returning.answers.values()) == COUNT
                and len(holder.heard) == len(returning.heard) == COUNT
            ):
                await trio.sleep(0.1)
        assert link.end is None
        assert calls.kinds() == ["ok"] * COUNT
        everything = list(range(COUNT))
        assert (holder.heard, returning.heard) == (everything, everything)
        assert set(returning.answers.values()) == {1}
        assert len(set(holder.asked)) == len(holder.asked) == COUNT
        assert link.resumes >= 1
        resumes = link.resumes
        listener.close()
        await proxy.aclose()
        nursery.cancel_scope.cancel()
    return resumes


budgets = st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), max_size=12)


@given(budgets, st.lists(st.sampled_from([0, 10, 300, 5000]), max_size=6), st.random_module())
@settings(max_examples=30, deadline=None)
def test_nothing_is_lost_nor_doubled_wherever_it_is_cut(
    budgets: list[tuple[int, int]], sizes: list[int], seed: Any
) -> None:
    assert seed is not None  # drawn so that Trio schedules in another order each time
    trio.run(talk, budgets, sizes, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("step", range(4))
def test_cut_at_each_place_of_an_opening(step: int) -> None:
    """An opening takes some 600 bytes there and 500 back."""
    places = [(n, n) for n in range(1 + step * 6, 640, 24)]
    assert trio.run(talk, places, [50], clock=MockClock(autojump_threshold=0)) >= 1
