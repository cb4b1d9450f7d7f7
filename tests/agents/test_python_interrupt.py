from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from reflow.agent.interrupt import SIGNAL, Interrupted, Interrupter, Reason, boundary, interruptible
from reflow.agent.runner import Epochs


@pytest.fixture
def interrupter() -> Iterator[Interrupter]:
    before = signal.getsignal(SIGNAL)
    guard = Interrupter()
    guard.install()
    yield guard
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(SIGNAL, before)


@boundary
def call(function: Callable[[], Any]) -> Any:
    return function()


def spin() -> None:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        pass
    raise AssertionError("nobody interrupted")


def within_the_agent(function: Callable[[], Any]) -> Any:
    """Calls it from a frame that looks like the agent's own code."""
    scope: dict[str, Any] = {"__name__": "reflow.state", "function": function}
    exec("def operation():\n    return function()\n", scope)
    return scope["operation"]()


@pytest.mark.parametrize("busy", [spin, lambda: time.sleep(5), lambda: list(iter(lambda: time.sleep(0.001), 1))])
def test_a_busy_script_is_interrupted_where_it_is(interrupter: Interrupter, busy: Callable[[], None]) -> None:
    interrupter.begin(1, 0.01)
    with pytest.raises(Interrupted):
        call(busy)
    assert interrupter.end() is Reason.TIMEOUT


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_signal_that_nobody_hears_comes_again(interrupter: Interrupter, cancelled: bool) -> None:
    """One that comes in the moment before a system call that blocks is not looked at before that returns."""
    heard, handler = [0], signal.getsignal(SIGNAL)
    assert callable(handler)

    def deaf_at_first(number: int, frame: Any) -> None:
        heard[0] += 1
        if heard[0] > 2:
            handler(number, frame)

    signal.signal(SIGNAL, deaf_at_first)
    interrupter.begin(1, None if cancelled else 0.01)
    if cancelled:
        interrupter.cancel(1)
    with pytest.raises(Interrupted):
        call(spin)
    assert interrupter.end() is (Reason.CANCELLED if cancelled else Reason.TIMEOUT)
    assert heard == [3]


def test_the_timer_of_a_script_that_is_done_comes_to_rest(interrupter: Interrupter) -> None:
    interrupter.begin(1, 0.01)
    interrupter.end()
    while signal.getitimer(signal.ITIMER_REAL) != (0.0, 0.0):
        signal.sigtimedwait([signal.SIGUSR2], 0.005)  # waits, and lets the handler run


def test_a_script_that_is_in_time_is_not(interrupter: Interrupter) -> None:
    for number in range(3):
        interrupter.begin(number, 0.02)
        assert call(lambda: "done") == "done"
        assert interrupter.end() is None
    time.sleep(0.03)  # the timer of the first one goes off meanwhile
    interrupter.begin(9, 0.02)
    with pytest.raises(Interrupted):
        call(spin)
    assert interrupter.end() is Reason.TIMEOUT


def test_without_a_timeout_nothing_happens_until_a_cancel(interrupter: Interrupter) -> None:
    interrupter.begin("seven", None)
    thread = threading.Timer(0.01, interrupter.cancel, ["seven"])
    thread.start()
    with pytest.raises(Interrupted):
        call(spin)
    thread.join()
    assert interrupter.end() is Reason.CANCELLED


def test_a_cancel_of_something_else_is_ignored(interrupter: Interrupter) -> None:
    interrupter.begin(1, None)
    interrupter.cancel(2)
    interrupter.cancel("1")
    assert call(lambda: sum(range(1000))) == 499500
    assert interrupter.end() is None
    interrupter.cancel(1)
    interrupter.begin(3, None)
    assert call(lambda: 5) == 5
    assert interrupter.end() is None


def test_each_of_several_cancels_counts(interrupter: Interrupter) -> None:
    interrupter.begin(1, None)
    for id_ in (1, 2):
        interrupter.cancel(id_)
    with pytest.raises(Interrupted):
        call(spin)
    assert interrupter.end() is Reason.CANCELLED
    assert interrupter.take_cancelled(2)
    assert not interrupter.take_cancelled(2)
    assert not interrupter.take_cancelled(1)


def test_a_cancel_that_came_just_before_the_beginning_counts(interrupter: Interrupter) -> None:
    interrupter.cancel(1)
    interrupter.begin(1, 60)
    with pytest.raises(Interrupted):
        call(spin)
    assert interrupter.end() is Reason.CANCELLED


def test_what_the_agent_does_for_the_script_is_finished_first(interrupter: Interrupter) -> None:
    finished: list[bool] = []

    def operation() -> None:
        end = time.monotonic() + 0.03
        while time.monotonic() < end:
            pass
        finished.append(True)

    def script() -> None:
        within_the_agent(operation)
        spin()

    interrupter.begin(1, 0.005)
    with pytest.raises(Interrupted):
        call(script)
    assert finished == [True]
    assert interrupter.end() is Reason.TIMEOUT


def test_where_the_agent_waits_for_the_script_it_may_be_interrupted(interrupter: Interrupter) -> None:
    @interruptible
    def wait() -> None:
        time.sleep(5)

    interrupter.begin(1, 0.005)
    with pytest.raises(Interrupted):
        call(lambda: within_the_agent(wait))


def test_a_script_that_catches_it_is_interrupted_again(interrupter: Interrupter) -> None:
    caught: list[BaseException] = []

    def stubborn() -> None:
        try:
            spin()
        except BaseException as e:
            caught.append(e)
        spin()

    interrupter.begin(1, 0.005)
    with pytest.raises(Interrupted):
        call(stubborn)
    assert len(caught) == 1
    assert isinstance(caught[0], Interrupted)


def test_outside_of_the_script_nothing_is_raised(interrupter: Interrupter) -> None:
    interrupter.begin(1, 0.002)
    end = time.monotonic() + 0.01
    while time.monotonic() < end:
        pass  # the agent's own loop, say
    assert interrupter.end() is Reason.TIMEOUT


@pytest.mark.parametrize("kind", ["asleep", "busy", "task", "callback"])
def test_coroutines(interrupter: Interrupter, kind: str) -> None:
    async def script() -> None:
        match kind:
            case "asleep":
                await asyncio.sleep(5)
            case "busy":
                spin()
            case "task":
                await asyncio.create_task(busy_task())
            case _:
                asyncio.get_running_loop().call_soon(spin_quietly)
                await asyncio.sleep(5)

    async def busy_task() -> None:
        spin()

    def spin_quietly() -> None:
        with pytest.raises(Interrupted):
            spin()

    @boundary
    async def drive() -> str:
        task = asyncio.current_task()
        assert task is not None
        interrupter.use_loop(task)
        interrupter.begin(1, 0.01)
        try:
            await script()
        except (Interrupted, asyncio.CancelledError) as e:
            return type(e).__name__
        return "returned"

    assert asyncio.run(drive()) == ("Interrupted" if kind == "busy" else "CancelledError")
    assert interrupter.end() is Reason.TIMEOUT


def test_epochs() -> None:
    epochs = Epochs()
    assert not epochs.skips(1)
    epochs.failed(2)
    assert [epochs.skips(epoch) for epoch in (1, 2, 3)] == [True, True, False]
    epochs.failed(1)
    assert epochs.skips(2)
    assert not epochs.skips(3)
