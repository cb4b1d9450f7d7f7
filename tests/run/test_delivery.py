"""What becomes of messages in real runs: failures, attempts, timeouts, full mailboxes, and what is sent meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from run.harness import COLLECT_ONE, FEED_ONE, ONE_NODE, PRELOAD, Workspace
from run.live import Live, live

from reflow_supervisor.actors import activations

pytestmark = [pytest.mark.slow, pytest.mark.trio]

FAST_RESTARTS = "supervision: {intensity: 1000, period: 1s, backoff: {initial: 1ms, max: 1ms}}\n"

JAVASCRIPT = """const {{ actor, Message }} = require('reflow');
@actor({{ name: "A", inports: ["v"], outports: ["o"], timeout: 1 }})
async function a(context) {{
  const v = context.getPayload().get("v").unwrap();
{body}
  return {{ o: Message.integer(v) }};
}}
"""

PASSES_ON = """import time
from reflow import actor

@actor(name="{name}", inports=["v"], outports=["o"], state_backend="memory")
async def it(context):
    {first}
    return {{"o": context.get_payload().get("v")}}
"""


def passes_on(ws: Workspace, name: str, first: str = "pass") -> None:
    ws.write(f"actors/{name.lower()}.actor.py", PASSES_ON.format(name=name, first=first))


# -- failures ----------------------------------------------------------------------------------------------------------


async def test_failures_go_to_the_error_port_in_order_also_while_that_is_full(ws: Workspace) -> None:
    ws.write(
        "actors/a.actor.py",
        "from reflow import actor\n\n"
        '@actor(name="A", inports=["v"], outports=["o", "error"])\n'
        "async def a(context):\n"
        '    v = context.get_payload().get("v").unwrap()\n'
        "    if v % 2:\n"
        '        raise ValueError(f"odd: {v}")\n'
        '    return {"o": v}\n',
    )
    passes_on(ws, "Slow", "time.sleep(0.005)")
    ws.write(
        "reflow.yaml",
        PRELOAD + "network:\n  processes: {a: {component: A}, s: {component: Slow, mailbox_capacity: 1}}\n"
        "  connections: [a.error -> s.v]\n  inports: {v: a.v}\n  outports: {o: a.o, e: s.o}\n",
    )
    ws.feed(range(60))
    async with live(ws, *FEED_ONE, *COLLECT_ONE, "--collect", "e=errors.jsonl") as it:
        pass
    assert it.outcome is not None
    assert (it.outcome.code, it.outcome.dead_letters, it.outcome.restarts) == (0, 0, 0), it.log.getvalue()
    assert ws.rows() == list(range(0, 60, 2))
    assert ws.rows("errors.jsonl") == [{"message": f"odd: {v}", "code": "ValueError"} for v in range(1, 60, 2)]


async def test_attempts_are_those_of_the_node_else_of_the_actor_else_of_all(ws: Workspace) -> None:
    body = (
        "from reflow import actor\n\n"
        '@actor(name="{name}", inports=["v"], outports=["o"], state_backend="memory"{more})\n'
        "async def it(context):\n"
        '    v = context.get_payload().get("v").unwrap()\n'
        "    if v == 1:\n"
        '        raise ValueError("no {name}")\n'
        '    return {{"o": v}}\n'
    )
    ws.write("actors/a.actor.py", body.format(name="A", more=""))
    ws.write("actors/b.actor.py", body.format(name="B", more=", max_attempts=4"))
    ws.write(
        "reflow.yaml",
        PRELOAD + "network:\n  processes:\n    node: {component: B, max_attempts: 1}\n"
        "    actor: {component: B}\n    all: {component: A}\n"
        "  connections: []\n  inports: {x: node.v, y: actor.v, z: all.v}\n  outports: {o: all.o}\n"
        "limits: {max_attempts: 2}\n",
    )
    ws.feed([0, 1, 2])
    feeds = [arg for port in "xyz" for arg in ("--feed", f"{port}=in.jsonl")]
    async with live(ws, *feeds, *COLLECT_ONE, stays=True) as it:
        assert await it.until(lambda: len(it.router.dead_letters.left) == 3 and not len(it.router.dead_letters))
        found = await it.letters()
    assert {letter.node: letter.attempts for letter in found} == {"node": 1, "actor": 4, "all": 2}
    assert ws.rows() == [0, 2]


async def test_poison_between_good_rows_leaves_them_in_order_and_letters_in_theirs(ws: Workspace) -> None:
    ws.actor(
        'if v % 5 == 3:\n    raise ValueError(str(v))\nif v % 5 == 4:\n    import os\n    os._exit(3)\nreturn {"o": v}'
    )
    ws.write("reflow.yaml", ONE_NODE + FAST_RESTARTS + "limits: {max_attempts: 2}\n")
    ws.feed(range(25))
    async with live(ws, *FEED_ONE, *COLLECT_ONE, stays=True) as it:
        assert await it.until(lambda: len(it.router.dead_letters.left) == 10 and not len(it.router.dead_letters))
        assert await it.until(lambda: it.collected == 15)
        found = await it.letters()
    assert ws.rows() == [v for v in range(25) if v % 5 < 3]
    assert [letter.shown for letter in found] == [f"v={v}" for v in range(25) if v % 5 >= 3]
    assert {letter.type for letter in found} == {"ValueError", "Exited"}


# -- timeouts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "body", "restarts", "kind"),
    [
        ("a.actor.py", "await asyncio.sleep(1000)", 0, "TimeoutError"),
        ("a.actor.py", "while True: pass", 0, "TimeoutError"),
        ("a.actor.py", "sum(range(10**14))  # in C, where no signal is looked at", 3, "TimedOut"),
        ("a.actor.js", "await new Promise(() => {});", 0, "TimeoutError"),
        ("a.actor.js", "for (;;);", 3, "TimedOut"),
    ],
    ids=["python-waits", "python-runs", "python-in-c", "javascript-waits", "javascript-runs"],
)
async def test_what_overruns_is_interrupted_or_else_killed_and_each_time_is_an_attempt(
    ws: Workspace, file: str, body: str, restarts: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not restarts:
        monkeypatch.setattr(activations, "KILL_GRACE", 30)  # however slow this machine is
    if file.endswith(".py"):
        ws.actor(f'if v == 1:\n    {body}\nreturn {{"o": v}}', options=", timeout=0.5", top="import asyncio")
    else:
        script = JAVASCRIPT.format(body=f"  if (v === 1) {{ {body} }}")
        ws.write(f"actors/{file}", script.replace("timeout: 1", "timeout: 0.5"))
    ws.write("reflow.yaml", ONE_NODE + FAST_RESTARTS + "limits: {max_attempts: 2}\n")
    ws.feed(range(10))
    async with live(ws, *FEED_ONE, *COLLECT_ONE, stays=True) as it:
        assert await it.until(lambda: it.collected == 9 and not len(it.router.dead_letters)), it.log.getvalue()
        (letter,) = await it.letters()
    assert it.outcome is not None
    assert (letter.shown, letter.attempts, letter.type) == ("v=1", 2, kind)
    # The first kill blames nobody, since several were in flight: none is to pay for its neighbour.
    assert it.outcome.restarts == restarts
    assert ws.rows() == [v for v in range(10) if v != 1]


# -- full mailboxes ----------------------------------------------------------------------------------------------------


async def test_a_slow_end_holds_the_feed_back_through_three_nodes(ws: Workspace) -> None:
    capacity, in_flight, count = 5, 3, 400
    passes_on(ws, "Fast")
    passes_on(ws, "Slow", "time.sleep(0.002)")
    ws.write(
        "reflow.yaml",
        PRELOAD + "network:\n  processes: {a: {component: Fast}, b: {component: Fast}, c: {component: Slow}}\n"
        "  connections: [a.o -> b.v, b.o -> c.v]\n  inports: {v: a.v}\n  outports: {o: c.o}\n"
        f"limits: {{mailbox_capacity: {capacity}, in_flight: {in_flight}}}\n",
    )
    ws.feed(range(count))
    most = 0

    def look(it: Live) -> Callable[[], bool]:
        def done() -> bool:
            nonlocal most
            for inbox in it.router.inboxes.values():
                assert inbox.waiting <= capacity + inbox.in_flight, inbox.node
            boxes = [it.router.inboxes[node] for node in "abc"]
            inside = sum(box.waiting + box.in_flight for box in boxes)
            fed = it.run.outcome.fed
            assert inside <= 3 * (capacity + in_flight)
            # Between the nodes and the file are the results' mailbox and what is being written.
            assert fed - it.collected <= 3 * (capacity + in_flight) + capacity + 1024
            most = max(most, inside)
            return it.collected == count

        return done

    async with live(ws, *FEED_ONE, *COLLECT_ONE) as it:
        assert await it.until(look(it))
    assert ws.rows() == list(range(count))
    assert most > 2 * capacity, "it was really full"


@pytest.mark.parametrize("on_full", ["drop_oldest", "drop_newest"])
async def test_what_a_connection_drops_is_counted_in_the_status(ws: Workspace, on_full: str) -> None:
    count = 200
    passes_on(ws, "Fast")
    passes_on(ws, "Slow", "time.sleep(0.003)")
    ws.write(
        "reflow.yaml",
        PRELOAD + "network:\n  processes: {a: {component: Fast}, s: {component: Slow}}\n"
        f"  connections: [{{from: a.o, to: s.v, capacity: 2, on_full: {on_full}}}]\n"
        "  inports: {v: a.v}\n  outports: {o: s.o}\nlimits: {in_flight: 1}\n",
    )
    ws.feed(range(count))
    async with live(ws, *FEED_ONE, *COLLECT_ONE, stays=True) as it:
        assert await it.until(lambda: it.script("a").meter.done == count and it.router.idle)
        edges = it.snapshot().edges
    rows = ws.rows()
    edge = next(e for e in edges if e.source == "a.o")
    assert edge.dropped == count - len(rows) > 0
    assert edge.delivered == (count if on_full == "drop_oldest" else len(rows))
    assert rows == sorted(rows)
    assert (rows[-1] == count - 1) is (on_full == "drop_oldest")


async def test_a_connection_that_refuses_fails_the_activation_and_that_is_counted(ws: Workspace) -> None:
    passes_on(ws, "Fast")
    passes_on(ws, "Slow", "time.sleep(0.05)")
    ws.write(
        "reflow.yaml",
        PRELOAD + "network:\n  processes: {a: {component: Fast}, s: {component: Slow}}\n"
        "  connections: [{from: a.o, to: s.v, capacity: 1, on_full: fail}]\n"
        "  inports: {v: a.v}\n  outports: {o: s.o}\nlimits: {in_flight: 1, max_attempts: 1}\n",
    )
    ws.feed(range(12))
    async with live(ws, *FEED_ONE, *COLLECT_ONE, stays=True) as it:
        assert await it.until(lambda: it.collected + len(it.router.dead_letters.left) == 12 and it.router.idle)
        assert await it.until(lambda: not len(it.router.dead_letters))
        (a, _), found = it.snapshot().actors, await it.letters()
    assert ws.rows() == sorted(ws.rows())
    assert len(ws.rows()) + len(found) == 12
    assert {letter.type for letter in found} == {"MailboxFullError"}
    assert a.failed == len(found) > 0
    assert (a.dead_letters, a.restarts) == (len(found), 0)


# -- what is sent meanwhile --------------------------------------------------------------------------------------------


async def test_what_an_attempt_has_sent_no_later_one_sends_again(ws: Workspace) -> None:
    ws.actor(
        "for n in range(3):\n"
        '    context.send("o", v * 10 + n)\n'
        "    if n == 1 and random.random() < 0.4:\n"
        '        raise ValueError("half way")\n'
        "    if n == 1 and random.random() < 0.2:\n"
        "        time.sleep(0.05)  # so that what was sent has left\n"
        "        os._exit(3)\n"
        'return {"o": v * 10 + 3}',
        top="import os, random, time",
    )
    ws.write("reflow.yaml", ONE_NODE + FAST_RESTARTS + "limits: {max_attempts: 100}\n")
    ws.feed(range(20))
    async with live(ws, *FEED_ONE, *COLLECT_ONE) as it:
        pass
    assert it.script("a").meter.failed > 0
    assert ws.rows() == [v * 10 + n for v in range(20) for n in range(4)]


@pytest.mark.parametrize("file", ["a.actor.py", "a.actor.js"])
async def test_a_flood_from_one_activation_waits_for_its_reader_and_fills_nothing(ws: Workspace, file: str) -> None:
    count, capacity = 4000, 10
    if file.endswith(".py"):
        ws.actor(f'for n in range({count}):\n    context.send("o", n)\nreturn {{"o": v}}')
    else:
        body = f'  for (let n = 0; n < {count}; n++) context.send("o", Message.integer(n));'
        ws.write(f"actors/{file}", JAVASCRIPT.format(body=body).replace(", timeout: 1", ""))
    passes_on(ws, "Slow", "time.sleep(0.0002)")
    ws.write(
        "reflow.yaml",
        PRELOAD + "network:\n  processes: {a: {component: A}, s: {component: Slow}}\n"
        "  connections: [a.o -> s.v]\n  inports: {v: a.v}\n  outports: {o: s.o}\n"
        f"limits: {{mailbox_capacity: {capacity}}}\n",
    )
    ws.feed([-1])
    async with live(ws, *FEED_ONE, *COLLECT_ONE) as it:

        def done() -> bool:
            assert it.router.inboxes["s"].waiting <= capacity + it.router.inboxes["s"].in_flight
            return it.collected == count + 1

        assert await it.until(done), it.log.getvalue()
    assert ws.rows() == [*range(count), -1]
    assert it.outcome is not None
    assert (it.outcome.code, it.outcome.restarts) == (0, 0)


# -- state that is not what it should be -------------------------------------------------------------------------------


async def test_a_key_that_somebody_spoilt_fails_the_activations_that_need_it_and_nothing_else(ws: Workspace) -> None:
    ws.actor('context.get_state().push("l", v)\nreturn {"o": v}')
    ws.write("reflow.yaml", ONE_NODE + "limits: {max_attempts: 2, in_flight: 1}\n")
    read, write = os.pipe()
    with os.fdopen(write, "wb", buffering=0) as feed:
        async with live(ws, *COLLECT_ONE, "--feed", f"v=/dev/fd/{read}", stays=True) as it:
            os.close(read)

            feed.write(b"1\n2\n")
            assert await it.until(lambda: it.collected == 2)
            await it.redis("SET", "reflow:a:l", "7")
            feed.write(b"3\n")
            assert await it.until(lambda: bool(it.router.dead_letters.left))
            await it.redis("DEL", "reflow:a:l")
            await it.redis("RPUSH", "reflow:a:l", "1", "2")
            incarnation = it.script("a").incarnation
            await it.restart("a")  # it keeps what it knows of its keys, also where somebody mends them
            feed.write(b"4\n5\n")
            assert await it.until(lambda: it.collected == 4), it.log.getvalue()
            assert await it.state("a", "l") == {"l": [1, 2, 4, 5]}
            (letter,) = await it.letters()
            feed.close()
    assert it.outcome is not None
    assert (letter.shown, letter.attempts) == ("v=3", 2)
    assert (incarnation, it.outcome.restarts) == (1, 0), "the incarnation goes on, with another sandbox"
