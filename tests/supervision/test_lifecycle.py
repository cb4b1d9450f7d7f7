"""The table of a child's life: complete, without dead lines, and drawn in the documentation as it is."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from supervision.world import DynamicWorld, World, spec

from reflow_supervisor.supervision import Backoff, ChildState, Restart, Returned, Strategy
from reflow_supervisor.supervision import _effects as effects
from reflow_supervisor.supervision import _messages as m
from reflow_supervisor.supervision._children import Child
from reflow_supervisor.supervision._effects import Effects
from reflow_supervisor.supervision._lifecycle import LIVE, TRANSITIONS, Effect, Signal

SCRIPT = Path(__file__).parents[2] / "scripts" / "supervision_diagram.py"


def test_every_state_can_be_reached_and_left() -> None:
    reached = {ChildState.STOPPED}
    while new := {after for (before, _), (after, _) in TRANSITIONS.items() if before in reached} - reached:
        reached |= new
    assert reached == set(ChildState)
    assert {before for (before, _), (after, _) in TRANSITIONS.items() if before is not after} == set(ChildState)


def test_a_task_is_started_where_there_is_none_and_only_a_live_one_is_cancelled_or_killed() -> None:
    for (before, signal), (after, done) in TRANSITIONS.items():
        assert (Effect.START_TASK in done) == (before not in LIVE and after in LIVE), (before, signal)
        if Effect.CANCEL_TASK in done or Effect.KILL in done:
            assert before in LIVE, (before, signal)
            assert after is ChildState.STOPPING, (before, signal)
        if before in LIVE and after not in LIVE:
            assert signal in (Signal.ENDED, Signal.STRUCK), "only the end of a task makes it gone"


def test_every_signal_and_every_effect_is_in_the_table() -> None:
    assert {signal for _, signal in TRANSITIONS} == set(Signal)
    assert {effect for _, done in TRANSITIONS.values() for effect in done} == set(Effect)


def test_a_signal_that_is_not_in_the_table_is_a_bug() -> None:
    child = Child("a", 0, spec("a"))
    with pytest.raises(AssertionError, match="a is stopped: ready cannot be"):
        Effects("sup").signal(child, Signal.READY)
    assert child.state is ChildState.STOPPED


def test_every_line_of_the_table_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[Any] = set()

    class Table(dict[Any, Any]):
        def __getitem__(self, key: Any) -> Any:
            used.add(key)
            return super().__getitem__(key)

    monkeypatch.setattr(effects, "TRANSITIONS", Table(TRANSITIONS))

    world = World([spec("a", start_timeout=3, shutdown=1), "b"], strategy=Strategy.REST_FOR_ONE, backoff=Backoff(9))
    world.begun()
    world.end("a")  # It waits for its backoff, and b is stopped.
    world.gone("b")
    world.wait(9)
    world.wait(3)  # The start of a times out, a failed try: it waits again.
    world.gone("a")
    world.call(m.TerminateChild, "a")
    call = world.call(m.RestartChild, "a")
    world.call(m.TerminateChild, "a")
    world.wait(1)  # Killed.
    world.gone("a")
    assert call in world.replies

    world = World([spec("a", liveness=1), spec("t", Restart.TRANSIENT)]).begun()
    world.wait(1)
    world.gone("a")  # Unresponsive.
    world.end("a")  # Its restart fails, and is tried again at once.
    world.up("a")
    world.end("a")
    world.up("a")
    world.end("t", Returned())

    assert set(TRANSITIONS) - used == set()


def test_the_diagram_in_the_documentation_is_that_of_the_table() -> None:
    script = runpy.run_path(str(SCRIPT))
    page = script["PAGE"].read_text(encoding="utf-8")
    assert script["with_diagram"](page) == page, "run scripts/supervision_diagram.py"
    assert script["diagram"]().count("-->") == len(TRANSITIONS) + 1


def test_a_page_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="the page has no"):
        runpy.run_path(str(SCRIPT))["with_diagram"]("# Something else")


def test_a_dynamic_child_lives_by_the_same_table() -> None:
    world = DynamicWorld().begun()
    world.call(m.StartDynamic, ())
    assert world.states == {"job-1": "starting"}
    world.up("job-1")
    assert world.states == {"job-1": "running"}
