"""The counter that shows it: whatever is killed, it counts each message once, and its results are in order."""

from __future__ import annotations

import pytest
from run.harness import COLLECT_ONE, FEED_ONE, IN_PORT, OUT_PORT, Workspace
from run.live import live

pytestmark = [pytest.mark.slow, pytest.mark.trio]

# A killed sandbox is replaced at once, and as often as it takes.
ONE_NODE = (
    "workspace: {sandbox: {preload_count: 2}}\n"
    "network:\n  processes: {a: {component: A}}\n" + IN_PORT + OUT_PORT + "supervision:\n"
    "  {intensity: 1000, period: 1s, backoff: {initial: 1ms, max: 1ms}}\n"
)

PYTHON = """from reflow import actor, Message

@actor(name="A", inports=["v"], outports=["o"])
async def a(context):
    v = context.get_payload().get("v").unwrap()
    state = context.get_state()
    state.push("seen", v)
    return {"o": Message.object({"n": state.increment("n"), "v": v})}
"""

JAVASCRIPT = """const { actor, Message } = require('reflow');
@actor({ name: "A", inports: ["v"], outports: ["o"] })
async function a(context) {
  const v = context.getPayload().get("v").unwrap();
  const state = context.getState();
  state.push("seen", v);
  return { o: Message.object({ n: state.increment("n"), v }) };
}
"""


@pytest.mark.parametrize(
    ("file", "script", "count", "kills"),
    [("a.actor.py", PYTHON, 10_000, 50), ("a.actor.js", JAVASCRIPT, 1000, 5)],
    ids=["python", "javascript"],
)
async def test_a_counter_whose_sandbox_is_killed_again_and_again(
    ws: Workspace, file: str, script: str, count: int, kills: int
) -> None:
    ws.write(f"actors/{file}", script)
    ws.write("reflow.yaml", ONE_NODE)
    ws.feed(range(1, count + 1))
    async with live(ws, *FEED_ONE, *COLLECT_ONE, stays=True) as it:
        killed = await it.kill("a", kills, count // (kills + 1))
        assert await it.until(lambda: it.collected >= count)
        state = await it.state("a", "n", "seen")
    assert it.outcome is not None
    assert (it.outcome.code, it.outcome.dead_letters, it.outcome.restarts) == (0, 0, kills), it.log.getvalue()[-2000:]
    assert killed == kills
    expected = [{"n": i, "v": i} for i in range(1, count + 1)]
    assert ws.rows() == expected, "each row once, in order"
    assert state == {"n": count, "seen": list(range(1, count + 1))}, "and so has the state"
