"""The real supervisor against the reference model: thousands of plans, of which each gives the same trace in both.

`make soak` goes on with other seeds for as long as one likes.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from supervision.model.check import REACHED, difference, fails, shrink
from supervision.model.plans import LENGTH, Act, Life, Node, Plan, Step, Tree, decode, dump, load
from supervision.model.reference import UndecidedError, simulate

from reflow_supervisor.supervision import Backoff, Cancelled, Restart
from reflow_supervisor.supervision import _machine as machine_module
from reflow_supervisor.supervision._children import Child
from reflow_supervisor.supervision._intensity import RestartWindow
from reflow_supervisor.supervision._machine import Machine

CASES = 20_000


@pytest.mark.slow
def test_every_plan_leads_to_what_the_model_says() -> None:
    seen: Counter[str] = Counter()

    # The same plans every time: `make soak` looks for new ones. One that fails is made smaller by `shrink`, which is
    # faster here than Hypothesis.
    @settings(max_examples=CASES, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
    @given(st.binary(min_size=LENGTH, max_size=LENGTH))
    def plans(data: bytes) -> None:
        found = difference(decode(data), seen)
        if found is not None:
            pytest.fail(difference(decode(shrink(data, fails)), Counter()) or found)

    plans()
    assert [what for what in REACHED if not seen[what]] == []
    assert seen["decided"] > CASES / 2


@pytest.mark.parametrize("seed", range(50))
def test_a_plan_survives_being_written_down(seed: int) -> None:
    plan = decode(random.Random(seed).randbytes(LENGTH))
    assert load(dump(plan)) == plan
    assert "\n" not in dump(plan)


def test_the_model_by_hand() -> None:
    """One case written out, so that the model is not only checked against what it is to check."""
    life = Life(run_time=1.0)
    plan = Plan(tree=Tree("rest_for_one", 1, 5.0, children=(Node("a"), Node("b", lives=(life,)), Node("c"))))
    trace = simulate(plan)
    assert trace.events[""] == [
        (0.0, "started", "a", 1),
        (0.0, "started", "b", 1),
        (0.0, "started", "c", 1),
        (0.0, "supervisor started"),
        (1.0, "exited", "b", 1, "crash"),
        (1.0, "restarting", "b", 1, "crash", 0.0, 1, 1),
        (1.0, "stopped", "c", 1, "cancelled sibling", "sibling"),
        (1.0, "started", "b", 2),
        (1.0, "started", "c", 2),
        (2.0, "exited", "b", 2, "crash"),
        (2.0, "gave up", "gave up b 1: crash"),
        (2.0, "stopped", "c", 2, "cancelled shutdown", "shutdown"),
        (2.0, "stopped", "a", 1, "cancelled shutdown", "shutdown"),
        (2.0, "supervisor ended", "gave up b 1: crash"),
    ]
    assert difference(plan, Counter()) is None


def test_the_model_leaves_open_what_happens_at_once() -> None:
    together = Plan(
        tree=Tree(children=(Node("a", lives=(Life(run_time=1.0),)), Node("b", lives=(Life(run_time=1.0),))))
    )
    with pytest.raises(UndecidedError):
        simulate(together)
    two_acts = Plan(tree=Tree(children=(Node("a"),)), steps=(Step(1.0, (Act("exit", "a"), Act("terminate", "a"))),))
    with pytest.raises(UndecidedError):
        simulate(two_acts)
    for plan in (together, two_acts):
        assert difference(plan, Counter()) is None


# What is wrong with a supervisor must show: each of these is one, and a few hundred plans find it.


def _in_start_order(self: Machine, child: Child) -> list[Child]:
    return list(reversed(_siblings(self, child)))


_siblings = Machine._siblings  # pyright: ignore[reportPrivateUsage]
_count = RestartWindow.count


def _counts_less(self: RestartWindow, now: float, child_id: str | None = None) -> int:
    return max(0, _count(self, now, child_id) - 1)


def _forgets_too_soon(self: RestartWindow, now: float, child_id: str | None = None) -> int:
    self.period, period = self.period / 2, self.period
    try:
        return _count(self, now, child_id)
    finally:
        self.period = period


MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "transient like permanent": (machine_module, "is_restarted", lambda restart, reason: restart != Restart.TEMPORARY),
    "temporary restarted": (machine_module, "is_restarted", lambda restart, reason: restart != Restart.TRANSIENT),
    "siblings stop in start order": (Machine, "_siblings", _in_start_order),
    "siblings are not stopped": (Machine, "_siblings", lambda self, child: []),
    "one restart too many": (RestartWindow, "count", _counts_less),
    "period half as long": (RestartWindow, "count", _forgets_too_soon),
    "stops in start order": (Machine, "_stop_order", lambda self: list(self._children.values())),
    "temporary specs are kept": (Machine, "_forgets", lambda self, child: False),
    "no automatic shutdown": (Machine, "_consider_auto_shutdown", lambda self, child: None),
    "backoff never grows": (Backoff, "delay", lambda self, attempt, draw: self.initial),
    "killed passes for stopped": (Machine, "_killed", lambda self, child: Cancelled(child.stop_cause)),
}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_supervisor_is_found(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*MUTANTS[mutant])
    rng = random.Random(7)
    found = (difference(decode(rng.randbytes(LENGTH)), Counter()) for _ in range(3000))
    # By the trace or by an assertion, and not because the mutant itself is broken Python.
    assert any("\n  - (" in text or "AssertionError" in text for text in found if text is not None)


def test_a_failing_plan_is_made_small_and_says_how_to_replay_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "_siblings", _in_start_order)

    def wrong(data: bytes) -> bool:
        return difference(decode(data), Counter()) is not None

    rng = random.Random(3)
    found = next(data for _ in range(3000) if wrong(data := rng.randbytes(LENGTH)))
    small = decode(shrink(found, wrong))
    assert len(dump(small)) < 700
    text = difference(small, Counter())
    assert text is not None
    assert f"--replay '{dump(small)}'" in text
    assert "  - (" in text
    monkeypatch.undo()
    assert difference(load(dump(small)), Counter()) is None
