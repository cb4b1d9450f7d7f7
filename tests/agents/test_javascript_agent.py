"""What is particular to the JavaScript agent, as a process. What both agents do is in specs/conformance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conformance.dialogue import play

from reflow_supervisor.actors.javascript_syntax import transform

pytestmark = [pytest.mark.slow, pytest.mark.trio]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


async def run_dialogue(source: str, *steps: dict[str, Any], **members: Any) -> None:
    await play({"actor": {"javascript": source}, "steps": list(steps), **members}, "javascript")


def activate(number: int, value: Any = None, **members: Any) -> dict[str, Any]:
    return {"activate": number, "inputs": {"in": ["any", value]}, **members}


async def test_the_seeds_script_runs_unchanged() -> None:
    source = transform((EXAMPLES / "seed" / "actors" / "aggregate.actor.js").read_text())
    first = {"stream": ["float", 2.0], "window": ["integer", 2]}
    await run_dialogue(
        source,
        {
            "load": {},
            "result": {
                "name": "StreamAggregator",
                "inports": ["stream", "window"],
                "outports": ["aggregated", "stats"],
                "await_all_inports": False,
            },
        },
        {"activate": 1, "inputs": first},
        {
            "commit": 1,
            "outputs": [
                ["aggregated", ["float", {"$float": "2"}]],
                ["stats", ["object", {"count": 1, "average": 2}]],
            ],
        },
        {"activate": 2, "inputs": first | {"stream": ["float", 4.5]}},
        {"commit": 2, "outputs": [["aggregated", ["float", 3.25]], ["stats", {"$any": True}]]},
        {"activate": 3, "inputs": first | {"stream": ["float", 5.5]}},
        {"commit": 3, "outputs": [["aggregated", ["float", 5.0]], ["stats", ["object", {"count": 2, "average": 5}]]]},
        {"store": {"buffer": [4.5, 5.5]}},
        opening="hello",
        load={"export": "aggregateStream", "inports": ["stream", "window"], "outports": ["aggregated", "stats"]},
    )


async def test_an_answer_does_not_wait_behind_the_script_that_runs_next() -> None:
    await run_dialogue(
        """
        exports.run = (context) => {
          const end = Date.now() + context.getInput('in');
          while (Date.now() < end);
          return context.getInput('in');
        };
        """,
        {"activate_batch": [activate(1, 0), activate(2, 0), activate(3, 1500), activate(4, 0)]},
        {"commit": 1, "within": 1},
        {"commit": 2, "within": 1},
        {"commit": 3},
        {"commit": 4},
    )


async def test_state_is_fetched_while_activations_wait() -> None:
    await run_dialogue(
        "exports.run = (context) => context.state.increment(`n${context.getInput('in')}`);",
        {"activate_batch": [activate(n, n) for n in range(1, 21)]},
        *({"commit": n, "outputs": [["out", ["integer", 1]]]} for n in range(1, 21)),
        {"fetched": [f"n{n}" for n in range(1, 21)]},
    )


async def test_a_violation_while_a_script_waits_for_its_state_ends_the_agent() -> None:
    await run_dialogue(
        "exports.run = (context) => context.state.get('k');",
        activate(1),
        {"expect": {"method": "state.fetch"}},
        {"send": {"jsonrpc": "2.0", "id": 77, "result": {}}},
        {"expect_close": 4001},
        {"expect_exit": 71},
        {"stderr": "not asked"},
        state_by_hand=True,
    )


async def test_state_that_does_not_answer_fails_the_activation_in_its_time() -> None:
    await run_dialogue(
        "exports.run = (context) => context.state.get('k', 'none');",
        activate(1, timeout_ms=200),
        {"expect": {"method": "state.fetch", "id": {"$any": True}}},
        {"failed": 1, "code": -32801, "within": 2},
        activate(2, epoch=2),
        {
            "expect": {"method": "state.fetch"},
            "answer": {"result": {"k": ["value", "5", None]}},
        },
        {"commit": 2, "outputs": [["out", ["integer", 5]]]},
        state_by_hand=True,
    )


async def test_a_promise_left_behind_fails_its_own_activation() -> None:
    await run_dialogue(
        """
        exports.run = async (context) => {
          if (context.getInput('in') == 1) Promise.reject(new RangeError('left behind'));
          return 'done';
        };
        """,
        {"activate_batch": [activate(1, 1, epoch=1), activate(2, 2, epoch=2)]},
        {"failed": 1, "code": -32021, "failure": {"type": "RangeError", "line": 3}},
        {"commit": 2},
    )


async def test_an_error_in_a_timer_fails_the_activation_that_runs() -> None:
    await run_dialogue(
        """
        exports.run = () => new Promise(() => {
          setTimeout(() => { throw new RangeError('in a timer'); }, 1);
        });
        """,
        activate(1),
        {"failed": 1, "code": -32021, "failure": {"type": "RangeError", "message": "in a timer", "line": 3}},
    )


async def test_an_error_outside_of_any_activation_ends_the_agent_with_its_text() -> None:
    await run_dialogue(
        "exports.run = () => 1;\nsetTimeout(() => { throw new Error('nobody caught this'); }, 20);",
        {"stderr": "uncaught outside of any activation: Error: nobody caught this"},
        {"expect_exit": 1},
    )


async def test_what_was_committed_leaves_before_the_script_ends_the_process() -> None:
    await run_dialogue(
        """
        exports.run = (context) => {
          if (context.getInput('in') == 3) { context.send('out', 'last words'); process.exit(9); }
          return 1;
        };
        """,
        {"activate_batch": [activate(n, n) for n in (1, 2, 3)]},
        {"commit": 1},
        {"commit": 2},
        {"sent": {"activation": 3, "message": ["string", "last words"]}},
        {"expect_exit": 9},
    )


async def test_console_goes_to_stdout_and_stderr() -> None:
    await run_dialogue(
        "exports.run = () => { console.log('to %s', 'stdout'); console.error('to stderr'); };",
        activate(1),
        {"commit": 1, "outputs": []},
        {"stdout": "to stdout\n"},
        {"stderr": "to stderr\n"},
    )


async def test_scripts_for_another_module_system_are_explained() -> None:
    for source, advice in (
        ("import fs from 'node:fs';", "actor scripts are CommonJS modules"),
        ("await Promise.resolve();", "top-level await is not supported"),
    ):
        await run_dialogue(
            source,
            {
                "load": {},
                "error": {
                    "code": -32020,
                    "data": {"type": "SyntaxError", "message": {"$contains": advice}, "line": 1},
                },
            },
            opening="hello",
        )


async def test_a_script_is_loaded_once() -> None:
    await run_dialogue("exports.run = () => 1;", {"load": {}, "error": {"code": -32600}}, activate(1), {"commit": 1})


async def test_sending_faster_than_the_supervisor_reads_stops_the_script_and_loses_nothing() -> None:
    await run_dialogue(
        """
        exports.run = (context) => {
          for (let i = 0; i < 400; i += 1) context.send('out', 'x'.repeat(i % 2 === 0 ? 20_000 : 90_000));
          return process.memoryUsage().arrayBuffers;
        };
        """,
        activate(1, timeout_ms=20_000),
        {"pause_ms": 300},
        *({"sent": {"index": i}} for i in range(400)),
        {"commit": 1, "sent": 400},
    )


async def test_refused_without_an_environment() -> None:
    import subprocess

    from conformance.dialogue import COMMANDS

    run = subprocess.run(COMMANDS["javascript"], env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=False)  # noqa: ASYNC221
    assert run.returncode == 2
    assert b"REFLOW_LINK" in run.stderr
