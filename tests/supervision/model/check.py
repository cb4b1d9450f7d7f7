"""Compares what a plan led to with what it had to lead to, and finds plans for which they differ.

A failing case is one line of JSON: `scripts/soak.py --replay` plays it again.
"""

from __future__ import annotations

import shlex
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

from supervision.model.plans import Plan, decode, dump
from supervision.model.real import play
from supervision.model.reference import Trace, UndecidedError, simulate

REACHED = (
    "decided",
    "restarting",
    "group restart",
    "gave up",
    "gave up below",
    "auto shutdown",
    "due",
    "kill",
    "supervisor out of time",
    "overtaken",
    "ignored",
    "end in the midst of something",
    "start failed in start up",
    "start failed in restart",
    "start failed in start_child",
    "start failed in restart_child",
    "call terminate",
    "call delete",
    "call restart",
    "call: done",
    "call: StartFailedError",
    "call: ChildNotFoundError",
    "call: ChildRunningError",
    "call: ChildRestartingError",
    "call: ChildAlreadyStartedError",
    "call: ChildAlreadyPresentError",
    "call: SupervisorEndedError",
    "call: SpecError",
)
"""What a run of many plans must have seen at least once, or it has shown less than it says."""


def difference(plan: Plan, seen: Counter[str]) -> str | None:
    """Plays the plan. What is wrong with what it led to, with the line that replays it; None if nothing is."""
    expected: Trace | None
    try:
        expected = simulate(plan, seen)
        seen["decided"] += 1
    except UndecidedError as undecided:
        expected = None
        seen[f"undecided: {undecided}"] += 1
    try:
        trace = play(plan)
        in_order(trace)
    except Exception:
        return f"{traceback.format_exc()}\n{replay(plan)}"
    seen["gave up below"] += sum(
        event[1] == "exited" and "gave up" in event[4] for events in trace.events.values() for event in events
    )
    if expected is None or expected == trace:
        return None
    return f"{_explain(expected, trace)}\n{replay(plan)}"


def replay(plan: Plan) -> str:
    return f"replay: .venv/bin/python scripts/soak.py --replay {shlex.quote(dump(plan))}"


def in_order(trace: Trace) -> None:
    """What holds of every trace, also where the reference leaves open what happens."""
    for supervisor, events in trace.events.items():
        times = [event[0] for event in events]
        assert times == sorted(times), supervisor
        running: set[str] = set()
        ended = True
        for event in events:
            if event[1] == "supervisor ended":
                assert not running, f"{supervisor} ended with {running}"
                ended = True
                continue
            ended = False
            if event[1] == "started":
                assert event[2] not in running, event
                running.add(event[2])
            elif event[1] == "exited":
                assert event[2] in running, event
                running.remove(event[2])
            elif event[1] == "stopped":
                running.discard(event[2])
        assert ended, f"{supervisor} has not ended"


def shrink(data: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """Bytes of a simpler plan that fails, too: pieces are left out, then replaced by what is plainest."""
    for attempt in (_without, _zeroed):
        size = len(data)
        while size:
            start = 0
            while start < len(data):
                candidate = attempt(data, start, size)
                if candidate != data and fails(candidate):
                    data = candidate
                else:
                    start += size
            size //= 2
    return data


def _without(data: bytes, start: int, size: int) -> bytes:
    return data[:start] + data[start + size :]


def _zeroed(data: bytes, start: int, size: int) -> bytes:
    piece = data[start : start + size]
    return data[:start] + bytes(len(piece)) + data[start + size :]


def fails(data: bytes) -> bool:
    return difference(decode(data), Counter()) is not None


def _explain(expected: Trace, trace: Trace) -> str:
    lines: list[str] = []
    for supervisor in sorted({*expected.events, *trace.events}):
        wanted, got = expected.events.get(supervisor, []), trace.events.get(supervisor, [])
        if wanted != got:
            lines += [f"supervisor {supervisor or 'top'}:", *_first_difference(wanted, got)]
    if expected.calls != trace.calls:
        lines += ["calls:", *_first_difference(expected.calls, trace.calls)]
    if expected.outcome != trace.outcome:
        lines.append(f"outcome: expected {expected.outcome!r}, is {trace.outcome!r}")
    return "\n".join(lines)


def _first_difference(wanted: list[tuple[Any, ...]], got: list[tuple[Any, ...]]) -> list[str]:
    same = next((i for i, (a, b) in enumerate(zip(wanted, got, strict=False)) if a != b), min(len(wanted), len(got)))
    return [
        *(f"    {event}" for event in wanted[:same]),
        *(f"  - {event}" for event in wanted[same : same + 5]),
        *(f"  + {event}" for event in got[same : same + 5]),
    ]
