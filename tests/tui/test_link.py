"""The link's thread against a real endpoint that comes and goes."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from reflow_tui.link import Absent, Answered, Arrived, Command, Connected, ControlLink, LinkEvent, Lost
from tui.supervisor_thread import ThreadedSupervisor

E = TypeVar("E", bound=LinkEvent)


class Listener:
    """Runs a link in a thread and keeps what it says."""

    def __init__(self, path: Path) -> None:
        self.link = ControlLink(path, interval=0.1, retry_first=0.02, retry_max=0.04, patience=0.2)
        self.heard: queue.Queue[LinkEvent] = queue.Queue()
        self.thread = threading.Thread(target=self.link.run, args=(self.heard.put,))
        self.thread.start()

    def wait_for(self, kind: type[E]) -> E:
        deadline = time.monotonic() + 5
        while True:
            event = self.heard.get(timeout=max(0.01, deadline - time.monotonic()))
            if isinstance(event, kind):
                return event

    def end(self) -> None:
        self.link.end()
        self.thread.join(5)
        assert not self.thread.is_alive()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.fixture
def listener(path: Path) -> Iterator[Listener]:
    listener = Listener(path)
    yield listener
    listener.end()


def test_it_waits_for_a_supervisor_and_finds_it(path: Path, listener: Listener) -> None:
    assert "no supervisor" in listener.wait_for(Absent).reason
    assert listener.wait_for(Absent).retry_in == 0.04
    with ThreadedSupervisor(path):
        listener.wait_for(Connected)
        assert listener.wait_for(Arrived).snapshot.workspace == "weather"


def test_it_notices_the_end_and_the_return(path: Path, listener: Listener) -> None:
    with ThreadedSupervisor(path) as supervisor:
        listener.wait_for(Arrived)
        supervisor.stop()
        assert "closed" in listener.wait_for(Lost).reason
        listener.wait_for(Absent)
        supervisor.start()
        listener.wait_for(Connected)
        listener.wait_for(Arrived)


def test_commands_and_their_outcomes(path: Path, listener: Listener) -> None:
    with ThreadedSupervisor(path) as supervisor:
        listener.wait_for(Arrived)
        listener.link.send(Command("actor.restart", "clean"))
        assert listener.wait_for(Answered) == Answered(Command("actor.restart", "clean"))
        listener.link.send(Command("actor.restart", "nobody"))
        assert "no actor 'nobody'" in listener.wait_for(Answered).error
        listener.link.send(Command("stop"))
        assert listener.wait_for(Answered).error == ""
        assert supervisor.provider.calls == [("restart", "clean"), ("stop",)]


def test_a_command_to_nobody_is_refused_and_not_kept(path: Path, listener: Listener) -> None:
    listener.wait_for(Absent)
    listener.link.send(Command("stop"))
    assert listener.wait_for(Answered) == Answered(Command("stop"), "there is no connection")
    with ThreadedSupervisor(path) as supervisor:
        listener.wait_for(Arrived)
        assert supervisor.provider.calls == []


def test_a_command_may_not_take_for_ever(path: Path, listener: Listener) -> None:
    with ThreadedSupervisor(path) as supervisor:

        async def hang() -> None:
            await trio.sleep(0.4)

        supervisor.provider.kill = hang  # type: ignore[method-assign]
        listener.wait_for(Arrived)
        listener.link.send(Command("kill"))
        assert "too long" in listener.wait_for(Answered).error


def test_it_can_be_ended_before_it_runs(path: Path) -> None:
    link = ControlLink(path)
    link.end()
    heard: list[LinkEvent] = []
    link.run(heard.append)
    link.end()
    link.send(Command("stop"))
    assert heard == []


def test_commands_speak_for_themselves() -> None:
    assert str(Command("actor.restart", "clean")) == "restart clean"
    assert str(Command("stop")) == "stop"
